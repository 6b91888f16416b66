//! What becomes of open requests when a stream ends, breaks or is lost from sight.
//!
//! - A client that ends its session (closes stdin, its legacy SSE stream, or sends DELETE)
//!   withdraws what it still waits for: `cancelled`. A server that goes first, or a session that
//!   the proxy itself ends: `transport`.
//! - A modern client that leaves an exchange cancels it; a legacy one does not, but unless the
//!   events of the answer had ids nobody can see it any more: `transport`.
//! - What the client withdrew before it was sent, or where nothing else says so: `cancelled`.
//! - Where events had ids, the answer may come on a later stream of the session: the request
//!   stays open.
//! - A gap in one direction makes requests doubtful whose answer or withdrawal travels that
//!   way. They still end normally when the answer is seen; otherwise as `unobserved`, instead
//!   of whatever else they would end as: when the stream ends, when [`DOUBT_FOR`] has passed,
//!   or when [`MOST_DOUBTED`] others have become doubtful, for under load most of them are lost.
//! - A gap within a request leaves what came before it: its method at least, or it is none. One
//!   whose id was lost ends with its exchange, as `unobserved`.

use std::time::{Duration, Instant};

use http::{Method, StatusCode};

use super::{
    counters::Oddity,
    matching::Matcher,
    pending::{Doubt, Open, Scope, Ticket, Wait},
    route::Route,
};
use crate::{
    mcp::method,
    record::Outcome,
    traffic::{BodyKind, Direction, End},
};

/// How long a request waits for an answer that a gap may have swallowed.
const DOUBT_FOR: Duration = Duration::from_mins(1);
/// Most requests that do so at a time.
pub(super) const MOST_DOUBTED: usize = 1000;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Ends(Outcome),
    /// Its answer has come, in a body that cannot be read.
    Unread,
    /// The answer may come on another stream of the session.
    Stays,
    /// It is asked on another stream, and counted there.
    Moves,
}

impl Matcher {
    /// A direction of a stream has ended.
    pub(super) fn ended(&mut self, route: &mut Route, direction: Direction, end: End, at: Instant) {
        // Not if it was the server that would not read on.
        let client_first =
            matches!(route.ended(Direction::ToServer), Some(End::Clean | End::ClientGone));
        route.set_ended(direction, end);
        let Some(exchange) = route.exchange() else {
            self.stdio_ended(route, direction, end, at, client_first);
            return;
        };
        if direction == Direction::ToServer {
            return;
        }
        let of_session = |session: Option<u64>| {
            move |open: &Open| session.is_some_and(|session| open.scope == Scope::Session(session))
        };
        if exchange.method == Method::DELETE {
            let deleted = route.head.is_some_and(|(status, _)| status.is_success());
            let outcome = match end {
                // The proxy says so itself, after all that came on streams.
                End::GivenUp => Some(Outcome::Transport),
                _ => deleted.then_some(Outcome::Cancelled),
            };
            if let Some(outcome) = outcome.filter(|_| !route.is_legacy_sse()) {
                self.session_ended(route, at, outcome, of_session(route.session));
            }
        } else if route.is_session_stream() {
            let outcome = match end {
                End::ClientGone => Outcome::Cancelled,
                End::TimedOut => Outcome::Timeout,
                _ => Outcome::Transport,
            };
            self.session_ended(route, at, outcome, of_session(route.session));
            route.session.inspect(|session| self.pending.write_off(*session));
        }
        for ticket in std::mem::take(&mut route.calls) {
            let Some(open) = self.pending.get(ticket) else { continue };
            match fate(route, open, end) {
                Fate::Ends(outcome) => self.give_up(ticket, at, outcome),
                Fate::Unread => {
                    self.counters.count(Oddity::UnreadableBody);
                    self.give_up(ticket, at, Outcome::Unobserved);
                }
                Fate::Stays => self.pending.leave_exchange(ticket),
                Fate::Moves => drop(self.pending.remove(ticket)),
            }
        }
    }

    fn stdio_ended(
        &mut self,
        route: &mut Route,
        direction: Direction,
        end: End,
        at: Instant,
        client_first: bool,
    ) {
        for ticket in std::mem::take(&mut route.calls) {
            let Some(open) = self.pending.get(ticket) else { continue };
            match (direction, open.direction) {
                // The server may still answer what it was asked.
                (Direction::ToServer, Direction::ToServer) => route.calls.push(ticket),
                // The peer that should answer has gone.
                (Direction::ToServer, Direction::ToClient) => {
                    self.give_up(ticket, at, Outcome::Transport);
                }
                (Direction::ToClient, Direction::ToServer) => {
                    self.give_up(
                        ticket,
                        at,
                        match end {
                            End::TimedOut => Outcome::Timeout,
                            End::ClientGone => Outcome::Cancelled,
                            _ if client_first => Outcome::Cancelled,
                            _ => Outcome::Transport,
                        },
                    );
                }
                // The peer that asked has gone.
                (Direction::ToClient, Direction::ToClient) => {
                    self.give_up(ticket, at, Outcome::Cancelled);
                }
            }
        }
    }

    fn session_ended(
        &mut self,
        route: &Route,
        at: Instant,
        outcome: Outcome,
        belongs: impl Fn(&Open) -> bool,
    ) {
        for ticket in self.pending.select(belongs) {
            self.give_up(ticket, at, outcome);
        }
        if let Some(session) = route.session {
            self.sessions.remove(session);
        }
    }

    /// Something that went `direction` on this stream was lost.
    pub(super) fn gap(&mut self, route: &mut Route, direction: Direction, at: Instant) {
        self.counters.count(Oddity::Gap);
        route.lost |= direction == Direction::ToClient;
        let asked = direction.reverse();
        let elsewhere = match (route.exchange(), route.session) {
            (Some(_), Some(session)) => {
                // On a stream of their own, answers come there; but legacy SSE has but one.
                let all = route.is_session_stream() || direction == Direction::ToServer;
                self.pending.select(|open| {
                    open.scope == Scope::Session(session)
                        && open.direction == asked
                        && (all || open.wait == Wait::Resumed)
                })
            }
            _ => Vec::new(),
        };
        // On an exchange nothing follows what was asked but its end.
        let follows = route.exchange().is_none() || direction == Direction::ToClient;
        // An exchange tells by its end what becomes of its own requests.
        let until = route.exchange().is_none().then_some(at + DOUBT_FOR);
        for ticket in route.calls.iter().filter(|_| follows && !route.is_legacy_sse()) {
            self.doubt(*ticket, asked, until);
        }
        for ticket in elsewhere {
            self.doubt(ticket, asked, Some(at + DOUBT_FOR));
        }
        while self.doubted.len() > MOST_DOUBTED
            && let Some(ticket) = self.doubted.pop_front()
        {
            if self.pending.get(ticket).is_some_and(|open| open.doubt == Doubt::Answer) {
                self.give_up(ticket, at, Outcome::Unobserved);
            }
        }
    }

    /// The answer of a request that went `asked`, or its withdrawal, may have been lost.
    fn doubt(&mut self, ticket: Ticket, asked: Direction, until: Option<Instant>) {
        let Some(open) = self.pending.get_mut(ticket) else { return };
        match until {
            _ if open.doubt == Doubt::Answer => {}
            Some(until) if open.direction == asked => {
                open.doubt = Doubt::Answer;
                let until = until.min(open.deadline);
                self.pending.touch(ticket, until);
                self.doubted.push_back(ticket);
            }
            _ => open.doubt = Doubt::Ending,
        }
    }

    /// A request is still worked on: its answer is yet to come.
    pub(super) fn no_doubt(&mut self, ticket: Ticket) {
        if let Some(open) = self.pending.get_mut(ticket)
            && open.doubt == Doubt::Answer
        {
            open.doubt = Doubt::Nothing;
        }
    }

    /// The stream of a legacy SSE session says where its client will POST.
    pub(super) fn endpoint(&mut self, route: &mut Route, uri: &[u8]) {
        if !route.is_session_stream() {
            return;
        }
        route.session.inspect(|session| self.pending.write_off(*session));
        route.learn_endpoint(uri, &mut self.hashes);
        route.session.inspect(|session| self.pending.lend(*session, &route.stream));
    }

    /// The relay is done with a stream, but the tap lost how it ended.
    pub(super) fn lost(&mut self, route: &Route, at: Instant) {
        self.counters.count(Oddity::LostEnd);
        // In legacy SSE answers come on the GET stream and on no other.
        let concerned = match route.session {
            Some(session) if route.is_session_stream() => {
                self.pending.write_off(session);
                self.pending.select(|open| open.scope == Scope::Session(session))
            }
            _ if route.is_legacy_sse() => return,
            // It was to end the session, as far as anybody knows.
            Some(session) if route.exchange().is_some_and(|it| it.method == Method::DELETE) => {
                self.pending.select(|open| open.scope == Scope::Session(session))
            }
            _ => route.calls.clone(),
        };
        for ticket in concerned {
            self.give_up(ticket, at, Outcome::Unobserved);
        }
    }

    /// Ends what has waited too long; `alive` says whether a stream is still there.
    pub(super) fn expire(&mut self, now: Instant, alive: impl Fn(Scope) -> bool) {
        while let Some((due, ticket)) = self.pending.first_due()
            && due <= now
            && let Some(open) = self.pending.get(ticket)
        {
            if &*open.method == method::LISTEN && open.doubt == Doubt::Nothing && alive(open.scope)
            {
                self.pending.touch(ticket, self.deadline(now));
                continue;
            }
            if !matches!(open.wait, Wait::Result(..)) {
                self.counters.count(Oddity::Expired);
            }
            self.give_up(ticket, now, Outcome::Timeout);
        }
    }

    /// The process ends: ends everything that is still open. Requests whose stream has ended
    /// waited for another one; of the others nobody saw the end.
    pub(super) fn end_all(&mut self, now: Instant) {
        for ticket in self.pending.select(|_| true) {
            let resumed = self.pending.get(ticket).is_some_and(|open| open.wait == Wait::Resumed);
            let outcome = if resumed { Outcome::Transport } else { Outcome::Unobserved };
            self.give_up(ticket, now, outcome);
        }
    }
}

/// What becomes of a request when the exchange that it came on has ended.
fn fate(route: &Route, open: &Open, end: End) -> Fate {
    if end == End::AskedAgain {
        return Fate::Moves;
    }
    let in_session = matches!(open.scope, Scope::Session(_));
    if !matches!(open.wait, Wait::Answer | Wait::Resumed) {
        // Tasks outlive the exchange.
        return Fate::Stays;
    }
    if open.direction == Direction::ToClient {
        // The client answers on an exchange of its own, which only a session ties to this one.
        return if in_session { Fate::Stays } else { Fate::Ends(Outcome::Unobserved) };
    }
    // A redirection as well: this server has done nothing.
    let failed = route.head.map(|(status, _)| status.as_u16()).filter(|status| *status >= 300);
    if matches!(end, End::Clean | End::ServerGone | End::Refused)
        && let Some(status) = failed
        && !route.lost
    {
        return Fate::Ends(Outcome::HttpError(status));
    }
    let elsewhere = in_session && (route.resumable || route.is_legacy_sse());
    Fate::Ends(match end {
        End::Unreachable | End::Refused | End::GivenUp | End::AskedAgain => Outcome::Transport,
        End::TimedOut => Outcome::Timeout,
        End::Withdrawn => Outcome::Cancelled,
        End::ServerGone if route.is_legacy_sse() => Outcome::Transport,
        _ if elsewhere => return Fate::Stays,
        End::ClientGone if open.modern => Outcome::Cancelled,
        End::ClientGone | End::ServerGone => Outcome::Transport,
        End::Clean if route.lost || route.resumable => Outcome::Unobserved,
        End::Clean => match route.head {
            // Nothing but a nod, or a whole answer that does not answer the request.
            Some((StatusCode::ACCEPTED | StatusCode::NO_CONTENT, _) | (_, BodyKind::Json)) => {
                Outcome::Other
            }
            Some((_, BodyKind::EventStream)) => Outcome::Transport,
            Some((_, BodyKind::Opaque)) => return Fate::Unread,
            None => Outcome::Unobserved,
        },
    })
}
