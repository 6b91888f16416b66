//! Calls that the server failed at when they were alone in a request: is it them, or all?

use std::collections::VecDeque;

use super::Encoded;

/// Failures of a call after which, and before it failed again, another was taken: so many show
/// it to be what fails.
const PROOFS: u32 = 3;
/// Failures that do where others were taken only after the first; with the waits between,
/// some minutes.
const TRIES: u32 = 12;
/// Suspects that are tried before they all wait.
const ROUND: usize = 8;

/// Those that are put aside, the one to try next first.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    queue: VecDeque<Suspect>,
    /// How often others were taken.
    taken: u64,
    /// Tried since they all waited.
    tried: usize,
}

#[derive(Debug)]
struct Suspect {
    call: Encoded,
    /// `taken` when it failed last.
    taken: u64,
    proofs: u32,
    /// Failures since the first proof.
    tries: u32,
}

impl Suspects {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Encoded> {
        self.queue.iter().map(|suspect| &suspect.call)
    }

    pub(super) fn first(&self) -> Option<&Encoded> {
        self.queue.front().map(|suspect| &suspect.call)
    }

    /// Takes over calls that have just failed alone.
    pub(super) fn extend(&mut self, calls: Option<Encoded>) {
        let taken = self.taken;
        self.queue.extend(calls.map(|call| Suspect { call, taken, proofs: 0, tries: 0 }));
    }

    /// The first is settled.
    pub(super) fn pop(&mut self) -> Option<Encoded> {
        self.queue.pop_front().map(|suspect| suspect.call)
    }

    /// The server takes calls.
    pub(super) fn another_is_taken(&mut self) {
        self.taken += 1;
    }

    /// The first has failed again: whether it is to blame. If not, it is the last from now on.
    pub(super) fn failed(&mut self) -> bool {
        let Some(suspect) = self.queue.front_mut() else { return false };
        if suspect.taken < self.taken {
            suspect.taken = self.taken;
            suspect.proofs += 1;
        }
        suspect.tries += u32::from(suspect.proofs > 0);
        if suspect.proofs >= PROOFS || suspect.tries >= TRIES {
            return true;
        }
        self.queue.rotate_left(1);
        false
    }

    /// Whether it is time for them to wait.
    pub(super) fn rest(&mut self) -> bool {
        self.tried += 1;
        let rest = self.tried >= ROUND.min(self.queue.len());
        if rest {
            self.tried = 0;
        }
        rest
    }
}
