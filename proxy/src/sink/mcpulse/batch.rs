//! The calls that are being sent, and how many of them go into the next request.
//!
//! A request that is refused as a whole is halved until the call that spoils it stands alone;
//! what is taken doubles it again. So one bad call costs a few dozen requests and no other call.

use std::collections::VecDeque;

use bytes::Bytes;
use mcpulse_proto::v1::IngestResponse;

use super::client::Kind;

/// Answers in a row that blame the server before a single call is blamed instead.
const PATIENCE: u32 = 5;
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
        Self { calls, chunk, broken: 0, spooled }
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
        self.calls.iter().take(self.chunk).cloned().collect()
    }

    /// Everything that is not settled.
    pub(super) fn into_calls(self) -> VecDeque<Bytes> {
        self.calls
    }

    /// The far end took the request; what it says of its calls.
    ///
    /// A call counts as delivered only where the answer can be read so: when its figures do not
    /// add up, those missing from `accepted` count as rejected. An answer without any figures
    /// says that the request was taken.
    pub(super) fn taken(&self, answer: &IngestResponse) -> Settled {
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
        match kind {
            Kind::Retry => Next::Wait,
            Kind::Misconfigured => Next::WaitLong,
            Kind::TooMuch => {
                self.chunk = self.chunk.div_ceil(2);
                Next::Wait
            }
            Kind::Broken if many && self.broken < PATIENCE_WITH_MANY => Next::Wait,
            Kind::Broken if !many && self.broken < PATIENCE => Next::Wait,
            Kind::Broken | Kind::Refused | Kind::Duplicate if many => {
                self.chunk /= 2;
                self.broken = PATIENCE_WITH_MANY;
                Next::Smaller
            }
            Kind::Duplicate => Next::Settle(Settled { delivered: 1, rejected: 0 }),
            Kind::Broken | Kind::Refused => Next::Settle(Settled { delivered: 0, rejected: 1 }),
        }
    }

    /// Lets go of calls at the front. What was delivered lets requests grow again.
    pub(super) fn settle(&mut self, settled: Settled) {
        self.calls.drain(..settled.calls());
        self.broken = 0;
        if settled.delivered > 0 {
            self.chunk *= 2;
        }
        self.chunk = self.chunk.min(self.calls.len());
    }
}

#[cfg(test)]
mod tests;
