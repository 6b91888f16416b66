//! The calls that are being sent, and which of them go into the next request.
//!
//! A request that is refused as a whole is halved until the call that spoils it stands alone;
//! what is taken doubles it again. So one bad call costs a few dozen requests and no other call.
//!
//! A server that fails at one call may fail at all. Such a call is put aside and the others go
//! on; it is tried again apart from them, and rejected only once others got through while it
//! did not. So nothing is blamed while nothing gets through, and nothing waits for it.

use std::collections::VecDeque;

use bytes::Bytes;
use mcpulse_proto::v1::IngestResponse;

use self::suspect::Suspects;
use super::{client::Kind, spool::Place};

mod suspect;

/// Failures in a row at a request that was not cut before, after which it is halved.
const PATIENCE_WITH_MANY: u32 = 2;
/// Calls in a row that fail alone, after which the server may be what fails: from then on there
/// is a wait after each, and calls are tried from everywhere.
const PATIENCE: u32 = 16;
/// Batches that are kept at once, to have others to try while calls fail.
const BATCHES: usize = 3;

/// An encoded call.
#[derive(Clone, Debug)]
pub(super) struct Encoded {
    pub(super) bytes: Bytes,
    /// Where it is on disk as well.
    pub(super) place: Option<Place>,
}

/// The calls that are sent and not settled.
#[derive(Debug, Default)]
pub(super) struct Batch {
    calls: VecDeque<Encoded>,
    /// Calls of the next request, from the front.
    chunk: usize,
    /// Requests were halved since there was no call.
    halved: bool,
    /// Requests that the server failed at since it took one.
    failed: u32,
    /// Of these, the calls that were alone in theirs.
    failed_alone: u32,
    suspects: Suspects,
    /// What goes next is, or what went last was, the first of the suspects.
    suspect: bool,
}

/// What became of calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) delivered: usize,
    pub(super) rejected: usize,
    /// Where those of them are that are on disk.
    pub(super) places: Vec<Place>,
}

impl Settled {
    pub(super) fn calls(&self) -> usize {
        self.delivered + self.rejected
    }
}

/// What to do after a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Send again after a wait that grows.
    Wait,
    /// Send again after a wait that begins long.
    WaitLong,
    /// Send another request at once.
    Other,
    /// Send another request at once, and the suspects after a wait that grows.
    Aside,
    /// A call is settled.
    Settle(Settled),
}

impl Batch {
    /// Adds calls to those that are to be sent.
    pub(super) fn add(&mut self, calls: VecDeque<Encoded>) {
        if self.calls.is_empty() {
            self.halved = false;
            self.chunk = if self.stalls() { 1 } else { calls.len() };
        }
        // There are others only while they fail: the new ones are better to ask with.
        let failing = std::mem::replace(&mut self.calls, calls);
        self.calls.extend(failing);
    }

    /// Whether there are calls to send besides the suspects.
    pub(super) fn has_calls(&self) -> bool {
        !self.calls.is_empty()
    }

    /// Whether there are calls that the server failed at.
    pub(super) fn has_suspects(&self) -> bool {
        !self.suspects.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.suspects.is_empty()
    }

    /// Whether another batch of so many calls and bytes may be added: nothing else is to be
    /// sent, or what is fails.
    pub(super) fn has_room(&self, calls: usize, bytes: usize) -> bool {
        (self.calls.is_empty() || self.stalls())
            && self.calls.len() + self.suspects.len() <= (BATCHES - 1) * calls
            && self.all().map(|call| call.bytes.len()).sum::<usize>() <= (BATCHES - 1) * bytes
    }

    /// The calls of the next request, none when there are none to send; cheap, for their bytes
    /// are shared. The suspects are `due` when they have waited.
    pub(super) fn request(&mut self, due: bool) -> Option<Vec<Bytes>> {
        // Taking turns, and not before there is hope.
        let first = !self.has_calls() || (!self.suspect && !self.stalls());
        self.suspect = due && first && self.has_suspects();
        if self.suspect {
            return self.suspects.first().map(|call| vec![call.bytes.clone()]);
        }
        let request = self.calls.iter().take(self.chunk).map(|call| call.bytes.clone());
        self.has_calls().then(|| request.collect())
    }

    /// Everything that is not settled.
    pub(super) fn all(&self) -> impl Iterator<Item = &Encoded> {
        self.calls.iter().chain(self.suspects.iter())
    }

    /// The far end took the request; what it says of its calls.
    ///
    /// A call counts as delivered only where the answer can be read so: when its figures do not
    /// add up, those missing from `accepted` count as rejected. An answer without any figures
    /// says that the request was taken.
    pub(super) fn taken(&mut self, answer: &IngestResponse) -> Settled {
        let sent = if self.suspect { 1 } else { self.chunk };
        let count = |figure: i32| usize::try_from(figure).unwrap_or(0).min(sent);
        let mut named: Vec<_> = answer.errors.iter().map(|error| error.index).collect();
        named.retain(|&index| usize::try_from(index).is_ok_and(|index| index < sent));
        named.sort_unstable();
        named.dedup();
        let silent = answer.accepted == 0 && answer.rejected == 0;
        let missing = if silent { 0 } else { sent - count(answer.accepted) };
        let rejected = count(answer.rejected).max(named.len()).max(missing);
        self.settle(sent - rejected, rejected)
    }

    /// The far end did not take the request.
    pub(super) fn failed(&mut self, kind: Kind) -> Next {
        let many = !self.suspect && self.chunk > 1;
        match kind {
            Kind::Retry => Next::Wait,
            Kind::Misconfigured => Next::WaitLong,
            Kind::TooMuch if many => {
                self.chunk = self.chunk.div_ceil(2);
                Next::Wait
            }
            Kind::Broken if many => {
                self.failed += 1;
                if !self.halved && self.failed < PATIENCE_WITH_MANY {
                    return Next::Wait;
                }
                self.halve()
            }
            Kind::Refused | Kind::Duplicate if many => self.halve(),
            Kind::Duplicate => Next::Settle(self.settle(1, 0)),
            Kind::Refused => Next::Settle(self.settle(0, 1)),
            Kind::Broken | Kind::TooMuch if self.suspect => self.failed_again(),
            Kind::Broken | Kind::TooMuch => self.failed_alone(kind),
        }
    }

    fn halve(&mut self) -> Next {
        self.chunk /= 2;
        self.halved = true;
        Next::Other
    }

    /// Puts the call at the front aside.
    fn failed_alone(&mut self, kind: Kind) -> Next {
        self.failed += 1;
        self.failed_alone += 1;
        let first = self.suspects.is_empty();
        self.suspects.extend(self.calls.pop_front());
        // Neighbours are alike: from a bad stretch it goes on far away, by the golden ratio,
        // which soon has been everywhere.
        self.calls.rotate_left(self.calls.len() * 618 / 1000);
        match kind {
            _ if self.stalls() => Next::Wait,
            Kind::TooMuch => Next::Wait,
            _ if first => Next::Aside,
            _ => Next::Other,
        }
    }

    /// The first of the suspects has failed once more.
    fn failed_again(&mut self) -> Next {
        if self.suspects.failed() {
            return Next::Settle(self.settle(0, 1));
        }
        if self.suspects.rest() { Next::Aside } else { Next::Other }
    }

    /// Whether so many calls failed that the server may be what fails.
    fn stalls(&self) -> bool {
        self.failed_alone >= PATIENCE
    }

    /// Lets go of the calls that were sent. What is delivered lets requests grow again.
    fn settle(&mut self, delivered: usize, rejected: usize) -> Settled {
        let places;
        if self.suspect {
            places = self.suspects.pop().and_then(|call| call.place).into_iter().collect();
        } else {
            let settled = self.calls.drain(..delivered + rejected);
            places = settled.filter_map(|call| call.place).collect();
            if delivered > 0 {
                self.chunk *= 2;
            }
        }
        self.chunk = self.chunk.min(self.calls.len());
        if delivered > 0 {
            (self.failed, self.failed_alone) = (0, 0);
            self.suspects.another_is_taken();
        }
        Settled { delivered, rejected, places }
    }
}

#[cfg(test)]
mod tests;
