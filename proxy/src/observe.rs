//! Turns what the tap saw into records: framing, correlation, outcomes.
//!
//! Every request that is seen leaves [`record::Call`](crate::record::Call) exactly once, also
//! when its answer never comes or the tap lost something. Memory is bounded by [`Limits`].

use std::{
    collections::hash_map::Entry,
    sync::Arc,
    time::{Duration, Instant},
};

use http::Method;

use crate::{
    config::Limits,
    record::ERROR_TEXT_LIMIT,
    scan::{Bounds, Scanner},
    sink::Sinks,
    traffic::{BodyKind, Direction, End, ResponseHead, Seen, StreamKind, What},
};

mod answering;
mod counters;
mod ending;
mod ids;
mod matching;
mod names;
mod pending;
mod reader;
mod route;
mod serial;
mod session;
mod verdict;

pub use counters::{Counters, Oddity};

use self::{
    matching::Matcher,
    pending::Scope,
    reader::{Found, Reader},
    route::Route,
    serial::SerialMap,
};

/// Most bytes that messages which are not complete take together, beside what decides.
const MOST_PARTIAL: usize = 8 << 20;
/// Longest id or token by which anything is matched.
const LONGEST_ID: usize = 1 << 10;
/// How often streams are looked for whose end the tap lost.
const SWEEP: Duration = Duration::from_secs(5);
/// How long there is nothing to do while nothing is open.
const NOTHING: Duration = Duration::from_hours(1);

/// The name under which the session with this secret id is reported, for those who write of it
/// elsewhere.
pub fn session_name(server_id: &str, secret: &[u8]) -> Arc<str> {
    session::name(session::hash(server_id, secret))
}

/// Follows every stream and tells the sinks what happened on it.
#[derive(Debug)]
pub struct Observer {
    matcher: Matcher,
    streams: SerialMap<u64, Track>,
    bounds: Bounds,
    /// Bytes that messages which are not complete take.
    partial: usize,
    swept: Instant,
}

/// One stream and how far it was read.
#[derive(Debug)]
struct Track {
    route: Route,
    readers: [Option<Box<Reader>>; 2],
}

impl Observer {
    /// An observer that has seen nothing yet.
    pub fn new(sinks: Sinks, limits: Limits) -> Self {
        let bounds = Bounds {
            inspect: limits.inspect,
            id: LONGEST_ID,
            arguments: usize::try_from(limits.arguments).unwrap_or(usize::MAX / 2),
            text: ERROR_TEXT_LIMIT,
        };
        Self {
            matcher: Matcher::new(sinks, limits),
            streams: SerialMap::default(),
            bounds,
            partial: 0,
            swept: Instant::now(),
        }
    }

    /// Counts of everything odd; they go on while the observer runs.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.matcher.counters)
    }

    /// Takes in one thing that was seen, in the order of the tap.
    pub fn see(&mut self, seen: Seen) {
        let Seen { stream, direction, at, gap, what } = seen;
        let id = stream.id;
        let Self { matcher, streams, bounds, partial, .. } = self;
        let track = match streams.entry(id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let server = matcher.server(&stream.server_id);
                let route = Route::new(stream, server, &mut matcher.hashes);
                new.insert(Track::new(route, *bounds))
            }
        };
        if gap {
            track.gap(matcher, direction, at, partial);
        }
        match what {
            What::Data(bytes) => track.data(matcher, direction, at, &bytes, partial),
            What::Head(head) => track.head(matcher, &head, *bounds, partial),
            What::End(end) => {
                track.end(matcher, direction, at, end, partial);
                if track.is_over() {
                    *partial -= track.held();
                    streams.remove(&id);
                }
            }
        }
    }

    /// Lets time pass: expires what waited too long, publishes the calls in flight.
    pub fn tick(&mut self, now: Instant) {
        let streams = &self.streams;
        self.matcher.set_clocks();
        self.matcher.expire(now, |scope| match scope {
            Scope::Stream(id) => streams.contains_key(&id),
            Scope::Session(_) | Scope::Server(_) => true,
        });
        if now.saturating_duration_since(self.swept) >= SWEEP {
            self.swept = now;
            self.sweep(now);
        }
        self.matcher.publish();
    }

    /// How long nothing needs to be done if nothing is seen.
    pub fn idle_for(&self) -> Duration {
        let due = self
            .matcher
            .pending
            .first_due()
            .map_or(NOTHING, |(due, _)| due.saturating_duration_since(Instant::now()));
        if self.streams.is_empty() { due } else { due.min(SWEEP) }
    }

    /// Ends every call that is still open. Nothing is seen after this.
    pub fn finish(&mut self, now: Instant) {
        self.sweep(now);
        self.matcher.end_all(now);
        self.matcher.publish();
    }

    /// Forgets streams that no relay holds any more: the tap was full when they ended.
    fn sweep(&mut self, now: Instant) {
        let Self { matcher, streams, partial, .. } = self;
        streams.retain(|_, track| {
            let held = Arc::strong_count(&track.route.stream) > 1;
            if !held {
                *partial -= track.held();
                matcher.lost(&track.route, now);
            }
            held
        });
    }
}

impl Track {
    fn new(route: Route, bounds: Bounds) -> Self {
        let readers = match &route.stream.kind {
            StreamKind::Lines => {
                [(); 2].map(|()| Some(Box::new(Reader::lines(Scanner::new(bounds)))))
            }
            StreamKind::Exchange(exchange) => {
                let body = || Reader::body(BodyKind::Json, Scanner::new(bounds));
                [(exchange.method == Method::POST).then(|| Box::new(body())), None]
            }
        };
        Self { route, readers }
    }

    fn held(&self) -> usize {
        self.readers.iter().flatten().map(|reader| reader.held()).sum()
    }

    fn is_over(&self) -> bool {
        [Direction::ToServer, Direction::ToClient]
            .iter()
            .all(|direction| self.route.ended(*direction).is_some())
    }

    fn gap(
        &mut self,
        matcher: &mut Matcher,
        direction: Direction,
        at: Instant,
        partial: &mut usize,
    ) {
        let Self { route, readers } = self;
        if let Some(reader) = &mut readers[direction as usize] {
            *partial -= reader.held();
            reader.gap(|found| take(matcher, route, direction, at, found));
            *partial += reader.held();
        }
        matcher.gap(route, direction, at);
    }

    fn head(
        &mut self,
        matcher: &mut Matcher,
        head: &ResponseHead,
        bounds: Bounds,
        partial: &mut usize,
    ) {
        self.route.head = Some((head.status, head.body));
        if let Some(session) = &head.session {
            self.route.learn_session(session.as_bytes(), &mut matcher.hashes);
        }
        let reader = (head.body != BodyKind::Opaque)
            .then(|| Box::new(Reader::body(head.body, Scanner::new(bounds))));
        let before = std::mem::replace(&mut self.readers[Direction::ToClient as usize], reader);
        *partial -= before.map_or(0, |reader| reader.held());
    }

    fn data(
        &mut self,
        matcher: &mut Matcher,
        direction: Direction,
        at: Instant,
        bytes: &[u8],
        partial: &mut usize,
    ) {
        let Self { route, readers } = self;
        let Some(reader) = &mut readers[direction as usize] else { return };
        *partial -= reader.held();
        if *partial > MOST_PARTIAL && reader.keep_less() {
            matcher.counters.count(Oddity::ArgumentsDropped);
        }
        reader.read(bytes, |found| take(matcher, route, direction, at, found));
        *partial += reader.held();
    }

    fn end(
        &mut self,
        matcher: &mut Matcher,
        direction: Direction,
        at: Instant,
        end: End,
        partial: &mut usize,
    ) {
        let Self { route, readers } = self;
        if let Some(mut reader) = readers[direction as usize].take() {
            *partial -= reader.held();
            reader.end(|found| take(matcher, route, direction, at, found));
        }
        matcher.ended(route, direction, end, at);
    }
}

fn take(
    matcher: &mut Matcher,
    route: &mut Route,
    direction: Direction,
    at: Instant,
    found: Found<'_>,
) {
    match found {
        Found::Message(message) => matcher.message(route, direction, at, message),
        Found::Cut(message) => matcher.cut(route, direction, at, message),
        Found::Garbage => matcher.counters.count(Oddity::Unparsed),
        Found::Endpoint(uri) => matcher.endpoint(route, uri),
        Found::EventId => route.resumable = true,
    }
}

#[cfg(test)]
mod tests;
