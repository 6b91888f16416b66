//! The one queue between forwarding and observing.
//!
//! Relays push what passes, time-stamped before it is written onwards; the observer takes it
//! in the same order. A push never waits, locks or allocates: when the queue is full, in
//! slots or in bytes, what passes is dropped and counted, and the next thing that fits says
//! so. Of bytes for the server that do not fit the front is kept, for it may name what is asked.
//! The observer is not woken for each push, only when it sleeps or the queue fills up.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence},
    },
    task::Poll,
    time::{Duration, Instant},
};

use bytes::Bytes;
use crossbeam_queue::ArrayQueue;
use futures_util::task::AtomicWaker;

use crate::{
    observe::Observer,
    traffic::{Direction, End, ResponseHead, Seen, Stream, StreamKind, What},
};

/// Bytes for the server that pass whatever is queued: slots are bounded too.
const FRONT: usize = 1 << 10;
/// Slots of the queue; one holds a chunk of bytes, a response head or an end.
const SLOTS: usize = 4096;
/// Queued slots and bytes at which a dozing observer is woken before its time.
const WAKE_SLOTS: usize = SLOTS / 4;
const WAKE_BYTES: usize = 1 << 20;
/// How long the observer lets work pile up between two looks.
const DOZE: Duration = Duration::from_millis(10);
/// Looks in vain after which the observer sleeps until it is woken.
const LOOKS_BEFORE_SLEEP: u32 = 10;

/// The observer is at work and will look again by itself.
const AWAKE: u8 = 0;
/// The observer looks again soon; only a queue that fills up wakes it.
const DOZING: u8 = 1;
/// The observer waits for the next push.
const ASLEEP: u8 = 2;

/// The relays' end of the queue.
#[derive(Clone, Debug)]
pub struct Tap {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    queue: ArrayQueue<Seen>,
    bytes: AtomicUsize,
    byte_limit: usize,
    wake_bytes: usize,
    /// `AWAKE`, `DOZING` or `ASLEEP`.
    observer: AtomicU8,
    closed: AtomicBool,
    waker: AtomicWaker,
    streams: AtomicU64,
    lost: Lost,
}

/// What the tap had to drop since the start.
#[derive(Debug, Default)]
struct Lost {
    things: AtomicU64,
    bytes: AtomicU64,
}

impl Tap {
    /// A queue that keeps at most `byte_limit` bytes of bodies, beside 1 KiB a slot for fronts,
    /// and its other end.
    pub fn new(byte_limit: usize) -> (Self, Drain) {
        let shared = Arc::new(Shared {
            queue: ArrayQueue::new(SLOTS),
            bytes: AtomicUsize::new(0),
            byte_limit,
            wake_bytes: WAKE_BYTES.min(byte_limit / 2),
            observer: AtomicU8::new(AWAKE),
            closed: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            streams: AtomicU64::new(0),
            lost: Lost::default(),
        });
        (Self { shared: Arc::clone(&shared) }, Drain { shared })
    }

    /// Begins to observe a stream: a probe for each direction, to the server first.
    pub fn open(&self, server_id: Arc<str>, kind: StreamKind) -> (Probe, Probe) {
        let id = self.shared.streams.fetch_add(1, Ordering::Relaxed);
        let stream = Arc::new(Stream::new(id, server_id, kind));
        let probe = |direction| Probe {
            shared: Arc::clone(&self.shared),
            stream: Arc::clone(&stream),
            direction,
            gap: false,
            ended: false,
        };
        (probe(Direction::ToServer), probe(Direction::ToClient))
    }

    /// Things and bytes dropped since the start, because the queue was full or closed.
    pub fn lost(&self) -> (u64, u64) {
        let lost = &self.shared.lost;
        (lost.things.load(Ordering::Relaxed), lost.bytes.load(Ordering::Relaxed))
    }

    /// Lets [`Drain::run`] end once the queue is empty. Call it when every relay has ended;
    /// what is pushed later is lost.
    pub fn close(&self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        self.shared.waker.wake();
    }
}

impl Shared {
    /// Returns whether all of it is queued.
    fn push(&self, mut seen: Seen) -> bool {
        let size = size(&seen);
        let queued = self.bytes.fetch_add(size, Ordering::Relaxed) + size;
        let asks = seen.direction == Direction::ToServer;
        // An empty queue takes anything, or a chunk above the limit would never pass.
        let fits = queued <= self.byte_limit || queued == size;
        let mut kept = if fits || size == 0 || (asks && size <= FRONT) { size } else { 0 };
        // Behind a gap a front names nothing.
        if kept < size
            && asks
            && !seen.gap
            && let What::Data(bytes) = &mut seen.what
        {
            bytes.truncate(FRONT);
            kept = FRONT;
        }
        let open = !self.closed.load(Ordering::Relaxed);
        if !(open && (kept > 0 || size == 0) && self.queue.push(seen).is_ok()) {
            self.bytes.fetch_sub(size, Ordering::Relaxed);
            self.lose(size);
            return false;
        }
        if kept < size {
            self.bytes.fetch_sub(size - kept, Ordering::Relaxed);
            self.lose(size - kept);
        }
        kept == size
    }

    /// Wakes the observer if what was pushed is reason enough.
    fn wake(&self) {
        // Pairs with the fence of `Drain::wait`: either it sees the push or we see its state.
        fence(Ordering::SeqCst);
        let state = self.observer.load(Ordering::SeqCst);
        if (state == ASLEEP || (state == DOZING && self.filling()))
            && self.observer.swap(AWAKE, Ordering::SeqCst) != AWAKE
        {
            self.waker.wake();
        }
    }

    fn lose(&self, size: usize) {
        self.lost.things.fetch_add(1, Ordering::Relaxed);
        self.lost.bytes.fetch_add(size as u64, Ordering::Relaxed);
    }

    fn filling(&self) -> bool {
        self.queue.len() >= WAKE_SLOTS || self.bytes.load(Ordering::Relaxed) >= self.wake_bytes
    }
}

/// Shows the observer one direction of a stream. Dropping it says that the direction ended,
/// for the reason that the relay would have to give otherwise: its peer is gone.
#[derive(Debug)]
pub struct Probe {
    shared: Arc<Shared>,
    stream: Arc<Stream>,
    direction: Direction,
    gap: bool,
    ended: bool,
}

impl Probe {
    /// The stream that it belongs to.
    pub fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// Tells, also from elsewhere, what the stream owes.
    pub fn debt(&self) -> Debt {
        Debt { shared: Arc::clone(&self.shared), stream: Arc::clone(&self.stream) }
    }

    /// These bytes are about to be written onwards.
    pub fn data(&mut self, bytes: &Bytes) {
        if !bytes.is_empty() {
            self.push(What::Data(bytes.clone()));
        }
    }

    /// As [`Probe::data`], but lets the observer sleep until [`Probe::written`]: to wake a
    /// thread costs several times what the write does, which therefore comes first.
    pub fn data_before_write(&mut self, bytes: &Bytes) {
        if !bytes.is_empty() {
            self.queue(What::Data(bytes.clone()));
        }
    }

    /// What was shown by [`Probe::data_before_write`] has been written onwards.
    pub fn written(&self) {
        self.shared.wake();
    }

    /// The head of the response is about to be sent to the client.
    pub fn head(&mut self, head: ResponseHead) {
        self.push(What::Head(head));
    }

    /// Nothing more comes this way. Later calls and the drop say nothing.
    pub fn end(&mut self, end: End) {
        if !self.ended {
            self.ended = true;
            self.push(What::End(end));
        }
    }

    fn push(&mut self, what: What) {
        self.queue(what);
        self.shared.wake();
    }

    fn queue(&mut self, what: What) {
        let seen = Seen {
            stream: Arc::clone(&self.stream),
            direction: self.direction,
            at: Instant::now(),
            gap: self.gap,
            what,
        };
        self.gap = !self.shared.push(seen);
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.end(match self.direction {
            Direction::ToServer => End::ClientGone,
            Direction::ToClient => End::ServerGone,
        });
    }
}

/// What a stream owes: see [`Stream::owed`].
#[derive(Debug)]
pub struct Debt {
    shared: Arc<Shared>,
    stream: Arc<Stream>,
}

impl Debt {
    /// Whether the observer knows of no answer that is to come on the stream, and has taken in
    /// all that was pushed before this was asked.
    pub fn is_paid(&self) -> bool {
        // In this order: the observer is awake from before it takes something out of the queue
        // until it has counted what that means.
        let empty = self.shared.queue.is_empty();
        fence(Ordering::SeqCst);
        let idle = self.shared.observer.load(Ordering::SeqCst) != AWAKE;
        let seen = (empty && idle) || self.shared.closed.load(Ordering::SeqCst);
        seen && self.stream.owed.load(Ordering::SeqCst) == 0
    }
}

/// The observer's end of the queue. What is still queued when it is dropped, and all that is
/// pushed later, counts as lost.
#[derive(Debug)]
pub struct Drain {
    shared: Arc<Shared>,
}

impl Drain {
    /// The next thing that was seen, for tests that look themselves.
    #[cfg(test)]
    pub(crate) fn next(&self) -> Option<Seen> {
        self.shared.queue.pop()
    }

    /// Feeds the observer until the tap is closed and the queue empty.
    pub async fn run(self, mut observer: Observer) {
        let mut vain = 0;
        loop {
            // Looked at before the queue, or what is pushed just before the close is missed.
            let closed = self.shared.closed.load(Ordering::SeqCst);
            if self.feed(|seen| observer.see(seen)) {
                vain = 0;
                // A flood shall not keep other tasks from running.
                tokio::task::yield_now().await;
            } else if closed {
                break;
            } else {
                vain += 1;
            }
            observer.tick(Instant::now());
            let (state, longest) = if vain < LOOKS_BEFORE_SLEEP {
                (DOZING, DOZE)
            } else {
                (ASLEEP, observer.idle_for())
            };
            // Running out of time is as good a reason to look as being woken.
            let _ = tokio::time::timeout(longest, self.wait(state)).await;
            self.shared.observer.store(AWAKE, Ordering::SeqCst);
        }
        observer.finish(Instant::now());
    }

    /// Hands over what is queued now, so that a flood cannot keep the tick from coming.
    /// Returns whether there was anything.
    fn feed(&self, mut see: impl FnMut(Seen)) -> bool {
        let mut left = SLOTS;
        while left > 0 {
            let Some(seen) = self.shared.queue.pop() else { break };
            self.shared.bytes.fetch_sub(size(&seen), Ordering::Relaxed);
            see(seen);
            left -= 1;
        }
        left < SLOTS
    }

    /// Completes when a push woke the observer from `state`, or has work for it already.
    async fn wait(&self, state: u8) {
        let shared = &self.shared;
        shared.observer.store(state, Ordering::SeqCst);
        poll_fn(|context| {
            shared.waker.register(context.waker());
            // Pairs with the fence of `Shared::wake`.
            fence(Ordering::SeqCst);
            let work = match state {
                ASLEEP => !shared.queue.is_empty(),
                _ => shared.filling(),
            };
            let woken = shared.observer.load(Ordering::SeqCst) == AWAKE;
            if work || woken || shared.closed.load(Ordering::SeqCst) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        while self.feed(|seen| self.shared.lose(size(&seen))) {}
    }
}

/// The bytes that count against the limit of the queue.
fn size(seen: &Seen) -> usize {
    match &seen.what {
        What::Data(bytes) => bytes.len(),
        What::Head(_) | What::End(_) => 0,
    }
}

#[cfg(test)]
mod tests;
