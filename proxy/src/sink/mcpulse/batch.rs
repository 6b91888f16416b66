//! The calls that are being sent, and how many of them go into the next request.
//!
//! A request that is refused as a whole is halved until the call that spoils it stands alone;
//! what is taken doubles it again. So one bad call costs a few dozen requests and no other call.
//! A server that fails at one call may fail at all: that call is blamed only once the server
//! took another since.

use std::collections::VecDeque;

use bytes::Bytes;
use mcpulse_proto::v1::IngestResponse;

use super::client::Kind;

/// Answers in a row that blame the server before a single call is blamed instead.
const PATIENCE: u32 = 5;
/// The same where there is no other call to ask with; with the waits between, some minutes.
const PATIENCE_ALONE: u32 = 12;
/// The same for a request of several calls, which is halved and not given up.
const PATIENCE_WITH_MANY: u32 = 2;

/// Encoded calls in the order in which they are settled.
#[derive(Debug, Default)]
pub(super) struct Batch {
    calls: VecDeque<Bytes>,
    /// Calls of the next request, from the front.
    chunk: usize,
    /// Answers of kind [`Kind::Broken`] in a row to requests of this chunk.
    broken: u32,
    /// The call that goes alone in the next request, to learn whether the server takes any.
    probe: Option<usize>,
    /// The server took a call while the one at the front failed alone.
    proven: bool,
    spooled: bool,
}

/// What became of calls at the front of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) delivered: usize,
    pub(super) rejected: usize,
}

impl Settled {
    pub(super) fn calls(self) -> usize {
        self.delivered + self.rejected
    }
}

/// What to do after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Send again after a wait that grows.
    Wait,
    /// Send again after a wait that begins long.
    WaitLong,
    /// Send a smaller request at once.
    Smaller,
    /// The call at the front is settled.
    Settle(Settled),
}

impl Batch {
    /// Calls that are to be sent; `spooled` when they are on disk as well.
    pub(super) fn new(calls: VecDeque<Bytes>, spooled: bool) -> Self {
        let chunk = calls.len();
        Self { calls, chunk, spooled, ..Self::default() }
    }

    /// Whether the calls are on disk as well.
    pub(super) fn is_spooled(&self) -> bool {
        self.spooled
    }

    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// The calls of the next request; cheap, for their bytes are shared.
    pub(super) fn request(&self) -> Vec<Bytes> {
        let (from, count) = self.probe.map_or((0, self.chunk), |probe| (probe, 1));
        self.calls.iter().skip(from).take(count).cloned().collect()
    }

    /// Everything that is not settled.
    pub(super) fn into_calls(self) -> VecDeque<Bytes> {
        self.calls
    }

    /// The far end took the request; what it says of its calls.
    ///
    /// A call counts as delivered only where the answer can be read so: when its figures do not
    /// add up, those missing from `accepted` count as rejected. An answer without any figures
    /// says that the request was taken. A probe settles nothing: it comes again in its turn.
    pub(super) fn taken(&mut self, answer: &IngestResponse) -> Settled {
        if self.probe.take().is_some() {
            self.proven = true;
            return Settled { delivered: 0, rejected: 0 };
        }
        let sent = self.chunk;
        let count = |figure: i32| usize::try_from(figure).unwrap_or(0).min(sent);
        let mut named: Vec<_> = answer.errors.iter().map(|error| error.index).collect();
        named.retain(|&index| usize::try_from(index).is_ok_and(|index| index < sent));
        named.sort_unstable();
        named.dedup();
        let silent = answer.accepted == 0 && answer.rejected == 0;
        let missing = if silent { 0 } else { sent - count(answer.accepted) };
        let rejected = count(answer.rejected).max(named.len()).max(missing);
        Settled { delivered: sent - rejected, rejected }
    }

    /// The far end did not take the request.
    pub(super) fn failed(&mut self, kind: Kind) -> Next {
        self.broken = if kind == Kind::Broken { self.broken + 1 } else { 0 };
        let many = self.chunk > 1;
        if self.probe.take().is_some() {
            // Whoever finds fault with the call is at work.
            self.proven = matches!(kind, Kind::Refused | Kind::Duplicate);
            match kind {
                Kind::Misconfigured => return Next::WaitLong,
                _ if self.proven => return Next::Smaller,
                _ => return Next::Wait,
            }
        }
        match kind {
            Kind::Retry => Next::Wait,
            Kind::Misconfigured => Next::WaitLong,
            Kind::TooMuch => {
                self.chunk = self.chunk.div_ceil(2);
                Next::Wait
            }
            Kind::Broken if many && self.broken < PATIENCE_WITH_MANY => Next::Wait,
            Kind::Broken if !many && !self.proven && !self.blames_the_call() => Next::Wait,
            Kind::Broken | Kind::Refused | Kind::Duplicate if many => {
                self.chunk /= 2;
                self.broken = PATIENCE_WITH_MANY;
                Next::Smaller
            }
            Kind::Duplicate => Next::Settle(Settled { delivered: 1, rejected: 0 }),
            Kind::Broken | Kind::Refused => Next::Settle(Settled { delivered: 0, rejected: 1 }),
        }
    }

    /// Whether a call that fails alone may be given up without proof. Sees to that proof where
    /// there is another call to ask with.
    fn blames_the_call(&mut self) -> bool {
        match self.calls.len() - 1 {
            0 => self.broken >= PATIENCE_ALONE,
            others => {
                if self.broken >= PATIENCE {
                    self.probe = Some(1 + self.broken as usize / 2 % others);
                }
                false
            }
        }
    }

    /// Lets go of calls at the front. What was delivered lets requests grow again.
    pub(super) fn settle(&mut self, settled: Settled) {
        if settled.calls() == 0 {
            return;
        }
        self.calls.drain(..settled.calls());
        (self.broken, self.proven) = (0, false);
        if settled.delivered > 0 {
            self.chunk *= 2;
        }
        self.chunk = self.chunk.min(self.calls.len());
    }
}

#[cfg(test)]
mod tests;
