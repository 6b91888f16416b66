//! The streams of a client that belong to no request, and what waits for the next of them.

use std::mem;

use super::{
    outbox::{Inbox, Lost, Outbox, Piece, Queue, stream},
    replay::{EventId, Replay},
};
use crate::jsonrpc::Id;

/// Most of them that a client may have open; the oldest is ended for another.
pub(super) const MOST_STREAMS: usize = 8;

/// A stream whose events have ids.
#[derive(Debug)]
pub(super) struct Numbered {
    pub(super) outbox: Outbox,
    pub(super) number: u64,
    /// Something was said on it under an id.
    said: bool,
}

impl Numbered {
    /// One on which nothing was said yet.
    pub(super) fn new(outbox: Outbox, number: u64) -> Self {
        Self { outbox, number, said: false }
    }

    /// Whether its client gets, or got, a stream of events.
    pub(super) fn streams(&self) -> bool {
        self.said || self.outbox.streams()
    }

    /// Says something on it. Returns what will not arrive; what is kept to be said again may.
    pub(super) fn say(&mut self, piece: Piece, replay: &mut Replay) -> Lost {
        self.said = true;
        let piece = replay.keep(self.number, piece);
        self.push(piece, replay)
    }

    /// Answers the request with this id, for which it was there.
    pub(super) fn answer(&mut self, id: Id, piece: Piece, replay: &mut Replay) -> Lost {
        let piece = replay.keep_answer(self.number, id, piece);
        self.push(piece, replay)
    }

    fn push(&self, piece: Piece, replay: &mut Replay) -> Lost {
        if !self.outbox.is_open() {
            return Lost::default();
        }
        let lost = self.outbox.push(piece);
        replay.forget_refused(&lost);
        lost
    }
}

/// Those of one client, and what was said to it on any stream.
#[derive(Debug, Default)]
pub(super) struct Streams {
    /// Oldest first.
    own: Vec<Numbered>,
    /// What waits for the next of these.
    backlog: Queue,
    pub(super) replay: Replay,
}

impl Streams {
    /// Opens one, which begins with what waits for it.
    pub(super) fn open(&mut self, lost: &mut Lost) -> (Inbox, EventId) {
        let first = self.replay.begin_stream();
        (self.begin(first.stream, Vec::new(), lost), first)
    }

    /// Goes on with the one of this event, behind it; what else waits comes then. Whoever had it
    /// before, if anybody, has it no more.
    pub(super) fn resume(&mut self, last: EventId, lost: &mut Lost) -> Inbox {
        let mut unread = self.backlog.take_of(last.stream);
        if let Some(at) = self.own.iter().position(|to| to.number == last.stream) {
            unread.extend(self.own.remove(at).outbox.rest());
        }
        let missed = self.replay.after(last, unread, lost);
        self.begin(last.stream, missed, lost)
    }

    /// Whether none is open, as far as is known.
    pub(super) fn is_empty(&self) -> bool {
        self.own.is_empty()
    }

    /// How many answers wait until the client of a line takes them.
    pub(super) fn answers(&self) -> usize {
        self.own.last().map_or(0, |to| to.outbox.answers())
    }

    /// Whether the newest was cut because its client did not read.
    pub(super) fn is_overflown(&self) -> bool {
        self.own.last().is_some_and(|to| to.outbox.is_overflown())
    }

    /// Says something on the newest, or keeps it for the next. Where that one `goes_on` when it
    /// was lost, under an id.
    pub(super) fn say(&mut self, piece: Piece, goes_on: bool) -> Lost {
        match self.own.last_mut() {
            Some(to) if goes_on => to.say(piece, &mut self.replay),
            Some(to) => to.outbox.push(piece),
            None => self.keep(piece),
        }
    }

    /// Forgets those that their clients have left, and keeps what they left behind. Returns what
    /// could not be kept.
    pub(super) fn tidy(&mut self) -> Lost {
        let mut lost = Lost::default();
        let mut at = 0;
        while at < self.own.len() {
            if self.own[at].outbox.is_open() {
                at += 1;
                continue;
            }
            for piece in self.own.remove(at).outbox.rest() {
                lost += self.keep(piece);
            }
        }
        lost
    }

    /// Begins one with what was `missed` of it, and goes on with what waits.
    fn begin(&mut self, number: u64, missed: Vec<Piece>, lost: &mut Lost) -> Inbox {
        *lost += self.tidy();
        let (outbox, inbox) = stream(missed.into_iter().collect());
        let mut to = Numbered::new(outbox, number);
        for piece in mem::take(&mut self.backlog) {
            if let Some(id) = piece.event {
                self.replay.forget(id);
            }
            *lost += to.say(piece, &mut self.replay);
        }
        if self.own.len() >= MOST_STREAMS {
            self.own.remove(0);
        }
        self.own.push(to);
        inbox.streams()
    }

    /// Keeps a message for the next stream. Nobody is there to be cut off: when nothing else
    /// helps, the oldest goes.
    fn keep(&mut self, piece: Piece) -> Lost {
        let (notifications, mut fits) = self.backlog.push(piece);
        let mut lost = Lost::notifications(notifications);
        while !fits && let Some(oldest) = self.backlog.pop() {
            lost.add(&oldest);
            fits = self.backlog.fits();
        }
        self.replay.forget_refused(&lost);
        lost
    }
}
