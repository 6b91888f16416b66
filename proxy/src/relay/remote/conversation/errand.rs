//! A message on its way, as the conversation that carries it sees it.

use std::pin::pin;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::time::{Instant, sleep_until};
use tokio_util::{sync::CancellationToken, task::task_tracker::TaskTrackerToken};

use super::{Answer, Conversation, LAST_WORDS, Marks, Shown, Unspoken};
use crate::{
    mcp::header::SESSION_ID,
    relay::remote::said::{Asked, Said},
    tap::Probe,
    traffic::{BodyKind, End, ResponseHead},
};

/// A message on its way, and what is awaited for it.
pub(super) struct Errand<'a> {
    pub(super) said: &'a Said,
    /// What others know of it.
    pub(super) marks: &'a Marks,
    /// The session that the response began.
    pub(super) minted: Option<HeaderValue>,
    /// What the server says, where it is the proxy that asks and not the client.
    pub(super) kept: Option<Vec<Bytes>>,
    /// Shows the tap what is asked, once, and what is answered.
    pub(super) question: Option<Probe>,
    pub(super) shown: Shown,
    /// The server seems not to speak this transport.
    pub(super) unspoken: Option<Unspoken>,
    /// What the client waited for in vain, when it is over.
    pub(super) unanswered: Vec<Asked>,
    /// How its response is read, once it has begun.
    pub(super) kind: Option<BodyKind>,
    /// The tap ties to it what comes on other streams of its session.
    pub(super) tied: bool,
    /// Keeps the session from being ended in which it is said.
    pub(super) under_way: Option<TaskTrackerToken>,
    pub(super) patience: Patience<'a>,
}

/// How long an exchange is followed.
pub(super) struct Patience<'a> {
    answered: &'a CancellationToken,
    /// When it is left at the latest.
    until: Option<Instant>,
}

impl<'a> Errand<'a> {
    /// One that the tap is not shown.
    pub(super) fn unseen(said: &'a Said, marks: &'a Marks) -> Self {
        Self {
            said,
            marks,
            minted: None,
            kept: None,
            question: None,
            shown: Shown(Answer(None)),
            unspoken: None,
            unanswered: Vec::new(),
            kind: None,
            tied: true,
            under_way: None,
            patience: Patience { answered: &marks.answered, until: None },
        }
    }

    /// One that the tap is shown by these, as sent with `headers`.
    pub(super) fn seen(
        said: &'a Said,
        marks: &'a Marks,
        headers: &HeaderMap,
        (question, answer): (Option<Probe>, Answer),
    ) -> Self {
        let mut errand = Self::unseen(said, marks);
        (errand.question, errand.shown) = (question, Shown(answer));
        errand.tied = headers.contains_key(SESSION_ID) && !said.is_modern();
        errand
    }

    /// One of the proxy's own.
    pub(super) fn own(mut self) -> Self {
        self.kept = Some(Vec::new());
        self
    }

    /// The exchange is over: whoever still waits for an answer is told by the proxy that there is
    /// none, and the tap how it ended.
    pub(super) fn finish(&mut self, timed_out: bool) {
        if self.unspoken.is_some() {
            return;
        }
        let over = self.marks.awaited.is_over();
        self.unanswered = self.marks.awaited.give_up();
        if !self.tied {
            for text in self.marks.awaited.take_elsewhere() {
                self.show_elsewhere(&text);
            }
        }
        self.shown.0.end(if timed_out {
            End::TimedOut
        } else if !self.unanswered.is_empty() {
            End::GivenUp
        } else if over {
            End::Clean
        } else {
            End::Withdrawn
        });
    }

    /// Shows the tap an answer that it could not know for one.
    fn show_elsewhere(&mut self, text: &Bytes) {
        match self.kind {
            None => {
                let (status, body) = (StatusCode::OK, BodyKind::Json);
                self.shown.0.head(|| ResponseHead { status, body, session: None });
                self.shown.0.data(text);
                self.kind = Some(BodyKind::Json);
            }
            Some(BodyKind::EventStream) => {
                let event = [b"\n\ndata: ", &text[..], b"\n\n"].concat();
                self.shown.0.data(&event.into());
            }
            Some(_) => {}
        }
    }
}

impl Patience<'_> {
    /// What comes of this; none if everything has been answered and the server has had its last
    /// words since.
    pub(super) async fn unless_over<T>(&mut self, it: impl Future<Output = T>) -> Option<T> {
        let mut it = pin!(it);
        if self.until.is_none() {
            tokio::select! {
                it = &mut it => return Some(it),
                () = self.answered.cancelled() => {}
            }
        }
        let until = self.last_words();
        tokio::select! {
            // First the time: a server may always have something to say.
            biased;
            () = sleep_until(until) => None,
            it = it => Some(it),
        }
    }

    /// From now on nothing is awaited. Returns how long the server may go on.
    pub(super) fn last_words(&mut self) -> Instant {
        *self.until.get_or_insert_with(|| Instant::now() + LAST_WORDS)
    }
}

impl Conversation {
    /// Shows the tap a message that the client withdrew before it was sent.
    pub(in crate::relay::remote) fn show_withdrawn(&self, said: &Said) {
        if said.asked.is_empty() {
            return;
        }
        self.server.show_withdrawn(&self.headers(said, &self.current()), &said.text());
    }
}
