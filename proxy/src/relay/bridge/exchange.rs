//! The HTTP side: what each request of a client means, and the status that answers it. Here that
//! of sessions (streamable HTTP, revisions 2025-03-26 to 2025-11-25).

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{ALLOW, ORIGIN},
    request::Parts,
    uri::PathAndQuery,
};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    PROBE_PATIENCE,
    accepts::{self, Accepts},
    cors,
    counters::Ended,
    launcher::{Audience as _, Behind, Launcher},
    line,
    modern::is_modern,
    objection::{faulty, missing, not_of_this_era},
    outbox::{Inbox, Piece},
    pools::Pools,
    replay::EventId,
    reply::{self, Events, First, PATIENCE, Reply, first},
    session::Session,
    splice::{self, Body, Said},
    unanswered::Hope,
};
use crate::{
    config::ErrorStatus,
    jsonrpc::{Id, Kind},
    mcp::{
        header::{LAST_EVENT_ID, PROTOCOL_VERSION, SESSION_ID},
        method,
    },
    relay::http::{
        counters::Counters,
        download::Answer,
        guard::Guard,
        head,
        health::Health,
        refusal::Refusal,
        upload::{Interrupted, Upload},
    },
    shutdown::Shutdown,
    tap::{Probe, Tap},
    traffic::{Exchange, HttpTransport, StreamKind},
};

/// Where clients find the server.
pub(in crate::relay) const PATH: &str = "/mcp";

/// A request names a session that is not, or no more.
pub(super) struct NoSuchSession;

/// Everything that an exchange needs.
#[derive(Debug)]
pub(in crate::relay) struct Exchanges {
    pub(super) guard: Guard,
    pub(super) launcher: Arc<Launcher>,
    pub(super) pools: Pools,
    pub(super) health: Arc<Health>,
    /// What clients have before each path, of which nothing is left in what is asked here.
    pub(super) prefix: String,
    pub(super) max_header: u64,
    pub(super) max_body: u64,
    pub(super) error_status: ErrorStatus,
    pub(super) read_timeout: Duration,
    pub(super) tap: Tap,
    pub(super) shutdown: Shutdown,
    pub(super) counters: Arc<Counters>,
    /// The drain is over: whoever still waits for a response is told so.
    pub(super) abandoned: CancellationToken,
}

impl Exchanges {
    /// See [`Answering`](crate::relay::http::listener::Answering).
    pub(in crate::relay) fn abandon(&self) {
        self.abandoned.cancel();
    }

    /// Answers a request, whatever happens. Dropped before its end, the client went away.
    pub(in crate::relay) async fn respond(&self, request: Request<Incoming>) -> Response<Reply> {
        self.counters.count_request();
        let (parts, body) = request.into_parts();
        let admitted = head::admit(&parts, self.max_header).and_then(|()| self.guard.admit(&parts));
        if let Err(refusal) = admitted {
            return self.refuse(&refusal);
        }
        let allowed = allowed(&parts);
        let origin = parts.headers.get(ORIGIN).cloned();
        let mut response = match cors::preflight(&parts) {
            Some(response) => response,
            None => self.answer(parts, body).await,
        };
        if response.status() == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
        }
        if let Some(origin) = origin {
            cors::allow(origin, response.headers_mut());
        }
        response
    }

    /// Answers a request that the guard has let pass.
    async fn answer(&self, parts: Parts, body: Incoming) -> Response<Reply> {
        if let Err(refusal) = self.check(&parts, &body) {
            return self.refuse(&refusal);
        }
        let (to_server, to_client) = self.observe(&parts);
        let answer = Answer(Some(to_client));
        let upload = Upload::new(body, Some(to_server), self.max_body, self.read_timeout);
        let text = match collect(upload).await {
            Ok(text) => text,
            Err(why) => return self.interrupted(why, answer),
        };
        if let Behind::Shim(shim) = &self.launcher.behind
            && let Some(Ok(id)) = parts.headers.get(SESSION_ID).map(HeaderValue::to_str)
        {
            self.launcher.find_again(shim, id).await;
        }
        match parts.uri.path() {
            line::STREAM => return self.open_line(&parts.headers, answer).await,
            line::MESSAGES => return self.say_on_line(&parts, text, answer).await,
            _ if parts.method == Method::POST => {
                return self.post(&parts.headers, text, answer).await;
            }
            _ => {}
        }
        match self.session(&parts.headers) {
            Ok(Some(session)) if parts.method == Method::GET => {
                self.listen(&session, &parts.headers, answer)
            }
            Ok(Some(session)) => {
                // Told first: with this the client withdraws what it waits for.
                let response = reply::aside(StatusCode::NO_CONTENT, Bytes::new(), answer);
                session.end(Ended::Deleted);
                response
            }
            Ok(None) => missing(None, answer),
            Err(NoSuchSession) => self.stray(None, answer),
        }
    }

    /// Whether the request is of a session that there is.
    pub(in crate::relay) fn knows(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        line::named(uri).is_some_and(|id| self.launcher.sessions.find(id).is_some())
            || matches!(self.session(headers), Ok(Some(_)))
    }

    /// Whether the request is one that can be looked into.
    fn check(&self, parts: &Parts, body: &Incoming) -> Result<(), Refusal> {
        self.guard.authorize(parts)?;
        let refuse = |status, reason, message: &str| Err(Refusal::new(status, reason, message));
        if ![PATH, line::STREAM, line::MESSAGES].contains(&parts.uri.path()) {
            let at = &self.prefix;
            let message =
                format!("the server is at {at}/mcp, for clients of 2024-11-05 at {at}/sse");
            return refuse(StatusCode::NOT_FOUND, "path", &message);
        }
        let allowed = allowed(parts);
        if allowed.split(", ").all(|method| parts.method != method) {
            let message = format!("the methods here are {allowed}");
            return refuse(StatusCode::METHOD_NOT_ALLOWED, "method", &message);
        }
        let accepts = Accepts::of(&parts.headers);
        let takes = match parts.method {
            Method::POST => accepts.json || accepts.events,
            Method::GET => accepts.events,
            _ => true,
        };
        if !takes {
            let message = "accept application/json and text/event-stream, for a GET the latter";
            return refuse(StatusCode::NOT_ACCEPTABLE, "accept", message);
        }
        if parts.method == Method::POST && !accepts::is_json(&parts.headers) {
            let message = "send messages as application/json";
            return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type", message);
        }
        if body.size_hint().lower() > self.max_body {
            return Err(Interrupted::TooLarge.refusal(self.max_body));
        }
        Ok(())
    }

    /// Begins to show the exchange to the tap.
    fn observe(&self, parts: &Parts) -> (Probe, Probe) {
        // In memory of its own: a stream may stay open for hours.
        let stated = |name| HeaderValue::from_bytes(parts.headers.get(name)?.as_bytes()).ok();
        let is_line = parts.uri.path() != PATH;
        let target = PathAndQuery::from_static(PATH);
        let exchange = Exchange {
            method: parts.method.clone(),
            target: if is_line { line::target(&self.prefix, &parts.uri) } else { target },
            session: stated(SESSION_ID).filter(|_| !is_line),
            protocol_version: stated(PROTOCOL_VERSION),
            transport: if is_line { HttpTransport::LegacySse } else { HttpTransport::Streamable },
            again: false,
        };
        self.tap.open(Arc::clone(&self.launcher.server_id), StreamKind::Exchange(exchange))
    }

    /// The session that the request names, if it names one.
    pub(super) fn session(
        &self,
        headers: &HeaderMap,
    ) -> Result<Option<Arc<Session>>, NoSuchSession> {
        let Some(id) = headers.get(SESSION_ID) else { return Ok(None) };
        let session = id.to_str().ok().and_then(|id| self.launcher.sessions.find(id));
        session.filter(|session| !session.is_line()).map(Some).ok_or(NoSuchSession)
    }

    async fn post(&self, headers: &HeaderMap, text: BytesMut, answer: Answer) -> Response<Reply> {
        let said = match splice::read(text) {
            Ok(Body::One(said)) => said,
            Ok(Body::Batch(batch)) => return self.batch(headers, batch, answer).await,
            Err(fault) => return faulty(&fault, answer),
        };
        if said.version.is_some() || is_modern(headers) {
            return self.stateless(headers, said, answer).await;
        }
        let id = match &said.gist.kind {
            Kind::Request(id) => Some(id.clone()),
            _ => None,
        };
        let session = self.session(headers);
        if let Ok(Some(session)) = &session {
            session.rights.set(self.launcher.right(headers));
        }
        match (session, id) {
            (Ok(Some(session)), Some(id)) => self.call(&session, said, id, headers, answer).await,
            (Ok(Some(session)), None) => match session.tell(said).await {
                Ok(()) => reply::aside(StatusCode::ACCEPTED, Bytes::new(), answer),
                Err(unheard) => self.refused(unheard, None, answer),
            },
            (Ok(None), Some(id)) if said.gist.is(method::INITIALIZE) => {
                self.initialize(said, id, headers, answer).await
            }
            (Ok(None), Some(id)) if said.gist.is(method::DISCOVER) => not_of_this_era(&id, answer),
            (Ok(None), id) => missing(id.as_ref(), answer),
            (Err(NoSuchSession), id) => self.stray(id.as_ref(), answer),
        }
    }

    /// A request within a session.
    async fn call(
        &self,
        session: &Session,
        said: Said,
        id: Id,
        headers: &HeaderMap,
        answer: Answer,
    ) -> Response<Reply> {
        let accepts = Accepts::of(headers);
        let (mut inbox, begin) = match session.ask(said, accepts.events).await {
            Ok(asked) => asked,
            Err(unheard) => return self.refused(unheard, Some(&id), answer),
        };
        let patience = accepts.events.then_some(PATIENCE);
        match self.first(&mut inbox, patience).await {
            Some(First::Answer(text, _)) => given(StatusCode::OK, text, accepts, None, answer),
            Some(First::Failed(text, why)) => self.failed(&why, text, answer),
            Some(First::Other(piece)) => {
                let events = self.events(piece, inbox, id, answer);
                begun(events, begin, headers).response(None)
            }
            Some(First::Nothing) => self.lost(&id, answer),
            Some(First::Withdrawn) => Self::withdrawn(&id, answer),
            None => self.shutting_down(&id, answer),
        }
    }

    /// The request that begins a session, with a program of its own.
    async fn initialize(
        &self,
        said: Said,
        id: Id,
        headers: &HeaderMap,
        answer: Answer,
    ) -> Response<Reply> {
        let right = self.launcher.right(headers);
        let opening = match Arc::clone(&self.launcher).open(false, right).await {
            Ok(opening) => opening,
            Err(why) => return self.unopened(&why, Some(&id), answer),
        };
        // A remote server has bounds of its own.
        let patience =
            (!matches!(self.launcher.behind, Behind::Remote(_))).then_some(PROBE_PATIENCE);
        let hope = Hope { health: &self.health, since: Instant::now() };
        let first = match opening.session().ask(said, false).await {
            Ok((mut inbox, _)) => self.first(&mut inbox, patience).await,
            Err(_) => return self.died(&id, answer),
        };
        match first {
            Some(First::Answer(text, error)) => {
                hope.come_true();
                let session = error.is_none().then(|| opening.keep());
                if let Some(session) = &session {
                    session.initialized(&text);
                    self.launcher.sessions.insert(Arc::clone(session));
                }
                let name = session.as_ref().map(|session| session.id.as_str());
                given(StatusCode::OK, text, Accepts::of(headers), name, answer)
            }
            Some(First::Failed(text, why)) => self.failed(&why, text, answer),
            Some(First::Other(_)) => self.silent(&id, answer),
            Some(First::Nothing | First::Withdrawn) => self.died(&id, answer),
            None => self.shutting_down(&id, answer),
        }
    }

    /// A stream of the client's own, or one that it lost and goes on with.
    fn listen(&self, session: &Session, headers: &HeaderMap, answer: Answer) -> Response<Reply> {
        let last = headers.get(LAST_EVENT_ID).and_then(|it| it.to_str().ok()?.parse().ok());
        let listened = match last {
            Some(last) => session.resume(last),
            None => session.listen().map(|(inbox, begin)| (inbox, begin, None)),
        };
        let (inbox, begin, id) = match listened {
            Ok(listened) => listened,
            Err(unheard) => return self.refused(unheard, None, answer),
        };
        let events = if let Some(id) = id {
            self.events(None, inbox, id, answer)
        } else {
            let shutdown = self.shutdown.clone();
            Events::of_client(inbox, answer).until(async move { shutdown.begun().await })
        };
        begun(events, begin, headers).response(None)
    }

    /// See [`first`]; none when the drain was over before. A drain does not wait for what the
    /// client has cancelled.
    pub(super) async fn first(
        &self,
        inbox: &mut Inbox,
        patience: Option<Duration>,
    ) -> Option<First> {
        let withdrawn = inbox.withdrawn();
        tokio::select! {
            biased;
            first = first(inbox, patience) => match first {
                First::Nothing if withdrawn.is_cancelled() => Some(First::Withdrawn),
                first => Some(first),
            },
            () = self.let_go(withdrawn.clone()) => Some(First::Withdrawn),
            () = self.abandoned.cancelled() => None,
        }
    }

    /// Completes when a drain has begun and the request was withdrawn.
    pub(super) fn let_go(
        &self,
        withdrawn: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static {
        let shutdown = self.shutdown.clone();
        async move {
            withdrawn.cancelled().await;
            shutdown.begun().await;
        }
    }

    /// The rest of what a request brings about, after `first`, for as long as the drain takes.
    pub(super) fn events(
        &self,
        first: Option<Piece>,
        inbox: Inbox,
        id: Id,
        answer: Answer,
    ) -> Events {
        let let_go = self.let_go(inbox.withdrawn());
        let events = Events::of_request(first, inbox, id, answer).until(let_go);
        events.or_give_up(self.giving_up())
    }

    /// Completes, and is counted, when the drain is over.
    pub(super) fn giving_up(&self) -> impl Future<Output = ()> + Send + 'static {
        let (abandoned, counters) = (self.abandoned.clone(), Arc::clone(&self.counters));
        async move {
            abandoned.cancelled().await;
            counters.count_refused("shutdown");
        }
    }

    fn refuse(&self, refusal: &Refusal) -> Response<Reply> {
        self.counters.count_refused(refusal.reason);
        refusal.response().map(Reply::Whole)
    }

    /// The request body came to no end.
    fn interrupted(&self, why: Interrupted, mut answer: Answer) -> Response<Reply> {
        answer.end(why.end());
        self.refuse(&why.refusal(self.max_body))
    }
}

/// The methods of a path. A revision without sessions has but one.
fn allowed(parts: &Parts) -> &'static str {
    match parts.uri.path() {
        line::STREAM => "GET",
        line::MESSAGES => "POST",
        _ if is_modern(&parts.headers) => "POST",
        _ => "GET, POST, DELETE",
    }
}

/// The same stream, which begins with an event without data for clients that take it for that.
fn begun(events: Events, begin: EventId, headers: &HeaderMap) -> Events {
    match headers.get(PROTOCOL_VERSION) {
        Some(version) if version == "2025-11-25" => events.begin_at(begin),
        _ => events,
    }
}

/// The whole body.
async fn collect(mut upload: Upload) -> Result<BytesMut, Interrupted> {
    let expected = usize::try_from(upload.size_hint().lower()).unwrap_or_default();
    // No more ahead of time than a client that only claims to send it can cost.
    let mut text = BytesMut::with_capacity(expected.min(64 << 10) + 1);
    while let Some(frame) = upload.frame().await {
        if let Ok(chunk) = frame?.into_data() {
            text.extend_from_slice(&chunk);
        }
    }
    Ok(text)
}

/// The answer of the program, in a form that the client takes.
pub(super) fn given(
    status: StatusCode,
    text: Bytes,
    accepts: Accepts,
    session: Option<&str>,
    answer: Answer,
) -> Response<Reply> {
    if accepts.json {
        return reply::whole(status, text, session, answer);
    }
    Events::of_answer(text, answer).response(session)
}

#[cfg(test)]
mod tests;
