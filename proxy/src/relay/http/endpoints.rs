//! The paths on which a legacy SSE server takes the messages of its clients.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::{shutdown::Shutdown, tap::Debt};

/// Paths remembered; a server announces one, with the session in its query.
const MAX: usize = 16;
/// How often a stream looks, at the end, whether an answer is still awaited on it.
const LOOK: Duration = Duration::from_millis(10);

/// The announced paths, oldest first. They get the credentials, as the endpoint itself does.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    paths: Mutex<Vec<String>>,
    /// Messages on their way to the server.
    posting: AtomicUsize,
}

/// A message that the server has not taken yet.
#[derive(Debug)]
pub(super) struct Posting<'a>(&'a Endpoints);

impl Drop for Posting<'_> {
    fn drop(&mut self) {
        self.0.posting.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Endpoints {
    /// Remembers `path`, and forgets the oldest one when there are too many.
    pub(super) fn announce(&self, path: &str) {
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        if paths.iter().any(|known| known == path) {
            return;
        }
        if paths.len() == MAX {
            let forgotten = paths.remove(0);
            tracing::warn!(forgotten, "the upstream announces ever new endpoint paths");
        }
        paths.push(path.to_owned());
    }

    pub(super) fn contains(&self, path: &str) -> bool {
        let paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        paths.iter().any(|known| known == path)
    }

    /// A client posts a message: its answer may come on any stream, until this is dropped.
    pub(super) fn post(&self) -> Posting<'_> {
        self.posting.fetch_add(1, Ordering::SeqCst);
        Posting(self)
    }

    /// Completes when the shutdown has begun and the stream owes no answer.
    pub(super) async fn quiet(self: Arc<Self>, debt: Debt, shutdown: Shutdown) {
        shutdown.begun().await;
        while self.posting.load(Ordering::SeqCst) > 0 || !debt.is_paid() {
            tokio::time::sleep(LOOK).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_path_is_forgotten_beyond_the_bound() {
        let endpoints = Endpoints::default();
        for n in 0..=MAX {
            endpoints.announce(&format!("/{n}"));
            endpoints.announce("/1");
        }
        assert!(!endpoints.contains("/0"));
        assert!(endpoints.contains("/1"));
        assert!(endpoints.contains(&format!("/{MAX}")));
    }
}
