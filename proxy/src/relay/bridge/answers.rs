//! The answers to a batch, each as it comes: as events, or as the items of one JSON array for a
//! client that takes no events.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{
    accepts::Accepts,
    outbox::{Inbox, Piece, Weight},
    reply::{self, GIVEN_UP, INTERNAL, LOST, Reply, SIGN_OF_LIFE},
};
use crate::{
    jsonrpc::Id,
    relay::http::download::Answer,
    traffic::{BodyKind, End, ResponseHead},
};

/// A request of a batch whose answer is awaited.
pub(super) struct Asked {
    id: Id,
    inbox: Inbox,
    withdrawn: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// A body with the answers to a batch.
pub(in crate::relay) struct Answers {
    asked: Vec<Asked>,
    /// What the proxy answers itself.
    refused: Vec<Bytes>,
    as_events: bool,
    answer: Answer,
    /// How many the client was sent, and how many of them were shown to the tap.
    said: usize,
    shown: usize,
    /// How it ends for those that the program does not answer.
    end: End,
    silence: Pin<Box<Sleep>>,
    abandoned: CancellationToken,
    /// When nobody waits for the rest any longer; none from then on.
    given_up: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    done: bool,
}

impl Asked {
    pub(super) fn new(id: Id, inbox: Inbox) -> Self {
        let withdrawn = Box::pin(inbox.withdrawn().cancelled_owned());
        Self { id, inbox, withdrawn }
    }

    fn error(&self, message: &str) -> Bytes {
        reply::error(Some(&self.id.to_string()), INTERNAL, message)
    }
}

/// What has become of a request.
enum Came {
    /// The program has answered.
    Answer(Bytes),
    /// It has not: what to say in place of an answer, and how its exchange ends with that.
    Error(Bytes, End),
    /// The client has cancelled it.
    Nothing,
}

impl Answers {
    /// Those to what was `asked`, and to what was `refused` already. Nobody waits for them any
    /// longer once the bridge is `abandoned`, and so this completes.
    pub(super) fn new(
        asked: Vec<Asked>,
        refused: Vec<Bytes>,
        accepts: Accepts,
        answer: Answer,
        abandoned: CancellationToken,
        given_up: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        Self {
            asked,
            refused,
            as_events: accepts.events,
            answer,
            said: 0,
            shown: 0,
            end: End::Clean,
            silence: Box::pin(sleep(SIGN_OF_LIFE)),
            given_up: Some(Box::pin(given_up)),
            abandoned,
            done: false,
        }
    }

    /// The response with this body.
    pub(super) fn response(mut self) -> Response<Reply> {
        let as_events = self.as_events;
        let body = if as_events { BodyKind::EventStream } else { BodyKind::Json };
        self.answer.head(|| ResponseHead { status: StatusCode::OK, body, session: None });
        let mut response = Response::new(Reply::Answers(Box::new(self)));
        if as_events {
            reply::mark_as_events(&mut response);
        } else {
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, json);
        }
        response
    }

    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    pub(super) fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.done {
            return Poll::Ready(None);
        }
        if let Some(text) = self.refused.pop() {
            return Poll::Ready(Some(self.say(&text, true)));
        }
        while let Poll::Ready(came) = self.poll_came(cx) {
            match came {
                Came::Answer(text) => return Poll::Ready(Some(self.say(&text, true))),
                Came::Error(text, end) => {
                    self.end = end;
                    return Poll::Ready(Some(self.say(&text, false)));
                }
                Came::Nothing => {}
            }
        }
        if self.asked.is_empty() {
            self.done = true;
            let last = self.close(self.shown).inspect(|last| self.answer.data(last));
            self.answer.end(self.end);
            return Poll::Ready(last.and_then(|_| self.close(self.said)));
        }
        if self.silence.as_mut().poll(cx).is_ready() {
            self.silence.as_mut().reset(Instant::now() + SIGN_OF_LIFE);
            // Polled, so that it wakes this task when it is over.
            let _ = self.silence.as_mut().poll(cx);
            let sign = Bytes::from_static(if self.as_events { b":\n\n" } else { b" " });
            self.answer.data(&sign);
            return Poll::Ready(Some(sign));
        }
        Poll::Pending
    }

    /// What has become of one of the requests, which is awaited no longer.
    fn poll_came(&mut self, cx: &mut Context<'_>) -> Poll<Came> {
        for at in 0..self.asked.len() {
            let Asked { inbox, withdrawn, .. } = &mut self.asked[at];
            let next = inbox.poll_next(cx);
            let came = match next {
                Poll::Ready(Ok(Piece { text, why: Some(why), .. })) => {
                    Came::Error(text, why.broken())
                }
                Poll::Ready(Ok(Piece { text, weight: Weight::Answer(_), .. })) => {
                    Came::Answer(text)
                }
                // Nothing else was asked for.
                Poll::Ready(Ok(_)) => {
                    cx.waker().wake_by_ref();
                    continue;
                }
                _ if withdrawn.as_mut().poll(cx).is_ready() => Came::Nothing,
                // It is because the drain is over that its program ended.
                Poll::Ready(Err(_)) if self.abandoned.is_cancelled() => continue,
                Poll::Ready(Err(_)) => Came::Error(self.asked[at].error(LOST), End::ServerGone),
                Poll::Pending => continue,
            };
            self.asked.remove(at);
            return Poll::Ready(came);
        }
        if self.asked.is_empty() {
            return Poll::Pending;
        }
        self.given_up.take_if(|given_up| given_up.as_mut().poll(cx).is_ready());
        if self.given_up.is_none() {
            let text = self.asked.remove(0).error(GIVEN_UP);
            return Poll::Ready(Came::Error(text, End::Refused));
        }
        Poll::Pending
    }

    /// The next answer, in the form of the body. What the bridge says for the program is not
    /// shown, as elsewhere.
    fn say(&mut self, text: &Bytes, is_shown: bool) -> Bytes {
        self.silence.as_mut().reset(Instant::now() + SIGN_OF_LIFE);
        let said = self.framed(text, self.said);
        self.said += 1;
        if is_shown {
            self.answer.data(&self.framed(text, self.shown));
            self.shown += 1;
        }
        said
    }

    fn framed(&self, text: &Bytes, before: usize) -> Bytes {
        if self.as_events {
            return reply::event(text, None);
        }
        let mark = if before == 0 { b"[" } else { b"," };
        Bytes::from([&mark[..], text].concat())
    }

    /// What comes behind so many.
    fn close(&self, before: usize) -> Option<Bytes> {
        let end = if before == 0 { &b"[]"[..] } else { b"]" };
        (!self.as_events).then_some(Bytes::from_static(end))
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers").field("said", &self.said).finish_non_exhaustive()
    }
}
