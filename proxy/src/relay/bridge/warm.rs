//! Programs that are started before a session wants one, so that no client waits for their
//! start. Nothing is said to them before.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

use super::{
    launcher::Launcher,
    opening::{Opening, Unopened},
    restarts::Restarts,
};
use crate::relay::http::health::Health;

/// How long to wait for room where nothing tells of it.
const LOOK: Duration = Duration::from_secs(1);

/// Keeps so many programs waiting.
#[derive(Debug)]
pub(super) struct Warm {
    most: usize,
    /// Oldest first, each with when it was started.
    waiting: Mutex<VecDeque<(Opening, Instant)>>,
    /// Held while one is started, which takes up a place already.
    starting: tokio::sync::Mutex<()>,
    changed: Notify,
}

impl Warm {
    pub(super) fn new(most: usize) -> Self {
        let (waiting, starting) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { most, waiting, starting, changed: Notify::new() }
    }

    /// The program that has waited longest, if any waits. Another will be started.
    pub(super) fn take(&self) -> Option<Opening> {
        let mut waiting = self.lock();
        let at = waiting.iter().position(|(opening, _)| !opening.session().is_over())?;
        let taken = waiting.remove(at).map(|(opening, _)| opening);
        drop(waiting);
        self.changed.notify_one();
        taken
    }

    /// The same for who finds no other place: one that is being started will do as well.
    pub(super) async fn take_any(&self) -> Option<Opening> {
        if let Some(waiting) = self.take() {
            return Some(waiting);
        }
        drop(self.starting.lock().await);
        self.take()
    }

    /// A program has ended: perhaps one of these, and perhaps there is room for another now.
    pub(super) fn wake(&self) {
        if self.most > 0 {
            self.changed.notify_one();
        }
    }

    /// Starts what is missing, for ever.
    pub(super) async fn keep(&self, launcher: &Arc<Launcher>, health: &Health) {
        let mut restarts = Restarts::default();
        loop {
            if self.tidy(&mut restarts) >= self.most {
                self.changed.notified().await;
                continue;
            }
            let pause = restarts.pause();
            if !pause.is_zero() {
                // Others that end meanwhile make it no shorter, and keep no place.
                let _ = timeout(pause, self.changed.notified()).await;
                continue;
            }
            let starting = self.starting.lock().await;
            let started = Arc::clone(launcher).warm_up().await;
            let started = started.map(|opening| self.lock().push_back((opening, Instant::now())));
            drop(starting);
            match started {
                Ok(()) => {}
                Err(Unopened::Full(_)) => {
                    let _ = timeout(LOOK, self.changed.notified()).await;
                }
                Err(Unopened::Unstarted(error)) => {
                    health.fall(&error);
                    restarts.ended(Instant::now(), Instant::now());
                }
            }
        }
    }

    /// Forgets those that have ended. Returns how many are left.
    fn tidy(&self, restarts: &mut Restarts) -> usize {
        let mut waiting = self.lock();
        waiting.retain(|(opening, started)| {
            let over = opening.session().is_over();
            if over {
                restarts.ended(*started, Instant::now());
            }
            !over
        });
        waiting.len()
    }

    /// Ends them all.
    pub(super) fn end(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Opening, Instant)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
