//! What was said on streams of events and may have to be said again: a client that lost a stream
//! goes on with it behind the last event that it had.

use std::{collections::VecDeque, fmt, str::FromStr};

use super::outbox::Piece;

/// Most bytes that are kept for one session; the newest event is, up to [`LARGEST`].
const LIMIT: usize = 256 << 10;
/// The largest event that is kept.
const LARGEST: usize = 4 << 20;
/// What an entry takes beside its text.
const ENTRY: usize = 64;

/// The id of an event: unique within its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EventId {
    pub(super) stream: u64,
    /// Its place in the stream; 0 is the one that begins it and says nothing.
    pub(super) place: u64,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.stream, self.place)
    }
}

impl FromStr for EventId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (stream, place) = text.split_once('-').unwrap_or((text, ""));
        Ok(Self { stream: stream.parse()?, place: place.parse()? })
    }
}

/// The latest events of all streams of a session, oldest first.
#[derive(Debug, Default)]
pub(super) struct Replay {
    events: VecDeque<Piece>,
    bytes: usize,
}

impl Replay {
    /// Keeps an event, and lets the oldest go for it.
    pub(super) fn keep(&mut self, piece: Piece) {
        if piece.text.len() > LARGEST {
            return;
        }
        self.bytes += piece.text.len() + ENTRY;
        self.events.push_back(piece);
        while self.bytes > LIMIT && self.events.len() > 1 {
            self.take(0);
        }
    }

    /// The events of its stream that came after this one, in order.
    pub(super) fn after(&self, last: EventId) -> impl Iterator<Item = &Piece> {
        self.events.iter().filter(move |piece| {
            piece.event.is_some_and(|id| id.stream == last.stream && id > last)
        })
    }

    /// The event is said on another stream: never again on this one.
    pub(super) fn forget(&mut self, id: EventId) {
        if let Some(at) = self.events.iter().position(|piece| piece.event == Some(id)) {
            self.take(at);
        }
    }

    fn take(&mut self, at: usize) {
        if let Some(piece) = self.events.remove(at) {
            self.bytes -= piece.text.len() + ENTRY;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::bridge::outbox::Weight;

    fn piece(stream: u64, place: u64, length: usize) -> Piece {
        let event = Some(EventId { stream, place });
        Piece { event, ..Piece::new(vec![b'x'; length].into(), Weight::Notification) }
    }

    #[test]
    fn ids_are_read_as_they_are_written() {
        let id = EventId { stream: 12, place: 0 };
        assert_eq!(id.to_string().parse(), Ok(id));
        for other in ["", "12", "12-", "-1", "a-1", "1-1-1"] {
            assert!(other.parse::<EventId>().is_err(), "{other}");
        }
    }

    #[test]
    fn the_newest_events_are_kept_however_many_come() {
        let mut replay = Replay::default();
        for place in 1..=1000 {
            replay.keep(piece(place % 2, place, 1000));
            assert!(replay.bytes <= LIMIT);
        }
        let kept: Vec<_> = replay.after(EventId { stream: 0, place: 900 }).collect();
        assert_eq!(kept.len(), 50);
        assert!(kept.iter().all(|piece| piece.event.unwrap().stream == 0));
        replay.keep(piece(3, 1, 2 * LIMIT));
        assert_eq!(replay.events.len(), 1);
        replay.keep(piece(3, 2, LARGEST + 1));
        replay.forget(EventId { stream: 3, place: 1 });
        assert_eq!((replay.events.len(), replay.bytes), (0, 0));
    }
}
