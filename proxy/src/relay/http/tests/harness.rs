//! A relay between a scripted upstream and a client, all on loopback.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::StreamExt;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    client::conn::http1::{SendRequest, handshake},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::{AbortHandle, JoinHandle},
};
use tokio_stream::wrappers::ReceiverStream;

use super::super::{Counters, HttpRelay, Listener};
use crate::{
    config::{Listen, Remote},
    ready::Ready,
    relay::site::Site,
    shutdown::Shutdown,
    tap::{Drain, Tap},
    traffic::{Direction, End, HttpTransport, What},
};

/// Longest wait for what must happen.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);

pub(super) type Body = BoxBody<Bytes, std::io::Error>;

pub(super) fn whole(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(|never| match never {}).boxed()
}

/// A response whose body is an event stream, and the end that fills it.
pub(super) fn stream() -> (mpsc::Sender<Bytes>, Response<Body>) {
    let (sender, receiver) = mpsc::channel(16);
    let frames = ReceiverStream::new(receiver).map(|chunk| Ok(Frame::data(chunk)));
    let response = Response::builder()
        .header("content-type", "text/event-stream")
        .body(BodyExt::boxed(StreamBody::new(frames)))
        .unwrap();
    (sender, response)
}

/// An HTTP/1.1 server that answers by a function.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl Server {
    pub(super) async fn start<F, R>(answer: F) -> Self
    where
        F: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response<Body>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let open = Arc::new(AtomicUsize::new(0));
        let requests = Arc::new(AtomicUsize::new(0));
        let arrived = Arc::clone(&requests);
        let (count, opened) = (Arc::clone(&connections), Arc::clone(&open));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                opened.fetch_add(1, Ordering::SeqCst);
                let (answer, arrived) = (answer.clone(), Arc::clone(&arrived));
                let service = service_fn(move |request| {
                    arrived.fetch_add(1, Ordering::SeqCst);
                    let response = answer(request);
                    async move { Ok::<_, Infallible>(response.await) }
                });
                let opened = Arc::clone(&opened);
                tokio::spawn(async move {
                    let io = TokioIo::new(stream);
                    let _ = http1::Builder::new().serve_connection(io, service).await;
                    opened.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, connections, open, requests, task: task.abort_handle() }
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Connections that are open now.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// A client that does not go through the relay.
    pub(super) async fn client(&self) -> SendRequest<Body> {
        connect(self.address).await
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A relay that runs.
pub(super) struct Relay {
    pub(super) address: SocketAddr,
    pub(super) upstream_port: u16,
    pub(super) counters: Arc<Counters>,
    pub(super) ready: Ready,
    pub(super) shutdown: Shutdown,
    pub(super) drain: Drain,
    pub(super) task: JoinHandle<()>,
}

impl Relay {
    pub(super) async fn to(url: impl Into<String>) -> Self {
        Self::start(Remote::new(url), Listen::new("127.0.0.1:0"), HttpTransport::Streamable).await
    }

    pub(super) async fn start(remote: Remote, listen: Listen, transport: HttpTransport) -> Self {
        Self::with_room(remote, listen, transport, None).await
    }

    /// A relay that serves so many clients at once, or as many as any.
    pub(super) async fn with_room(
        remote: Remote,
        listen: Listen,
        transport: HttpTransport,
        room: Option<usize>,
    ) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let url: http::Uri = remote.url.parse().unwrap();
        let upstream_port = url.port_u16().unwrap();
        let (tap, drain) = Tap::new(8 << 20);
        let (ready, shutdown) = (Ready::default(), Shutdown::default());
        let counters = Arc::<Counters>::default();
        let mut listener = Listener::new(&listen, Arc::clone(&counters), shutdown.clone()).unwrap();
        listener.max_connections = room.unwrap_or(listener.max_connections);
        let (id, counted) = ("server".into(), Arc::clone(&counters));
        let relay = HttpRelay::new(remote, listen, transport, id, counted).unwrap();
        let gate = ready.gate("upstream");
        let site = Site::of_remote(relay, Arc::default(), address, tap, gate, shutdown.clone());
        let task = tokio::spawn(site.serve(listener, socket));
        Self { address, upstream_port, counters, ready, shutdown, drain, task }
    }

    /// A client on a connection of its own.
    pub(super) async fn client(&self) -> SendRequest<Body> {
        connect(self.address).await
    }

    pub(super) fn request(&self, method: &str, path: &str) -> http::request::Builder {
        Request::builder().method(method).uri(path).header("host", self.address.to_string())
    }

    /// One exchange on a connection of its own: status and whole body.
    pub(super) async fn exchange(&self, request: Request<Body>) -> (u16, Bytes) {
        let response = self.client().await.send_request(request).await.unwrap();
        let status = response.status().as_u16();
        (status, response.into_body().collect().await.unwrap().to_bytes())
    }
}

impl Relay {
    /// What the tap was shown since the last time, of one exchange: the request's body, and
    /// how both directions ended.
    pub(super) fn observed(&self) -> (Bytes, Option<End>, Option<End>) {
        let (mut data, mut to_server, mut to_client) = (Vec::new(), None, None);
        while let Some(seen) = self.drain.next() {
            match (seen.direction, seen.what) {
                (Direction::ToServer, What::Data(chunk)) => data.extend_from_slice(&chunk),
                (Direction::ToServer, What::End(end)) => to_server = Some(end),
                (Direction::ToClient, What::End(end)) => to_client = Some(end),
                _ => {}
            }
        }
        (data.into(), to_server, to_client)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connect(address: SocketAddr) -> SendRequest<Body> {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// Waits for a condition.
pub(super) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !condition() {
        assert!(begun.elapsed() < DEADLINE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
