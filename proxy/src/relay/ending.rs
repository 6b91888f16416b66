//! How a session that has to end is made to: the steps, and when each is due.

use std::time::Duration;

use tokio::time::{self, Instant};

use crate::platform::Process;

/// What to do with a server that does not end by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask it to end.
    Terminate,
    /// End it.
    Kill,
    /// Wait for nothing any more.
    Leave,
}

/// When the steps are due, from the moment at which the end begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grace {
    pub(super) terminate: Duration,
    pub(super) kill: Duration,
    pub(super) leave: Duration,
    /// When everything must be done, the sinks included.
    pub(super) flush: Duration,
}

/// The steps that are still to come.
#[derive(Debug, Default)]
pub(super) struct Ending {
    /// In the order of the steps, each with its time; nothing before the end has begun.
    due: Option<[Instant; 3]>,
    taken: usize,
}

impl Ending {
    const STEPS: [Step; 3] = [Step::Terminate, Step::Kill, Step::Leave];

    /// Begins the end, or hastens it when it has begun: no step is put off.
    pub(super) fn begin(&mut self, grace: Grace) {
        let now = Instant::now();
        let wanted = [now + grace.terminate, now + grace.kill, now + grace.leave];
        self.due = Some(match self.due {
            None => wanted,
            Some(due) => [0, 1, 2].map(|step: usize| due[step].min(wanted[step])),
        });
    }

    /// Whether the session has to end.
    pub(super) fn has_begun(&self) -> bool {
        self.due.is_some()
    }

    /// Completes with the next step when it is due; each comes once.
    pub(super) async fn next(&mut self) -> Step {
        match (self.due, Self::STEPS.get(self.taken)) {
            (Some(due), Some(step)) => {
                time::sleep_until(due[self.taken]).await;
                self.taken += 1;
                *step
            }
            _ => std::future::pending().await,
        }
    }
}

/// Ends the server, more or less politely.
pub(super) fn take(step: Step, server: &Process) {
    let result = match step {
        Step::Terminate => server.terminate(),
        Step::Kill => server.kill(),
        Step::Leave => Ok(()),
    };
    if let Err(error) = result {
        tracing::debug!(?step, %error, "cannot signal the server");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn grace(terminate: u64, kill: u64, leave: u64) -> Grace {
        Grace {
            terminate: Duration::from_millis(terminate),
            kill: Duration::from_millis(kill),
            leave: Duration::from_millis(leave),
            flush: Duration::from_millis(leave),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn steps_come_once_and_in_order() {
        let begun = Instant::now();
        let mut ending = Ending::default();
        ending.begin(grace(100, 300, 400));
        assert_eq!(ending.next().await, Step::Terminate);
        assert_eq!(ending.next().await, Step::Kill);
        assert_eq!(ending.next().await, Step::Leave);
        assert_eq!(begun.elapsed().as_millis(), 400);
        let more = time::timeout(Duration::from_mins(1), ending.next()).await;
        assert!(more.is_err(), "{more:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_reason_hastens_and_never_delays() {
        let begun = Instant::now();
        let mut ending = Ending::default();
        ending.begin(grace(1400, 1600, 1700));
        time::sleep(Duration::from_secs(1)).await;
        ending.begin(grace(0, 500, 800));
        assert_eq!(ending.next().await, Step::Terminate);
        assert_eq!(begun.elapsed().as_millis(), 1000);
        assert_eq!(ending.next().await, Step::Kill);
        assert_eq!(begun.elapsed().as_millis(), 1500);
        assert_eq!(ending.next().await, Step::Leave);
        assert_eq!(begun.elapsed().as_millis(), 1700);
    }
}
