//! A program that many clients share, which the era without sessions (2026-07-28) allows: every
//! request says all that it needs to say.
//!
//! What one client calls its request another may as well, so each goes to the program under a
//! number of ours and comes back under the client's name. The numbers cannot be guessed: a client
//! whose message the program reads in another way than we do cannot reach a request of another.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher as _, RandomState},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use serde_json::json;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    asides::Asides,
    counters::{Counters, Ended},
    launcher::Audience,
    outbox::{Cut, Inbox, Lost, Outbox, Piece, Queue, Tie, Weight, stream},
    reply,
    session::Unheard,
    splice::{Gist, Names, Said},
};
use crate::{
    jsonrpc::{Id, Kind},
    mcp::{code::METHOD_NOT_FOUND, method},
    relay::{http::health::Health, mirrored::Tools, remote::problem::Problem},
};

/// Most requests that may wait for one program.
const MOST_WAITING: usize = 16_384;
/// Most tasks of a program that are remembered; the oldest are forgotten.
const MOST_TASKS: usize = 1024;
/// How far numbers go that every peer reads exactly, those as well that read them as doubles.
const EXACT_BITS: u32 = 53;

/// A program with many clients.
#[derive(Debug)]
pub(super) struct Shared {
    tag: Arc<str>,
    numbers: RandomState,
    asides: Asides,
    state: Mutex<State>,
    over: CancellationToken,
    counters: Arc<Counters>,
    health: Arc<Health>,
    mirrors: Arc<Tools>,
}

#[derive(Debug)]
struct State {
    /// The requests that wait, by our numbers.
    asked: HashMap<i64, Asked>,
    /// How many of them ask for no stream that stays open, and how many requests are about to.
    at_work: usize,
    /// The tasks that it has told of, oldest first.
    tasks: VecDeque<Box<str>>,
    /// How many there were.
    count: u64,
    /// It has answered something other than an error.
    has_answered: bool,
    /// Lines for the program; none once it is over.
    input: Option<mpsc::Sender<Bytes>>,
    used: Instant,
    over: Option<(Ended, Instant)>,
}

/// A request, and what its client calls it.
#[derive(Debug)]
struct Asked {
    id: Box<[u8]>,
    token: Option<Box<[u8]>>,
    outbox: Outbox,
    /// The client takes other messages beside the answer.
    takes_events: bool,
    wants_log: bool,
    is: Asks,
}

/// What is asked, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    /// Whether the server is of this era.
    Discovery,
    /// Which tools there are.
    Tools,
    /// What to be told for as long as it asks.
    Stream,
    Else,
}

/// A program whose turn it is to be asked: until this is dropped, that counts as work for it.
#[derive(Debug)]
pub(super) struct Turn(Arc<Shared>);

impl Turn {
    pub(super) fn at(program: &Arc<Shared>) -> Self {
        program.lock().at_work += 1;
        Self(Arc::clone(program))
    }

    pub(super) fn program(&self) -> &Arc<Shared> {
        &self.0
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.lock().at_work -= 1;
    }
}

/// A request whose client has left withdraws it.
#[derive(Debug)]
struct Withdrawal {
    shared: Arc<Shared>,
    number: i64,
}

impl Tie for Withdrawal {}

impl Drop for Withdrawal {
    fn drop(&mut self) {
        self.shared.withdraw(self.number);
    }
}

impl Shared {
    /// What talks with a program that gets what is sent to `input`.
    pub(super) fn new(
        tag: Arc<str>,
        input: mpsc::Sender<Bytes>,
        counters: Arc<Counters>,
        health: Arc<Health>,
        mirrors: Arc<Tools>,
    ) -> Self {
        let state = State {
            asked: HashMap::new(),
            at_work: 0,
            tasks: VecDeque::new(),
            count: 0,
            has_answered: false,
            input: Some(input),
            used: Instant::now(),
            over: None,
        };
        let (numbers, over) = (RandomState::new(), CancellationToken::new());
        let (asides, state) = (Asides::default(), Mutex::new(state));
        Self { tag, numbers, asides, state, over, counters, health, mirrors }
    }

    /// Passes on what wants no answer.
    pub(super) async fn tell(&self, said: &Said) -> Result<(), Unheard> {
        self.send(said.line.clone()).await
    }

    /// Passes on a request. Its answer comes to the inbox, as the last message there; before it,
    /// if the client `takes_events`, what belongs to it. Dropping the inbox withdraws it.
    pub(super) async fn ask(
        self: &Arc<Self>,
        said: &Said,
        takes_events: bool,
    ) -> Result<Inbox, Unheard> {
        let gist = &said.gist;
        let Names { id: Some(id), token, .. } = gist.names(&said.line).ok_or(Unheard::LongId)?
        else {
            return Err(Unheard::LongId);
        };
        let input = self.input()?;
        // From here on nothing waits: the answer may come as soon as the line is sent.
        let room = input.reserve().await.map_err(|_| Unheard::Over)?;
        let mut state = self.lock();
        if state.input.is_none() {
            return Err(Unheard::Over);
        }
        if state.asked.len() >= MOST_WAITING {
            return Err(Unheard::TooMany);
        }
        let number = loop {
            state.count += 1;
            let hash = self.numbers.hash_one(state.count) >> (u64::BITS - EXACT_BITS);
            let number = hash.cast_signed();
            if !state.asked.contains_key(&number) {
                break number;
            }
        };
        let (outbox, inbox) = stream(Queue::default());
        let is = match gist.method.as_deref() {
            Some(method::DISCOVER) => Asks::Discovery,
            Some(method::TOOLS_LIST) => Asks::Tools,
            Some(method::LISTEN) => Asks::Stream,
            _ => Asks::Else,
        };
        let asked = Asked {
            id: id.into(),
            token: token.map(Into::into),
            outbox,
            takes_events,
            wants_log: gist.wants_log,
            is,
        };
        state.insert(number, asked);
        drop(state);
        let number_text = number.to_string();
        let name = Some(number_text.as_bytes());
        room.send(gist.renamed(&said.line, Names { id: name, token: name, ..Names::default() }));
        Ok(inbox.tied(Withdrawal { shared: Arc::clone(self), number }))
    }

    /// Whether the program has answered anything with other than an error.
    pub(super) fn has_answered(&self) -> bool {
        self.lock().has_answered
    }

    /// How many requests it works on, and how many wait for it, those included that stay open.
    pub(super) fn load(&self) -> (usize, usize) {
        let state = self.lock();
        (state.at_work, state.asked.len())
    }

    /// Whether it has told of this task.
    pub(super) fn has_task(&self, id: &str) -> bool {
        self.lock().tasks.iter().any(|known| **known == *id)
    }

    /// Why it has ended, and when; none while it goes on.
    pub(super) fn over(&self) -> Option<(Ended, Instant)> {
        self.lock().over
    }

    /// How long nobody has asked it anything, or waited for an answer.
    pub(super) fn idle(&self) -> Duration {
        let mut state = self.lock();
        if !state.asked.is_empty() {
            state.used = Instant::now();
        }
        state.used.elapsed()
    }

    /// Nobody waits for the answer any more.
    fn withdraw(self: &Arc<Self>, number: i64) {
        if self.lock().remove(number).is_none() {
            return;
        }
        let params = json!({ "requestId": number, "reason": "the client has left" });
        let word = json!({ "jsonrpc": "2.0", "method": method::CANCELLED, "params": params });
        if let Ok(input) = self.input() {
            self.asides.say(&input, word.to_string().as_bytes(), &self.tag);
        }
    }

    /// Answers a request of the program: this era knows none.
    fn decline(&self, text: &[u8]) {
        self.counters.count_dropped(1);
        let message = "clients that share a program cannot be asked; return input_required";
        if let Ok(input) = self.input() {
            let error = reply::refusal(text, METHOD_NOT_FOUND, message);
            self.asides.say(&input, &error, &self.tag);
        }
    }

    async fn send(&self, line: Bytes) -> Result<(), Unheard> {
        self.input()?.send(line).await.map_err(|_| Unheard::Over)
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

impl Audience for Shared {
    fn tag(&self) -> &Arc<str> {
        &self.tag
    }

    fn hear_of(&self, text: Bytes, gist: &Gist, why: Option<Problem>) -> bool {
        let Some(weight) = Weight::of(gist) else { return false };
        if weight == Weight::Request {
            self.decline(&text);
            return true;
        }
        let mut state = self.lock();
        let number = concerned(&state.asked, gist);
        let lost = match number.and_then(|number| Some((number, state.asked.get(&number)?))) {
            Some((number, asked)) => {
                let text = asked.renamed(&text, gist, number);
                let piece = Piece { why: why.map(Arc::new), ..Piece::new(text.clone(), weight) };
                let lost = asked.outbox.push(piece);
                if let Weight::Answer(error) = weight {
                    let is = asked.is;
                    state.remove(number);
                    state.has_answered |= error.is_none();
                    state.remember(gist.task.as_deref());
                    if is == Asks::Tools {
                        self.mirrors.learn(&text);
                    }
                }
                lost
            }
            None => Lost::notifications(1),
        };
        drop(state);
        self.counters.count_dropped(lost.count);
        true
    }

    fn end(&self, why: Ended) {
        let mut state = self.lock();
        if state.input.take().is_none() {
            return;
        }
        state.over = Some((why, Instant::now()));
        // A server of the other era may end for being asked whether it is of this one.
        let is_of_use =
            state.has_answered || state.asked.values().any(|it| it.is != Asks::Discovery);
        for (_, asked) in mem::take(&mut state.asked) {
            asked.outbox.cut(Cut::Lost);
        }
        drop(state);
        if why == Ended::Exited && is_of_use {
            tracing::warn!(program = %self.tag, "a program that clients share has ended");
            // What one of them asked may be why: only another start tells of the next client.
            self.health.doubt();
        }
        self.over.cancel();
    }

    async fn ended(&self) {
        self.over.cancelled().await;
    }

    fn token(&self) -> Option<&str> {
        None
    }

    fn outlives_us(&self) -> bool {
        false
    }
}

impl State {
    fn insert(&mut self, number: i64, asked: Asked) {
        self.at_work += usize::from(asked.is != Asks::Stream);
        self.asked.insert(number, asked);
    }

    fn remove(&mut self, number: i64) -> Option<Asked> {
        let asked = self.asked.remove(&number)?;
        self.at_work -= usize::from(asked.is != Asks::Stream);
        Some(asked)
    }

    fn remember(&mut self, task: Option<&str>) {
        let Some(task) = task.filter(|task| self.tasks.iter().all(|known| **known != **task))
        else {
            return;
        };
        if self.tasks.len() >= MOST_TASKS {
            self.tasks.pop_front();
        }
        self.tasks.push_back(task.into());
    }
}

/// The request that a message of the program is about.
fn concerned(waiting: &HashMap<i64, Asked>, gist: &Gist) -> Option<i64> {
    let named = match &gist.kind {
        Kind::Answer(id) => Some(id),
        Kind::Notification => {
            let about = gist.is(method::CANCELLED).then_some(gist.cancelled.as_ref());
            let about = about.flatten().or(gist.subscription.as_ref());
            about.or_else(|| gist.token.as_ref().filter(|_| gist.is(method::PROGRESS)))
        }
        Kind::Request(_) | Kind::Refusal | Kind::Unknown => None,
    };
    let is_answer = matches!(gist.kind, Kind::Answer(_));
    if let Some(id) = named {
        let number = number(id)?;
        let asked = waiting.get(&number)?;
        return (is_answer || asked.takes_events).then_some(number);
    }
    // Where nothing names a request, only one that nobody else could have brought about
    // may be told: the others belong to other clients.
    let may_be = |asked: &&Asked| match gist.kind {
        Kind::Refusal => true,
        Kind::Notification if gist.is(method::LOG) => asked.takes_events && asked.wants_log,
        _ => false,
    };
    let mut candidates = waiting.iter().filter(|(_, asked)| may_be(asked));
    let (number, _) = candidates.next()?;
    candidates.next().is_none().then_some(*number)
}

impl Asked {
    /// What the program says about this request, in the words of its client.
    fn renamed(&self, text: &[u8], gist: &Gist, own: i64) -> Bytes {
        let is_own = |id: &Option<Id>| id.as_ref().and_then(number) == Some(own);
        let id = matches!(gist.kind, Kind::Answer(_)).then_some(&*self.id);
        let mut names = Names { id, ..Names::default() };
        if is_own(&gist.token) {
            names.token = self.token.as_deref();
        }
        if is_own(&gist.cancelled) {
            names.cancelled = Some(&self.id);
        }
        // As text, if the program made a text of our number.
        let quoted = [b"\"", &*self.id, b"\""].concat();
        if is_own(&gist.subscription) {
            let as_text = matches!(gist.subscription, Some(Id::Json(_)));
            let plain = !as_text || self.id.starts_with(b"\"");
            names.subscription = Some(if plain { &self.id } else { &quoted });
        }
        gist.renamed(text, names)
    }
}

/// The number that an id is, or that stands in it as text.
fn number(id: &Id) -> Option<i64> {
    match id {
        Id::Number(number) => Some(*number),
        Id::Json(text) => text.strip_prefix('"')?.strip_suffix('"')?.parse().ok(),
    }
}

#[cfg(test)]
mod tests;
