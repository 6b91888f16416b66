//! What clients get: answers as JSON, or streams of events that begin with one.

use std::{
    convert::Infallible,
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER},
};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use tokio::time::{Instant, Sleep, sleep};

use super::{
    answers::Answers,
    outbox::{Cut, Inbox, Piece, Queue, Weight, stream},
    replay::EventId,
    splice::{BOUNDS, Gist},
};
use crate::{
    jsonrpc::Id,
    mcp::header::SESSION_ID,
    relay::{
        http::{download::Answer, refusal::retry_after},
        remote::problem::Problem,
    },
    scan::Scanner,
    traffic::{BodyKind, End, ResponseHead},
};
pub(super) use crate::{jsonrpc::error, mcp::code::INTERNAL, relay::http::failure::GIVEN_UP};

/// How often an event stream says that it is alive, and how long an answer may take before it
/// becomes one, so that nobody between takes the silence for an end.
pub(super) const SIGN_OF_LIFE: Duration = Duration::from_secs(15);
/// How many milliseconds a client should wait until it goes on with a stream that it lost.
const RETRY: u32 = 1000;

const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The body of any answer of the bridge.
#[derive(Debug)]
pub(in crate::relay) enum Reply {
    /// All of it.
    Whole(Full<Bytes>),
    /// Messages as they come.
    Events(Box<Events>),
    /// The answers to several messages.
    Answers(Box<Answers>),
}

/// An answer in one piece, shown to the tap as it is given.
pub(super) fn whole(
    status: StatusCode,
    body: Bytes,
    session: Option<&str>,
    answer: Answer,
) -> Response<Reply> {
    let session = session.and_then(|id| HeaderValue::from_str(id).ok());
    let mut response = shown(status, body, BodyKind::Json, session.clone(), answer);
    if let Some(session) = session {
        response.headers_mut().insert(SESSION_ID, session);
    }
    response
}

/// An answer to what asked nothing: a body, if any, is for people, and to the tap no message.
pub(super) fn aside(status: StatusCode, body: Bytes, answer: Answer) -> Response<Reply> {
    shown(status, body, BodyKind::Opaque, None, answer)
}

fn shown(
    status: StatusCode,
    body: Bytes,
    kind: BodyKind,
    session: Option<HeaderValue>,
    mut answer: Answer,
) -> Response<Reply> {
    answer.head(|| ResponseHead { status, body: kind, session });
    answer.data(&body);
    answer.end(End::Clean);
    unseen(status, body)
}

/// An answer that is no server's: the tap is told in another way what became of the exchange.
pub(super) fn unseen(status: StatusCode, body: Bytes) -> Response<Reply> {
    let is_json = !body.is_empty();
    let mut response = Response::new(Reply::Whole(Full::new(body)));
    *response.status_mut() = status;
    if is_json {
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
    }
    response
}

/// The same for a client that may try again, when it is known after so long.
pub(super) fn later(lasts: Option<Duration>, body: Bytes) -> Response<Reply> {
    let mut response = unseen(StatusCode::SERVICE_UNAVAILABLE, body);
    response.headers_mut().insert(RETRY_AFTER, retry_after(lasts));
    response
}

/// An error that answers a `request` of a program.
pub(super) fn refusal(request: &[u8], code: i64, message: &str) -> Bytes {
    let mut scanner = Scanner::new(BOUNDS);
    scanner.feed(request);
    let gist = Gist::of(scanner.message());
    let id = gist.names(request).and_then(|names| str::from_utf8(names.id?).ok());
    error(id, code, message)
}

/// Says that the body is a stream of events, and that nobody should hold it back.
pub(super) fn mark_as_events(response: &mut Response<Reply>) {
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(UNBUFFERED, HeaderValue::from_static("no"));
}

/// What the program did about a request first.
pub(super) enum First {
    /// It answered: there is nothing else to say. The code, if it is an error.
    Answer(Bytes, Option<i64>),
    /// It is a remote server from which no answer came: what to say in its place, and why.
    Failed(Bytes, Arc<Problem>),
    /// It did something else, or nothing for so long that the client should hear of it.
    Other(Option<Piece>),
    /// It will not answer.
    Nothing,
    /// It need not answer any more: the client has cancelled the request.
    Withdrawn,
}

/// Waits until it is clear how to answer a request.
pub(super) async fn first(inbox: &mut Inbox, patience: Option<Duration>) -> First {
    let mut out_of_patience = Box::pin(async {
        match patience {
            Some(patience) => sleep(patience).await,
            None => std::future::pending().await,
        }
    });
    poll_fn(|cx| {
        if let Poll::Ready(next) = inbox.poll_next(cx) {
            return Poll::Ready(match next {
                Ok(Piece { text, why: Some(why), .. }) => First::Failed(text, why),
                Ok(Piece { text, weight: Weight::Answer(error), .. }) => First::Answer(text, error),
                Ok(piece) => First::Other(Some(piece)),
                Err(_) => First::Nothing,
            });
        }
        out_of_patience.as_mut().poll(cx).map(|()| First::Other(None))
    })
    .await
}

/// The patience with a program that can be answered for by an event stream.
pub(super) const PATIENCE: Duration = SIGN_OF_LIFE;

/// A stream of events: the messages of an inbox, and signs of life.
pub(in crate::relay) struct Events {
    /// The event with which it begins.
    begin: Option<Bytes>,
    /// What was taken out of the inbox already.
    first: Option<Piece>,
    inbox: Inbox,
    answer: Answer,
    /// The request that is answered here; none on a stream of the client's own.
    id: Option<Id>,
    silence: Pin<Box<Sleep>>,
    /// Ends a stream on which no answer is awaited.
    over: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// When nobody waits for the answer any longer.
    given_up: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    done: bool,
}

impl Events {
    /// The rest of what a request brings about, after `first`.
    pub(super) fn of_request(first: Option<Piece>, inbox: Inbox, id: Id, answer: Answer) -> Self {
        let mut events = Self::new(first, inbox, answer);
        events.id = Some(id);
        events
    }

    /// Nothing but an answer.
    pub(super) fn of_answer(text: Bytes, answer: Answer) -> Self {
        let piece = Piece::new(text, Weight::Answer(None));
        let (_, inbox) = stream(Queue::default());
        Self::new(Some(piece), inbox, answer)
    }

    /// A stream of the client's own.
    pub(super) fn of_client(inbox: Inbox, answer: Answer) -> Self {
        Self::new(None, inbox, answer)
    }

    /// The same, beginning with an event that names a place to POST to (2024-11-05).
    pub(super) fn begin_with(mut self, endpoint: Bytes) -> Self {
        self.begin = Some(endpoint);
        self
    }

    /// The same, beginning with an event that says nothing, under this id.
    pub(super) fn begin_at(mut self, id: EventId) -> Self {
        self.begin = Some(beginning(id));
        self.inbox.know_id();
        self
    }

    /// The same, no longer than until this completes.
    pub(super) fn until(mut self, over: impl Future<Output = ()> + Send + 'static) -> Self {
        self.over = Some(Box::pin(over));
        self
    }

    /// The same, where its request is answered with an error once this completes.
    pub(super) fn or_give_up(mut self, when: impl Future<Output = ()> + Send + 'static) -> Self {
        self.given_up = Some(Box::pin(when));
        self
    }

    fn new(first: Option<Piece>, inbox: Inbox, answer: Answer) -> Self {
        let (silence, inbox) = (Box::pin(sleep(SIGN_OF_LIFE)), inbox.streams());
        let (id, over, given_up) = (None, None, None);
        Self { begin: None, first, inbox, answer, id, silence, over, given_up, done: false }
    }

    /// The response with this body.
    pub(super) fn response(mut self, session: Option<&str>) -> Response<Reply> {
        let session = session.and_then(|id| HeaderValue::from_str(id).ok());
        let (status, body) = (StatusCode::OK, BodyKind::EventStream);
        self.answer.head(|| ResponseHead { status, body, session: session.clone() });
        let mut response = Response::new(Reply::Events(Box::new(self)));
        mark_as_events(&mut response);
        if let Some(session) = session {
            response.headers_mut().insert(SESSION_ID, session);
        }
        response
    }

    /// What is said in place of the answer, if there is a request. Some clients wait for ever on
    /// a stream that ends without an answer.
    fn failure(&self, message: &str) -> Option<Bytes> {
        let id = self.id.as_ref()?;
        Some(event(&error(Some(&id.to_string()), INTERNAL, message), None))
    }

    /// Whether nobody waits for the answer any longer. Not to be asked again then.
    fn gives_up(&mut self, cx: &mut Context<'_>) -> bool {
        self.given_up.as_mut().is_some_and(|it| it.as_mut().poll(cx).is_ready())
    }

    /// Ends as a refusal does that comes before anything was said.
    fn give_up(&mut self) -> Poll<Option<io::Result<Bytes>>> {
        self.finish(End::Refused);
        Poll::Ready(self.failure(GIVEN_UP).map(Ok))
    }

    /// How the stream of a client ends that does not read. It is not the client that has left,
    /// though it may go on with the stream of a request.
    fn overflown(&self) -> End {
        if self.id.is_some() { End::ClientGone } else { End::Refused }
    }

    fn finish(&mut self, end: End) {
        self.done = true;
        self.answer.end(end);
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.done {
            return Poll::Ready(None);
        }
        if let Some(begin) = self.begin.take() {
            self.answer.data(&begin);
            return Poll::Ready(Some(Ok(begin)));
        }
        let next = match self.first.take() {
            Some(piece) => Poll::Ready(Ok(piece)),
            None => self.inbox.poll_next(cx),
        };
        match next {
            Poll::Ready(Ok(piece)) => {
                self.silence.as_mut().reset(Instant::now() + SIGN_OF_LIFE);
                let event = event(&piece.text, piece.event);
                if let Some(why) = piece.why.filter(|_| self.id.is_some()) {
                    // Not shown, as all that the bridge itself says.
                    self.finish(why.broken());
                    return Poll::Ready(Some(Ok(event)));
                }
                self.answer.data(&event);
                if self.id.is_some() && matches!(piece.weight, Weight::Answer(_)) {
                    self.finish(End::Clean);
                }
                return Poll::Ready(Some(Ok(event)));
            }
            Poll::Ready(Err(Cut::Over)) => {
                self.finish(End::Clean);
                return Poll::Ready(None);
            }
            // It is because the drain is over that its program ended.
            Poll::Ready(Err(Cut::Lost)) if self.gives_up(cx) => return self.give_up(),
            Poll::Ready(Err(Cut::Lost)) => {
                // Nobody can go on with it, though its events may have ids.
                self.finish(End::Unreachable);
                return Poll::Ready(self.failure(LOST).map(Ok));
            }
            Poll::Ready(Err(Cut::Overflown)) => {
                self.finish(self.overflown());
                let error = io::Error::other("the client does not read what it asked for");
                return Poll::Ready(Some(Err(error)));
            }
            Poll::Pending => {}
        }
        if self.over.as_mut().is_some_and(|over| over.as_mut().poll(cx).is_ready()) {
            self.finish(End::Clean);
            return Poll::Ready(None);
        }
        if self.gives_up(cx) {
            return self.give_up();
        }
        if self.silence.as_mut().poll(cx).is_ready() {
            self.silence.as_mut().reset(Instant::now() + SIGN_OF_LIFE);
            // Polled, so that it wakes this task when it is over.
            let _ = self.silence.as_mut().poll(cx);
            let sign = Bytes::from_static(b":\n\n");
            self.answer.data(&sign);
            return Poll::Ready(Some(Ok(sign)));
        }
        Poll::Pending
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // Who does not read does not take the end either, and is cut off in the end.
        if !self.done && self.inbox.is_overflown() {
            self.finish(self.overflown());
        }
    }
}

/// What a client is told whose program, or session, ends while it waits.
pub(super) const LOST: &str = "the server, or the session, has ended before this was answered";

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").field("id", &self.id).finish_non_exhaustive()
    }
}

/// An event that says nothing, so that a stream can be gone on with before anything was said.
fn beginning(id: EventId) -> Bytes {
    Bytes::from(format!("id: {id}\nretry: {RETRY}\ndata:\n\n"))
}

/// The event that says where to POST (2024-11-05).
pub(super) fn endpoint(target: &str) -> Bytes {
    Bytes::from(format!("event: endpoint\ndata: {target}\n\n"))
}

/// A message as an event.
pub(super) fn event(text: &[u8], id: Option<EventId>) -> Bytes {
    const BEFORE: &[u8] = b"event: message\ndata: ";
    const BEHIND: &[u8] = b"\n\n";
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    let length = id.len() + BEFORE.len() + text.len() + BEHIND.len();
    let mut event = BytesMut::with_capacity(length);
    event.put_slice(id.as_bytes());
    event.put_slice(BEFORE);
    event.put_slice(text);
    event.put_slice(BEHIND);
    event.freeze()
}

impl Body for Reply {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Whole(whole) => {
                Pin::new(whole).poll_frame(cx).map_err(|never: Infallible| match never {})
            }
            Self::Events(events) => {
                events.poll_bytes(cx).map(|next| next.map(|bytes| bytes.map(Frame::data)))
            }
            Self::Answers(answers) => {
                answers.poll_bytes(cx).map(|next| next.map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(whole) => whole.is_end_stream(),
            Self::Events(events) => events.done,
            Self::Answers(answers) => answers.is_done(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => whole.size_hint(),
            Self::Events(_) | Self::Answers(_) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_says_every_so_often_that_it_is_alive() {
        let (outbox, inbox) = stream(Queue::default());
        let mut events = Events::of_client(inbox, Answer(None));
        let mut next = async || poll_fn(|cx| events.poll_bytes(cx)).await.map(Result::unwrap);
        let mut since = Instant::now();
        for _ in 0..3 {
            assert_eq!(next().await.as_deref(), Some(&b":\n\n"[..]));
            assert_eq!(since.elapsed().as_secs(), SIGN_OF_LIFE.as_secs());
            since = Instant::now();
        }
        // What else is said is one as well.
        sleep(SIGN_OF_LIFE / 2).await;
        outbox.push(Piece::new(Bytes::from("{}"), Weight::Notification));
        assert_eq!(next().await.as_deref(), Some(&b"event: message\ndata: {}\n\n"[..]));
        since = Instant::now();
        assert_eq!(next().await.as_deref(), Some(&b":\n\n"[..]));
        assert_eq!(since.elapsed().as_secs(), SIGN_OF_LIFE.as_secs());
        drop(outbox);
        assert_eq!(next().await, None);
    }

    #[test]
    fn an_id_comes_back_as_it_was_written() {
        for id in [r#""\ud800""#, "1e999", "123456789012345678901234567890", "-0", r#""a""#] {
            let body = error(Some(id), -32603, "no \"such\" thing");
            let text = std::str::from_utf8(&body).unwrap();
            assert!(text.contains(&format!(r#""id":{id},"#)), "{text}");
            assert!(text.contains(r#"no \"such\" thing"#), "{text}");
        }
        for none in [None, Some("cut off \"")] {
            let body: serde_json::Value = serde_json::from_slice(&error(none, 1, "x")).unwrap();
            assert_eq!((&body["id"], &body["error"]["code"]), (&().into(), &1.into()));
        }
    }
}
