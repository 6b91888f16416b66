//! One exchange: a request checked, turned towards the upstream and sent, its answer turned
//! towards the client.

use std::{
    future::poll_fn,
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
    header::{
        ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, ETAG, HOST, LOCATION, ORIGIN, TE,
        WWW_AUTHENTICATE,
    },
    request,
    uri::PathAndQuery,
};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    body::{Body, Incoming},
    ext::ReasonPhrase,
};

use super::{
    asked::Asked,
    counters::Counters,
    credentials::Credentials,
    download::{Answer, Download, EventStream, Reply},
    endpoint::EndpointRewriter,
    endpoints::Endpoints,
    failure::Failure,
    guard::{self, Guard},
    head,
    refusal::Refusal,
    rewrite::{METADATA_LIMIT, Rewrite},
    upload::{Interrupted, Upload},
    upstream::{Lease, SendError, Upstream},
};
use crate::{
    config::{AcceptEncoding, ErrorStatus, HostHeader, Listen, Remote},
    mcp::{
        header::{METHOD, PROTOCOL_VERSION, SESSION_ID},
        method,
    },
    shutdown::Shutdown,
    tap::{Probe, Tap},
    traffic::{BodyKind, End, Exchange, HttpTransport, ResponseHead, StreamKind},
};

/// Everything that an exchange needs.
#[derive(Debug)]
pub(in crate::relay) struct Forward {
    pub(in crate::relay) upstream: Arc<Upstream>,
    pub(super) guard: Guard,
    pub(super) rewrite: Arc<Rewrite>,
    pub(super) endpoints: Arc<Endpoints>,
    pub(super) credentials: Credentials,
    pub(super) settings: Settings,
    pub(in crate::relay) transport: HttpTransport,
    pub(in crate::relay) server_id: Arc<str>,
    pub(in crate::relay) tap: Tap,
    pub(in crate::relay) shutdown: Shutdown,
    pub(in crate::relay) counters: Arc<Counters>,
    /// No session begins any more.
    pub(super) draining: AtomicBool,
    /// The drain is over: whoever still waits for a response is told so.
    pub(super) abandoned: AtomicBool,
}

/// The part of the configuration that exchanges look at.
#[derive(Debug)]
pub(super) struct Settings {
    max_body: u64,
    max_header: u64,
    read_timeout: Duration,
    response_timeout: Option<Duration>,
    host_header: HostHeader,
    accept_encoding: AcceptEncoding,
    error_status: ErrorStatus,
    allowed_origins: Vec<String>,
    rewrites_metadata: bool,
}

impl Settings {
    pub(super) fn new(remote: &Remote, listen: &Listen) -> Self {
        Self {
            max_body: listen.max_body,
            max_header: listen.max_header,
            read_timeout: listen.read_timeout,
            response_timeout: remote.response_timeout,
            host_header: remote.host_header,
            accept_encoding: remote.accept_encoding,
            error_status: remote.error_status,
            allowed_origins: listen.allowed_origins.clone(),
            rewrites_metadata: listen.public_url.is_some(),
        }
    }
}

/// What is kept of a request for its answer.
struct Question {
    method: Method,
    path: PathAndQuery,
    http2: bool,
    /// A stream on which no answer to a request is awaited.
    idle_stream: bool,
}

impl Forward {
    /// Whether the path leads to where the upstream takes messages.
    pub(in crate::relay) fn is_endpoint(&self, path: &PathAndQuery) -> bool {
        self.rewrite.target(path).endpoint || self.endpoints.contains(path.path())
    }

    /// Keeps the connections to the upstream, and the gate true, for ever.
    pub(in crate::relay) async fn keep(&self) {
        self.upstream.keep().await;
    }

    /// Closes every connection to the upstream, also those in use.
    pub(in crate::relay) fn sever(&self) {
        self.upstream.sever();
    }

    /// Lets no session begin any more.
    pub(in crate::relay) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// See [`Answering`](super::listener::Answering).
    pub(in crate::relay) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }

    /// Answers a request, whatever happens. Dropped before its end, the client went away.
    pub(in crate::relay) async fn respond(&self, request: Request<Incoming>) -> Response<Reply> {
        self.counters.count_request();
        let (mut parts, body) = request.into_parts();
        let asked = match self.check(&parts, &body) {
            Ok(asked) => asked,
            Err(refusal) => return self.refuse(&refusal),
        };
        let target = self.rewrite.target(&asked.path);
        let mcp = target.endpoint || self.endpoints.contains(asked.path.path());
        if target.endpoint && self.draining.load(Ordering::Relaxed) && self.begins(&parts) {
            let message = "this server ends soon; another one serves you if you try again";
            let status = StatusCode::SERVICE_UNAVAILABLE;
            return self.refuse(&Refusal::new(status, "draining", message));
        }
        let (to_server, to_client) = match self.observe(&parts, &asked, mcp) {
            Some((to_server, to_client)) => (Some(to_server), Some(to_client)),
            None => (None, None),
        };
        let posts = self.transport == HttpTransport::LegacySse && asked.method == Method::POST;
        let _posting = posts.then(|| self.endpoints.post());
        let mut answer = Answer(to_client);
        let headers = match self.onwards(&mut parts, mcp) {
            Ok(headers) => headers,
            Err(refusal) => {
                answer.end(End::Refused);
                return self.refuse(&refusal);
            }
        };
        let settings = &self.settings;
        let upload = Upload::new(body, to_server, settings.max_body, settings.read_timeout);
        let progress = upload.progress();
        let mut outgoing = Request::new(upload);
        *outgoing.method_mut() = parts.method;
        *outgoing.version_mut() = parts.version;
        *outgoing.uri_mut() = Uri::from(target.path);
        *outgoing.headers_mut() = headers;

        let limit = settings.response_timeout.filter(|_| asked.method == Method::POST);
        let sent = tokio::select! {
            biased;
            sent = self.upstream.send(outgoing) => sent.map_err(|unsent| {
                (self.failure(&unsent.error), unsent.body)
            }),
            () = progress.expire(limit) => Err((Failure::timed_out(), None)),
            () = self.abandoned() => Err((Failure::shutting_down(), None)),
        };
        match sent {
            Ok((response, lease)) => {
                progress.release();
                self.answer(response, lease, answer, &asked, mcp).await
            }
            Err((failure, body)) => {
                if let Some(upload) = body {
                    upload.drain().await;
                }
                match progress.interrupted() {
                    Some(why) => self.interrupted(why, answer),
                    None => self.fail(&failure, &progress.asked(), answer),
                }
            }
        }
    }

    /// What came of a request that got no response.
    fn failure(&self, error: &SendError) -> Failure {
        // It is because the drain is over that its connection was closed.
        if self.abandoned.load(Ordering::Relaxed) {
            return Failure::shutting_down();
        }
        if error.is_refused() && !self.upstream.health().was_up() {
            return Failure::not_up(error);
        }
        Failure::of(error)
    }

    /// Whether a session or a stream begins with the request, as far as its head tells. What
    /// `initialize` lacks, all that follow it have since 2025-06-18.
    fn begins(&self, parts: &request::Parts) -> bool {
        let has = |name| parts.headers.contains_key(name);
        let initializes = || !has(SESSION_ID) && !has(PROTOCOL_VERSION);
        parts.method == Method::GET
            || self.transport == HttpTransport::Streamable
                && parts.method == Method::POST
                && initializes()
    }

    /// Whether the request may pass at all.
    fn check(&self, parts: &request::Parts, body: &Incoming) -> Result<Question, Refusal> {
        head::admit(parts, self.settings.max_header)?;
        self.guard.admit(parts)?;
        let path = parts.uri.path_and_query().cloned();
        let Some(path) = path.filter(|_| parts.method != Method::CONNECT) else {
            let status = StatusCode::METHOD_NOT_ALLOWED;
            return Err(Refusal::new(status, "method", "the proxy makes no tunnels"));
        };
        if !guard::is_discovery(&parts.method, path.path()) {
            self.guard.authorize(parts)?;
        }
        if body.size_hint().lower() > self.settings.max_body {
            return Err(Interrupted::TooLarge.refusal(self.settings.max_body));
        }
        let idle_stream = match self.transport {
            HttpTransport::Streamable => {
                parts.method == Method::GET
                    || parts.headers.get(METHOD).is_some_and(|it| it == method::LISTEN)
            }
            // All answers of a session come on its one stream, which ends when it owes none.
            HttpTransport::LegacySse => false,
        };
        let path = if parts.method == Method::GET {
            PathAndQuery::try_from(path.as_str()).unwrap_or(path)
        } else {
            path
        };
        let http2 = parts.version == Version::HTTP_2;
        Ok(Question { method: parts.method.clone(), path, http2, idle_stream })
    }

    /// Begins to show the exchange to the tap, if it is one that can carry messages.
    fn observe(
        &self,
        parts: &request::Parts,
        asked: &Question,
        mcp: bool,
    ) -> Option<(Probe, Probe)> {
        if !mcp || !matches!(asked.method, Method::POST | Method::GET | Method::DELETE) {
            return None;
        }
        let stated = |name| {
            let value: &HeaderValue = parts.headers.get(name)?;
            if asked.method == Method::GET { apart(value) } else { Some(value.clone()) }
        };
        let exchange = Exchange {
            method: asked.method.clone(),
            target: match self.transport {
                HttpTransport::Streamable => asked.path.clone(),
                // The stream tells the session by the path that its client knows.
                HttpTransport::LegacySse => self.rewrite.known(&asked.path),
            },
            session: stated(SESSION_ID),
            protocol_version: stated(PROTOCOL_VERSION),
            transport: self.transport,
            again: false,
        };
        Some(self.tap.open(Arc::clone(&self.server_id), StreamKind::Exchange(exchange)))
    }

    /// The headers for the upstream.
    fn onwards(&self, parts: &mut request::Parts, mcp: bool) -> Result<HeaderMap, Refusal> {
        let settings = &self.settings;
        // A preflight passes without the token, so it must not get it here.
        let credited = mcp && !guard::is_preflight(parts);
        let given = mem::take(&mut parts.headers);
        let trailers = head::takes_trailers(&given);
        let preserved = settings.host_header == HostHeader::Preserve;
        let identity = settings.accept_encoding == AcceptEncoding::Identity
            && (mcp || settings.rewrites_metadata);
        let own_origin = !preserved && given.get(ORIGIN).is_some_and(|it| !self.is_allowed(it));
        let host = match (preserved, given.get(HOST), parts.uri.authority()) {
            (true, Some(host), _) => Some(host.clone()),
            (true, None, Some(authority)) => HeaderValue::from_str(authority.as_str()).ok(),
            _ => None,
        };
        let mut headers = head::end_to_end(given, |name| {
            (own_origin && *name == ORIGIN)
                || (self.credentials.mirrors() && *name == AUTHORIZATION)
        });
        headers.insert(HOST, host.unwrap_or_else(|| self.upstream.authority().clone()));
        if identity {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        if credited {
            self.credentials.add_to(&mut headers).map_err(|error| {
                tracing::warn!("{error}");
                let status = StatusCode::SERVICE_UNAVAILABLE;
                Refusal::new(status, "token_unreadable", "the proxy cannot read its credentials")
            })?;
        }
        Ok(headers)
    }

    /// Whether the operator vouches for an origin; the upstream then decides on CORS. Any
    /// other one that the guard let pass is the listener's own: a request from there needs no
    /// CORS, and the upstream would not know it.
    fn is_allowed(&self, origin: &HeaderValue) -> bool {
        let allowed = &self.settings.allowed_origins;
        allowed.iter().any(|known| origin.as_bytes().eq_ignore_ascii_case(known.as_bytes()))
    }

    /// Turns the answer of the upstream towards the client.
    async fn answer(
        &self,
        response: Response<Incoming>,
        lease: Lease,
        mut answer: Answer,
        asked: &Question,
        mcp: bool,
    ) -> Response<Reply> {
        let (mut parts, body) = response.into_parts();
        let kind = head::body_kind(&parts.headers);
        answer.head(|| ResponseHead {
            status: parts.status,
            body: kind,
            session: parts.headers.get(SESSION_ID).cloned(),
        });
        let given = mem::take(&mut parts.headers);
        parts.headers = head::end_to_end(given, |_| false);
        self.turn(&mut parts.headers, asked);
        let stream =
            (kind == BodyKind::EventStream).then(|| self.event_stream(asked, mcp, &answer));
        let stream = stream.flatten();
        if stream.is_some() {
            parts.headers.remove(CONTENT_LENGTH);
        }
        let download = Download::new(body, answer, lease, Arc::clone(&self.counters), stream);
        if self.settings.rewrites_metadata
            && parts.status == StatusCode::OK
            && asked.path.path().starts_with("/.well-known/")
        {
            return self.turn_metadata(parts, download, asked).await;
        }
        // The hop's own (RFC 9110, 2.5).
        parts.version = Version::HTTP_11;
        let reason = parts.extensions.remove::<ReasonPhrase>();
        parts.extensions.clear();
        reason.map(|reason| parts.extensions.insert(reason));
        let reply = if parts.status == StatusCode::NOT_MODIFIED
            && !asked.http2
            && let Some(length) = parts.headers.get(CONTENT_LENGTH)
        {
            Reply::unsent(length)
        } else {
            Reply::Streamed(download)
        };
        Response::from_parts(parts, reply)
    }

    /// Headers that name URLs of the upstream.
    fn turn(&self, headers: &mut HeaderMap, asked: &Question) {
        if let Some(location) = headers.get_mut(LOCATION)
            && let Some(turned) = self.rewrite.location(location, &asked.path)
        {
            *location = turned;
        }
        if let http::header::Entry::Occupied(mut challenges) = headers.entry(WWW_AUTHENTICATE) {
            for challenge in challenges.iter_mut() {
                if let Some(turned) = self.rewrite.challenge(challenge, &asked.path) {
                    *challenge = turned;
                }
            }
        }
    }

    fn event_stream(
        &self,
        asked: &Question,
        mcp: bool,
        answer: &Answer,
    ) -> Option<Box<EventStream>> {
        let announces =
            mcp && self.transport == HttpTransport::LegacySse && asked.method == Method::GET;
        if !announces && !asked.idle_stream {
            return None;
        }
        let mut stream = Box::new(EventStream::default());
        if asked.idle_stream {
            let shutdown = self.shutdown.clone();
            stream.end_at(async move { shutdown.begun().await });
        }
        if announces {
            if let Some(debt) = answer.debt() {
                stream.end_at(Arc::clone(&self.endpoints).quiet(debt, self.shutdown.clone()));
            }
            let rewriter = EndpointRewriter::new(Arc::clone(&self.rewrite), asked.path.clone());
            stream.rewrite(rewriter, Arc::clone(&self.endpoints));
        }
        Some(stream)
    }

    /// Metadata is the one body that is read whole, to be changed.
    async fn turn_metadata(
        &self,
        mut parts: http::response::Parts,
        download: Download,
        asked: &Question,
    ) -> Response<Reply> {
        let Ok(body) = Limited::new(download, METADATA_LIMIT).collect().await else {
            let failure = Failure::metadata(METADATA_LIMIT);
            return self.fail(&failure, &Asked::Nothing, Answer(None));
        };
        let mut body = body.to_bytes();
        if let Some(turned) = self.rewrite.metadata(&asked.path, &body) {
            body = turned;
            parts.headers.remove(ETAG);
            parts.headers.remove(CONTENT_LENGTH);
        }
        Response::from_parts(parts, Reply::Whole(Full::from(body)))
    }

    fn refuse(&self, refusal: &Refusal) -> Response<Reply> {
        self.counters.count_refused(refusal.reason);
        refusal.response().map(Reply::Whole)
    }

    /// The request body came to no end.
    fn interrupted(&self, why: Interrupted, mut answer: Answer) -> Response<Reply> {
        answer.end(why.end());
        self.refuse(&why.refusal(self.settings.max_body))
    }

    fn fail(&self, failure: &Failure, asked: &Asked, mut answer: Answer) -> Response<Reply> {
        answer.end(failure.end);
        if let Some(kind) = failure.kind {
            self.counters.count_failed(kind);
        }
        failure.response(asked, self.settings.error_status).map(Reply::Whole)
    }

    /// Completes when the drain is over. Looks only when it is polled: the connection polls
    /// its exchange once more then, and exchanges need not queue up for a signal.
    fn abandoned(&self) -> impl Future<Output = ()> {
        poll_fn(|_| {
            if self.abandoned.load(Ordering::Relaxed) { Poll::Ready(()) } else { Poll::Pending }
        })
    }
}

/// The same value in memory of its own: a stream that stays open for hours shall not keep the
/// whole buffer in which its head was read.
fn apart(value: &HeaderValue) -> Option<HeaderValue> {
    HeaderValue::from_bytes(value.as_bytes()).ok()
}
