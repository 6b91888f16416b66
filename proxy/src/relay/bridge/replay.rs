//! What was said on streams of events and may have to be said again: a client that lost a stream
//! goes on with it behind the last event that it had.

use std::{collections::VecDeque, fmt, str::FromStr};

use super::outbox::{Piece, Weight};

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
    /// How many streams there were.
    streams: u64,
    /// How many events: each has a place of its own, so that a stream which is gone on with
    /// needs no memory of those that it had.
    places: u64,
}

impl Replay {
    /// The event with which another stream begins.
    pub(super) fn begin_stream(&mut self) -> EventId {
        self.streams += 1;
        EventId { stream: self.streams, place: 0 }
    }

    /// Whether there was a stream of this number.
    pub(super) fn has_begun(&self, stream: u64) -> bool {
        (1..=self.streams).contains(&stream)
    }

    /// Keeps what is said on a stream, and lets the oldest go for it. Returns it with its id.
    pub(super) fn keep(&mut self, stream: u64, piece: Piece) -> Piece {
        self.places += 1;
        let piece = Piece { event: Some(EventId { stream, place: self.places }), ..piece };
        if piece.text.len() > LARGEST {
            return piece;
        }
        self.bytes += piece.text.len() + ENTRY;
        self.events.push_back(piece.clone());
        while self.bytes > LIMIT && self.events.len() > 1 {
            self.take(0);
        }
        piece
    }

    /// What came on its stream after this event, in order: what is kept of that, and those of
    /// the `unread` that are not.
    pub(super) fn after(
        &self,
        last: EventId,
        unread: impl IntoIterator<Item = Piece>,
    ) -> Vec<Piece> {
        let is_missed =
            |piece: &Piece| piece.event.is_some_and(|id| id.stream == last.stream && id > last);
        let kept = self.events.iter().filter(|piece| is_missed(piece)).cloned();
        let mut missed: Vec<_> = kept.chain(unread.into_iter().filter(is_missed)).collect();
        missed.sort_by_key(|piece| piece.event);
        missed.dedup_by_key(|piece| piece.event);
        missed
    }

    /// Whether the answer for which its stream was there came after this event.
    pub(super) fn has_answered(&self, last: EventId) -> bool {
        self.events.iter().any(|piece| {
            matches!(piece.weight, Weight::Answer(_))
                && piece.event.is_some_and(|id| id.stream == last.stream && id > last)
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

    fn piece(length: usize) -> Piece {
        Piece::new(vec![b'x'; length].into(), Weight::Notification)
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
            let said = replay.keep(place % 2, piece(1000));
            assert_eq!(said.event, Some(EventId { stream: place % 2, place }));
            assert!(replay.bytes <= LIMIT);
        }
        let kept = replay.after(EventId { stream: 0, place: 900 }, []);
        assert_eq!(kept.len(), 50);
        assert!(kept.iter().all(|piece| piece.event.unwrap().stream == 0));
        let last = replay.keep(3, piece(2 * LIMIT)).event.unwrap();
        assert_eq!(replay.events.len(), 1);
        replay.keep(3, piece(LARGEST + 1));
        replay.forget(last);
        assert_eq!((replay.events.len(), replay.bytes), (0, 0));
    }

    #[test]
    fn what_was_not_read_comes_where_it_was_said_and_once() {
        let mut replay = Replay::default();
        let first = replay.begin_stream();
        let unread: Vec<_> = (0..4).map(|_| replay.keep(first.stream, piece(LIMIT / 2))).collect();
        assert_eq!(replay.events.len(), 1, "the oldest are not kept");
        let other = replay.keep(first.stream + 1, piece(1));
        let missed = replay.after(unread[0].event.unwrap(), unread.iter().cloned().chain([other]));
        assert_eq!(missed, unread[1..]);
    }
}
