//! The HTTPS server: TLS 1.3, HTTP/2 and HTTP/1.1, and bounds for all that a client may do.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
};
use mcpulse_proxy::shutdown::Shutdown;
use rustls::{ServerConfig, crypto::ring, server::ResolvesServerCert, version::TLS13};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::Webhook;

/// Where pods are asked about.
pub const PATH: &str = "/inject";
/// Largest review: the API server takes objects up to 3 MiB, of which there may be two.
const LARGEST: usize = 8 << 20;
/// Longest time for a handshake, for the head of a request and for its body.
const PATIENCE: Duration = Duration::from_secs(5);
/// API servers keep few connections, over which they ask much at once.
const CONNECTIONS: usize = 256;
const STREAMS: u32 = 256;
/// How often a silent client is asked whether it lives, and how long it may take to say so.
const PING_EVERY: Duration = Duration::from_secs(30);
/// The pause after the system had no room for another connection.
const BREATH: Duration = Duration::from_millis(100);

/// Serves on `listener` with the certificate that `identity` shows, until the shutdown begins;
/// then finishes what was asked until its deadline.
///
/// # Errors
/// When TLS cannot be set up.
pub async fn serve(
    listener: TcpListener,
    identity: Arc<dyn ResolvesServerCert>,
    webhook: Arc<Webhook>,
    shutdown: Shutdown,
) -> Result<(), rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(identity);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let connections = GracefulShutdown::new();
    let accepting = async {
        loop {
            // The semaphore is never closed.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!("accept a connection of an API server: {error}");
                    tokio::time::sleep(BREATH).await;
                    continue;
                }
            };
            let (acceptor, webhook) = (acceptor.clone(), Arc::clone(&webhook));
            let watcher = connections.watcher();
            tokio::spawn(async move {
                match handshake(&acceptor, stream).await {
                    Ok(stream) => converse(stream, webhook, watcher).await,
                    Err(error) => tracing::debug!("a client got no further than TLS: {error}"),
                }
                drop(place);
            });
        }
    };
    tokio::select! {
        () = accepting => {}
        () = shutdown.begun() => {}
    }
    drop(listener);
    tokio::select! {
        () = connections.shutdown() => {}
        () = shutdown.expired() => {}
    }
    Ok(())
}

async fn handshake(acceptor: &TlsAcceptor, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    stream.set_nodelay(true)?;
    timeout(PATIENCE, acceptor.accept(stream)).await?
}

async fn converse(stream: TlsStream<TcpStream>, webhook: Arc<Webhook>, watcher: Watcher) {
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let stream = TokioIo::new(stream);
    let service = service_fn(move |request| {
        let webhook = Arc::clone(&webhook);
        async move { Ok::<_, Infallible>(respond(&webhook, request).await) }
    });
    let ended = if http2 {
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_EVERY)
            .max_concurrent_streams(STREAMS)
            .serve_connection(stream, service);
        watcher.watch(connection).await
    } else {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .serve_connection(stream, service);
        watcher.watch(connection).await
    };
    if let Err(error) = ended {
        tracing::debug!("connection of an API server: {error}");
    }
}

async fn respond(webhook: &Webhook, request: Request<Incoming>) -> Response<Full<Bytes>> {
    if request.uri().path() != PATH {
        return empty(StatusCode::NOT_FOUND);
    }
    if request.method() != Method::POST {
        return empty(StatusCode::METHOD_NOT_ALLOWED);
    }
    let body = match timeout(PATIENCE, Limited::new(request, LARGEST).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return empty(StatusCode::PAYLOAD_TOO_LARGE);
        }
        Ok(Err(_)) => return empty(StatusCode::BAD_REQUEST),
        Err(_) => return empty(StatusCode::REQUEST_TIMEOUT),
    };
    match serde_json::to_vec(&webhook.answer(&body)) {
        Ok(review) => {
            let mut response = Response::new(Full::from(review));
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, json);
            response
        }
        Err(error) => {
            tracing::warn!("write a review: {error}; the pod starts without the sidecar");
            empty(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::default();
    *response.status_mut() = status;
    response
}
