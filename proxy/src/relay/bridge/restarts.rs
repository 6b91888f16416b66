//! When a program that has ended may be started again: at once, and after longer and longer
//! pauses while the next ones end as well.

use std::time::Duration;

use tokio::time::Instant;

use super::{FIRST_PAUSE, LONGEST_PAUSE};

/// The pauses of one program after another.
#[derive(Debug, Default)]
pub(super) struct Restarts {
    /// The pause after the last end; none after a program that lived for long.
    pause: Option<Duration>,
    not_before: Option<Instant>,
}

impl Restarts {
    /// One that was started then has ended by itself, or could not be started.
    pub(super) fn ended(&mut self, started: Instant, at: Instant) {
        let lived_long = at - started > LONGEST_PAUSE;
        let pause = match self.pause.filter(|_| !lived_long) {
            None => Duration::ZERO,
            Some(pause) => LONGEST_PAUSE.min(FIRST_PAUSE.max(pause * 2)),
        };
        self.pause = Some(pause);
        self.not_before = Some(at + pause);
    }

    /// How long the next has to wait.
    pub(super) fn pause(&self) -> Duration {
        self.not_before.map_or(Duration::ZERO, |until| until - Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use tokio::time;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_a_bound_and_are_forgotten_after_a_long_life() {
        let mut restarts = Restarts::default();
        let mut ends = |lived: Duration| {
            let now = Instant::now();
            restarts.ended(now.checked_sub(lived).unwrap_or(now), now);
            restarts.pause()
        };
        time::advance(LONGEST_PAUSE * 3).await;
        let pauses: Vec<_> = (0..8).map(|_| ends(Duration::ZERO).as_secs()).collect();
        assert_eq!(pauses, [0, 1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(ends(LONGEST_PAUSE * 2), Duration::ZERO);
    }
}
