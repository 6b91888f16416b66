//! From messages to calls: a request opens one, and whatever ends it makes the record.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;

use super::{
    counters::{Counters, Oddity},
    ids::Ids,
    names::Names,
    pending::{Doubt, Identity, Key, Open, Pending, Role, Ticket, Wait},
    route::Route,
    session::{self, Hashes, Sessions},
    verdict,
};
use crate::{
    config::Limits,
    jsonrpc::{Id, Kind},
    mcp::{Field, method},
    record::{Call, Client, Outcome, TraceContext, UNNAMED_TOOL},
    scan::{Form, Message},
    sink::Sinks,
    traffic::Direction,
};

/// Most bytes of arguments that requests in flight hold together.
const MOST_ARGUMENTS: usize = 8 << 20;
/// What a request may be given to wait at least and at most.
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_hours(24 * 365);
/// Follows all requests from their start to their end.
#[derive(Debug)]
pub(super) struct Matcher {
    pub(super) sinks: Sinks,
    limits: Limits,
    pub(super) counters: Arc<Counters>,
    pub(super) pending: Pending,
    pub(super) sessions: Sessions,
    pub(super) hashes: Hashes,
    pub(super) servers: Vec<Arc<str>>,
    ids: Ids,
    /// Methods, tools and versions.
    names: Names,
    /// The same moment on both clocks.
    clocks: (Instant, SystemTime),
    /// The client of the last modern request: the next one is probably of the same.
    last_client: Option<Arc<Client>>,
    /// Requests whose answer may have been lost, in the order of the losses; some are closed.
    pub(super) doubted: VecDeque<Ticket>,
}

impl Matcher {
    pub(super) fn new(sinks: Sinks, mut limits: Limits) -> Self {
        limits.pending_for = limits.pending_for.clamp(SHORTEST, LONGEST);
        Self {
            sinks,
            counters: Arc::default(),
            pending: Pending::default(),
            sessions: Sessions::new(limits.sessions),
            hashes: Hashes::new(limits.sessions),
            limits,
            servers: Vec::new(),
            ids: Ids::new(),
            names: Names::default(),
            clocks: (Instant::now(), SystemTime::now()),
            last_client: None,
            doubted: VecDeque::new(),
        }
    }

    /// The place of a server in the list of servers.
    pub(super) fn server(&mut self, server_id: &Arc<str>) -> usize {
        self.servers.iter().position(|known| known == server_id).unwrap_or_else(|| {
            self.servers.push(Arc::clone(server_id));
            self.servers.len() - 1
        })
    }

    /// Compares the clocks again: the system's may have been set.
    pub(super) fn set_clocks(&mut self) {
        self.clocks = (Instant::now(), SystemTime::now());
    }

    /// Tells the sinks how many tool calls are in flight, where that has changed.
    pub(super) fn publish(&mut self) {
        let Self { pending, sinks, servers, .. } = self;
        pending.changed_flights(|server, calls, oldest| {
            sinks.in_flight(&servers[server], calls, oldest);
        });
    }

    /// When a request or task that was heard of at `at` expires.
    pub(super) fn deadline(&self, at: Instant) -> Instant {
        at + self.limits.pending_for
    }

    /// A message has passed.
    pub(super) fn message(
        &mut self,
        route: &mut Route,
        direction: Direction,
        at: Instant,
        message: &Message,
    ) {
        if message.size() > self.limits.inspect {
            self.counters.count(Oddity::Oversized);
        }
        match Kind::of(message) {
            Kind::Request(id) => self.request(route, direction, at, id, message),
            Kind::Notification => self.notification(route, direction, at, message),
            Kind::Answer(id) => self.answer(route, direction, at, id, message),
            Kind::Refusal => self.refusal(route, direction, at, message),
            Kind::Unknown => self.counters.count(Oddity::Unparsed),
        }
    }

    /// A message has passed of which only the beginning was seen: if it asks, it is a call all the
    /// same. Without its id its answer is not known, but that its exchange will end.
    pub(super) fn cut(
        &mut self,
        route: &mut Route,
        direction: Direction,
        at: Instant,
        message: &Message,
    ) {
        let method = message.text(Field::Method).unwrap_or_default();
        match Kind::of(message) {
            Kind::Request(id) => self.request(route, direction, at, id, message),
            Kind::Notification
                if route.answers(direction) && !method.starts_with(method::NOTIFICATIONS) =>
            {
                self.request(route, direction, at, Id::null(), message);
                let nameless = route.calls.last().and_then(|last| self.pending.get_mut(*last));
                if let Some(open) = nameless {
                    open.doubt = Doubt::Ending;
                }
            }
            _ => {}
        }
    }

    fn request(
        &mut self,
        route: &mut Route,
        direction: Direction,
        at: Instant,
        id: Id,
        message: &Message,
    ) {
        let modern = message.form(Field::StatedVersion) == Form::Text;
        let scope = route.scope(modern);
        let key = Key::new(Role::Request, scope, direction, id.clone());
        while let Some(earlier) = self.pending.find(&key, Some(route.stream.id)) {
            // If it is doubtful, its answer was lost: peers do not use an id twice.
            if self.pending.get(earlier).is_none_or(|open| open.doubt == Doubt::Nothing) {
                self.counters.count(Oddity::DuplicateId);
                break;
            }
            self.give_up(earlier, at, Outcome::Unobserved);
        }
        while self.pending.len() >= self.limits.pending.max(1)
            && let Some((_, oldest)) = self.pending.first_due()
        {
            self.counters.count(Oddity::Evicted);
            self.give_up(oldest, at, Outcome::Unobserved);
        }
        let method = self.names.intern(&message.text(Field::Method).unwrap_or_default());
        let tool = (&*method == method::TOOLS_CALL && direction == Direction::ToServer)
            .then(|| message.text(Field::Name).filter(|name| !name.is_empty()))
            .map(|name| self.names.intern(name.as_deref().unwrap_or(UNNAMED_TOOL)));
        let identity = self.identity(route, &method, modern, message);
        let ticket = self.pending.add(Open {
            server: route.server,
            scope,
            exchange: route.answers(direction).then_some(route.stream.id),
            direction,
            id,
            modern,
            started: at,
            deadline: self.deadline(at),
            identity,
            transport: route.transport(),
            again: route.exchange().is_some_and(|exchange| exchange.again),
            request_size: message.size(),
            response_size: 0,
            arguments: tool.as_ref().and_then(|_| self.arguments(message)),
            trace: trace(message),
            progress: Id::of(message, Field::ProgressToken),
            task: method
                .starts_with(method::TASKS)
                .then(|| Id::of(message, Field::TaskId))
                .flatten()
                .map(|task| Box::new(route.task_key(modern, direction, task))),
            wait: Wait::Answer,
            doubt: Doubt::Nothing,
            method,
            tool,
        });
        if route.calls.len() == route.calls.capacity() {
            route.calls.retain(|ticket| self.pending.get(*ticket).is_some());
            route.calls.reserve(route.calls.len() + 1);
        }
        route.calls.push(ticket);
    }

    /// Who asks.
    fn identity(
        &mut self,
        route: &mut Route,
        method: &str,
        modern: bool,
        message: &Message,
    ) -> Identity {
        if modern {
            return Identity {
                session: None,
                client: self.client(message),
                protocol_version: self.name_in(message, Field::StatedVersion),
            };
        }
        if method == method::INITIALIZE {
            let client = self.client(message);
            if route.stream.kind.is_lines() {
                let known = &mut route.identity;
                known.session.get_or_insert_with(|| self.ids.next().to_string().into());
                // The client may go on without waiting for the answer.
                known.client.clone_from(&client);
            }
            let protocol_version = self.name_in(message, Field::NegotiatedVersion);
            let session = route.identity.session.clone();
            // Here as well; elsewhere only the answer tells which session it is.
            if let Some(known) = route.session.filter(|_| route.is_legacy_sse()) {
                let (session, client) = (Some(session::name(known)), client.clone());
                let identity = Identity { session, client, protocol_version: None };
                self.remember(known, identity);
            }
            return Identity { session, client, protocol_version };
        }
        let Some(exchange) = route.exchange() else { return route.identity.clone() };
        let known = route.session.and_then(|session| self.sessions.identity(session));
        let mut identity = known.cloned().unwrap_or_default();
        if identity.session.is_none() {
            identity.session = route.session.map(session::name);
        }
        if identity.protocol_version.is_none() {
            let stated = exchange.protocol_version.as_ref().and_then(|value| value.to_str().ok());
            identity.protocol_version = stated.map(|version| self.names.intern(version));
        }
        identity
    }

    /// A session was initialized, or is about to be.
    pub(super) fn remember(&mut self, session: u64, identity: Identity) {
        if self.sessions.insert(session, identity) {
            self.counters.count(Oddity::SessionEvicted);
        }
    }

    fn name_in(&mut self, message: &Message, field: Field) -> Option<Arc<str>> {
        message.text(field).map(|name| self.names.intern(&name))
    }

    fn client(&mut self, message: &Message) -> Option<Arc<Client>> {
        let name = message.text(Field::ClientName)?;
        let version = message.text(Field::ClientVersion).unwrap_or_default();
        if let Some(last) = &self.last_client
            && (&*last.name, &*last.version) == (&*name, &*version)
        {
            return Some(Arc::clone(last));
        }
        let client = Arc::new(Client { name: name.into(), version: version.into() });
        self.last_client = Some(Arc::clone(&client));
        Some(client)
    }

    fn arguments(&self, message: &Message) -> Option<Box<[u8]>> {
        let (raw, whole) = message.raw(Field::Arguments);
        if message.form(Field::Arguments) != Form::Nested || !whole {
            return None;
        }
        if self.pending.held() + raw.len() > MOST_ARGUMENTS {
            self.counters.count(Oddity::ArgumentsDropped);
            return None;
        }
        // A copy: a slice would keep the whole read buffer in memory.
        Some(raw.into())
    }

    fn notification(
        &mut self,
        route: &Route,
        direction: Direction,
        at: Instant,
        message: &Message,
    ) {
        let method = message.text(Field::Method).unwrap_or_default();
        match &*method {
            method::CANCELLED => self.cancelled(route, direction, at, message),
            method::PROGRESS => {
                let asked = direction.reverse();
                let token = Id::of(message, Field::ProgressToken);
                if let Some(ticket) = self.find(route, Role::Progress, asked, token) {
                    self.pending.touch(ticket, self.deadline(at));
                    self.no_doubt(ticket);
                }
            }
            about if about.starts_with(method::TASK_NOTIFICATIONS) => {
                let asked = direction.reverse();
                if let Some(task) = Id::of(message, Field::TaskId) {
                    let told = verdict::progress(message);
                    for modern in [false, true] {
                        let task = route.task_key(modern, asked, task.clone());
                        self.task_told(&task, at, told, message);
                    }
                }
            }
            _ => {}
        }
    }

    /// The sender withdraws a request of its own; a server may end a subscription that way.
    /// Of several with this id it is the latest: what a peer remembers under it.
    fn cancelled(&mut self, route: &Route, direction: Direction, at: Instant, message: &Message) {
        let Some(id) = Id::of(message, Field::RequestId) else { return };
        let mut own = route.keys(Role::Request, direction, id.clone());
        let own = own.find_map(|key| self.pending.find_latest(&key));
        let other = self.find(route, Role::Request, direction.reverse(), Some(id));
        let may_end = |ticket: &Ticket, allowed: fn(&str) -> bool| {
            self.pending.get(*ticket).is_some_and(|open| allowed(&open.method))
        };
        let ended = own
            .filter(|own| may_end(own, |method| method != method::INITIALIZE))
            .or_else(|| other.filter(|other| may_end(other, |method| method == method::LISTEN)));
        if let Some(ticket) = ended {
            self.end(ticket, at, Outcome::Cancelled, None);
        }
    }

    /// The open request that something on this stream is about.
    pub(super) fn find(
        &self,
        route: &Route,
        role: Role,
        direction: Direction,
        name: Option<Id>,
    ) -> Option<Ticket> {
        route
            .keys(role, direction, name?)
            .find_map(|key| self.pending.find(&key, Some(route.stream.id)))
    }

    /// Ends a request without an answer: `outcome` holds unless more is known.
    pub(super) fn give_up(&mut self, ticket: Ticket, at: Instant, outcome: Outcome) {
        let Some(open) = self.pending.get(ticket) else { return };
        let (outcome, at) = match open.wait {
            Wait::Result(outcome, ended) => (outcome, ended),
            Wait::Task => (Outcome::Task, at),
            _ if open.doubt != Doubt::Nothing => (Outcome::Unobserved, at),
            _ => (outcome, at),
        };
        self.end(ticket, at, outcome, None);
    }

    /// Ends a request, with the message that says how if there is one.
    pub(super) fn end(
        &mut self,
        ticket: Ticket,
        at: Instant,
        outcome: Outcome,
        message: Option<&Message>,
    ) {
        let Some(open) = self.pending.remove(ticket).filter(|open| !open.again) else { return };
        let since = open.started.saturating_duration_since(self.clocks.0);
        let before = self.clocks.0.saturating_duration_since(open.started);
        self.sinks.call(Call {
            id: self.ids.next(),
            server_id: Arc::clone(&self.servers[open.server]),
            method: open.method,
            direction: open.direction,
            tool: open.tool,
            request_id: open.id.to_string().into(),
            started: self.clocks.1 + since - before,
            duration: at.saturating_duration_since(open.started),
            outcome,
            error_message: message.and_then(|message| verdict::error_text(message, outcome)),
            session: open.identity.session,
            client: open.identity.client,
            protocol_version: open.identity.protocol_version,
            request_size: open.request_size,
            response_size: message.map_or(open.response_size, Message::size),
            arguments: open.arguments.map(Bytes::from),
            trace: open.trace,
            transport: open.transport,
        });
    }
}

fn trace(message: &Message) -> Option<Arc<TraceContext>> {
    let parent = message.text(Field::TraceParent)?.into();
    let state = message.text(Field::TraceState).map(Into::into);
    Some(Arc::new(TraceContext { parent, state }))
}
