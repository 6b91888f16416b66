//! How a program that has to end is made to: the steps, and when each is due.

use std::time::{Duration, Instant};

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Ask its group to end.
    Terminate,
    /// End its group.
    Kill,
    /// Wait for nothing any more.
    Leave,
}

/// From SIGKILL until nobody waits for what it did.
const LEAVE_AFTER: Duration = Duration::from_secs(1);

/// The steps that are still to come.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    /// In the order of the steps, each with its time; nothing before the end has begun.
    due: Option<[Instant; 3]>,
    taken: usize,
}

impl Ending {
    const STEPS: [Step; 3] = [Step::Terminate, Step::Kill, Step::Leave];

    /// Begins the end, or hastens it when it has begun: no step is put off.
    pub(crate) fn begin(&mut self, now: Instant, terminate: Duration, kill: Duration) {
        let wanted =
            [now + terminate, now + terminate + kill, now + terminate + kill + LEAVE_AFTER];
        self.due = Some(match self.due {
            None => wanted,
            Some(due) => [0, 1, 2].map(|step: usize| due[step].min(wanted[step])),
        });
    }

    /// When the next step is due.
    pub(crate) fn when(&self) -> Option<Instant> {
        self.due.and_then(|due| due.get(self.taken).copied())
    }

    /// The next step that is due, each once.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Step> {
        let step = self.when().filter(|due| *due <= now).and(Self::STEPS.get(self.taken).copied());
        self.taken += usize::from(step.is_some());
        step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn steps_come_once_in_order_and_are_hastened_only() {
        let now = Instant::now();
        let mut ending = Ending::default();
        assert_eq!((ending.next(now), ending.when()), (None, None));
        ending.begin(now, 2 * S, 5 * S);
        ending.begin(now, 3 * S, S);
        assert_eq!((ending.next(now + S), ending.next(now + 2 * S)), (None, Some(Step::Terminate)));
        assert_eq!(ending.when(), Some(now + 4 * S));
        assert_eq!(ending.next(now + 9 * S), Some(Step::Kill));
        assert_eq!((ending.next(now + 9 * S), ending.next(now + 9 * S)), (Some(Step::Leave), None));
        assert_eq!(ending.when(), None);
    }
}
