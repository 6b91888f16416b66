//! Delivers records: to Prometheus at once, to every exporter through its own bounded queue.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use crate::record::Call;

mod foreign;
pub mod ledger;
pub mod log;
mod losses;
pub mod mcpulse;
pub mod otel;
pub mod prometheus;
pub mod queue;
pub(crate) mod redact;
pub(crate) mod veil;

pub use ledger::{Account, Ledger};
pub use prometheus::Metrics;

/// An exporter at work: the queue that feeds it, and the task that ends once the queue has
/// been emptied and closed, or at the deadline of the shutdown.
#[derive(Debug)]
pub struct Exporter {
    /// The end of its queue that the observer fills.
    pub offer: queue::Offer,
    /// Ends when everything is settled.
    pub task: tokio::task::JoinHandle<()>,
}

/// Where the observer puts what it found; never blocks and never fails.
#[derive(Debug)]
pub struct Sinks {
    metrics: Arc<Metrics>,
    ledger: Arc<Ledger>,
    exporters: Vec<queue::Offer>,
}

impl Sinks {
    /// Sinks whose tool calls are accounted for in `ledger`, which `metrics` shows.
    pub fn new(metrics: Arc<Metrics>, ledger: Arc<Ledger>, exporters: Vec<queue::Offer>) -> Self {
        Self { metrics, ledger, exporters }
    }

    /// One request has ended. Metrics take all of them, exporters the tool calls.
    pub fn call(&self, call: Call) {
        if let Some(kind) = self.metrics.count(&call) {
            self.ledger.observed_as(kind);
            let call = Arc::new(call);
            for exporter in &self.exporters {
                exporter.offer(&call);
            }
        }
    }

    /// The server named these tools in an answer to `tools/list`.
    pub fn tools(&self, server_id: &Arc<str>, names: &[&str]) {
        self.metrics.list(server_id, names);
    }

    /// Tool calls that have no outcome yet, and when the oldest of them began.
    pub fn in_flight(&self, server_id: &Arc<str>, calls: usize, oldest: Option<Instant>) {
        self.metrics.in_flight(server_id, calls, oldest);
    }
}

/// A value that only the sinks' side locks; a panic elsewhere does not poison it.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
