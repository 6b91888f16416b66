//! Whether the upstream can be reached, as the last dial found it.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use super::dial::DialError;
use crate::ready::Gate;

/// Keeps the gate of `/readyz` true and says in the log what changed.
#[derive(Debug)]
pub(super) struct Health {
    gate: Gate,
    /// None before the first dial.
    up: Mutex<Option<bool>>,
    fell: Notify,
}

impl Health {
    pub(super) fn new(gate: Gate) -> Self {
        Self { gate, up: Mutex::new(None), fell: Notify::new() }
    }

    /// A dial succeeded.
    pub(super) fn rise(&self) {
        let mut up = self.up.lock().unwrap_or_else(PoisonError::into_inner);
        if *up != Some(true) {
            if *up == Some(false) {
                tracing::info!("the upstream can be reached again");
            }
            self.gate.open();
            *up = Some(true);
        }
    }

    /// A dial failed.
    pub(super) fn fall(&self, error: &DialError) {
        let mut up = self.up.lock().unwrap_or_else(PoisonError::into_inner);
        if *up != Some(false) {
            tracing::warn!("{error}");
            *up = Some(false);
            self.fell.notify_one();
        }
        self.gate.close(error.to_string());
    }

    /// Completes when the upstream could not be reached.
    pub(super) async fn fallen(&self) {
        self.fell.notified().await;
    }
}
