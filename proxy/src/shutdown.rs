//! Coming to an end: one token, one deadline.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

/// Tells every part that the process is ending and by when it must have ended.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
    deadline: Arc<OnceLock<Instant>>,
}

impl Shutdown {
    /// Begins the end: parts must be done within `grace`. Only the first call counts.
    pub fn begin(&self, grace: Duration) {
        self.deadline.get_or_init(|| Instant::now() + grace);
        self.token.cancel();
    }

    /// Completes once the end has begun.
    pub async fn begun(&self) {
        self.token.cancelled().await;
    }

    /// Whether the end has begun.
    pub fn has_begun(&self) -> bool {
        self.token.is_cancelled()
    }

    /// When everything must have ended; none before the end has begun.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline.get().copied()
    }

    /// What is left of the grace; zero after the deadline, none before the end has begun.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline().map(|at| at.saturating_duration_since(Instant::now()))
    }
}
