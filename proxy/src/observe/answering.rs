//! From answers to outcomes, also of the tasks that requests became.

use std::time::{Duration, Instant};

use super::{
    counters::Oddity,
    matching::Matcher,
    pending::{Key, Role, Ticket, Wait},
    route::Route,
    session,
    verdict::{self, Progress, Verdict},
};
use crate::{
    jsonrpc::Id,
    mcp::{Field, method},
    record::Outcome,
    scan::Message,
    traffic::Direction,
};

/// How long a task that has ended waits for its result to be fetched.
const RESULT_WITHIN: Duration = Duration::from_mins(1);

impl Matcher {
    /// An answer has passed.
    pub(super) fn answer(
        &mut self,
        route: &mut Route,
        direction: Direction,
        at: Instant,
        id: Id,
        message: &Message,
    ) {
        let Some(ticket) = self.find(route, Role::Request, direction.reverse(), Some(id)) else {
            self.counters.count(Oddity::UnmatchedAnswer);
            return;
        };
        let Some(open) = self.pending.get(ticket) else { return };
        let about_tasks = open.method.starts_with(method::TASKS);
        match (&*open.method, message.has(Field::Result)) {
            (method::INITIALIZE, true) => self.initialized(route, ticket, message),
            (method::TOOLS_LIST, true) => {
                let names: Vec<_> = message.tools().collect();
                let names: Vec<_> = names.iter().map(|name| &**name).collect();
                self.sinks.tools(&self.servers[open.server], &names);
            }
            (about, _) if about_tasks => {
                let told = match verdict::verdict(message) {
                    Verdict::Ended(outcome) if about == method::TASKS_RESULT => {
                        Progress::Ended(outcome)
                    }
                    _ => verdict::progress(message),
                };
                if let Some(task) = open.task.clone() {
                    self.task_told(&task, at, told, message);
                }
            }
            _ => {}
        }
        match verdict::verdict(message) {
            Verdict::Task(_) if about_tasks => self.end(ticket, at, Outcome::Ok, Some(message)),
            Verdict::Ended(outcome) => self.end(ticket, at, outcome, Some(message)),
            Verdict::Task(task) => {
                let Some(open) = self.pending.get_mut(ticket) else { return };
                open.response_size = message.size();
                let task = route.task_key(open.modern, open.direction, task);
                self.pending.touch(ticket, self.deadline(at));
                if !self.pending.become_task(ticket, task) {
                    self.counters.count(Oddity::DuplicateId);
                    self.give_up(ticket, at, Outcome::Task);
                }
            }
        }
    }

    /// The answer to `initialize` tells the version; over HTTP its head told the session.
    fn initialized(&mut self, route: &mut Route, ticket: Ticket, message: &Message) {
        let Some(open) = self.pending.get_mut(ticket) else { return };
        let identity = &mut open.identity;
        if let Some(version) = message.text(Field::NegotiatedVersion) {
            identity.protocol_version = Some(version.into());
        }
        if route.exchange().is_none() {
            route.identity = identity.clone();
            self.tell_version(route);
        } else if let Some(session) = route.session.filter(|_| !open.modern) {
            identity.session = Some(session::name(session));
            let identity = identity.clone();
            self.remember(session, identity);
        }
    }

    /// Requests that did not wait for the answer to `initialize` speak the version as well.
    fn tell_version(&mut self, route: &Route) {
        let version = &route.identity.protocol_version;
        for ticket in &route.calls {
            if let Some(open) = self.pending.get_mut(*ticket)
                && open.identity.protocol_version.is_none()
            {
                open.identity.protocol_version.clone_from(version);
            }
        }
    }

    /// An error without an id: over HTTP it answers all that the exchange asked, elsewhere the
    /// request whose id was null, if there is one.
    pub(super) fn refusal(
        &mut self,
        route: &Route,
        direction: Direction,
        at: Instant,
        message: &Message,
    ) {
        let mut asked: Vec<_> = route
            .calls
            .iter()
            .filter(|_| route.exchange().is_some() && !message.in_batch())
            .filter(|ticket| {
                self.pending
                    .get(**ticket)
                    .is_some_and(|open| open.direction != direction && open.wait == Wait::Answer)
            })
            .copied()
            .collect();
        if asked.is_empty() {
            let null = Id::of(message, Field::Id);
            asked.extend(self.find(route, Role::Request, direction.reverse(), null));
        }
        if asked.is_empty() {
            self.counters.count(Oddity::UnmatchedAnswer);
        }
        for ticket in asked {
            self.end(ticket, at, Outcome::RpcError(verdict::code(message)), Some(message));
        }
    }

    /// Something about a task has passed.
    pub(super) fn task_told(&mut self, task: &Key, at: Instant, told: Progress, message: &Message) {
        let Some(ticket) = self.pending.find(task, None) else { return };
        let Some(open) = self.pending.get_mut(ticket) else { return };
        match told {
            Progress::Nothing => {}
            Progress::Working => self.pending.touch(ticket, self.deadline(at)),
            Progress::Settled(_) if open.wait != Wait::Task => {}
            Progress::Settled(outcome) => {
                open.wait = Wait::Result(outcome, at);
                self.pending.touch(ticket, at + RESULT_WITHIN);
            }
            Progress::Ended(outcome) => {
                let ended = match open.wait {
                    Wait::Result(_, ended) => ended,
                    _ => at,
                };
                self.end(ticket, ended, outcome, Some(message));
            }
        }
    }
}
