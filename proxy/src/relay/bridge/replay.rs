//! What was said on streams of events and may have to be said again: a client that lost a stream
//! goes on with it behind the last event that it had.

use std::{
    collections::VecDeque,
    fmt, mem,
    str::FromStr,
    time::{SystemTime, UNIX_EPOCH},
};

use super::{
    outbox::{Lost, Piece, Refused, Weight},
    reply::{INTERNAL, error},
};
use crate::jsonrpc::Id;

/// Most bytes that are kept for one session of its answers, and of what else it is told; the
/// newest event of either is kept up to [`LARGEST`].
const LIMIT: usize = 256 << 10;
/// The most that one event which is kept takes.
const LARGEST: usize = 4 << 20;
/// What an entry takes beside its text.
const ENTRY: usize = 64;
/// Most answers that are known, and most requests of the program, once they are kept no longer.
const MOST: usize = 1024;
/// What a client is told whose answer is not kept.
const NOT_KEPT: &str = "the answer came while its stream was lost, and is kept no longer";

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
    /// What came beside answers.
    events: VecDeque<Piece>,
    bytes: usize,
    /// The requests among them that are kept no longer.
    refused: VecDeque<Refused>,
    answers: VecDeque<Answered>,
    answer_bytes: usize,
    /// The number of the first stream, less one.
    base: u64,
    /// That of the last one.
    streams: u64,
    /// How many events: each has a place of its own, so that a stream which is gone on with
    /// needs no memory of those that it had.
    places: u64,
}

/// The last event of the stream of a request.
#[derive(Debug)]
struct Answered {
    event: EventId,
    id: Id,
    /// None where it is kept no longer.
    piece: Option<Piece>,
}

impl Replay {
    /// Nothing yet, of a session whose earlier streams another process has numbered: none of these
    /// numbers comes again.
    pub(super) fn behind_all_before() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // More than anybody has counted streams.
        let base = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX >> 1);
        Self { base, streams: base, ..Self::default() }
    }

    /// The event with which another stream begins.
    pub(super) fn begin_stream(&mut self) -> EventId {
        self.streams += 1;
        EventId { stream: self.streams, place: 0 }
    }

    /// Whether there was a stream of this number.
    pub(super) fn has_begun(&self, stream: u64) -> bool {
        (self.base + 1..=self.streams).contains(&stream)
    }

    /// Keeps what is said on a stream, and lets the oldest go for it. Returns it with its id.
    pub(super) fn keep(&mut self, stream: u64, piece: Piece) -> Piece {
        let event = Some(self.next(stream));
        let piece = Piece { event, ..piece };
        if size(&piece) > LARGEST {
            self.drop(&piece);
            return piece;
        }
        self.bytes += size(&piece);
        self.events.push_back(piece.clone());
        while self.bytes > LIMIT
            && self.events.len() > 1
            && let Some(oldest) = self.take(0)
        {
            self.drop(&oldest);
        }
        piece
    }

    /// Keeps what answers the request with this `id`, for which its stream was there, and lets
    /// none but other answers go for it. Returns it with the id of its event.
    pub(super) fn keep_answer(&mut self, stream: u64, id: Id, piece: Piece) -> Piece {
        let event = self.next(stream);
        let piece = Piece { event: Some(event), ..piece };
        let is_kept = size(&piece) <= LARGEST;
        let kept = is_kept.then(|| piece.clone());
        self.answer_bytes += kept.as_ref().map_or(0, size);
        let forgotten = push(&mut self.answers, Answered { event, id, piece: kept });
        self.answer_bytes -= forgotten.and_then(|it| it.piece).as_ref().map_or(0, size);
        let older = if is_kept { self.answers.len() - 1 } else { 0 };
        for answered in self.answers.iter_mut().take(older) {
            if self.answer_bytes <= LIMIT {
                break;
            }
            self.answer_bytes -= answered.piece.take().as_ref().map_or(0, size);
        }
        piece
    }

    /// What came on its stream after this event, in order: what is kept of that, and those of
    /// the `unread` that are not. What is neither is `lost`.
    pub(super) fn after(
        &mut self,
        last: EventId,
        unread: impl IntoIterator<Item = Piece>,
        lost: &mut Lost,
    ) -> Vec<Piece> {
        let is_after =
            |event: &Option<EventId>| event.is_some_and(|id| id.stream == last.stream && id > last);
        let is_missed = |piece: &Piece| is_after(&piece.event);
        let kept = self.events.iter().filter(|piece| is_missed(piece)).cloned();
        let mut missed: Vec<_> = kept.chain(unread.into_iter().filter(is_missed)).collect();
        missed.sort_by_key(|piece| piece.event);
        missed.dedup_by_key(|piece| piece.event);
        let is_there = |it: &Refused| missed.iter().any(|piece| piece.event == it.event);
        for it in mem::take(&mut self.refused) {
            if is_after(&it.event) && !is_there(&it) {
                lost.count += 1;
                lost.requests.push(it);
            } else {
                self.refused.push_back(it);
            }
        }
        missed
    }

    /// The same up to the answer for which its stream was there, where that came after this
    /// event. An answer that is kept no longer is `lost`: an error stands in its place.
    pub(super) fn answered(&mut self, last: EventId, lost: &mut Lost) -> Option<Vec<Piece>> {
        let is_of_it = |it: &Answered| it.event.stream == last.stream && it.event > last;
        let at = self.answers.iter().position(is_of_it)?;
        let mut missed = self.after(last, [], lost);
        let Answered { event, id, piece } = &mut self.answers[at];
        missed.push(piece.clone().unwrap_or_else(|| {
            lost.count += 1;
            let text = error(Some(&id.to_string()), INTERNAL, NOT_KEPT);
            let weight = Weight::Answer(Some(INTERNAL));
            let told = Piece { event: Some(*event), ..Piece::new(text, weight) };
            self.answer_bytes += size(&told);
            piece.insert(told).clone()
        }));
        Some(missed)
    }

    /// The event is said on another stream: never again on this one.
    pub(super) fn forget(&mut self, id: EventId) {
        if let Some(at) = self.events.iter().position(|piece| piece.event == Some(id)) {
            self.take(at);
        }
        self.refused.retain(|it| it.event != Some(id));
    }

    /// The program is told that nobody will answer these.
    pub(super) fn forget_refused(&mut self, lost: &Lost) {
        lost.requests.iter().filter_map(|it| it.event).for_each(|id| self.forget(id));
    }

    fn next(&mut self, stream: u64) -> EventId {
        self.places += 1;
        EventId { stream, place: self.places }
    }

    /// It is kept no longer.
    fn drop(&mut self, piece: &Piece) {
        if piece.weight == Weight::Request {
            push(&mut self.refused, Refused::new(piece));
        }
    }

    fn take(&mut self, at: usize) -> Option<Piece> {
        let piece = self.events.remove(at)?;
        self.bytes -= size(&piece);
        Some(piece)
    }
}

fn size(piece: &Piece) -> usize {
    piece.text.len() + ENTRY
}

/// Pushes, and takes out the oldest of more than [`MOST`].
fn push<T>(queue: &mut VecDeque<T>, item: T) -> Option<T> {
    queue.push_back(item);
    if queue.len() > MOST { queue.pop_front() } else { None }
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
        let kept = replay.after(EventId { stream: 0, place: 900 }, [], &mut Lost::default());
        assert_eq!(kept.len(), 50);
        assert!(kept.iter().all(|piece| piece.event.unwrap().stream == 0));
        let last = replay.keep(3, piece(2 * LIMIT)).event.unwrap();
        assert_eq!(replay.events.len(), 1);
        replay.forget(last);
        replay.keep(3, piece(LARGEST + 1));
        assert_eq!((replay.events.len(), replay.bytes), (0, 0));
    }

    #[test]
    fn what_was_not_read_comes_where_it_was_said_and_once() {
        let mut replay = Replay::default();
        let first = replay.begin_stream();
        let unread: Vec<_> = (0..4).map(|_| replay.keep(first.stream, piece(LIMIT / 2))).collect();
        assert_eq!(replay.events.len(), 1, "the oldest are not kept");
        let other = replay.keep(first.stream + 1, piece(1));
        let mut lost = Lost::default();
        let unread_and_other = unread.iter().cloned().chain([other]);
        let missed = replay.after(unread[0].event.unwrap(), unread_and_other, &mut lost);
        assert_eq!(missed, unread[1..]);
        assert_eq!(lost, Lost::default());
    }

    #[test]
    fn a_request_that_is_lost_on_the_way_and_not_kept_is_refused_once() {
        let mut replay = Replay::default();
        let asked = |id: u32| {
            let text = format!(r#"{{"id":{id},"method":"{}"}}"#, "x".repeat(LIMIT / 2));
            Piece::new(text.into(), Weight::Request)
        };
        let first = replay.begin_stream();
        let said: Vec<_> = (1..=4).map(|id| replay.keep(first.stream, asked(id))).collect();
        let mut lost = Lost::default();
        // One was had, one is there, one was never written.
        let missed = replay.after(said[0].event.unwrap(), [said[2].clone()], &mut lost);
        assert_eq!(missed, said[2..]);
        assert_eq!((lost.count, lost.requests.len()), (1, 1));
        assert!(lost.requests[0].answer.starts_with(br#"{"jsonrpc":"2.0","id":2,"error""#));
        // That one is lost now.
        replay.after(said[0].event.unwrap(), [], &mut lost);
        assert_eq!((lost.count, lost.requests.len()), (2, 2));
        replay.after(first, [], &mut lost);
        assert_eq!(lost.count, 3, "as it says, it has had nothing at all");
        replay.after(first, [], &mut lost);
        assert_eq!(lost.count, 3);
    }

    #[test]
    fn answers_give_way_to_answers_alone_and_their_ids_are_known() {
        let mut replay = Replay::default();
        let answer = |length| Piece { weight: Weight::Answer(None), ..piece(length) };
        let begun: Vec<_> = (0..4).map(|_| replay.begin_stream()).collect();
        let half = LIMIT / 2;
        for first in &begun[..3] {
            replay.keep(first.stream, piece(1));
            let id = Id::Number(i64::try_from(first.stream).unwrap());
            replay.keep_answer(first.stream, id, answer(half));
            replay.keep(99, piece(LIMIT / 3));
            assert!(replay.answer_bytes <= LIMIT);
        }
        let mut lost = Lost::default();
        let kept = replay.answered(begun[2], &mut lost).unwrap();
        assert_eq!(kept.iter().map(|it| it.text.len()).collect::<Vec<_>>(), [1, half]);
        assert_eq!(lost.count, 0);
        for _ in 0..2 {
            let told = replay.answered(begun[1], &mut lost).unwrap();
            let told = told.last().unwrap();
            assert!(told.text.starts_with(br#"{"jsonrpc":"2.0","id":2,"error""#), "{told:?}");
            assert_eq!((lost.count, told.weight), (1, Weight::Answer(Some(INTERNAL))));
            assert_eq!(replay.answered(told.event.unwrap(), &mut lost), None);
        }
        assert_eq!(replay.answered(begun[3], &mut lost), None);
        // The newest may be large; what is too large is in nobody's way.
        for length in [2 * LIMIT, LARGEST] {
            replay.keep_answer(begun[3].stream, Id::Number(4), answer(length));
            let kept = replay.answers.iter().filter_map(|it| it.piece.as_ref());
            assert_eq!(kept.map(|it| it.text.len()).collect::<Vec<_>>(), [2 * LIMIT]);
            assert_eq!(replay.answer_bytes, 2 * LIMIT + ENTRY);
        }
        for _ in 0..2 * MOST {
            replay.keep_answer(begun[3].stream, Id::Number(4), answer(1));
        }
        assert_eq!(replay.answers.len(), MOST);
        assert!(replay.answer_bytes <= LIMIT);
    }
}
