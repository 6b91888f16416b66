//! The table of requests that have no outcome yet: bounded, and each leaves it exactly once.

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    ops::RangeInclusive,
    sync::{Arc, Weak, atomic::Ordering},
    time::Instant,
};

use super::serial::SerialMap;
use crate::{
    jsonrpc::Id,
    record::{Client, Outcome, TraceContext, Transport},
    traffic::{Direction, Stream},
};

/// Within what an id, a progress token or the name of a task is unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Scope {
    /// One stream: a stdio session, or an HTTP exchange that is all there is to a request.
    Stream(u64),
    /// A legacy session over HTTP; the number is the hash of its id.
    Session(u64),
    /// Everything that one server does; the number is its place in the list of servers.
    Server(usize),
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Role {
    /// The id that the answer will bear.
    Request,
    /// The token of notifications about its progress.
    Progress,
    /// The task that it became.
    Task,
}

/// What finds an open request: the direction is that of the request.
///
/// There are many keys and they are hashed often, so that they are packed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    /// Role, direction and kind of scope.
    kind: u8,
    scope: u64,
    name: Id,
}

impl Key {
    pub(super) fn new(role: Role, scope: Scope, direction: Direction, name: Id) -> Self {
        let (kind, scope) = match scope {
            Scope::Stream(id) => (0, id),
            Scope::Session(hash) => (1, hash),
            Scope::Server(place) => (2, place as u64),
        };
        Self { kind: role as u8 | (direction as u8) << 2 | kind << 3, scope, name }
    }
}

/// Names a request as long as it is open; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

/// Who is at the client's end, as far as it is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Identity {
    pub(super) session: Option<Arc<str>>,
    pub(super) client: Option<Arc<Client>>,
    pub(super) protocol_version: Option<Arc<str>>,
}

/// What an open request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// Its answer, on the exchange that it came on or on its stdio stream.
    Answer,
    /// Its answer, on another stream of its session: its own has ended.
    Resumed,
    /// The end of the task that it became.
    Task,
    /// The result of that task, which ended so at that time; its result may tell more.
    Result(Outcome, Instant),
}

/// A request that has no outcome yet.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) server: usize,
    pub(super) scope: Scope,
    /// The HTTP exchange that is to answer it; none where answers travel otherwise, or now do.
    pub(super) exchange: Option<u64>,
    pub(super) direction: Direction,
    pub(super) id: Id,
    pub(super) method: Arc<str>,
    pub(super) tool: Option<Arc<str>>,
    /// Stated by the request itself: it follows the rules of 2026-07-28.
    pub(super) modern: bool,
    pub(super) started: Instant,
    pub(super) deadline: Instant,
    pub(super) identity: Identity,
    pub(super) transport: Transport,
    /// It was counted when it was asked first.
    pub(super) again: bool,
    pub(super) request_size: u64,
    /// Of the answer that made it a task or ended that task.
    pub(super) response_size: u64,
    pub(super) arguments: Option<Box<[u8]>>,
    pub(super) trace: Option<Arc<TraceContext>>,
    pub(super) progress: Option<Id>,
    /// The task that it asks about, or that it became.
    pub(super) task: Option<Box<Key>>,
    pub(super) wait: Wait,
    pub(super) doubt: Doubt,
}

/// What of a request may have passed while the observer was blind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    Nothing,
    /// Its withdrawal, or all that its exchange will tell by its end.
    Ending,
    /// Its answer: it is not waited for much longer.
    Answer,
}

impl Open {
    fn key(&self, role: Role) -> Option<Key> {
        let name = match role {
            Role::Request => Some(&self.id),
            Role::Progress => self.progress.as_ref(),
            Role::Task => return self.task.as_deref().cloned(),
        };
        Some(Key::new(role, self.scope, self.direction, name?.clone()))
    }

    /// Whether it counts as in flight: a call of a tool that waits for its answer.
    fn in_flight(&self) -> bool {
        self.tool.is_some() && self.waits()
    }

    /// Whether it waits for its answer.
    fn waits(&self) -> bool {
        matches!(self.wait, Wait::Answer | Wait::Resumed)
    }
}

/// Tool calls in flight at one server, oldest first.
#[derive(Debug, Default)]
struct Flight {
    calls: BTreeSet<Ticket>,
    changed: bool,
}

/// A stream on which the answers to all requests of a session come.
#[derive(Debug)]
struct Debtor {
    stream: Weak<Stream>,
    answers: usize,
}

/// All open requests.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Boxed, for the table has room for more than it holds.
    open: SerialMap<Ticket, Box<Open>>,
    index: HashMap<Key, Ticket>,
    /// Those whose name another one has in the index, and the exchange that is to answer them.
    namesakes: BTreeSet<(Key, Option<u64>, Ticket)>,
    deadlines: BTreeSet<(Instant, Ticket)>,
    flights: Vec<Flight>,
    /// By session.
    debtors: HashMap<u64, Debtor>,
    issued: u64,
    /// Bytes of arguments that open requests hold.
    held: usize,
}

impl Pending {
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Bytes of arguments that open requests hold.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Adds a request.
    pub(super) fn add(&mut self, open: Open) -> Ticket {
        self.issued += 1;
        let ticket = Ticket(self.issued);
        for role in [Role::Request, Role::Progress] {
            if let Some(key) = open.key(role) {
                self.index(key, open.exchange, ticket);
            }
        }
        self.deadlines.insert((open.deadline, ticket));
        self.held += open.arguments.as_ref().map_or(0, |arguments| arguments.len());
        if open.in_flight() {
            let flight = self.flight(open.server);
            flight.calls.insert(ticket);
            flight.changed = true;
        }
        self.owe(&open, |answers| answers + 1);
        self.open.insert(ticket, Box::new(open));
        ticket
    }

    /// The answers to what clients ask in this session come on `stream` from now on.
    pub(super) fn lend(&mut self, session: u64, stream: &Arc<Stream>) {
        self.debtors.insert(session, Debtor { stream: Arc::downgrade(stream), answers: 0 });
    }

    /// The stream of this session is over.
    pub(super) fn write_off(&mut self, session: u64) {
        self.debtors.remove(&session);
    }

    /// The open request of this name. Of several, the first that waits for `exchange`; else
    /// the first that waits for no exchange in particular; else any.
    pub(super) fn find(&self, key: &Key, exchange: Option<u64>) -> Option<Ticket> {
        let indexed = *self.index.get(key)?;
        if self.namesakes.is_empty() {
            return Some(indexed);
        }
        [exchange, None]
            .into_iter()
            .find_map(|exchange| {
                let waits = self.get(indexed).is_some_and(|open| open.exchange == exchange);
                let namesake = || self.namesakes.range(namesakes(key, exchange, exchange)).next();
                waits.then_some(indexed).or_else(|| namesake().map(|(.., ticket)| *ticket))
            })
            .or(Some(indexed))
    }

    /// The open request of this name; of several, the latest.
    pub(super) fn find_latest(&self, key: &Key) -> Option<Ticket> {
        let indexed = self.index.get(key)?;
        let all = namesakes(key, None, Some(u64::MAX));
        Some(self.namesakes.range(all).next_back().map_or(*indexed, |(.., ticket)| *ticket))
    }

    pub(super) fn get(&self, ticket: Ticket) -> Option<&Open> {
        self.open.get(&ticket).map(|open| &**open)
    }

    /// For changes that no index depends on.
    pub(super) fn get_mut(&mut self, ticket: Ticket) -> Option<&mut Open> {
        self.open.get_mut(&ticket).map(|open| &mut **open)
    }

    /// Takes a request out for good.
    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<Box<Open>> {
        let open = self.open.remove(&ticket)?;
        for role in [Role::Request, Role::Progress, Role::Task] {
            self.unindex(&open, role, ticket);
        }
        self.deadlines.remove(&(open.deadline, ticket));
        self.held -= open.arguments.as_ref().map_or(0, |arguments| arguments.len());
        self.land(&open, ticket);
        Some(open)
    }

    /// Gives a request until `deadline`.
    pub(super) fn touch(&mut self, ticket: Ticket, deadline: Instant) {
        if let Some(open) = self.open.get_mut(&ticket) {
            self.deadlines.remove(&(open.deadline, ticket));
            open.deadline = deadline;
            self.deadlines.insert((deadline, ticket));
        }
    }

    /// The request was answered with a task: its id is free again, the task's name finds it.
    /// False if another request has become that task before.
    pub(super) fn become_task(&mut self, ticket: Ticket, task: Key) -> bool {
        let Some(mut open) = self.open.remove(&ticket) else { return false };
        self.unindex(&open, Role::Request, ticket);
        self.land(&open, ticket);
        open.wait = Wait::Task;
        let free = !self.index.contains_key(&task);
        self.index(task.clone(), None, ticket);
        open.task = Some(Box::new(task));
        self.open.insert(ticket, open);
        free
    }

    /// The exchange of the request has ended; its answer may come on another stream.
    pub(super) fn leave_exchange(&mut self, ticket: Ticket) {
        let Some(mut open) = self.open.remove(&ticket) else { return };
        if open.wait == Wait::Answer {
            open.wait = Wait::Resumed;
        }
        let exchange = open.exchange.take();
        if exchange.is_some() && !self.namesakes.is_empty() {
            for key in [Role::Request, Role::Progress].into_iter().filter_map(|role| open.key(role))
            {
                let namesake = (key, exchange, ticket);
                if self.namesakes.remove(&namesake) {
                    self.namesakes.insert((namesake.0, None, ticket));
                }
            }
        }
        self.open.insert(ticket, open);
    }

    /// The request that is due first, and when.
    pub(super) fn first_due(&self) -> Option<(Instant, Ticket)> {
        self.deadlines.first().copied()
    }

    /// The open requests of which `choose` is true, oldest first.
    pub(super) fn select(&self, choose: impl Fn(&Open) -> bool) -> Vec<Ticket> {
        let chosen = self.open.iter().filter(|(_, open)| choose(open));
        let mut tickets: Vec<_> = chosen.map(|(ticket, _)| *ticket).collect();
        tickets.sort_unstable();
        tickets
    }

    /// Says of each server whose tool calls in flight changed how many they are, and since
    /// when the oldest.
    pub(super) fn changed_flights(&mut self, mut say: impl FnMut(usize, usize, Option<Instant>)) {
        for (server, flight) in self.flights.iter_mut().enumerate() {
            if std::mem::take(&mut flight.changed) {
                let oldest = flight.calls.first().and_then(|oldest| self.open.get(oldest));
                say(server, flight.calls.len(), oldest.map(|open| open.started));
            }
        }
    }

    fn flight(&mut self, server: usize) -> &mut Flight {
        if self.flights.len() <= server {
            self.flights.resize_with(server + 1, Flight::default);
        }
        &mut self.flights[server]
    }

    /// Counts the answer to an open request among what the stream of its session owes.
    fn owe(&mut self, open: &Open, count: impl FnOnce(usize) -> usize) {
        if let Scope::Session(session) = open.scope
            && open.direction == Direction::ToServer
            && open.waits()
            && let Some(debtor) = self.debtors.get_mut(&session)
        {
            debtor.answers = count(debtor.answers);
            if let Some(stream) = debtor.stream.upgrade() {
                stream.owed.store(debtor.answers, Ordering::SeqCst);
            }
        }
    }

    fn land(&mut self, open: &Open, ticket: Ticket) {
        self.owe(open, |answers| answers.saturating_sub(1));
        if open.in_flight() {
            let flight = self.flight(open.server);
            flight.calls.remove(&ticket);
            flight.changed = true;
        }
    }

    fn index(&mut self, key: Key, exchange: Option<u64>, ticket: Ticket) {
        match self.index.entry(key) {
            Entry::Vacant(vacant) => drop(vacant.insert(ticket)),
            Entry::Occupied(taken) => {
                self.namesakes.insert((taken.key().clone(), exchange, ticket));
            }
        }
    }

    fn unindex(&mut self, open: &Open, role: Role, ticket: Ticket) {
        let Some(key) = open.key(role) else { return };
        let exchange = open.exchange.filter(|_| role != Role::Task);
        match self.index.entry(key) {
            Entry::Occupied(entry) if *entry.get() != ticket => {
                self.namesakes.remove(&(entry.key().clone(), exchange, ticket));
            }
            Entry::Occupied(mut entry) => {
                let all = namesakes(entry.key(), None, Some(u64::MAX));
                match self.namesakes.range(all).next().cloned() {
                    Some(next) => {
                        self.namesakes.remove(&next);
                        entry.insert(next.2);
                    }
                    None => drop(entry.remove()),
                }
            }
            Entry::Vacant(_) => {}
        }
    }
}

/// Where those of this name lie that wait for these exchanges.
fn namesakes(
    key: &Key,
    first: Option<u64>,
    last: Option<u64>,
) -> RangeInclusive<(Key, Option<u64>, Ticket)> {
    (key.clone(), first, Ticket(0))..=(key.clone(), last, Ticket(u64::MAX))
}
