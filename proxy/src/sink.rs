//! Delivers records: to Prometheus at once, to every exporter through its own bounded queue.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use crate::record::Call;

pub mod ledger;
pub mod queue;

pub use ledger::{Account, Ledger};

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
    ledger: Arc<Ledger>,
    exporters: Vec<queue::Offer>,
}

impl Sinks {
    /// Sinks whose tool calls are accounted for in `ledger`.
    pub fn new(ledger: Arc<Ledger>, exporters: Vec<queue::Offer>) -> Self {
        Self { ledger, exporters }
    }

    /// One request has ended.
    pub fn call(&self, call: Call) {
        if call.is_tool_call() {
            self.ledger.observed();
            let call = Arc::new(call);
            for exporter in &self.exporters {
                exporter.offer(&call);
            }
        }
    }

    /// The server named these tools in an answer to `tools/list`.
    pub fn tools(&self, _server_id: &Arc<str>, _names: &[&str]) {}

    /// Tool calls that have no outcome yet, and when the oldest of them began.
    pub fn in_flight(&self, _server_id: &Arc<str>, _calls: usize, _oldest: Option<Instant>) {}
}

/// A value that only the sinks' side locks; a panic elsewhere does not poison it.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
