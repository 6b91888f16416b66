//! The server as the conversation needs it: a request in, the head of its response out, with
//! redirects within the server's origin followed.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderValue, Method, Request, StatusCode, Uri,
    header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HOST, LOCATION, USER_AGENT},
    response,
    uri::PathAndQuery,
};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{problem::Problem, rights::Rights, said::messages};
use crate::{
    config::{Remote, shown},
    jsonrpc::{Kind, skip_mark},
    mcp::header::{PROTOCOL_VERSION, SESSION_ID},
    ready::Gate,
    relay::http::{
        Counters, SetupError,
        credentials::Credentials,
        dial::{Dialer, UrlError},
        download::{Answer, Download},
        failure::Failure,
        head,
        origin::{Origin, Place, resolve},
        upload::Upload,
        upstream::{Lease, Unsent, Upstream},
    },
    tap::{Probe, Tap},
    tls,
    traffic::{BodyKind, End, Exchange, HttpTransport, ResponseHead, StreamKind},
};

const AGENT: &str = concat!("mcpulse-proxy/", env!("CARGO_PKG_VERSION"));
/// Most redirects of one request.
const REDIRECTS: usize = 5;
/// How often a request is sent again that the server says it has not looked at.
const SENT_AGAIN: usize = 3;
/// Most bytes that are kept of a response without any message.
const LARGEST_REFUSAL: usize = 1 << 20;
/// How long such a response may take, or pause if it is JSON.
const REFUSED_WITHIN: Duration = Duration::from_secs(5);

/// A place at a remote server.
#[derive(Debug)]
pub(super) struct Server {
    way: Arc<Way>,
    /// Where it is; it may have moved for good.
    path: Mutex<PathAndQuery>,
    /// What is spoken there.
    transport: HttpTransport,
}

/// How one conversation gets to any place at the server.
#[derive(Debug)]
struct Way {
    reach: Arc<Reach>,
    /// Where what passes is shown, and under which MCPulse server id.
    tap: Option<(Tap, Arc<str>)>,
    rights: Rights,
}

/// What leads to a server, for all conversations with it.
#[derive(Debug)]
pub(in crate::relay) struct Reach {
    upstream: Arc<Upstream>,
    credentials: Credentials,
    origin: Origin,
    path: PathAndQuery,
    transport: HttpTransport,
    response_timeout: Option<Duration>,
    counters: Arc<Counters>,
    /// For words that name the server.
    url: String,
}

impl Reach {
    /// To `remote`, which speaks `transport`, by connections of its own.
    ///
    /// # Errors
    /// When its URL or certificate file is of no use.
    pub(super) fn alone(
        remote: &Remote,
        transport: HttpTransport,
        gate: Gate,
        counters: Arc<Counters>,
    ) -> Result<Self, SetupError> {
        let url: Uri = remote.url.parse().map_err(UrlError::Malformed)?;
        let dialer =
            Dialer::new::<SetupError>(&url, &remote.proxy, remote.connect_timeout, || {
                Ok(tls::client_config(remote.ca_file.as_deref())?)
            })?;
        let (place, counted) = (Place::of(&url)?, Arc::clone(&counters));
        let upstream = Arc::new(Upstream::new(dialer, remote.idle_timeout, gate, counted));
        Ok(Self::by(upstream, place, remote, transport, counters))
    }

    /// To `remote`, which is at this place, by the connections of `upstream`, which leads there.
    pub(in crate::relay) fn by(
        upstream: Arc<Upstream>,
        Place { origin, path }: Place,
        remote: &Remote,
        transport: HttpTransport,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            upstream,
            credentials: Credentials::new(remote),
            origin,
            path,
            transport,
            response_timeout: remote.response_timeout,
            counters,
            url: shown::url(&remote.url),
        }
    }

    /// Whether clients ask by their own right, for the proxy has no token.
    pub(in crate::relay) fn takes_rights(&self) -> bool {
        !self.credentials.mirrors()
    }

    /// Never ends: closes connections that are unused for too long. If `watched`, finds out also
    /// without traffic whether the server can be reached.
    pub(super) async fn keep(&self, watched: bool) {
        if watched {
            self.upstream.keep().await;
        } else {
            self.upstream.close_idle().await;
        }
    }
}

/// A response whose body is to be read.
pub(super) struct Response {
    /// Where it came from, after all redirects.
    pub(super) path: PathAndQuery,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    body: Incoming,
    lease: Lease,
    counters: Arc<Counters>,
}

impl Server {
    /// The place to which `reach` leads; what passes is shown to the tap, if there is one.
    pub(super) fn new(reach: Arc<Reach>, tap: Option<(Tap, Arc<str>)>, rights: Rights) -> Self {
        let (path, transport) = (Mutex::new(reach.path.clone()), reach.transport);
        Self { way: Arc::new(Way { reach, tap, rights }), path, transport }
    }

    /// The place that a reference in a response from `path` leads to; none if it is at another
    /// origin.
    pub(super) fn elsewhere(&self, path: &PathAndQuery, reference: &str) -> Option<Self> {
        let path = self.resolve(path, reference)?;
        Some(Self { path: Mutex::new(path), way: Arc::clone(&self.way), ..*self })
    }

    /// The same place, where the other transport is spoken.
    pub(super) fn spoken_to_by(&self, transport: HttpTransport) -> Self {
        Self { way: Arc::clone(&self.way), path: Mutex::new(self.path()), transport }
    }

    /// Begins to show an exchange to the tap: the direction to the server, and the other.
    pub(super) fn observe(&self, method: Method, headers: &HeaderMap) -> (Option<Probe>, Answer) {
        self.show(method, headers, false)
    }

    /// Begins to show an exchange in which what the client said is said again.
    pub(super) fn observe_again(&self, headers: &HeaderMap) -> (Option<Probe>, Answer) {
        self.show(Method::POST, headers, true)
    }

    fn show(&self, method: Method, headers: &HeaderMap, again: bool) -> (Option<Probe>, Answer) {
        let Some((tap, id)) = &self.way.tap else { return (None, Answer(None)) };
        let exchange = Exchange {
            method,
            target: self.path(),
            session: headers.get(SESSION_ID).cloned(),
            protocol_version: headers.get(PROTOCOL_VERSION).cloned(),
            transport: self.transport,
            again,
        };
        let (to_server, to_client) = tap.open(Arc::clone(id), StreamKind::Exchange(exchange));
        (Some(to_server), Answer(Some(to_client)))
    }

    /// Shows the tap a message that its client withdrew before it was sent.
    pub(super) fn show_withdrawn(&self, headers: &HeaderMap, text: &Bytes) {
        let (question, mut answer) = self.observe(Method::POST, headers);
        if let Some(mut question) = question {
            question.data(text);
            question.end(End::Clean);
        }
        answer.end(End::Withdrawn);
    }

    /// What is spoken there.
    pub(super) fn transport(&self) -> HttpTransport {
        self.transport
    }

    /// For words that name the server.
    pub(super) fn url(&self) -> &str {
        &self.way.reach.url
    }

    /// Sends a request and waits for the head of its response. The first time, `probe` is shown
    /// its body; `sent` is cancelled when all of it is on its way.
    pub(super) async fn send(
        &self,
        method: &Method,
        headers: &HeaderMap,
        body: &Bytes,
        probe: &mut Option<Probe>,
        sent: &CancellationToken,
    ) -> Result<Response, Problem> {
        // Whole and at once: a server may answer before it has taken all of it, or never take it.
        if let Some(mut probe) = probe.take() {
            probe.data(body);
            probe.end(End::Clean);
        }
        let mut headers = headers.clone();
        headers.insert(HOST, self.way.reach.upstream.authority().clone());
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let accepts = if *method == Method::POST {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            "application/json, text/event-stream"
        } else {
            "text/event-stream"
        };
        headers.insert(ACCEPT, HeaderValue::from_static(accepts));
        let reach = &self.way.reach;
        if reach.takes_rights()
            && let Some(authorization) = self.way.rights.get()
        {
            headers.insert(AUTHORIZATION, authorization);
        }
        reach
            .credentials
            .add_to(&mut headers)
            .map_err(|error| Problem::new(error.to_string(), End::Refused))?;
        let (mut path, mut for_good) = (self.path(), true);
        for hop in 0..=REDIRECTS {
            let request = || {
                let mut request = Request::new(Upload::own(body.clone(), sent.clone()));
                *request.method_mut() = method.clone();
                *request.uri_mut() = Uri::from(path.clone());
                *request.headers_mut() = headers.clone();
                request
            };
            let response = self.once(request, &path).await?;
            let moved = matches!(
                response.status,
                StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
            );
            let Some(location) = response.headers.get(LOCATION).filter(|_| moved) else {
                // A stream may be elsewhere for good; that says nothing of the messages.
                if hop > 0 && for_good && *method == Method::POST {
                    *self.path.lock().unwrap_or_else(PoisonError::into_inner) = path;
                }
                return Ok(response);
            };
            for_good &= response.status == StatusCode::PERMANENT_REDIRECT;
            path = self.redirected(&path, location)?;
        }
        let message = format!("the server redirects more than {REDIRECTS} times");
        Err(Problem::strange(message))
    }

    /// Sends a request until the server looks at it, and waits for the head of the response.
    async fn once(
        &self,
        request: impl Fn() -> Request<Upload>,
        path: &PathAndQuery,
    ) -> Result<Response, Problem> {
        let mut again = 0;
        let (response, lease) = loop {
            let request = request();
            let progress = request.body().progress();
            let limit = self.way.reach.response_timeout;
            let limit = limit.filter(|_| *request.method() == Method::POST);
            let sent = tokio::select! {
                biased;
                sent = self.way.reach.upstream.send(request) => sent,
                () = progress.expire(limit) => return Err(self.failed(&Failure::timed_out())),
            };
            match sent {
                Ok(sent) => break sent,
                Err(Unsent { error, .. }) if error.is_unprocessed() && again < SENT_AGAIN => {
                    again += 1;
                    self.way.reach.counters.count_resent();
                }
                Err(Unsent { error, .. }) => return Err(self.failed(&Failure::of(&error))),
            }
        };
        let (response::Parts { status, headers, .. }, body) = response.into_parts();
        Ok(Response {
            path: path.clone(),
            status,
            headers,
            body,
            lease,
            counters: Arc::clone(&self.way.reach.counters),
        })
    }

    /// The outcome of an exchange, unless it takes longer than the server may take to answer.
    pub(super) async fn in_time<T>(
        &self,
        exchange: impl Future<Output = Result<T, Problem>>,
    ) -> Result<T, Problem> {
        let Some(limit) = self.way.reach.response_timeout else { return exchange.await };
        let late = |_| Err(self.failed(&Failure::timed_out()));
        tokio::time::timeout(limit, exchange).await.unwrap_or_else(late)
    }

    fn failed(&self, failure: &Failure) -> Problem {
        if let Some(kind) = failure.kind {
            self.way.reach.counters.count_failed(kind);
        }
        Problem::new(failure.message(), failure.end)
    }

    fn path(&self) -> PathAndQuery {
        self.path.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where a redirect leads to. Not to another origin: the credentials are for this one.
    fn redirected(
        &self,
        from: &PathAndQuery,
        location: &HeaderValue,
    ) -> Result<PathAndQuery, Problem> {
        let text = location.to_str().unwrap_or_default();
        self.resolve(from, text).ok_or_else(|| {
            Problem::strange(format!(
                "the server redirects to {}; if that is where it is now, change --remote-url",
                shown::url(text)
            ))
        })
    }

    fn resolve(&self, from: &PathAndQuery, reference: &str) -> Option<PathAndQuery> {
        let local = self.way.reach.origin.strip(reference);
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
        let body = match kind {
            // As large as any other message may be.
            BodyKind::Json => refused(download, super::events::LARGEST).await,
            BodyKind::EventStream => {
                timeout(REFUSED_WITHIN, first_answer(download)).await.ok().flatten()
            }
            BodyKind::Opaque => {
                timeout(REFUSED_WITHIN, refused(download, LARGEST_REFUSAL)).await.ok().flatten()
            }
        };
        Refusal { status, headers, kind, body: body.unwrap_or_default() }
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
    /// Shows the tap that this is all that will come of the exchange, and nothing of the body,
    /// which whoever asked is not told as an answer.
    pub(super) fn show(&self, answer: Answer) {
        self.show_with(answer, self.kind, &Bytes::new());
    }

    /// Shows the tap what whoever asked is told of it.
    pub(super) fn show_as(&self, told: &Bytes, answer: Answer) {
        self.show_with(answer, BodyKind::Json, told);
    }

    fn show_with(&self, mut answer: Answer, body: BodyKind, told: &Bytes) {
        let session = self.headers.get(SESSION_ID).cloned();
        answer.head(|| ResponseHead { status: self.status, body, session });
        answer.data(told);
        answer.end(End::Clean);
    }
}

/// The whole body of a refusal, unless it breaks off, is larger than this, or nothing comes of it
/// for a while.
async fn refused(mut download: Download, most: usize) -> Option<Bytes> {
    let mut body = BytesMut::new();
    while let Some(frame) = timeout(REFUSED_WITHIN, download.frame()).await.ok()? {
        let Ok(chunk) = frame.ok()?.into_data() else { continue };
        if body.len() + chunk.len() > most {
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    skip_mark(&mut body);
    Some(body.freeze())
}

/// The first message of a stream that answers something.
async fn first_answer(mut download: Download) -> Option<Bytes> {
    let mut events = super::events::Messages::default();
    loop {
        let Ok(chunk) = download.frame().await?.ok()?.into_data() else { continue };
        for text in events.read(&chunk).ok()? {
            let mut answers = false;
            messages(&text, |message| {
                answers |= matches!(Kind::of(message), Kind::Answer(_) | Kind::Refusal);
            });
            if answers {
                return Some(text);
            }
        }
    }
}

/// The whole body of an answer, on one line, and the last chunk of it. That the tap is yet to be
/// shown: what breaks off is no answer, and neither is what is no message.
pub(super) async fn whole(response: Response, answer: &mut Answer) -> io::Result<(Bytes, Bytes)> {
    let mut download = response.unseen(answer);
    let (mut text, mut last) = (BytesMut::new(), Bytes::new());
    while let Some(frame) = download.frame().await {
        let Ok(chunk) = frame.map_err(io::Error::other)?.into_data() else { continue };
        if text.len() + chunk.len() > super::events::LARGEST {
            return Err(io::Error::other(super::events::TooLarge));
        }
        text.extend_from_slice(&chunk);
        answer.data(&std::mem::replace(&mut last, chunk));
    }
    Ok((super::events::one_line(text), last))
}
