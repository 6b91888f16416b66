//! Whether the upstream can be reached, as the last try found it.

use std::{
    fmt::Display,
    sync::{Mutex, PoisonError},
};

use tokio::sync::Notify;

use crate::ready::Gate;

/// Keeps the gate of `/readyz` true and says in the log what changed.
#[derive(Debug)]
pub(in crate::relay) struct Health {
    gate: Gate,
    /// None before the first try.
    up: Mutex<Option<bool>>,
    fell: Notify,
}

impl Health {
    pub(in crate::relay) fn new(gate: Gate) -> Self {
        Self { gate, up: Mutex::new(None), fell: Notify::new() }
    }

    /// A try succeeded.
    pub(in crate::relay) fn rise(&self) {
        let mut up = self.up.lock().unwrap_or_else(PoisonError::into_inner);
        if *up != Some(true) {
            if *up == Some(false) {
                tracing::info!("the upstream can be reached again");
            }
            self.gate.open();
            *up = Some(true);
        }
    }

    /// A try failed.
    pub(in crate::relay) fn fall(&self, error: &impl Display) {
        let mut up = self.up.lock().unwrap_or_else(PoisonError::into_inner);
        if *up != Some(false) {
            tracing::warn!("{error}");
            *up = Some(false);
            self.fell.notify_one();
        }
        self.gate.close(error.to_string());
    }

    /// Whether the last try succeeded.
    pub(in crate::relay) fn is_up(&self) -> bool {
        *self.up.lock().unwrap_or_else(PoisonError::into_inner) == Some(true)
    }

    /// Completes when the upstream could not be reached.
    pub(in crate::relay) async fn fallen(&self) {
        self.fell.notified().await;
    }
}
