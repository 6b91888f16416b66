//! One session: a program, the requests that wait for it, and the streams of its client. Holds
//! no connection and no process; what happens to it is told by those who do.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    asides::Asides,
    counters::{Counters, Ended},
    farewell::Farewell,
    launcher::Audience,
    outbox::{Cut, Inbox, Lost, Piece, Queue, Weight, stream},
    owed::Owed,
    replay::{EventId, Replay},
    routing::{Place, Reach, Routing},
    splice::{BOUNDS, Gist, Said},
    streams::{Numbered, Streams},
};
use crate::{
    jsonrpc::{Id, Kind},
    mcp::{Field, method},
    relay::remote::{problem::Problem, rights::Rights},
    scan::Scanner,
};

/// Most requests of one client that may wait for its program, and most answers on the one stream
/// of a client that may wait for it.
const MOST_WAITING: usize = 1024;

/// A session with a program.
#[derive(Debug)]
pub(super) struct Session {
    /// What the client knows it by: a secret.
    pub(super) id: String,
    /// What the log and the reports know it by.
    pub(super) tag: Arc<str>,
    /// By which its program asks, if that is a remote server.
    pub(super) rights: Rights,
    /// What comes on the one stream of a client, if that is what it has.
    pub(super) owed: Owed,
    asides: Asides,
    state: Mutex<State>,
    over: CancellationToken,
    counters: Arc<Counters>,
    farewell: Option<Arc<Farewell>>,
}

#[derive(Debug)]
struct State {
    /// What its client is; none before there is one.
    client: Option<Client>,
    routing: Routing,
    /// The streams of the requests that wait, by their number.
    waiting: HashMap<u64, Waiting>,
    /// Those that belong to none.
    streams: Streams,
    /// Its revision has batches.
    batches: bool,
    /// Lines for the program; none once the session is over.
    input: Option<mpsc::Sender<Bytes>>,
    used: Instant,
    /// Why it has ended.
    ended: Option<Ended>,
}

/// How the client of a session hears of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    /// As streams of events and answers (streamable HTTP).
    OfStreams,
    /// All that its program says goes to the one stream of its client (2024-11-05).
    OfLine,
}

#[derive(Debug)]
struct Waiting {
    id: Id,
    to: Numbered,
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
    /// A session whose program gets what is sent to `input`. It has no client yet.
    pub(super) fn new(
        id: String,
        tag: Arc<str>,
        rights: Rights,
        input: mpsc::Sender<Bytes>,
        counters: Arc<Counters>,
        farewell: Option<Arc<Farewell>>,
    ) -> Self {
        let state = State {
            client: None,
            routing: Routing::default(),
            waiting: HashMap::new(),
            streams: Streams::default(),
            batches: false,
            input: Some(input),
            used: Instant::now(),
            ended: None,
        };
        let (owed, over) = (Owed::default(), CancellationToken::new());
        let (asides, state) = (Asides::default(), Mutex::new(state));
        Self { id, tag, rights, owed, asides, state, over, counters, farewell }
    }

    /// It has a client from now on: where this `is_line`, one whose only stream gets all that
    /// its program says (2024-11-05).
    pub(super) fn begin(&self, is_line: bool) {
        let mut state = self.lock();
        state.client = Some(if is_line { Client::OfLine } else { Client::OfStreams });
        self.counters.count_begun();
        if let Some(farewell) = self.farewell.as_ref().filter(|_| !is_line) {
            farewell.begin();
        }
        if state.input.is_none() {
            // Its program has ended already, as its client will hear.
            self.counters.count_ended(Ended::Exited);
        }
    }

    /// It goes on where a process before this one has left it: what its client is, and which
    /// streams it had, went with that.
    pub(super) fn resume_where_unknown(&self) {
        let mut state = self.lock();
        state.streams.replay = Replay::behind_all_before();
        // Of which revision it is, its program knows.
        state.batches = true;
        drop(state);
        self.begin(false);
    }

    /// Whether its client is one whose only stream gets all that its program says.
    pub(super) fn is_line(&self) -> bool {
        self.lock().client == Some(Client::OfLine)
    }

    /// Passes on what wants no answer, or one that comes on the stream of the client.
    pub(super) async fn tell(&self, said: Said) -> Result<(), Unheard> {
        let input = self.input()?;
        let Said { line, gist, .. } = said;
        let asks = matches!(gist.kind, Kind::Request(_));
        if asks && self.lock().streams.answers() >= MOST_WAITING {
            return Err(Unheard::TooMany);
        }
        let owing = asks.then(|| self.owed.one_more());
        let room = input.reserve().await.map_err(|_| Unheard::Over)?;
        if let (Kind::Request(id), Some(owing)) = (gist.kind.clone(), owing) {
            self.owed.remember(id, owing);
        } else if gist.is(method::CANCELLED)
            && let Some(id) = &gist.cancelled
        {
            self.owed.forget(id);
            self.lock().withdraw(id);
        }
        room.send(line);
        Ok(())
    }

    /// Passes on a request. Its answer comes to the inbox, as the last message there; before it,
    /// if the client `takes_events`, what belongs to it.
    pub(super) async fn ask(
        &self,
        said: Said,
        takes_events: bool,
    ) -> Result<(Inbox, EventId), Unheard> {
        let input = self.lock().input.clone().ok_or(Unheard::Over)?;
        // From here on nothing waits: the answer may come as soon as the line is sent.
        let room = input.reserve().await.map_err(|_| Unheard::Over)?;
        let Kind::Request(id) = said.gist.kind else { return Err(Unheard::Over) };
        let mut state = self.lock();
        if state.input.is_none() {
            return Err(Unheard::Over);
        }
        let is_full = state.routing.waiting() >= MOST_WAITING;
        if is_full && !state.forget_withdrawn() && !state.forget_left() {
            return Err(Unheard::TooMany);
        }
        state.used = Instant::now();
        let number = state.routing.ask(id.clone(), said.gist.token).ok_or(Unheard::IdInUse)?;
        let (outbox, inbox) = stream(Queue::default());
        let first = state.streams.replay.begin_stream();
        let to = Numbered::new(outbox, first.stream);
        state.waiting.insert(number, Waiting { id, to, takes_events });
        drop(state);
        room.send(said.line);
        Ok((inbox.before(self.farewell.clone()), first))
    }

    /// Opens a stream for what belongs to no request; what waited for one comes first.
    pub(super) fn listen(&self) -> Result<(Inbox, EventId), Unheard> {
        let mut lost = Lost::default();
        let listened = self.lock_used()?.streams.open(&mut lost);
        self.settle(lost);
        Ok(listened)
    }

    /// Goes on with the stream of this event, behind it. Where that was the stream of a request
    /// which is not answered yet, says which.
    pub(super) fn resume(&self, last: EventId) -> Result<(Inbox, EventId, Option<Id>), Unheard> {
        let mut state = self.lock_used()?;
        let State { waiting, streams, .. } = &mut *state;
        let asked = waiting.values_mut().find(|it| it.to.number == last.stream);
        let mut is_unknown = !streams.replay.has_begun(last.stream);
        let mut lost = Lost::default();
        if let Some(Waiting { id, to, .. }) = asked {
            if to.outbox.streams() {
                let missed = streams.replay.after(last, to.outbox.rest(), &mut lost);
                let (outbox, inbox) = stream(missed.into_iter().collect());
                if to.outbox.is_withdrawn() {
                    outbox.withdraw();
                }
                // Whoever had it before, if anybody, has it no more.
                to.outbox = outbox;
                inbox.know_id();
                let inbox = inbox.before(self.farewell.clone()).streams();
                let goes_on = (inbox, last, Some(id.clone()));
                drop(state);
                self.settle(lost);
                return Ok(goes_on);
            }
            // Until it is a stream of events, nobody has an id of it.
            is_unknown = true;
        }
        if let Some(missed) = streams.replay.answered(last, &mut lost) {
            drop(state);
            self.settle(lost);
            // Dropped at once: with the answer all was said.
            let (_, inbox) = stream(missed.into_iter().collect());
            return Ok((inbox.before(self.farewell.clone()), last, None));
        }
        let (inbox, begin) = if is_unknown {
            streams.open(&mut lost)
        } else {
            (streams.resume(last, &mut lost), last)
        };
        drop(state);
        self.settle(lost);
        Ok((inbox, begin, None))
    }

    /// The program has taken the client, with this answer.
    pub(super) fn initialized(&self, answer: &[u8]) {
        let mut scanner = Scanner::new(BOUNDS);
        scanner.feed(answer);
        let revision = scanner.message().text(Field::NegotiatedVersion);
        self.lock().batches = revision.is_some_and(|revision| revision == "2025-03-26");
    }

    /// Whether its revision has batches.
    pub(super) fn has_batches(&self) -> bool {
        self.lock().batches
    }

    /// Whether it has ended.
    pub(super) fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// Whether nothing is under way: nobody waits for an answer.
    pub(super) fn is_at_rest(&self) -> bool {
        let state = self.lock();
        let waits = |it: &Waiting| it.to.outbox.is_open() && !it.to.outbox.is_withdrawn();
        !state.waiting.values().any(waits) && self.owed.is_nothing()
    }

    /// How long nobody has used it: nobody has a stream of it open or waits for an answer.
    pub(super) fn idle(&self) -> Duration {
        let mut state = self.lock();
        let lost = state.streams.tidy();
        let waits = state.waiting.values().any(|it| it.to.outbox.is_open());
        if waits || !state.streams.is_empty() {
            state.used = Instant::now();
        }
        let idle = state.used.elapsed();
        drop(state);
        self.settle(lost);
        idle
    }

    /// Counts what does not reach the client, and tells the program that it need not wait for
    /// an answer.
    fn settle(&self, lost: Lost) {
        self.counters.count_dropped(lost.count);
        for request in lost.requests {
            let Ok(input) = self.input() else { return };
            self.asides.say(&input, &request.answer, &self.tag);
        }
    }

    fn input(&self) -> Result<mpsc::Sender<Bytes>, Unheard> {
        self.lock_used()?.input.clone().ok_or(Unheard::Over)
    }

    /// The state of a session that goes on, and is used.
    fn lock_used(&self) -> Result<MutexGuard<'_, State>, Unheard> {
        let mut state = self.lock();
        if state.input.is_none() {
            return Err(Unheard::Over);
        }
        state.used = Instant::now();
        Ok(state)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// When its client hears what belongs to it.
    fn reach(&self) -> Option<Reach> {
        let Self { to: Numbered { outbox, .. }, takes_events, .. } = self;
        let reach = if outbox.is_open() {
            Some(Reach::Now)
        } else {
            outbox.is_resumable().then_some(Reach::Later)
        };
        reach.filter(|_| *takes_events)
    }
}

impl Audience for Session {
    fn tag(&self) -> &Arc<str> {
        &self.tag
    }

    fn hear_of(&self, text: Bytes, gist: &Gist, why: Option<Problem>) -> bool {
        let Some(mut weight) = Weight::of(gist) else { return false };
        let mut state = self.lock();
        let is_line = state.client == Some(Client::OfLine);
        if is_line && matches!(weight, Weight::Answer(_)) {
            weight = Weight::AnswerAmong;
        }
        if state.input.is_none() {
            // Whoever waited has been told that nothing comes.
            return true;
        }
        let mut lost = state.streams.tidy();
        let State { routing, waiting, streams, .. } = &mut *state;
        let reach = |number| waiting.get(&number).and_then(Waiting::reach);
        // An answer goes out at once. What else is kept must not keep the buffer in which it
        // was read, which may be many times its size.
        let why = why.map(Arc::new);
        let piece = |text| Piece { why: why.clone(), ..Piece::new(text, weight) };
        let own_copy = |text: Bytes| piece(Bytes::copy_from_slice(&text));
        let place =
            if is_line { Place::Own } else { routing.route(gist, reach, !streams.is_empty()) };
        lost += match place {
            Place::Answer(number) => match waiting.remove(&number) {
                Some(mut it) if it.to.streams() => {
                    it.to.answer(it.id, own_copy(text), &mut streams.replay)
                }
                Some(it) => it.to.outbox.push(piece(text)),
                None => Lost::notifications(1),
            },
            Place::Beside(number) => waiting.get_mut(&number).map_or_else(
                || Lost::notifications(1),
                |it| it.to.say(own_copy(text), &mut streams.replay),
            ),
            // The stream of a line cannot be gone on with.
            Place::Own => streams.say(own_copy(text), !is_line),
            Place::Nowhere => Lost::notifications(1),
        };
        let is_unread = is_line && streams.is_overflown();
        drop(state);
        // Not before it is there: a stream on which nothing is owed may end at any time.
        self.owed.settle(&gist.kind);
        self.settle(lost);
        if is_unread {
            // Its stream is its session.
            self.end(Ended::Unread);
        }
        true
    }

    fn end(&self, why: Ended) {
        let mut state = self.lock();
        if state.input.take().is_none() {
            return;
        }
        for (_, it) in state.waiting.drain() {
            it.to.outbox.cut(Cut::Lost);
        }
        state.streams = Streams::default();
        state.routing = Routing::default();
        state.ended = Some(why);
        let has_begun = state.client.is_some();
        drop(state);
        if has_begun {
            self.counters.count_ended(why);
        }
        self.over.cancel();
    }

    async fn ended(&self) {
        self.over.cancelled().await;
    }

    fn token(&self) -> Option<&str> {
        Some(&self.id)
    }

    fn outlives_us(&self) -> bool {
        let state = self.lock();
        // Of a line, the stream ends with this process, and that is its session.
        state.ended == Some(Ended::Shutdown) && state.client == Some(Client::OfStreams)
    }
}

impl State {
    /// The client has cancelled this request, which may never be answered. Until its number is
    /// needed, an answer still goes where it was asked for.
    fn withdraw(&mut self, id: &Id) {
        if let Some(it) = self.routing.withdraw(id).and_then(|number| self.waiting.get(&number)) {
            it.to.outbox.withdraw();
        }
    }

    /// Forgets a request that its client has cancelled, if there is one, first of all one whose
    /// stream it has left. What is answered late goes nowhere from then on.
    fn forget_withdrawn(&mut self) -> bool {
        let Self { routing, waiting, .. } = self;
        let left = |number| waiting.get(&number).is_none_or(|it| !it.to.outbox.is_open());
        let forgotten = routing.forget_withdrawn(left);
        forgotten.is_some_and(|number| {
            waiting.remove(&number);
            true
        })
    }

    /// Forgets the oldest request whose client has left its stream, if there is one, first of all
    /// one whose stream it cannot go on with.
    fn forget_left(&mut self) -> bool {
        let Self { routing, waiting, .. } = self;
        let left = waiting.iter().filter(|(_, it)| !it.to.outbox.is_open());
        let oldest = left.min_by_key(|(number, it)| (it.to.outbox.is_resumable(), **number));
        let Some(number) = oldest.map(|(number, _)| *number) else { return false };
        routing.forget_left(number);
        waiting.remove(&number);
        true
    }
}

#[cfg(test)]
mod tests;
