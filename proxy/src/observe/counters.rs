//! Counts of everything odd that the observer met.

use std::sync::atomic::{AtomicU64, Ordering};

/// Something odd. None of it keeps a byte from being forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Oddity {
    /// A line, event or body that is not JSON-RPC.
    Unparsed,
    /// A message above the inspection limit.
    Oversized,
    /// A request whose id is in flight already, or an answer that names a task twice.
    DuplicateId,
    /// An answer to no request in flight: late, second, or to an id that nobody sent.
    UnmatchedAnswer,
    /// A request that gave way to newer ones because too many were in flight.
    Evicted,
    /// A request that got no answer for too long.
    Expired,
    /// A session that gave way to newer ones.
    SessionEvicted,
    /// A loss of the tap that was noticed on a stream.
    Gap,
    /// A stream whose end the tap lost.
    LostEnd,
    /// Arguments left out because the observer holds too many already.
    ArgumentsDropped,
    /// A whole answer over HTTP that nobody here can read: compressed, or of another type.
    UnreadableBody,
}

impl Oddity {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Unparsed,
        Self::Oversized,
        Self::DuplicateId,
        Self::UnmatchedAnswer,
        Self::Evicted,
        Self::Expired,
        Self::SessionEvicted,
        Self::Gap,
        Self::LostEnd,
        Self::ArgumentsDropped,
        Self::UnreadableBody,
    ];

    /// A short name, for a metric's label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Unparsed => "unparsed",
            Self::Oversized => "oversized",
            Self::DuplicateId => "duplicate_id",
            Self::UnmatchedAnswer => "unmatched_answer",
            Self::Evicted => "evicted",
            Self::Expired => "expired",
            Self::SessionEvicted => "session_evicted",
            Self::Gap => "gap",
            Self::LostEnd => "lost_end",
            Self::ArgumentsDropped => "arguments_dropped",
            Self::UnreadableBody => "unreadable_body",
        }
    }
}

/// How often each oddity was met since the start. The observer alone writes.
#[derive(Debug, Default)]
pub struct Counters([AtomicU64; Oddity::ALL.len()]);

impl Counters {
    /// How often this was met.
    pub fn get(&self, oddity: Oddity) -> u64 {
        self.0[oddity as usize].load(Ordering::Relaxed)
    }

    /// All of them, by label.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Oddity::ALL.iter().map(|oddity| (oddity.label(), self.get(*oddity)))
    }

    pub(super) fn count(&self, oddity: Oddity) {
        self.0[oddity as usize].fetch_add(1, Ordering::Relaxed);
    }
}
