//! One session: a program, the requests that wait for it, and the streams of its client. Holds
//! no connection and no process; what happens to it is told by those who do.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    counters::{Counters, Ended},
    outbox::{Cut, Inbox, Outbox, Piece, Queue, Weight, stream},
    program::Audience,
    routing::{Place, Routing},
    splice::{Gist, Said},
};
use crate::jsonrpc::Kind;

/// Most requests of one client that may wait for its program.
const MOST_WAITING: usize = 1024;
/// Most streams of its own that a client may have open; the oldest is ended for another.
const MOST_STREAMS: usize = 8;

/// A session with a program.
#[derive(Debug)]
pub(super) struct Session {
    /// What the client knows it by: a secret.
    pub(super) id: String,
    /// What the log and the reports know it by.
    pub(super) tag: Arc<str>,
    state: Mutex<State>,
    over: CancellationToken,
    counters: Arc<Counters>,
}

#[derive(Debug)]
struct State {
    routing: Routing,
    /// The streams of the requests that wait, by their number.
    waiting: HashMap<u64, Waiting>,
    /// The streams that belong to no request, oldest first.
    own: Vec<Outbox>,
    /// What waits for the next of these.
    backlog: Queue,
    /// Lines for the program; none once the session is over.
    input: Option<mpsc::Sender<Bytes>>,
    used: Instant,
}

#[derive(Debug)]
struct Waiting {
    outbox: Outbox,
    /// The client takes other messages beside the answer.
    takes_events: bool,
}

/// Why a message does not reach the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unheard {
    /// The program is gone, or about to.
    #[error("the session has ended; initialize a new one")]
    Over,
    /// The client uses an id twice.
    #[error("a request with this id is still being worked on; give each request its own id")]
    IdInUse,
    /// The client asks more than it waits for.
    #[error("too many requests wait already; wait for some answers")]
    TooMany,
    /// It could not be given back as it was written.
    #[error("the id or the progress token is too long; a number will do")]
    LongId,
}

impl Session {
    /// A session whose program gets what is sent to `input`.
    pub(super) fn new(
        id: String,
        tag: Arc<str>,
        input: mpsc::Sender<Bytes>,
        counters: Arc<Counters>,
    ) -> Self {
        let state = State {
            routing: Routing::default(),
            waiting: HashMap::new(),
            own: Vec::new(),
            backlog: Queue::default(),
            input: Some(input),
            used: Instant::now(),
        };
        Self { id, tag, state: Mutex::new(state), over: CancellationToken::new(), counters }
    }

    /// Passes on what wants no answer.
    pub(super) async fn tell(&self, said: Said) -> Result<(), Unheard> {
        let input = self.input()?;
        input.send(said.line).await.map_err(|_| Unheard::Over)
    }

    /// Passes on a request. Its answer comes to the inbox, as the last message there; before it,
    /// if the client `takes_events`, what belongs to it.
    pub(super) async fn ask(&self, said: Said, takes_events: bool) -> Result<Inbox, Unheard> {
        let input = self.input()?;
        // From here on nothing waits: the answer may come as soon as the line is sent.
        let room = input.reserve().await.map_err(|_| Unheard::Over)?;
        let Kind::Request(id) = said.gist.kind else { return Err(Unheard::Over) };
        let mut state = self.lock();
        if state.input.is_none() {
            return Err(Unheard::Over);
        }
        if state.routing.waiting() >= MOST_WAITING {
            return Err(Unheard::TooMany);
        }
        let number = state.routing.ask(id, said.gist.token).ok_or(Unheard::IdInUse)?;
        let (outbox, inbox) = stream(Queue::default());
        state.waiting.insert(number, Waiting { outbox, takes_events });
        drop(state);
        room.send(said.line);
        Ok(inbox)
    }

    /// Opens a stream for what belongs to no request; what waited for one comes first.
    pub(super) fn listen(&self) -> Result<Inbox, Unheard> {
        let mut state = self.lock();
        if state.input.is_none() {
            return Err(Unheard::Over);
        }
        state.used = Instant::now();
        let lost = state.tidy();
        self.counters.count_dropped(lost);
        let (outbox, inbox) = stream(mem::take(&mut state.backlog));
        if state.own.len() >= MOST_STREAMS {
            state.own.remove(0);
        }
        state.own.push(outbox);
        Ok(inbox)
    }

    /// Whether it has ended.
    pub(super) fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// How long nobody has used it: nobody has a stream of it open or waits for an answer.
    pub(super) fn idle(&self) -> Duration {
        let mut state = self.lock();
        let lost = state.tidy();
        self.counters.count_dropped(lost);
        let waits = state.waiting.values().any(|to| to.outbox.is_open());
        if waits || !state.own.is_empty() {
            state.used = Instant::now();
        }
        state.used.elapsed()
    }

    fn input(&self) -> Result<mpsc::Sender<Bytes>, Unheard> {
        let mut state = self.lock();
        state.used = Instant::now();
        state.input.clone().ok_or(Unheard::Over)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Audience for Session {
    fn tag(&self) -> &Arc<str> {
        &self.tag
    }

    fn hear(&self, text: Bytes, gist: &Gist) -> bool {
        let Some(weight) = Weight::of(gist) else { return false };
        let mut state = self.lock();
        if state.input.is_none() {
            // Whoever waited has been told that nothing comes.
            return true;
        }
        let mut lost = state.tidy();
        let State { routing, waiting, own, .. } = &mut *state;
        let takes = |number| {
            waiting.get(&number).is_some_and(|to: &Waiting| to.takes_events && to.outbox.is_open())
        };
        // An answer goes out at once. What else is kept must not keep the buffer in which it
        // was read, which may be many times its size.
        let piece = |text: Bytes| Piece { text: Bytes::copy_from_slice(&text), weight };
        lost += match routing.route(gist, takes, !own.is_empty()) {
            Place::Answer(number) => match waiting.remove(&number) {
                Some(to) => to.outbox.push(Piece { text, weight }),
                None => 1,
            },
            Place::Beside(number) => {
                waiting.get(&number).map_or(1, |to| to.outbox.push(piece(text)))
            }
            Place::Own => match own.last() {
                Some(outbox) => outbox.push(piece(text)),
                None => state.keep(piece(text)),
            },
            Place::Nowhere => 1,
        };
        drop(state);
        self.counters.count_dropped(lost);
        true
    }

    fn end(&self, why: Ended) {
        let mut state = self.lock();
        if state.input.take().is_none() {
            return;
        }
        for (_, to) in state.waiting.drain() {
            to.outbox.cut(Cut::Lost);
        }
        state.own.clear();
        state.backlog = Queue::default();
        state.routing = Routing::default();
        drop(state);
        self.counters.count_ended(why);
        self.over.cancel();
    }

    async fn ended(&self) {
        self.over.cancelled().await;
    }
}

impl State {
    /// Forgets streams that their clients have left, and keeps what they left behind. Returns
    /// how many messages could not be kept.
    fn tidy(&mut self) -> u64 {
        let mut lost = 0;
        let mut at = 0;
        while at < self.own.len() {
            if self.own[at].is_open() {
                at += 1;
                continue;
            }
            let mut rest = self.own.remove(at).rest().unwrap_or_default();
            while let Some(piece) = rest.pop() {
                lost += self.keep(piece);
            }
        }
        lost
    }

    /// Keeps a message for the next stream. Nobody is there to be cut off: when nothing else
    /// helps, the oldest goes.
    fn keep(&mut self, piece: Piece) -> u64 {
        let (mut lost, mut fits) = self.backlog.push(piece);
        while !fits {
            self.backlog.pop();
            lost += 1;
            fits = self.backlog.fits();
        }
        lost
    }
}

#[cfg(test)]
mod tests;
