//! The server as the conversation needs it: a request in, the head of its response out, with
//! redirects within the server's origin followed.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri,
    header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HOST, LOCATION, USER_AGENT},
    response,
    uri::PathAndQuery,
};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Remote, shown},
    ready::Gate,
    relay::http::{
        Counters, SetupError,
        credentials::Credentials,
        dial::{Dialer, UrlError},
        download::{Answer, Download},
        failure::Failure,
        head,
        origin::{Origin, resolve},
        upload::Upload,
        upstream::{Lease, Unsent, Upstream},
    },
    tap::{Probe, Tap},
    tls,
    traffic::{BodyKind, End, Exchange, HttpTransport, ResponseHead, StreamKind},
};

pub(super) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
pub(super) const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const AGENT: &str = concat!("mcpulse-proxy/", env!("CARGO_PKG_VERSION"));
/// Most redirects of one request.
const REDIRECTS: usize = 5;
/// Most bytes of a response that is no answer of a server.
const LARGEST_REFUSAL: usize = 1 << 20;

/// A place at a remote server.
#[derive(Debug)]
pub(super) struct Server {
    way: Arc<Way>,
    /// Where it is; it may have moved.
    path: Mutex<PathAndQuery>,
    /// What is spoken there.
    transport: HttpTransport,
}

/// What leads to any place at the server.
#[derive(Debug)]
struct Way {
    upstream: Upstream,
    credentials: Credentials,
    /// Of its URL.
    origin: Origin,
    response_timeout: Option<Duration>,
    counters: Arc<Counters>,
    tap: Tap,
    /// The MCPulse server id.
    id: Arc<str>,
}

/// A response whose body is to be read.
pub(super) struct Response {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    body: Incoming,
    lease: Lease,
    counters: Arc<Counters>,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct NoResponse {
    pub(super) message: String,
    /// What the tap is told.
    pub(super) end: End,
}

impl Server {
    pub(super) fn new(
        remote: &Remote,
        transport: HttpTransport,
        tap: Tap,
        server_id: Arc<str>,
        gate: Gate,
        counters: Arc<Counters>,
    ) -> Result<Self, SetupError> {
        let url: Uri = remote.url.parse().map_err(UrlError::Malformed)?;
        let dialer =
            Dialer::new::<SetupError>(&url, &remote.proxy, remote.connect_timeout, || {
                Ok(tls::client_config(remote.ca_file.as_deref())?)
            })?;
        let origin = Origin::of(&url).ok_or(UrlError::NotHttp)?;
        let path = url.path_and_query().cloned();
        let way = Way {
            upstream: Upstream::new(dialer, remote.idle_timeout, gate, Arc::clone(&counters)),
            credentials: Credentials::new(remote),
            origin,
            response_timeout: remote.response_timeout,
            counters,
            tap,
            id: server_id,
        };
        let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
        Ok(Self { way: Arc::new(way), path: Mutex::new(path), transport })
    }

    /// The place that a reference leads to; none if it is at another origin.
    pub(super) fn elsewhere(&self, reference: &str) -> Option<Self> {
        let path = self.resolve(&self.path(), reference)?;
        Some(Self { path: Mutex::new(path), way: Arc::clone(&self.way), ..*self })
    }

    /// The same place, where the other transport is spoken.
    pub(super) fn spoken_to_by(&self, transport: HttpTransport) -> Self {
        Self { way: Arc::clone(&self.way), path: Mutex::new(self.path()), transport }
    }

    /// Never ends: closes connections that are unused for too long.
    pub(super) async fn keep(&self) {
        self.way.upstream.close_idle().await;
    }

    /// Begins to show an exchange to the tap: the direction to the server, and the other.
    pub(super) fn observe(&self, method: Method, headers: &HeaderMap) -> (Probe, Answer) {
        let exchange = Exchange {
            method,
            target: self.path(),
            session: headers.get(SESSION_ID).cloned(),
            protocol_version: headers.get(PROTOCOL_VERSION).cloned(),
            transport: self.transport,
        };
        let kind = StreamKind::Exchange(exchange);
        let (to_server, to_client) = self.way.tap.open(Arc::clone(&self.way.id), kind);
        (to_server, Answer(Some(to_client)))
    }

    /// Sends a request and waits for the head of its response. The first time it is on its way,
    /// `probe` is shown its body and `sent` is cancelled.
    pub(super) async fn send(
        &self,
        method: &Method,
        headers: &HeaderMap,
        body: &Bytes,
        probe: &mut Option<Probe>,
        sent: &CancellationToken,
    ) -> Result<Response, NoResponse> {
        let mut headers = headers.clone();
        headers.insert(HOST, self.way.upstream.authority().clone());
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let accepts = if *method == Method::POST {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            "application/json, text/event-stream"
        } else {
            "text/event-stream"
        };
        headers.insert(ACCEPT, HeaderValue::from_static(accepts));
        self.way
            .credentials
            .add_to(&mut headers)
            .map_err(|error| NoResponse { message: error.to_string(), end: End::Refused })?;
        for _ in 0..=REDIRECTS {
            let path = self.path();
            let mut request = Request::new(Upload::own(body.clone(), probe.take(), sent.clone()));
            *request.method_mut() = method.clone();
            *request.uri_mut() = Uri::from(path.clone());
            *request.headers_mut() = headers.clone();
            let response = self.once(request).await?;
            let moved = matches!(
                response.status,
                StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
            );
            let Some(location) = response.headers.get(LOCATION).filter(|_| moved) else {
                return Ok(response);
            };
            let onwards = self.redirected(&path, location)?;
            *self.path.lock().unwrap_or_else(PoisonError::into_inner) = onwards;
        }
        let message = format!("the server redirects more than {REDIRECTS} times");
        Err(NoResponse { message, end: End::ServerGone })
    }

    async fn once(&self, request: Request<Upload>) -> Result<Response, NoResponse> {
        let progress = request.body().progress();
        let limit = self.way.response_timeout.filter(|_| *request.method() == Method::POST);
        let sent = tokio::select! {
            biased;
            sent = self.way.upstream.send(request) => sent,
            () = progress.expire(limit) => return Err(self.failed(&Failure::timed_out())),
        };
        let (response, lease) = match sent {
            Ok(sent) => sent,
            Err(Unsent { error, body }) => {
                // The tap sees what was asked all the same.
                if let Some(upload) = body {
                    upload.drain().await;
                }
                return Err(self.failed(&Failure::of(&error)));
            }
        };
        let (response::Parts { status, headers, .. }, body) = response.into_parts();
        Ok(Response { status, headers, body, lease, counters: Arc::clone(&self.way.counters) })
    }

    fn failed(&self, failure: &Failure) -> NoResponse {
        if let Some(kind) = failure.kind {
            self.way.counters.count_failed(kind);
        }
        NoResponse { message: failure.message().to_owned(), end: failure.end }
    }

    fn path(&self) -> PathAndQuery {
        self.path.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where a redirect leads to. Not to another origin: the credentials are for this one.
    fn redirected(
        &self,
        from: &PathAndQuery,
        location: &HeaderValue,
    ) -> Result<PathAndQuery, NoResponse> {
        let text = location.to_str().unwrap_or_default();
        self.resolve(from, text).ok_or_else(|| NoResponse {
            message: format!(
                "the server redirects to {}; if that is where it is now, change --remote-url",
                shown::url(text)
            ),
            end: End::ServerGone,
        })
    }

    fn resolve(&self, from: &PathAndQuery, reference: &str) -> Option<PathAndQuery> {
        let local = self.way.origin.strip(reference);
        let local = local.or_else(|| resolve(from.path(), reference))?;
        local.split('#').next()?.parse().ok()
    }
}

impl Response {
    /// How to read the body.
    pub(super) fn kind(&self) -> BodyKind {
        head::body_kind(&self.headers)
    }

    /// The body as it comes, shown to the tap.
    pub(super) fn observed(self, mut answer: Answer) -> Download {
        self.show_head(&mut answer);
        Download::new(self.body, answer, self.lease, self.counters, None)
    }

    /// The body as it comes; the tap is shown the head alone, and is yet to be told of the end.
    pub(super) fn unseen(self, answer: &mut Answer) -> Download {
        self.show_head(answer);
        Download::new(self.body, Answer(None), self.lease, self.counters, None)
    }

    /// The body of a response that is no answer, as far as it is kept. Nothing is shown.
    pub(super) async fn refusal(self) -> Refusal {
        let (status, headers, kind) = (self.status, self.headers.clone(), self.kind());
        let download = Download::new(self.body, Answer(None), self.lease, self.counters, None);
        let deadline = Instant::now() + Duration::from_secs(5);
        let body = Limited::new(download, LARGEST_REFUSAL).collect();
        let body = match tokio::time::timeout_at(deadline, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            _ => Bytes::new(),
        };
        Refusal { status, headers, kind, body }
    }

    fn show_head(&self, answer: &mut Answer) {
        let session = self.headers.get(SESSION_ID).cloned();
        answer.head(|| ResponseHead { status: self.status, body: self.kind(), session });
    }
}

/// A response that is no answer.
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    kind: BodyKind,
    pub(super) body: Bytes,
}

impl Refusal {
    /// Shows it to the tap: nothing else will come of the exchange.
    pub(super) fn show(&self, mut answer: Answer) {
        let session = self.headers.get(SESSION_ID).cloned();
        answer.head(|| ResponseHead { status: self.status, body: self.kind, session });
        answer.data(&self.body);
        answer.end(End::Clean);
    }
}

/// The whole body of an answer, on one line.
pub(super) async fn whole(mut download: Download) -> io::Result<Bytes> {
    let mut text = BytesMut::new();
    while let Some(frame) = download.frame().await {
        let Ok(chunk) = frame.map_err(io::Error::other)?.into_data() else { continue };
        if text.len() + chunk.len() > super::events::LARGEST {
            return Err(io::Error::other(super::events::TooLarge));
        }
        text.extend_from_slice(&chunk);
    }
    Ok(super::events::one_line(text))
}
