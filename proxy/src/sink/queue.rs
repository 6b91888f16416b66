//! The bounded queue of one exporter, in calls and in bytes.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use tokio::sync::mpsc::{self, error::TrySendError};

use super::{
    Account,
    foreign::were,
    ledger::{QUEUE_FULL, SHUTDOWN},
    lock,
    losses::Losses,
};
use crate::record::Call;

/// The end that the observer fills.
#[derive(Debug)]
pub struct Offer {
    sender: mpsc::Sender<Arc<Call>>,
    bytes: Arc<AtomicUsize>,
    byte_limit: usize,
    account: Account,
    /// What makes for room, for people.
    remedy: String,
    /// What did not fit in.
    full: Mutex<Losses>,
    /// What came after the exporter had ended.
    late: AtomicU64,
}

/// The end that the exporter empties. It ends once the observer is gone and all is taken.
#[derive(Debug)]
pub struct Take {
    receiver: mpsc::Receiver<Arc<Call>>,
    bytes: Arc<AtomicUsize>,
}

/// A queue of at most `calls` calls and `bytes` bytes, settled on `account`. When it is full,
/// the log says so, with the `remedy`.
pub fn queue(
    calls: usize,
    bytes: usize,
    account: Account,
    remedy: impl Into<String>,
) -> (Offer, Take) {
    let (sender, receiver) = mpsc::channel(calls);
    let used = Arc::new(AtomicUsize::new(0));
    let offer = Offer {
        sender,
        bytes: Arc::clone(&used),
        byte_limit: bytes,
        account,
        remedy: remedy.into(),
        full: Mutex::default(),
        late: AtomicU64::default(),
    };
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
        match lost {
            None => self.fits(),
            Some(QUEUE_FULL) => self.is_full(),
            Some(_) => {
                self.late.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn is_full(&self) {
        if let Some(lost) = lock(&self.full).lose(1) {
            let (sink, remedy) = (self.account.sink(), &self.remedy);
            tracing::warn!("the queue of {sink} is full, {} dropped: {remedy}", were(lost));
        }
    }

    /// A queue that was full is so no longer once half of it is free: it would come and go with
    /// every call otherwise.
    fn fits(&self) {
        let mut full = lock(&self.full);
        let free = full.lasts()
            && self.sender.capacity() >= self.sender.max_capacity() / 2
            && self.bytes.load(Ordering::Relaxed) <= self.byte_limit / 2;
        if let Some(lost) = free.then(|| full.ends()).flatten() {
            let sink = self.account.sink();
            tracing::warn!("the queue of {sink} has room again; {} dropped", were(lost));
        }
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        let sink = self.account.sink();
        if let Some(lost) = lock(&self.full).sum() {
            tracing::warn!("{} dropped while the queue of {sink} was full", were(lost));
        }
        let late = self.late.load(Ordering::Relaxed);
        if late > 0 {
            tracing::warn!("{} observed after the end of {sink}, and dropped", were(late));
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
