//! A program served over HTTP: what each request means, what becomes of programs and clients
//! that misbehave, and that every call is reported as its client saw it.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response, request::Builder};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use mcpulse_tests::{Proxy, eventually, program};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{
        TcpListener,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::timeout,
};

use crate::{
    faults::{Ends, PATIENCE, assert_settled, by},
    web::{Answer, Web},
};

mod abuse;
mod batches;
mod crossing;
mod draining;
mod lines;
mod modern;
mod orphans;
mod programs;
mod sessions;
#[cfg(target_os = "linux")]
mod shim;
mod streams;
mod warm;

/// What `initialize` says, under the id 0.
pub(crate) const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}"#;
const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
/// A session that nobody has.
const STRANGER: &str = "7e4e4c1e-5d25-4f39-9a4c-6a4f2a0c8f53";

/// A proxy before programs, or a server of the other transport; the client is the test.
struct Bridge {
    ends: Ends,
    proxy: Proxy,
    web: Web,
}

impl Bridge {
    /// Before programs that this command starts.
    async fn before(command: &[&str], flags: &[&str]) -> Self {
        Self::of("stdio", &[flags, &["--"], command].concat()).await
    }

    /// Before a server that speaks `mode`.
    async fn before_remote(mode: &str, url: &str, flags: &[&str]) -> Self {
        Self::of(mode, &[&["--remote-url", url], flags].concat()).await
    }

    async fn of(mode: &str, further: &[&str]) -> Self {
        let ends = Ends::start().await;
        let own = ends.flags();
        let mut args = vec![mode, "--listen", "127.0.0.1:0"];
        args.extend(own.iter().map(String::as_str));
        args.extend(further);
        let proxy = Proxy::start(args);
        let web = Web::of(format!("http://{}", proxy.address().await));
        Self { ends, proxy, web }
    }

    fn request(&self, method: Method, session: Option<&str>) -> Builder {
        self.web.request(method, "/mcp", session)
    }

    async fn send(&self, request: Builder, body: impl Into<Bytes>) -> Response<Incoming> {
        self.web.send(request, body).await
    }

    async fn exchange(&self, request: Builder, body: impl Into<Bytes>) -> Answer {
        self.web.exchange(request, body).await
    }

    async fn post(&self, session: Option<&str>, body: impl Into<Bytes>) -> Answer {
        self.exchange(self.request(Method::POST, session), body).await
    }

    async fn delete(&self, session: &str) -> u16 {
        self.exchange(self.request(Method::DELETE, Some(session)), "").await.status
    }

    /// A request to another path.
    fn at(&self, method: Method, path: &str) -> Builder {
        self.web.request(method, path, None)
    }

    /// The stream of the client's own.
    async fn listen(&self, session: &str) -> Stream {
        Stream::of(self.send(self.request(Method::GET, Some(session)), "").await)
    }

    /// Waits until `/readyz` says so.
    async fn wait_until_ready(&self, ready: bool) {
        self.proxy.wait_until_ready(ready).await;
    }

    /// Waits until so many sessions have ended for this reason.
    async fn wait_for_ended(&self, reason: &str, count: u64) {
        eventually(&format!("{count} sessions {reason}"), PATIENCE, async || {
            let scrape = self.proxy.scrape().await;
            let ended = by(&scrape, "mcpulse_bridge_sessions_ended_total", "reason");
            (ended.get(reason) == Some(&count)).then_some(())
        })
        .await;
    }

    async fn figure(&self, name: &str) -> f64 {
        self.proxy.scrape().await.sum(name, &[])
    }

    /// A session of this revision with the next of `programs`, initialized.
    async fn open_as(&self, programs: &TcpListener, revision: &str) -> (String, Actor) {
        let program = async {
            let mut actor = Actor::enter(programs).await;
            assert_eq!(actor.hear().await.as_deref(), Some(INITIALIZE));
            let rest = r#""capabilities":{},"serverInfo":{"name":"s","version":"1"}"#;
            let result = format!(r#"{{"protocolVersion":"{revision}",{rest}}}"#);
            actor.say(&format!(r#"{{"jsonrpc":"2.0","id":0,"result":{result}}}"#)).await;
            actor
        };
        let (answer, actor) = tokio::join!(self.post(None, INITIALIZE), program);
        assert_eq!(answer.status, 200, "{answer:?}");
        (answer.session.expect("a session"), actor)
    }

    /// See [`assert_settled`].
    async fn assert_settled(&self, calls: &[(&str, u64)], oddities: &[(&str, u64)]) {
        assert_settled(&self.proxy, calls, oddities).await;
        self.ends.assert_delivered(calls.iter().map(|(_, count)| count).sum()).await;
    }
}

/// A stream of events.
pub(crate) struct Stream {
    status: u16,
    body: Incoming,
    text: String,
    /// The id of the last event.
    last: Option<String>,
}

impl Stream {
    pub(crate) fn of(response: Response<Incoming>) -> Self {
        let kind = response.headers().get("content-type").map(|kind| kind.as_bytes().to_vec());
        assert_eq!(kind.as_deref(), Some(&b"text/event-stream"[..]), "{response:?}");
        let status = response.status().as_u16();
        Self { status, body: response.into_body(), text: String::new(), last: None }
    }

    /// Where to POST, as the first event says.
    pub(crate) async fn endpoint(&mut self) -> String {
        let event = self.event().await.expect("an event");
        event.strip_prefix("event: endpoint\ndata: ").expect("an endpoint").to_owned()
    }

    /// The data of the next message; none at the end.
    pub(crate) async fn next(&mut self) -> Option<String> {
        loop {
            let event = self.event().await?;
            let mut message = &*event;
            if let Some((id, rest)) =
                message.strip_prefix("id: ").and_then(|it| it.split_once('\n'))
            {
                self.last = Some(id.to_owned());
                message = rest;
            }
            if let Some(data) = message.strip_prefix("event: message\ndata: ") {
                return Some(data.to_owned());
            }
        }
    }

    /// The next event; none at the end.
    pub(crate) async fn event(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let event: String = self.text.drain(..end + 2).collect();
                return Some(event[..end].to_owned());
            }
            let frame = timeout(PATIENCE, self.body.frame()).await.expect("an event")?;
            let data = frame.expect("a stream that is not cut").into_data().expect("data");
            self.text.push_str(str::from_utf8(&data).expect("UTF-8"));
        }
    }
}

/// A bridge whose programs are the test as well.
struct Stage {
    bridge: Bridge,
    programs: TcpListener,
}

/// One program.
pub(crate) struct Actor {
    says: OwnedWriteHalf,
    hears: BufReader<OwnedReadHalf>,
}

impl Stage {
    /// A bridge that has found its program to be of use.
    async fn set(flags: &[&str]) -> Self {
        let programs = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = programs.local_addr().expect("the address of a bound socket").to_string();
        let puppet = program("puppet").display().to_string();
        let bridge = Bridge::before(&[&puppet, &address], flags).await;
        let stage = Self { bridge, programs };
        Actor::probed(&stage.programs).await;
        stage.bridge.wait_until_ready(true).await;
        stage
    }

    /// The next program that the proxy starts.
    async fn enter(&self) -> Actor {
        Actor::enter(&self.programs).await
    }

    /// A session that was initialized.
    async fn open(&self) -> (String, Actor) {
        self.open_as("2025-11-25").await
    }

    /// A session of this revision.
    async fn open_as(&self, revision: &str) -> (String, Actor) {
        self.bridge.open_as(&self.programs, revision).await
    }
}

impl Actor {
    /// The next program that connects.
    pub(crate) async fn enter(programs: &TcpListener) -> Self {
        let entered = timeout(PATIENCE, programs.accept()).await.expect("a program starts");
        let (socket, _) = entered.expect("a connection");
        socket.set_nodelay(true).expect("a TCP socket");
        let (hears, says) = socket.into_split();
        Self { says, hears: BufReader::new(hears) }
    }

    /// Answers the proxy, which tries whether the program can be used.
    pub(crate) async fn probed(programs: &TcpListener) {
        let mut probed = Self::enter(programs).await;
        let question: Value =
            serde_json::from_str(&probed.hear().await.expect("a question")).expect("JSON");
        assert_eq!(question["method"], "initialize");
        probed.say(&format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{}}}}"#, question["id"])).await;
        assert_eq!(probed.hear().await, None, "the probe ends");
    }

    /// The next line; none at the end of the input.
    pub(crate) async fn hear(&mut self) -> Option<String> {
        let mut line = String::new();
        let heard = timeout(PATIENCE, self.hears.read_line(&mut line)).await;
        // A program that was killed resets the connection.
        let count = heard.expect("a line").unwrap_or_default();
        (count > 0).then(|| line.trim_end_matches('\n').to_owned())
    }

    /// Says a line.
    pub(crate) async fn say(&mut self, line: &(impl AsRef<[u8]> + ?Sized)) {
        let line = [line.as_ref(), b"\n"].concat();
        self.says.write_all(&line).await.expect("the proxy reads");
    }
}

/// The processes that have this text in their command line.
pub(crate) fn processes(text: &str) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").expect("processes").flatten();
    let has_it = |entry: std::fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        String::from_utf8_lossy(&line).contains(text).then_some(pid)
    };
    entries.filter_map(has_it).collect()
}

/// How many have it.
pub(crate) fn running(text: &str) -> usize {
    processes(text).len()
}

/// Longer than any step of the way to the end of a program.
const ENDED: Duration = Duration::from_secs(20);
