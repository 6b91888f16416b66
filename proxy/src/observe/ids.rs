//! Identifiers of records and sessions: UUIDs of version 4.
//!
//! Random bytes are fetched in blocks: a system call for each would cost as much as all the
//! rest of observing a call.

use std::fmt;

use ring::rand::{SecureRandom, SystemRandom};
use uuid::{Builder, Uuid};

/// UUIDs in one block.
const BLOCK: usize = 64;

/// A source of UUIDs.
pub(super) struct Ids {
    random: SystemRandom,
    block: [[u8; 16]; BLOCK],
    left: usize,
}

impl Ids {
    pub(super) fn new() -> Self {
        Self { random: SystemRandom::new(), block: [[0; 16]; BLOCK], left: 0 }
    }

    /// The next UUID.
    pub(super) fn next(&mut self) -> Uuid {
        if self.left == 0 {
            if self.random.fill(self.block.as_flattened_mut()).is_err() {
                return Uuid::new_v4();
            }
            self.left = BLOCK;
        }
        self.left -= 1;
        Builder::from_random_bytes(self.block[self.left]).into_uuid()
    }
}

impl fmt::Debug for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ids").field("left", &self.left).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_are_the_same() {
        let mut ids = Ids::new();
        let made: HashSet<_> = (0..10 * BLOCK).map(|_| ids.next()).collect();
        assert_eq!(made.len(), 10 * BLOCK);
        assert!(made.iter().all(|id| id.get_version_num() == 4));
    }
}
