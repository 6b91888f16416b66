//! Coming to an end: it begins once, and its deadline can only move closer.

use std::time::{Duration, Instant};

use tokio::{sync::watch, time};
use tokio_util::sync::CancellationToken;

/// Tells every part that the process is ending and by when it must have ended.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    deadline: watch::Sender<Option<Instant>>,
    hastened: CancellationToken,
}

impl Shutdown {
    /// Begins the end: parts must be done within `grace`. Later calls may only shorten what
    /// is left, as when a signal follows the end of the input.
    pub fn begin(&self, grace: Duration) {
        let wanted = now() + grace;
        self.deadline.send_if_modified(|deadline| {
            let closer = deadline.is_none_or(|at| wanted < at);
            if closer {
                *deadline = Some(wanted);
            }
            closer
        });
    }

    /// Begins the end, or goes on with it, and waits for no client any more: parts must be done
    /// within `grace`.
    pub fn hasten(&self, grace: Duration) {
        self.begin(grace);
        self.hastened.cancel();
    }

    /// Completes once no client is to be waited for, at the latest at the deadline.
    pub async fn hastened(&self) {
        tokio::select! {
            () = self.hastened.cancelled() => {}
            () = self.expired() => {}
        }
    }

    /// Ends with another, and waits for no client any more when that does not. Completes then.
    pub async fn follow(&self, other: &Self) {
        other.begun().await;
        self.begin(other.remaining().unwrap_or_default());
        other.hastened().await;
        self.hasten(other.remaining().unwrap_or_default());
    }

    /// Completes once the end has begun.
    pub async fn begun(&self) {
        // It cannot fail: this sender is alive while it is borrowed.
        let _ = self.deadline.subscribe().wait_for(Option::is_some).await;
    }

    /// Completes at the deadline, wherever it has moved meanwhile.
    pub async fn expired(&self) {
        self.nears(Duration::ZERO).await;
    }

    /// Completes this long before the deadline, wherever it has moved meanwhile; of a shorter
    /// grace it leaves a quarter.
    pub async fn nears(&self, margin: Duration) {
        let mut deadline = self.deadline.subscribe();
        loop {
            let at = *deadline.borrow_and_update();
            let expiry = async {
                match at {
                    Some(at) => {
                        let left = at.saturating_duration_since(now());
                        time::sleep(left.saturating_sub(margin.min(left / 4))).await;
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = expiry => return,
                _ = deadline.changed() => {}
            }
        }
    }

    /// Whether the end has begun.
    pub fn has_begun(&self) -> bool {
        self.deadline.borrow().is_some()
    }

    /// When everything must have ended; none before the end has begun.
    pub fn deadline(&self) -> Option<Instant> {
        *self.deadline.borrow()
    }

    /// What is left of the grace; zero after the deadline, none before the end has begun.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline().map(|at| at.saturating_duration_since(now()))
    }
}

/// The time before an end that others begin, in which nothing is to begin any more.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    begun: CancellationToken,
}

impl Drain {
    /// Nothing is to begin from now on.
    pub fn begin(&self) {
        self.begun.cancel();
    }

    /// Whether nothing is to begin.
    pub fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    /// Completes once nothing is to begin.
    pub async fn begun(&self) {
        self.begun.cancelled().await;
    }
}

/// Tokio's clock, so that tests can stop it.
fn now() -> Instant {
    time::Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_deadline_only_moves_closer() {
        let shutdown = Shutdown::default();
        assert!(!shutdown.has_begun());
        assert_eq!(shutdown.remaining(), None);
        shutdown.begin(Duration::from_secs(2));
        shutdown.begun().await;
        assert_eq!(shutdown.remaining(), Some(Duration::from_secs(2)));
        shutdown.begin(Duration::from_secs(5));
        assert_eq!(shutdown.remaining(), Some(Duration::from_secs(2)));
        shutdown.begin(Duration::from_secs(1));
        assert_eq!(shutdown.remaining(), Some(Duration::from_secs(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn clients_are_waited_for_until_the_deadline_or_a_second_thought() {
        let begun = time::Instant::now();
        let shutdown = Shutdown::default();
        shutdown.begin(Duration::from_secs(9));
        shutdown.hastened().await;
        assert_eq!(begun.elapsed(), Duration::from_secs(9));
        let shutdown = Shutdown::default();
        shutdown.begin(Duration::from_secs(9));
        shutdown.hasten(Duration::from_secs(3));
        shutdown.hastened().await;
        assert_eq!(begun.elapsed(), Duration::from_secs(9));
        assert_eq!(shutdown.remaining(), Some(Duration::from_secs(3)));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_the_deadline_follows_it() {
        let shutdown = Shutdown::default();
        let begun = time::Instant::now();
        let waiting = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.expired().await }
        });
        tokio::task::yield_now().await;
        shutdown.begin(Duration::from_secs(9));
        tokio::task::yield_now().await;
        shutdown.begin(Duration::from_secs(1));
        waiting.await.unwrap();
        let took = begun.elapsed();
        assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(2), "{took:?}");
    }
}
