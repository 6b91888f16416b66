//! What sessions with programs came to since the start, counted for `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one bridge.
#[derive(Debug, Default)]
pub struct Counters {
    begun: AtomicU64,
    ended: [AtomicU64; Ended::ALL.len()],
    shared: AtomicU64,
    programs: [AtomicU64; Use::ALL.len()],
    dropped: AtomicU64,
    garbage: AtomicU64,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The client deleted it.
    Deleted,
    /// The client did not read what it was told, where it has one stream for everything.
    Unread,
    /// Nobody used it for too long.
    Idle,
    /// Its program ended, or said its last word.
    Exited,
    /// It was not initialized: the program refused, or the client did not wait.
    Uninitialized,
    /// The proxy shut down.
    Shutdown,
}

impl Ended {
    /// Every reason.
    pub const ALL: [Self; 6] = [
        Self::Deleted,
        Self::Unread,
        Self::Idle,
        Self::Exited,
        Self::Uninitialized,
        Self::Shutdown,
    ];

    /// The value of the `reason` label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Unread => "unread",
            Self::Idle => "idle",
            Self::Exited => "exited",
            Self::Uninitialized => "uninitialized",
            Self::Shutdown => "shutdown",
        }
    }
}

/// What a program is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// A session has it.
    Session,
    /// Clients without sessions share it.
    Shared,
    /// It waits for a session.
    Warm,
    /// The proxy looks whether it can be used.
    Probe,
}

impl Use {
    /// Every use.
    pub const ALL: [Self; 4] = [Self::Session, Self::Shared, Self::Warm, Self::Probe];

    /// The value of the `use` label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Shared => "shared",
            Self::Warm => "warm",
            Self::Probe => "probe",
        }
    }
}

impl Counters {
    /// Sessions that have not ended.
    pub fn open(&self) -> u64 {
        // Counted as begun first, so that this is never below zero.
        let ended: u64 = Ended::ALL.iter().map(|why| self.ended(*why)).sum();
        self.begun.load(Ordering::Acquire).saturating_sub(ended)
    }

    /// Sessions that ended, by reason.
    pub fn ended(&self, why: Ended) -> u64 {
        self.ended[why as usize].load(Ordering::Acquire)
    }

    /// Programs that run, by what they are for; until they have been reaped.
    pub fn programs(&self, is: Use) -> u64 {
        self.programs[is as usize].load(Ordering::Relaxed)
    }

    /// Programs that were started to be shared.
    pub fn shared(&self) -> u64 {
        self.shared.load(Ordering::Relaxed)
    }

    /// Messages of programs that reached no client: nobody asked for them, nobody listened, or
    /// too many waited.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Lines of programs that were no messages.
    pub fn garbage(&self) -> u64 {
        self.garbage.load(Ordering::Relaxed)
    }

    pub(super) fn count_begun(&self) {
        self.begun.fetch_add(1, Ordering::Release);
    }

    pub(super) fn count_ended(&self, why: Ended) {
        self.ended[why as usize].fetch_add(1, Ordering::Release);
    }

    pub(super) fn count_program(&self, is: Use) {
        self.programs[is as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn uncount_program(&self, is: Use) {
        self.programs[is as usize].fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn count_shared(&self) {
        self.shared.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_dropped(&self, messages: u64) {
        if messages > 0 {
            self.dropped.fetch_add(messages, Ordering::Relaxed);
        }
    }

    pub(super) fn count_garbage(&self) {
        self.garbage.fetch_add(1, Ordering::Relaxed);
    }
}
