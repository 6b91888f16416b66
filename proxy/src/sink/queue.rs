//! The bounded queue of one exporter, in calls and in bytes.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::mpsc::{self, error::TrySendError};

use super::{
    Account,
    ledger::{QUEUE_FULL, SHUTDOWN},
};
use crate::record::Call;

/// The end that the observer fills.
#[derive(Debug)]
pub struct Offer {
    sender: mpsc::Sender<Arc<Call>>,
    bytes: Arc<AtomicUsize>,
    byte_limit: usize,
    account: Account,
}

/// The end that the exporter empties. It ends once the observer is gone and all is taken.
#[derive(Debug)]
pub struct Take {
    receiver: mpsc::Receiver<Arc<Call>>,
    bytes: Arc<AtomicUsize>,
}

/// A queue of at most `calls` calls and `bytes` bytes, settled on `account`.
pub fn queue(calls: usize, bytes: usize, account: Account) -> (Offer, Take) {
    let (sender, receiver) = mpsc::channel(calls);
    let used = Arc::new(AtomicUsize::new(0));
    let offer = Offer { sender, bytes: Arc::clone(&used), byte_limit: bytes, account };
    (offer, Take { receiver, bytes: used })
}

impl Offer {
    /// Queues a call that the ledger has observed, or drops and counts it.
    pub fn offer(&self, call: &Arc<Call>) {
        let weight = call.weight();
        let full = self.bytes.fetch_add(weight, Ordering::Relaxed) + weight > self.byte_limit;
        let lost = if full {
            Some(QUEUE_FULL)
        } else {
            match self.sender.try_send(Arc::clone(call)) {
                Ok(()) => None,
                Err(TrySendError::Full(_)) => Some(QUEUE_FULL),
                Err(TrySendError::Closed(_)) => Some(SHUTDOWN),
            }
        };
        if let Some(reason) = lost {
            self.bytes.fetch_sub(weight, Ordering::Relaxed);
            self.account.dropped(reason, 1);
        }
    }
}

impl Take {
    /// The next call; none once there will be no more.
    pub async fn next(&mut self) -> Option<Arc<Call>> {
        let call = self.receiver.recv().await?;
        self.bytes.fetch_sub(call.weight(), Ordering::Relaxed);
        Some(call)
    }

    /// Takes no more: what is offered from now on is dropped and counted there.
    pub fn close(&mut self) {
        self.receiver.close();
    }

    /// The next call if one is waiting.
    pub fn try_next(&mut self) -> Option<Arc<Call>> {
        let call = self.receiver.try_recv().ok()?;
        self.bytes.fetch_sub(call.weight(), Ordering::Relaxed);
        Some(call)
    }
}
