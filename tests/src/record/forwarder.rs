//! Records HTTP: forwards every exchange to one upstream and keeps what it saw of it.
//!
//! It streams, holds nothing back and changes nothing end to end, aborts included.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Uri, uri::Authority};
use http_body_util::{Either, Full};
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle};

/// Headers that belong to one connection, and those that name or suit one hop: a proxy has
/// its own.
const NOT_END_TO_END: [&str; 8] = [
    "accept-encoding",
    "connection",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// One request and its response. Headers are those that travel end to end.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exchange {
    /// `POST`, `GET` and so on.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// By lower-case name.
    pub request_headers: BTreeMap<String, Vec<String>>,
    /// The body as far as it came.
    pub request: Bytes,
    /// 0 while there is no response.
    pub status: u16,
    /// By lower-case name.
    pub response_headers: BTreeMap<String, Vec<String>>,
    /// The body as far as it came.
    pub response: Bytes,
    /// Whether the response body came to its end.
    pub complete: bool,
}

impl Exchange {
    /// The messages of the request body.
    pub fn to_server(&self) -> Vec<Value> {
        serde_json::from_slice(&self.request).into_iter().collect()
    }

    /// The messages of the response body, which is JSON or a stream of events.
    pub fn to_client(&self) -> Vec<Value> {
        let whole = serde_json::from_slice(&self.response).into_iter();
        let lines = self.response.split(|byte| *byte == b'\n');
        let events = lines.filter_map(|line| line.strip_prefix(b"data:"));
        whole.chain(events.filter_map(|data| serde_json::from_slice(data).ok())).collect()
    }
}

type Upstream = Client<HttpConnector, Recorded>;
type Slot = Arc<Mutex<Exchange>>;

/// A running recorder of HTTP.
#[derive(Debug)]
pub struct Forwarder {
    address: SocketAddr,
    slots: Arc<Mutex<Vec<Slot>>>,
    task: JoinHandle<()>,
}

impl Forwarder {
    /// Records on the way to `upstream`.
    pub async fn to(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("the address of a bound socket");
        let slots = Arc::<Mutex<Vec<Slot>>>::default();
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .retry_canceled_requests(false)
            .build(connector);
        let all = Arc::clone(&slots);
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                socket.set_nodelay(true).expect("a TCP socket");
                let (client, slots) = (client.clone(), Arc::clone(&all));
                let service = service_fn(move |request| {
                    let slot = Slot::default();
                    lock(&slots).push(Arc::clone(&slot));
                    forward(client.clone(), upstream, request, slot)
                });
                // A connection that breaks is seen by both ends.
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), service));
            }
        });
        Self { address, slots, task }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has recorded so far, sorted, so that two recordings can be compared.
    pub fn exchanges(&self) -> Vec<Exchange> {
        let mut all: Vec<_> = lock(&self.slots).iter().map(|slot| lock(slot).clone()).collect();
        all.sort();
        all
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(
    client: Upstream,
    upstream: SocketAddr,
    request: Request<Incoming>,
    slot: Slot,
) -> Result<Response<Either<Recorded, Full<Bytes>>>, Infallible> {
    let (mut parts, body) = request.into_parts();
    {
        let mut exchange = lock(&slot);
        exchange.method = parts.method.to_string();
        exchange.target = parts.uri.to_string();
        exchange.request_headers = end_to_end(&mut parts.headers);
    }
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    uri.scheme = Some(http::uri::Scheme::HTTP);
    uri.authority = Authority::try_from(upstream.to_string()).ok();
    parts.uri = Uri::from_parts(uri).expect("the client's path and query");
    let body = Recorded { body, slot: Arc::clone(&slot), part: Part::Request };
    let response = match client.request(Request::from_parts(parts, body)).await {
        Ok(response) => response,
        Err(error) => {
            let mut response = Response::new(Either::Right(Full::from(error.to_string())));
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            return Ok(response);
        }
    };
    let (mut parts, body) = response.into_parts();
    {
        let mut exchange = lock(&slot);
        exchange.status = parts.status.as_u16();
        exchange.response_headers = end_to_end(&mut parts.headers);
        exchange.complete = body.is_end_stream();
    }
    let body = Recorded { body, slot, part: Part::Response };
    Ok(Response::from_parts(parts, Either::Left(body)))
}

/// Takes out what belongs to this connection, and returns what travels end to end.
fn end_to_end(headers: &mut HeaderMap) -> BTreeMap<String, Vec<String>> {
    for name in ["connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade"] {
        headers.remove(name);
    }
    let mut kept = BTreeMap::<_, Vec<_>>::new();
    for (name, value) in headers.iter() {
        if !NOT_END_TO_END.contains(&name.as_str()) {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            kept.entry(name.to_string()).or_default().push(value);
        }
    }
    kept
}

/// A body that is kept while it passes.
#[derive(Debug)]
struct Recorded {
    body: Incoming,
    slot: Slot,
    part: Part,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Request,
    Response,
}

impl Body for Recorded {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let mut exchange = lock(&self.slot);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            let kept = match self.part {
                Part::Request => &mut exchange.request,
                Part::Response => &mut exchange.response,
            };
            *kept = [&kept[..], &data[..]].concat().into();
        }
        if self.part == Part::Response
            && (matches!(polled, Poll::Ready(None)) || self.body.is_end_stream())
        {
            exchange.complete = true;
        }
        drop(exchange);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
