//! The admin listener: `/metrics`, `/healthz` and `/readyz`, apart from all MCP traffic, and
//! `/drain` for who is on this machine, or in this pod. It answers until its task is dropped, so
//! that a draining proxy can still be watched.

use std::{convert::Infallible, io, net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CONTENT_TYPE},
};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};

use crate::{
    ready::Ready,
    shutdown::{Drain, Shutdown},
    sink::prometheus::{self, TEXT_FORMAT},
};

/// Connections at a time; further ones wait in the backlog.
const CONNECTIONS: usize = 32;
/// Longest wait for the head of a request, also on a connection that is kept.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection is kept, and how long its last answer may then take. A client that
/// reads nothing cannot hold its place for longer.
const LIFETIME: Duration = Duration::from_mins(1);
const LAST_ANSWER: Duration = Duration::from_secs(10);
/// Pause after a failed accept, which mostly means that there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Writes the text that Prometheus scrapes.
pub type Render = Arc<dyn Fn() -> prometheus::Result<String> + Send + Sync>;

/// The admin listener could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("listen for metrics on {address}: {source}; choose another --metrics-listen")]
pub struct BindError {
    address: String,
    source: io::Error,
}

/// Binds the admin listener. With `tolerant` a taken port is none and one warning: in stdio
/// mode clients start the same entry twice.
///
/// # Errors
/// When the address cannot be bound.
pub async fn bind(address: &str, tolerant: bool) -> Result<Option<TcpListener>, BindError> {
    match crate::bind::bind(address).await {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if tolerant && error.kind() == io::ErrorKind::AddrInUse => {
            tracing::warn!("no metrics: {address} of --metrics-listen is taken, by another proxy?");
            Ok(None)
        }
        Err(source) => Err(BindError { address: address.to_owned(), source }),
    }
}

/// What comes to an end, or is asked to.
pub struct Ends {
    /// The process.
    pub shutdown: Shutdown,
    /// What begins in it, where somebody may ask for that.
    pub drain: Option<Drain>,
}

/// Answers on `listener` until dropped. From the beginning of either end `/readyz` fails.
pub async fn serve(listener: TcpListener, render: Render, ready: Ready, ends: Ends) {
    let admin = Arc::new(Admin { render, ready, ends });
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let admin = Arc::clone(&admin);
                connections.spawn(async move {
                    converse(stream, admin).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!("accept on the admin listener: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, admin: Arc<Admin>) {
    // Without it an answer in two segments waits for the peer's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    let is_near = is_near(&stream);
    let service = service_fn(|request: Request<Incoming>| {
        let answer = admin.answer(request.method(), request.uri().path(), is_near);
        async { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => Ok(ended),
        () = sleep(LIFETIME) => {
            connection.as_mut().graceful_shutdown();
            timeout(LAST_ANSWER, connection).await
        }
    };
    if let Ok(Err(error)) = ended {
        tracing::debug!("connection to the admin listener: {error}");
    }
}

/// Whether the client is on this machine, or in this pod: it has our own address.
fn is_near(stream: &TcpStream) -> bool {
    let ends = stream.peer_addr().ok().zip(stream.local_addr().ok());
    ends.is_some_and(|(peer, own)| is_same_host(peer.ip(), own.ip()))
}

fn is_same_host(peer: IpAddr, own: IpAddr) -> bool {
    peer == own || peer.to_canonical().is_loopback()
}

struct Admin {
    render: Render,
    ready: Ready,
    ends: Ends,
}

impl Admin {
    fn answer(&self, method: &Method, path: &str, is_near: bool) -> Response<Full<Bytes>> {
        match (method, path) {
            (&Method::GET | &Method::HEAD, "/metrics") => self.metrics(),
            (&Method::GET | &Method::HEAD, "/healthz") => text(StatusCode::OK, "alive\n"),
            (&Method::GET | &Method::HEAD, "/readyz") => self.readiness(),
            (_, "/metrics" | "/healthz" | "/readyz") => refused("GET, HEAD"),
            (_, "/drain") if self.ends.drain.is_some() => self.drain(method, is_near),
            _ => text(StatusCode::NOT_FOUND, "only /metrics, /healthz and /readyz\n"),
        }
    }

    fn drain(&self, method: &Method, is_near: bool) -> Response<Full<Bytes>> {
        match *method {
            Method::POST if is_near => {
                self.ends.drain.iter().for_each(Drain::begin);
                text(StatusCode::OK, "draining\n")
            }
            Method::POST => text(StatusCode::FORBIDDEN, "only from this machine or pod\n"),
            _ => refused("POST"),
        }
    }

    #[tracing::instrument(name = "scrape", skip_all)]
    fn metrics(&self) -> Response<Full<Bytes>> {
        match (self.render)() {
            Ok(metrics) => {
                let mut answer = text(StatusCode::OK, metrics);
                answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(TEXT_FORMAT));
                answer
            }
            Err(error) => {
                text(StatusCode::INTERNAL_SERVER_ERROR, format!("write metrics: {error}\n"))
            }
        }
    }

    fn readiness(&self) -> Response<Full<Bytes>> {
        let mut closed = String::new();
        for (gate, reason) in self.ready.closed() {
            closed.extend([&*gate, ": ", &reason, "\n"]);
        }
        if self.ends.shutdown.has_begun() {
            closed.push_str("process: shutting down\n");
        } else if self.ends.drain.as_ref().is_some_and(Drain::has_begun) {
            closed.push_str("process: draining\n");
        }
        if closed.is_empty() {
            text(StatusCode::OK, "ready\n")
        } else {
            text(StatusCode::SERVICE_UNAVAILABLE, closed)
        }
    }
}

fn refused(allowed: &'static str) -> Response<Full<Bytes>> {
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, format!("only {allowed}\n"));
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, plain);
    answer
}

#[cfg(test)]
mod tests;
