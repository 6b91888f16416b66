//! Sends requests to the upstream, on a connection that is there or on a new one.
//! A request is sent again only when its connection closed before any byte of it was written.

use std::{
    error::Error as _,
    io,
    sync::{
        Arc, Mutex as Lock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
    header::{CONNECTION, HOST, TE},
    uri::{Authority, Scheme},
};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::{
    sync::Mutex,
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    counters::Counters,
    dial::{DialError, Dialer, Socket},
    head,
    health::Health,
    pool::{Connection, MAX_STREAMS, Pool},
    tunnel::Forwarding,
    upload::Upload,
};
use crate::{
    backoff::{Backoff, Pace},
    ready::Gate,
};

/// What one HTTP/2 stream may receive unread. [`MAX_STREAMS`] of them fit into the window of
/// the connection, so that clients that do not read cannot stop the others.
const STREAM_WINDOW: u32 = 256 << 10;
#[expect(clippy::cast_possible_truncation, reason = "it is 64")]
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * MAX_STREAMS as u32;
/// Largest head of a response over HTTP/2, in bytes; over HTTP/1.1 there is such a limit too.
const LARGEST_HEAD: u32 = 256 << 10;
/// How often an HTTP/2 connection with open streams is asked whether it lives, and how long
/// it may take to say so.
const PING_EVERY: Duration = Duration::from_secs(20);
/// Connections on which a request is tried that turn out to be closed, and a new one.
const ATTEMPTS: usize = 3;
/// How often an upstream that cannot be reached is tried, and one that starts, with which we do.
const RETRY: Pace = Pace { first: Duration::from_secs(1), longest: Duration::from_secs(1) };
const FIRST_TRIES: Pace =
    Pace { first: Duration::from_millis(20), longest: Duration::from_secs(1) };
/// How often an upstream that was reached is looked at. Longer than connections are kept, so
/// that the look is a dial unless there is traffic.
const RECHECK: Duration = Duration::from_secs(5);

/// The upstream server, with its connections.
#[derive(Debug)]
pub(in crate::relay) struct Upstream {
    dialer: Dialer,
    pool: Arc<Pool>,
    /// The upstream speaks HTTP/2, as far as is known: one dial serves all who wait for one.
    multiplexes: AtomicBool,
    dialling: Mutex<()>,
    connections: Lock<Connections>,
    health: Arc<Health>,
    counters: Arc<Counters>,
}

/// The tasks of all connections.
#[derive(Debug, Default)]
struct Connections {
    carrying: JoinSet<()>,
    /// None is to be used any longer.
    severed: bool,
}

/// The right to use a connection for one exchange; dropped early, it breaks the exchange off.
#[derive(Debug)]
pub(in crate::relay) struct Lease {
    pool: Arc<Pool>,
    connection: Connection,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub(in crate::relay) enum SendError {
    /// There is no connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The connection broke when bytes of the request were written, or may have been.
    #[error("the connection to the upstream broke: {0}")]
    Broken(hyper::Error),
}

impl SendError {
    /// Whether nobody listens at the upstream.
    pub(super) fn is_refused(&self) -> bool {
        matches!(self, Self::Dial(DialError::Connect { error, .. })
            if error.kind() == io::ErrorKind::ConnectionRefused)
    }

    /// Whether the upstream says itself that it has not looked at the request: it refused the
    /// stream, or retired the connection before it (RFC 9113, 8.7). A request that it may have
    /// looked at fails with the connection, and not with its GOAWAY.
    pub(in crate::relay) fn is_unprocessed(&self) -> bool {
        let Self::Broken(error) = self else { return false };
        let cause = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
        cause.is_some_and(|error| {
            let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
            error.is_remote() && (error.is_go_away() || refused)
        })
    }
}

/// A request that got no response.
#[derive(Debug)]
pub(in crate::relay) struct Unsent {
    pub(in crate::relay) error: SendError,
    /// The body, if nothing of it was read.
    pub(in crate::relay) body: Option<Box<Upload>>,
}

impl Upstream {
    pub(in crate::relay) fn new(
        dialer: Dialer,
        idle_timeout: Duration,
        gate: Gate,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            pool: Arc::new(Pool::new(idle_timeout)),
            multiplexes: AtomicBool::new(dialer.is_secure()),
            dialer,
            dialling: Mutex::default(),
            connections: Lock::default(),
            health: Arc::new(Health::new(gate)),
            counters,
        }
    }

    /// Whether it can be reached.
    pub(in crate::relay) fn health(&self) -> &Arc<Health> {
        &self.health
    }

    /// The upstream's own authority, for `Host`.
    pub(in crate::relay) fn authority(&self) -> &HeaderValue {
        self.dialer.authority()
    }

    /// Sends a request, whose URI is a path and whose `Host` is set, and waits for the head
    /// of the response. The lease must live as long as the bodies.
    pub(in crate::relay) async fn send(
        &self,
        mut request: Request<Upload>,
    ) -> Result<(Response<Incoming>, Lease), Unsent> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let mut lease = match self.lease(attempt < ATTEMPTS).await {
                Ok(lease) => lease,
                Err(error) => {
                    let body = Some(Box::new(request.into_body()));
                    return Err(Unsent { error: error.into(), body });
                }
            };
            let forwarding = self.dialer.forwarding();
            let mut error = match lease.send(request, forwarding).await {
                Ok(response) => match self.weigh(response.status()) {
                    Some(error) => return Err(Unsent { error: error.into(), body: None }),
                    None => return Ok((response, lease)),
                },
                Err(error) => error,
            };
            // hyper gives a message back only as long as it has written nothing of it.
            match error.take_message() {
                Some(unsent) if attempt < ATTEMPTS => {
                    self.counters.count_resent();
                    request = unsent;
                }
                message => {
                    let body = message.map(|request| Box::new(request.into_body()));
                    return Err(Unsent { error: SendError::Broken(error.into_error()), body });
                }
            }
        }
    }

    async fn lease(&self, reuse: bool) -> Result<Lease, DialError> {
        let lent = |connection| Lease { pool: Arc::clone(&self.pool), connection };
        let reused = || if reuse { self.pool.take() } else { None };
        if let Some(connection) = reused() {
            return Ok(lent(connection));
        }
        // Waiting for one's turn is part of connecting.
        let deadline = Instant::now() + self.dialer.connect_timeout();
        if self.multiplexes.load(Ordering::Relaxed) {
            let turn = timeout_at(deadline, self.dialling.lock()).await;
            if let Some(connection) = reused() {
                return Ok(lent(connection));
            }
            let turn = turn.map_err(|_| self.dialer.timed_out())?;
            // Still in doubt, or HTTP/2: those who wait had better see what comes of this.
            if self.multiplexes.load(Ordering::Relaxed) {
                let dialled = self.dial(deadline).await.map(lent);
                drop(turn);
                return dialled;
            }
        }
        self.dial(deadline).await.map(lent)
    }

    async fn dial(&self, deadline: Instant) -> Result<Connection, DialError> {
        let dialled = match self.dialer.dial(deadline).await {
            Ok(socket) => self.begin(socket).await,
            Err(error) => Err(error),
        };
        match &dialled {
            Ok(_) => {
                self.counters.count_dialled();
                if !self.is_doubtful() {
                    self.health.rise();
                }
            }
            Err(error) => self.health.fall(error),
        }
        dialled
    }

    /// Whether a connection tells nothing: it leads to a proxy that passes on each request by
    /// itself, and the last came to nothing.
    fn is_doubtful(&self) -> bool {
        self.dialer.forwarding().is_some() && self.health.is_down()
    }

    /// What an answer tells of an upstream behind such a proxy; why it is not for the client.
    fn weigh(&self, status: StatusCode) -> Option<DialError> {
        self.dialer.forwarding()?;
        let objection = self.dialer.objection(status);
        match &objection {
            Some(error) => self.health.fall(error),
            None => self.health.rise(),
        }
        // A server may have given the others.
        objection.filter(|_| status == StatusCode::PROXY_AUTHENTICATION_REQUIRED)
    }

    /// Asks the upstream for nothing but an answer, by a method that changes nothing (RFC 9110,
    /// 9.3.7).
    async fn ask(&self) {
        let mut request = Request::new(Upload::own(Bytes::new(), CancellationToken::new()));
        *request.method_mut() = Method::OPTIONS;
        *request.uri_mut() = Uri::from_static("/");
        request.headers_mut().insert(HOST, self.authority().clone());
        // What comes of it is known by now, and the connection is not worth reading it out.
        let _ = timeout(RECHECK, self.send(request)).await;
    }

    async fn begin(&self, socket: Socket) -> Result<Connection, DialError> {
        Ok(match socket {
            Socket::Plain(io) => {
                let (sender, connection) = http1::handshake(io).await?;
                self.carry(connection);
                Connection::Whole(sender)
            }
            Socket::Tls(io) => {
                self.multiplexes.store(false, Ordering::Relaxed);
                let (sender, connection) = http1::handshake(io).await?;
                self.carry(connection);
                Connection::Whole(sender)
            }
            Socket::Http2(io) => {
                let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                    .timer(TokioTimer::new())
                    .initial_stream_window_size(STREAM_WINDOW)
                    .initial_connection_window_size(CONNECTION_WINDOW)
                    .max_header_list_size(LARGEST_HEAD)
                    .keep_alive_interval(PING_EVERY)
                    .keep_alive_timeout(PING_EVERY)
                    .handshake(io)
                    .await?;
                self.carry(connection);
                self.multiplexes.store(true, Ordering::Relaxed);
                self.pool.share(sender)
            }
        })
    }

    /// Closes every connection, also those in use and those to come: what waits for a response
    /// gets none, and what has begun breaks off.
    pub(in crate::relay) fn sever(&self) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.severed = true;
        connections.carrying.abort_all();
    }

    /// Moves what passes on a connection, until it ends or all are severed.
    fn carry(&self, connection: impl Future<Output = hyper::Result<()>> + Send + 'static) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        while connections.carrying.try_join_next().is_some() {}
        if !connections.severed {
            connections.carrying.spawn(async { note(connection.await) });
        }
    }

    /// Never ends: closes connections that are unused for too long, and finds out at the
    /// start, and after a failure every second, whether the upstream can be reached. Without
    /// traffic it looks from time to time, for nobody else would notice.
    pub(in crate::relay) async fn keep(&self) {
        tokio::join!(self.close_idle(), self.watch());
    }

    /// Never ends: closes connections that are unused for too long.
    pub(in crate::relay) async fn close_idle(&self) {
        self.pool.close_idle().await;
    }

    async fn watch(&self) {
        let mut backoff = Backoff::default();
        loop {
            if let Ok(lease) = self.lease(true).await {
                lease.give_back();
                if self.is_doubtful() {
                    self.ask().await;
                } else {
                    self.health.rise();
                }
                if self.health.is_up() {
                    // Fallen or not, it is time to look again.
                    let _ = timeout(RECHECK, self.health.fallen()).await;
                    continue;
                }
            }
            let pace = if self.health.was_up() { RETRY } else { FIRST_TRIES };
            tokio::time::sleep(backoff.next(pace)).await;
        }
    }
}

impl Lease {
    async fn send(
        &mut self,
        request: Request<Upload>,
        forwarding: Option<&Forwarding>,
    ) -> Result<Response<Incoming>, Box<TrySendError<Request<Upload>>>> {
        let sent = match &mut self.connection {
            Connection::Whole(sender) => {
                let mut request = for_http1(request);
                if let Some(forwarding) = forwarding {
                    forwarding.address(&mut request);
                }
                sender.try_send_request(request).await
            }
            Connection::Stream(stream) => {
                stream.sender().try_send_request(for_http2(request)).await
            }
        };
        sent.map_err(Box::new)
    }

    /// The exchange is over, its bodies read to their ends: others may use the connection.
    pub(in crate::relay) fn give_back(self) {
        self.pool.put(self.connection);
    }
}

/// HTTP/1.1 has the authority in `Host`, and one `Cookie` where HTTP/2 has crumbs of it.
fn for_http1(mut request: Request<Upload>) -> Request<Upload> {
    let crumbles = request.version() == Version::HTTP_2;
    let mut parts = request.uri().clone().into_parts();
    let authority = parts.authority.take();
    parts.scheme = None;
    if let Ok(path) = Uri::from_parts(parts) {
        *request.uri_mut() = path;
    }
    *request.version_mut() = Version::HTTP_11;
    let headers = request.headers_mut();
    if let Some(Ok(host)) = authority.map(|host| HeaderValue::from_str(host.as_str())) {
        headers.insert(HOST, host);
    }
    if crumbles {
        head::join_cookies(headers);
    }
    if headers.contains_key(TE) {
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    request
}

/// HTTP/2 has the authority beside the path, and no `Connection`.
fn for_http2(mut request: Request<Upload>) -> Request<Upload> {
    let host = request.headers().get(HOST).map(HeaderValue::as_bytes).unwrap_or_default();
    let mut parts = request.uri().clone().into_parts();
    parts.scheme = Some(Scheme::HTTPS);
    parts.authority = Authority::try_from(host).ok();
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    *request.version_mut() = Version::HTTP_2;
    let headers = request.headers_mut();
    headers.remove(HOST);
    headers.remove(CONNECTION);
    request
}

fn note(result: hyper::Result<()>) {
    if let Err(error) = result {
        tracing::debug!("connection to the upstream ended: {error}");
    }
}

#[cfg(test)]
mod tests {
    use tokio::{net::TcpListener, time::sleep};

    use super::*;
    use crate::{config::Proxy, ready::Ready, tls};

    #[tokio::test(start_paused = true)]
    async fn waiting_for_ones_turn_is_part_of_the_connect_timeout() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/mcp", silent.local_addr().unwrap()).parse().unwrap();
        let limit = Duration::from_secs(10);
        let dialer = Dialer::new::<anyhow::Error>(&url, &Proxy::None, limit, || {
            Ok(tls::client_config(None)?)
        })
        .unwrap();
        let gate = Ready::default().gate("upstream");
        let upstream = Upstream::new(dialer, limit, gate, Arc::default());
        for turn_comes in [limit / 2, limit * 9] {
            let turn = upstream.dialling.lock().await;
            let begun = Instant::now();
            let waits = async {
                let lease = upstream.lease(true).await;
                assert!(matches!(lease, Err(DialError::TimedOut { .. })), "{lease:?}");
                begun.elapsed()
            };
            let other = async {
                sleep(turn_comes).await;
                drop(turn);
            };
            let (took, ()) = tokio::join!(waits, other);
            assert_eq!(took.as_secs(), limit.as_secs(), "turn after {turn_comes:?}");
        }
    }
}
