//! A server over HTTP that answers by a script, and the client of a proxy in front of it.

use std::{
    io,
    net::SocketAddr,
    pin::pin,
    process::ExitStatus,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::{Service, service_fn},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mcpulse_tests::{Identity, Proxy, Receiver};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader},
    net::TcpListener,
    process::{ChildStdin, ChildStdout},
    sync::{broadcast, mpsc},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

/// What the server was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    /// `null` without a body.
    pub(crate) body: Value,
    /// The same as it came.
    pub(crate) text: Bytes,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a text"))
    }

    /// The method of JSON-RPC for a POST, else that of HTTP.
    pub(crate) fn name(&self) -> String {
        let name = self.body["method"].as_str();
        name.map_or_else(|| self.method.to_string(), ToOwned::to_owned)
    }

    /// An answer with this result.
    pub(crate) fn result(&self, result: &Value) -> Reply {
        Reply::json(200, &json!({ "jsonrpc": "2.0", "id": self.body["id"], "result": result }))
    }

    /// What any server says to the beginning of a session, and to its end.
    pub(crate) fn usual(&self, session: &str) -> Reply {
        match &*self.name() {
            "initialize" => {
                let reply = self.result(&json!({
                    "protocolVersion": "2025-11-25",
                    "capabilities": {},
                    "serverInfo": { "name": "script", "version": "1" },
                }));
                reply.header("mcp-session-id", session)
            }
            "GET" => Reply::empty(405),
            "DELETE" => Reply::empty(200),
            "tools/call" => self.result(&json!({ "content": [] })),
            _ => Reply::empty(202),
        }
    }
}

/// What the server answers.
#[derive(Debug)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
    /// More of the body, as it comes; the body ends with the sender.
    more: Option<mpsc::Receiver<Bytes>>,
    /// It breaks off where it should end.
    breaks: bool,
    /// There is none, for nobody looks at the request (HTTP/2).
    refuses: bool,
}

impl Reply {
    pub(crate) fn empty(status: u16) -> Self {
        let (headers, body) = (Vec::new(), Bytes::new());
        Self { status, headers, body, more: None, breaks: false, refuses: false }
    }

    /// None: nobody looks at the request (HTTP/2).
    pub(crate) fn refused() -> Self {
        Self { refuses: true, ..Self::empty(200) }
    }

    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::text(status, "application/json", body.to_string())
    }

    /// A body of this type.
    pub(crate) fn text(status: u16, kind: &str, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..Self::empty(status) }.header("content-type", kind)
    }

    /// These events, and no more.
    pub(crate) fn events(text: impl Into<Bytes>) -> Self {
        Self::text(200, "text/event-stream", text)
    }

    /// These events, and what is sent later.
    pub(crate) fn stream(text: impl Into<Bytes>) -> (Self, mpsc::Sender<Bytes>) {
        Self::events(text).open()
    }

    /// The same, and what is sent later.
    pub(crate) fn open(self) -> (Self, mpsc::Sender<Bytes>) {
        let (sender, more) = mpsc::channel(16);
        (Self { more: Some(more), ..self }, sender)
    }

    /// The same, but the body never comes to its end.
    pub(crate) fn broken(self) -> Self {
        Self { breaks: true, ..self }
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    fn response(self) -> Response<BoxBody<Bytes, io::Error>> {
        let mut response = Response::builder().status(self.status);
        for (name, value) in self.headers {
            response = response.header(name, value);
        }
        let first = Some(self.body).filter(|body| !body.is_empty());
        let body = futures_body(first, self.more, self.breaks);
        response.body(body).expect("a response")
    }
}

fn futures_body(
    first: Option<Bytes>,
    more: Option<mpsc::Receiver<Bytes>>,
    breaks: bool,
) -> BoxBody<Bytes, io::Error> {
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        if let Some(first) = first {
            let _ = sender.send(Ok(first)).await;
        }
        if breaks {
            let _ = sender.send(Err(io::Error::other("it breaks"))).await;
        }
        let Some(mut more) = more else { return };
        loop {
            tokio::select! {
                chunk = more.recv() => match chunk {
                    Some(chunk) => {
                        let _ = sender.send(Ok(chunk)).await;
                    }
                    None => return,
                },
                () = sender.closed() => return,
            }
        }
    });
    let frames = tokio_stream::wrappers::ReceiverStream::new(receiver);
    StreamBody::new(tokio_stream::StreamExt::map(frames, |chunk: io::Result<Bytes>| {
        chunk.map(Frame::data)
    }))
    .boxed()
}

/// What befalls every connection that there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It takes no more requests, and ends with those that it has (GOAWAY over HTTP/2).
    Retire,
    /// It is gone at once.
    Break,
}

/// A server that runs, until it is dropped.
pub(crate) struct Script {
    address: SocketAddr,
    scheme: &'static str,
    fates: broadcast::Sender<Fate>,
    connections: Arc<AtomicUsize>,
    asked: Arc<Mutex<Vec<Asked>>>,
    /// Requests that wait for their answers, and the most at once.
    open: Arc<(AtomicUsize, AtomicUsize)>,
    serving: JoinHandle<()>,
}

impl Script {
    /// Answers each request by `answer`, which gets what was asked before as well.
    pub(crate) async fn start<F, A>(answer: F) -> Self
    where
        F: Fn(Asked, Vec<Asked>) -> A + Send + Sync + 'static,
        A: Future<Output = Reply> + Send + 'static,
    {
        Self::start_at(([127, 0, 0, 1], 0).into(), answer).await
    }

    /// The same at this address.
    pub(crate) async fn start_at<F, A>(address: SocketAddr, answer: F) -> Self
    where
        F: Fn(Asked, Vec<Asked>) -> A + Send + Sync + 'static,
        A: Future<Output = Reply> + Send + 'static,
    {
        Self::serve(None, address, answer).await
    }

    /// The same over TLS and HTTP/2.
    pub(crate) async fn start_secure<F, A>(identity: &Identity, answer: F) -> Self
    where
        F: Fn(Asked, Vec<Asked>) -> A + Send + Sync + 'static,
        A: Future<Output = Reply> + Send + 'static,
    {
        let address = ([127, 0, 0, 1], 0).into();
        Self::serve(Some(identity.acceptor(&["h2"])), address, answer).await
    }

    async fn serve<F, A>(tls: Option<TlsAcceptor>, address: SocketAddr, answer: F) -> Self
    where
        F: Fn(Asked, Vec<Asked>) -> A + Send + Sync + 'static,
        A: Future<Output = Reply> + Send + 'static,
    {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let (fates, connections) = (broadcast::Sender::new(4), Arc::<AtomicUsize>::default());
        let (all_fates, opened) = (fates.clone(), Arc::clone(&connections));
        let listener = TcpListener::bind(address).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let open: Arc<(AtomicUsize, AtomicUsize)> = Arc::default();
        let answer = Arc::new(answer);
        let (all, counts) = (Arc::clone(&asked), Arc::clone(&open));
        let serving = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (all, counts, answer) =
                    (Arc::clone(&all), Arc::clone(&counts), Arc::clone(&answer));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (all, counts, answer) =
                        (Arc::clone(&all), Arc::clone(&counts), Arc::clone(&answer));
                    async move {
                        let (parts, body) = request.into_parts();
                        let body = body.collect().await.map_err(|_| Reason::CANCEL)?.to_bytes();
                        let asked = Asked {
                            method: parts.method,
                            path: parts.uri.path().to_owned(),
                            headers: parts.headers,
                            body: serde_json::from_slice(&body).unwrap_or_default(),
                            text: body,
                        };
                        let before = {
                            let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                            all.push(asked.clone());
                            all[..all.len() - 1].to_vec()
                        };
                        let now = counts.0.fetch_add(1, Ordering::SeqCst) + 1;
                        counts.1.fetch_max(now, Ordering::SeqCst);
                        let _open = Open(&counts.0);
                        let reply = answer(asked, before).await;
                        if reply.refuses {
                            return Err(Reason::REFUSED_STREAM.into());
                        }
                        Ok::<_, h2::Error>(reply.response())
                    }
                });
                opened.fetch_add(1, Ordering::SeqCst);
                let (tls, fates) = (tls.clone(), all_fates.subscribe());
                tokio::spawn(async move {
                    match tls {
                        None => converse(socket, service, fates).await,
                        // Whoever only looks whether somebody listens says nothing.
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(socket).await {
                                converse(stream, service, fates).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, scheme, fates, connections, asked, open, serving }
    }

    pub(crate) fn url(&self) -> String {
        self.url_at(if self.scheme == "https" { "localhost" } else { "127.0.0.1" })
    }

    /// The same by another name of the host.
    pub(crate) fn url_at(&self, host: &str) -> String {
        format!("{}://{host}:{}/mcp", self.scheme, self.address.port())
    }

    /// The same with another path.
    pub(crate) fn url_of(&self, path: &str) -> String {
        self.url().replace("/mcp", path)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections that there were so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Lets this befall all connections.
    pub(crate) fn befall(&self, fate: Fate) {
        self.fates.send(fate).expect("a connection");
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was asked, by name.
    pub(crate) fn names(&self) -> Vec<String> {
        self.asked().iter().map(Asked::name).collect()
    }

    /// Requests that wait now, and the most that ever waited at once.
    pub(crate) fn open(&self) -> (usize, usize) {
        (self.open.0.load(Ordering::SeqCst), self.open.1.load(Ordering::SeqCst))
    }
}

/// Serves a connection until it ends by itself or by fate.
async fn converse<I, S>(io: I, service: S, mut fates: broadcast::Receiver<Fate>)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: Service<
            Request<Incoming>,
            Response = Response<BoxBody<Bytes, io::Error>>,
            Error = h2::Error,
            Future: Send,
        > + Send
        + 'static,
{
    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    let mut serving = pin!(server.serve_connection(TokioIo::new(io), service));
    loop {
        tokio::select! {
            // The proxy may have gone.
            _ = &mut serving => return,
            fate = fates.recv() => match fate {
                Ok(Fate::Retire) => serving.as_mut().graceful_shutdown(),
                // Or the server is gone.
                Ok(Fate::Break) | Err(_) => return,
            },
        }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Counts down when the answer is there, or nobody waits for it.
struct Open<'a>(&'a AtomicUsize);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A client on standard input and output of the proxy.
pub(crate) struct Talk {
    pub(crate) proxy: Proxy,
    pub(crate) receiver: Receiver,
    say: Option<ChildStdin>,
    hear: Option<tokio::io::Lines<BufReader<ChildStdout>>>,
}

impl Talk {
    pub(crate) async fn with(url: &str, flags: &[&str]) -> Self {
        Self::over("http", url, flags).await
    }

    /// `mode` says what the server speaks.
    pub(crate) async fn over(mode: &str, url: &str, flags: &[&str]) -> Self {
        Self::among(mode, url, flags, &[]).await
    }

    /// The same with these variables.
    pub(crate) async fn among(
        mode: &str,
        url: &str,
        flags: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let receiver = Receiver::start().await;
        let mcpulse = receiver.url();
        let line = [mode, "--server-id", "remote", "--remote-url", url, "--mcpulse-url"];
        let further = [&mcpulse, "--flush-interval", "20ms", "--metrics-listen", "127.0.0.1:0"];
        let mut command = Proxy::command(line.iter().chain(&further).chain(flags));
        command.envs(variables.iter().copied());
        let mut proxy = Proxy::run(command);
        let say = Some(proxy.stdin());
        let hear = Some(BufReader::new(proxy.stdout()).lines());
        Self { proxy, receiver, say, hear }
    }

    pub(crate) async fn to(script: &Script) -> Self {
        Self::with(&script.url(), &[]).await
    }

    pub(crate) async fn say(&mut self, message: &Value) {
        self.write(format!("{message}\n").as_bytes()).await;
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        let say = self.say.as_mut().expect("not closed");
        say.write_all(bytes).await.expect("the proxy reads");
    }

    pub(crate) async fn ask(&mut self, id: u64, method: &str, params: Value) {
        let message = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.say(&message).await;
    }

    pub(crate) async fn call(&mut self, id: u64) {
        self.ask(id, "tools/call", json!({ "name": "t" })).await;
    }

    /// The next line, as JSON.
    pub(crate) async fn hear(&mut self) -> Value {
        let line = self.line().await;
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    pub(crate) async fn line(&mut self) -> String {
        let hear = self.hear.as_mut().expect("not deaf");
        let line = tokio::time::timeout(Duration::from_mins(1), hear.next_line()).await;
        let line = line.expect("a line in time").expect("standard output can be read");
        line.unwrap_or_else(|| panic!("the proxy has closed: {}", self.proxy.stderr()))
    }

    /// What else the proxy says until it closes.
    pub(crate) async fn rest(&mut self) -> Vec<String> {
        let hear = self.hear.as_mut().expect("not deaf");
        let mut rest = Vec::new();
        while let Some(line) = hear.next_line().await.expect("standard output can be read") {
            rest.push(line);
        }
        rest
    }

    /// Begins a session. Returns what the server said to it.
    pub(crate) async fn begin(&mut self) -> Value {
        let params = json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": { "name": "talk", "version": "1" },
        });
        self.ask(0, "initialize", params).await;
        let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        self.say(&initialized).await;
        self.hear().await
    }

    /// Hears nothing more.
    pub(crate) fn deafen(&mut self) {
        drop(self.hear.take());
    }

    /// Says nothing more.
    pub(crate) fn close(&mut self) {
        drop(self.say.take());
    }

    /// Waits for the end, which must come within `limit`.
    pub(crate) async fn end(&mut self, limit: Duration) -> ExitStatus {
        self.proxy.wait(limit).await
    }

    pub(crate) fn stop(&self) {
        self.proxy.signal(Signal::TERM);
    }
}
