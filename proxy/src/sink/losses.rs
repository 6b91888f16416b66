//! Calls lost to a trouble that lasts: one line when it begins, at most one a minute while it
//! does, and one with the sum when it ends.

use crate::trouble::Trouble;

/// What one kind of trouble has cost.
#[derive(Debug, Default)]
pub(super) struct Losses {
    trouble: Trouble,
    /// Calls lost since the last line of an end.
    lost: u64,
}

impl Losses {
    /// It costs so many calls. When it is time to speak of it: how many it has cost so far.
    pub(super) fn lose(&mut self, calls: u64) -> Option<u64> {
        self.lost += calls;
        self.trouble.begins_or_lasts().then_some(self.lost)
    }

    /// Whether it has cost anything that no line summed up.
    pub(super) fn lasts(&self) -> bool {
        self.lost > 0
    }

    /// It is gone. What it has cost, when the log said that it was there; otherwise that is
    /// part of the next sum.
    pub(super) fn ends(&mut self) -> Option<u64> {
        self.trouble.ends().map(|_| std::mem::take(&mut self.lost))
    }

    /// Nothing follows. What it has cost and no line summed up.
    pub(super) fn sum(&mut self) -> Option<u64> {
        Some(std::mem::take(&mut self.lost)).filter(|&lost| lost > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_sums_are_all_that_was_lost() {
        let (mut losses, mut lines, mut summed) = (Losses::default(), 0, 0);
        assert_eq!((losses.ends(), losses.sum()), (None, None));
        for _ in 0..200 {
            lines += usize::from(losses.lose(3).is_some());
            tokio::time::advance(Duration::from_secs(1)).await;
            if let Some(lost) = losses.ends() {
                (lines, summed) = (lines + 1, summed + lost);
            }
        }
        // Four minutes have begun, however it flickers.
        assert_eq!(lines, 8);
        assert!(losses.lasts());
        assert_eq!(summed + losses.sum().unwrap(), 600);
    }
}
