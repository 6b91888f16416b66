//! Whether the upstream can be reached, as the last try found it.

use std::{
    fmt::Display,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::{ready::Gate, trouble::Trouble};

/// Keeps the gate of `/readyz` true and says in the log what changed.
#[derive(Debug)]
pub(in crate::relay) struct Health {
    gate: Gate,
    found: Mutex<Found>,
    fell: Notify,
    doubted: Notify,
}

#[derive(Debug, Default)]
struct Found {
    /// None before the first try.
    up: Option<bool>,
    /// Whether it was ever reached.
    was_up: bool,
    trouble: Trouble,
}

impl Health {
    pub(in crate::relay) fn new(gate: Gate) -> Self {
        Self { gate, found: Mutex::default(), fell: Notify::new(), doubted: Notify::new() }
    }

    /// A try succeeded.
    pub(in crate::relay) fn rise(&self) {
        let mut found = self.found();
        if found.up != Some(true) {
            if found.trouble.ends().is_some() {
                tracing::info!("the upstream can be reached again");
            }
            self.gate.open();
            found.up = Some(true);
            found.was_up = true;
        }
    }

    /// A try failed.
    pub(in crate::relay) fn fall(&self, error: &impl Display) {
        let mut found = self.found();
        if found.trouble.begins_or_lasts() {
            tracing::warn!("{error}");
        }
        if found.up != Some(false) {
            found.up = Some(false);
            self.fell.notify_one();
        }
        self.gate.close(error.to_string());
    }

    /// Whether the last try succeeded.
    pub(in crate::relay) fn is_up(&self) -> bool {
        self.found().up == Some(true)
    }

    /// Whether a try ever succeeded.
    pub(in crate::relay) fn was_up(&self) -> bool {
        self.found().was_up
    }

    /// Whether the last try failed.
    pub(in crate::relay) fn is_down(&self) -> bool {
        self.found().up == Some(false)
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something failed that may be the fault of who asked for it: only another try can tell.
    pub(in crate::relay) fn doubt(&self) {
        self.doubted.notify_one();
    }

    /// Completes when it is in doubt whether the upstream can be reached.
    pub(in crate::relay) async fn doubted(&self) {
        self.doubted.notified().await;
    }

    /// Completes when the upstream could not be reached.
    pub(in crate::relay) async fn fallen(&self) {
        self.fell.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use std::{io, sync::Arc, time::Duration};

    use tokio::time;

    use super::*;
    use crate::ready::Ready;

    #[derive(Clone, Default)]
    struct Said(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Said {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_upstream_that_comes_and_goes_is_spoken_of_once_a_minute() {
        let said = Said::default();
        let writer = said.clone();
        let log = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        let _speaking = tracing::subscriber::set_default(log);
        let ready = Ready::default();
        let health = Health::new(ready.gate("upstream"));
        for _ in 0..180 {
            health.fall(&"it is away");
            assert_eq!(ready.closed()[0].1, "it is away");
            health.rise();
            assert!(ready.closed().is_empty());
            time::advance(Duration::from_secs(1)).await;
        }
        let said = String::from_utf8(said.0.lock().unwrap().clone()).unwrap();
        let lines = |words| said.matches(words).count();
        assert_eq!((lines("it is away"), lines("can be reached again")), (3, 3), "{said}");
    }
}
