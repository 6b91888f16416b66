//! What waits for one stream of a client, bounded in bytes: whoever fills it never waits.

use std::{
    collections::{VecDeque, vec_deque},
    fmt, mem,
    ops::AddAssign,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::{
    farewell::Farewell,
    replay::EventId,
    reply::{self, INTERNAL},
    splice::Gist,
};
use crate::{jsonrpc::Kind, relay::remote::problem::Problem};

/// Most bytes that wait for a stream beside answers; beyond it notifications go, then the stream.
/// Answers wait as long as their client takes anything: it has asked for them.
const LIMIT: usize = 4 << 20;
/// What an entry takes beside its text.
const ENTRY: usize = 64;

/// A message for a client, without a line break.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) text: Bytes,
    pub(super) weight: Weight,
    /// Under which a client that loses the stream can say that it had this; none where it cannot
    /// go on with it.
    pub(super) event: Option<EventId>,
    /// It is the proxy that says this, in place of an answer, and why.
    pub(super) why: Option<Arc<Problem>>,
}

impl Piece {
    /// One of a stream that cannot be gone on with.
    pub(super) fn new(text: Bytes, weight: Weight) -> Self {
        Self { text, weight, event: None, why: None }
    }
}

/// What it means when a message does not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    /// Something was not said.
    Notification,
    /// The program waits for an answer.
    Request,
    /// The client waits for this answer; the last message of its stream. The code, if it is an
    /// error.
    Answer(Option<i64>),
    /// One of many answers of a stream that has them all.
    AnswerAmong,
}

impl Weight {
    /// What a message weighs; none where it is no message.
    pub(super) fn of(gist: &Gist) -> Option<Self> {
        match gist.kind {
            Kind::Unknown => None,
            Kind::Notification => Some(Self::Notification),
            Kind::Request(_) => Some(Self::Request),
            Kind::Answer(_) | Kind::Refusal => Some(Self::Answer(gist.error)),
        }
    }

    fn is_answer(self) -> bool {
        matches!(self, Self::Answer(_) | Self::AnswerAmong)
    }
}

/// Messages that do not arrive.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) count: u64,
    /// Those of them that wait for an answer.
    pub(super) requests: Vec<Refused>,
}

/// A request of the program that does not arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) event: Option<EventId>,
    /// What to answer.
    pub(super) answer: Bytes,
}

impl Refused {
    pub(super) fn new(request: &Piece) -> Self {
        let message = "the client does not take this request";
        let answer = reply::refusal(&request.text, INTERNAL, message);
        Self { event: request.event, answer }
    }
}

impl Lost {
    /// So many notifications.
    pub(super) fn notifications(count: u64) -> Self {
        Self { count, requests: Vec::new() }
    }

    /// This one as well.
    pub(super) fn add(&mut self, piece: &Piece) {
        self.count += 1;
        if piece.weight == Weight::Request {
            self.requests.push(Refused::new(piece));
        }
    }
}

impl AddAssign for Lost {
    fn add_assign(&mut self, mut other: Self) {
        self.count += other.count;
        self.requests.append(&mut other.requests);
    }
}

/// Messages in order. The oldest notifications give way to what comes later.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pieces: VecDeque<Piece>,
    /// How many of them are answers.
    answers: usize,
    /// Of what else there is.
    bytes: usize,
    /// How many at the front are known to be no notifications: they are not looked at again.
    heavy: usize,
}

/// These, whatever their size.
impl FromIterator<Piece> for Queue {
    fn from_iter<I: IntoIterator<Item = Piece>>(pieces: I) -> Self {
        let mut queue = Self::default();
        pieces.into_iter().for_each(|piece| queue.add(piece));
        queue
    }
}

impl IntoIterator for Queue {
    type Item = Piece;
    type IntoIter = vec_deque::IntoIter<Piece>;

    fn into_iter(self) -> Self::IntoIter {
        self.pieces.into_iter()
    }
}

impl Queue {
    /// Takes those out that were said on this stream.
    pub(super) fn take_of(&mut self, stream: u64) -> Vec<Piece> {
        let is_of_it = |piece: &Piece| piece.event.is_some_and(|id| id.stream == stream);
        let (taken, left): (Vec<_>, Vec<_>) = mem::take(self).into_iter().partition(is_of_it);
        *self = left.into_iter().collect();
        taken
    }

    /// Returns how many notifications had to go, and whether everything else fits. A single
    /// message always does, and so do answers: their client waits for them.
    pub(super) fn push(&mut self, piece: Piece) -> (u64, bool) {
        self.add(piece);
        let mut dropped = 0;
        while !self.fits() {
            let light = |piece: &Piece| piece.weight == Weight::Notification;
            let rest = self.pieces.iter().skip(self.heavy);
            self.heavy += rest.take_while(|piece| !light(piece)).count();
            if self.take(self.heavy).is_none() {
                return (dropped, false);
            }
            dropped += 1;
        }
        (dropped, true)
    }

    /// Whether it keeps to its bound.
    pub(super) fn fits(&self) -> bool {
        self.bytes <= LIMIT || self.pieces.len() - self.answers <= 1
    }

    fn add(&mut self, piece: Piece) {
        if piece.weight.is_answer() {
            self.answers += 1;
        } else {
            self.bytes += piece.text.len() + ENTRY;
        }
        self.pieces.push_back(piece);
    }

    /// Takes the oldest message, whatever it is.
    pub(super) fn pop(&mut self) -> Option<Piece> {
        self.heavy = self.heavy.saturating_sub(1);
        self.take(0)
    }

    fn take(&mut self, at: usize) -> Option<Piece> {
        let piece = self.pieces.remove(at)?;
        if piece.weight.is_answer() {
            self.answers -= 1;
        } else {
            self.bytes -= piece.text.len() + ENTRY;
        }
        Some(piece)
    }
}

/// Why nothing more comes to an [`Inbox`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// All was said.
    Over,
    /// The session has ended before its time.
    Lost,
    /// The client did not read.
    Overflown,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Queue,
    cut: Option<Cut>,
    /// The inbox is gone.
    left: bool,
    /// The client gets a stream of events, and not just the answer.
    streams: bool,
    /// The client has cancelled what it asked for.
    withdrawn: CancellationToken,
    /// It was given an id of this stream, with which it can go on.
    resumable: bool,
    waker: Option<Waker>,
}

/// The filling end of a stream. Dropped, it says that all was said.
#[derive(Debug)]
pub(super) struct Outbox(Arc<Mutex<Shared>>);

/// The emptying end. Dropped, the client went away.
#[derive(Debug)]
pub(super) struct Inbox {
    shared: Arc<Mutex<Shared>>,
    /// Dropped with it.
    tied: Option<Box<dyn Tie>>,
    /// Not before it has been emptied or left.
    farewell: Option<Arc<Farewell>>,
}

/// What is to be done when a client leaves, by being dropped.
pub(super) trait Tie: fmt::Debug + Send + Sync {}

/// A stream on which nothing waits yet but `queue`.
pub(super) fn stream(queue: Queue) -> (Outbox, Inbox) {
    let shared = Arc::new(Mutex::new(Shared { queue, ..Shared::default() }));
    (Outbox(Arc::clone(&shared)), Inbox { shared, tied: None, farewell: None })
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Outbox {
    /// Whether somebody takes what is pushed.
    pub(super) fn is_open(&self) -> bool {
        let shared = lock(&self.0);
        !shared.left && shared.cut.is_none()
    }

    /// Queues a message, or cuts the stream where it does not fit. Returns what will not arrive,
    /// that included which nobody takes any more.
    pub(super) fn push(&self, piece: Piece) -> Lost {
        let mut lost = Lost::default();
        let mut shared = lock(&self.0);
        if shared.left || shared.cut.is_some() {
            lost.add(&piece);
            return lost;
        }
        let (notifications, fits) = shared.queue.push(piece);
        lost.count += notifications;
        if !fits {
            mem::take(&mut shared.queue).into_iter().for_each(|piece| lost.add(&piece));
            shared.cut = Some(Cut::Overflown);
        }
        wake(shared);
        lost
    }

    /// Whether the client gets, or got, a stream of events.
    pub(super) fn streams(&self) -> bool {
        lock(&self.0).streams
    }

    /// The client has cancelled what it asked for: nothing need be said any more.
    pub(super) fn withdraw(&self) {
        let withdrawn = lock(&self.0).withdrawn.clone();
        withdrawn.cancel();
    }

    /// Whether it has.
    pub(super) fn is_withdrawn(&self) -> bool {
        lock(&self.0).withdrawn.is_cancelled()
    }

    /// How many answers the client has not taken.
    pub(super) fn answers(&self) -> usize {
        lock(&self.0).queue.answers
    }

    /// Whether the client was cut off because it did not read.
    pub(super) fn is_overflown(&self) -> bool {
        lock(&self.0).cut == Some(Cut::Overflown)
    }

    /// Whether the client can go on with this stream when it has lost it.
    pub(super) fn is_resumable(&self) -> bool {
        lock(&self.0).resumable
    }

    /// Nothing more comes.
    pub(super) fn cut(&self, why: Cut) {
        let mut shared = lock(&self.0);
        shared.cut.get_or_insert(why);
        wake(shared);
    }

    /// What the client did not take, which it gets here no more.
    pub(super) fn rest(&self) -> Queue {
        mem::take(&mut lock(&self.0).queue)
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.cut(Cut::Over);
    }
}

/// Wakes the inbox, without the lock.
fn wake(mut shared: MutexGuard<'_, Shared>) {
    let waker = shared.waker.take();
    drop(shared);
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Inbox {
    /// The same, which drops `tie` when it is dropped.
    pub(super) fn tied(mut self, tie: impl Tie + 'static) -> Self {
        self.tied = Some(Box::new(tie));
        self
    }

    /// The same, on which answers come of the session of this farewell.
    pub(super) fn before(mut self, farewell: Option<Arc<Farewell>>) -> Self {
        self.farewell = farewell;
        self
    }

    /// What tells that the client has cancelled what it asked for.
    pub(super) fn withdrawn(&self) -> CancellationToken {
        lock(&self.shared).withdrawn.clone()
    }

    /// From now on a stream of events takes what comes.
    pub(super) fn streams(self) -> Self {
        lock(&self.shared).streams = true;
        self
    }

    /// The client has an id of this stream already.
    pub(super) fn know_id(&self) {
        lock(&self.shared).resumable = true;
    }

    /// Whether the client was cut off because it did not read.
    pub(super) fn is_overflown(&self) -> bool {
        lock(&self.shared).cut == Some(Cut::Overflown)
    }

    /// The next message, or why there is none.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Cut>> {
        let mut shared = lock(&self.shared);
        if let Some(piece) = shared.queue.pop() {
            shared.resumable |= piece.event.is_some();
            return Poll::Ready(Ok(piece));
        }
        if let Some(cut) = shared.cut {
            return Poll::Ready(Err(cut));
        }
        if !shared.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            shared.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        lock(&self.shared).left = true;
    }
}

#[cfg(test)]
mod tests;
