//! Where encoded calls wait for the next batch: on disk where a spool is configured and works,
//! otherwise in memory.
//!
//! The disk is touched on threads for blocking work only, for it may hang.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

use super::{
    batch::{Batch, Encoded},
    spool::{Appended, Place, Spool},
};
use crate::{config, sink::Account, trouble::Trouble};

/// Bytes at which a request is full; gRPC servers take 4 MiB by default.
pub(super) const REQUEST_BYTES: usize = 3 << 20;
/// How long a disk that failed is left alone.
const DISK_REST: Duration = Duration::from_secs(10);

/// The reason of calls that the spool took and could not give back.
const UNREADABLE: &str = "spool_unreadable";

/// Calls that no batch has taken yet.
#[derive(Debug)]
pub(super) struct Backlog {
    account: Account,
    batch_max: usize,
    held: VecDeque<Bytes>,
    held_bytes: usize,
    spool: Option<Spool>,
    /// Calls in the spool.
    on_disk: u64,
    /// When the disk may be written to again.
    disk_at: Instant,
    failing: Trouble,
    full: Trouble,
}

impl Backlog {
    /// An empty one, in memory.
    pub(super) fn new(batch_max: usize, account: Account) -> Self {
        Self {
            account,
            batch_max,
            held: VecDeque::new(),
            held_bytes: 0,
            spool: None,
            on_disk: 0,
            disk_at: Instant::now(),
            failing: Trouble::default(),
            full: Trouble::default(),
        }
    }

    /// Opens the spool, if one is configured, with what is left in it from earlier.
    pub(super) async fn open_spool(&mut self, config: &config::Mcpulse) {
        let Some(folder) = config.spool_dir.clone() else { return };
        let (shown, limit) = (folder.display().to_string(), config.spool_limit);
        match blocking(move || Spool::open(&folder, limit)).await {
            Some(Ok((spool, found))) => {
                self.on_disk = spool.waiting();
                self.spool = Some(spool);
                self.account.restored(found.restored + found.damaged);
                self.account.dropped(UNREADABLE, found.damaged);
                self.evicted(found.evicted);
                if found.restored > 0 {
                    tracing::info!("{} calls of earlier runs wait in {shown}", found.restored);
                }
            }
            Some(Err(error)) => tracing::warn!(
                "cannot use the spool {shown}: {error}; calls wait in memory only: check --spool-dir"
            ),
            None => tracing::warn!("cannot use the spool {shown}; calls wait in memory only"),
        }
    }

    /// Calls that wait.
    pub(super) fn len(&self) -> usize {
        self.held.len().saturating_add(usize::try_from(self.on_disk).unwrap_or(usize::MAX))
    }

    /// Whether calls may leave the queue. In memory none does unless a batch of them is `wanted`,
    /// so that the bounds of the queue bound what is kept.
    pub(super) fn has_room(&self, wanted: bool) -> bool {
        let disk = self.spool.is_some() && self.disk_at <= Instant::now();
        disk || (wanted && !self.holds_a_batch())
    }

    /// Whether memory holds as much as a request may.
    pub(super) fn holds_a_batch(&self) -> bool {
        self.held.len() >= self.batch_max || self.held_bytes >= REQUEST_BYTES
    }

    /// Takes calls over: on disk, or in memory where that fails.
    pub(super) async fn add(&mut self, calls: Vec<Bytes>) {
        let kept =
            if self.disk_at <= Instant::now() { self.append(calls.clone()).await } else { 0 };
        self.held_bytes += calls[kept..].iter().map(Bytes::len).sum::<usize>();
        self.held.extend(calls.into_iter().skip(kept));
    }

    /// Writes calls to the disk; how many of them are there now.
    async fn append(&mut self, calls: Vec<Bytes>) -> usize {
        let Some(appended) = self.on_disk(move |spool| spool.append(&calls)).await else {
            return 0;
        };
        let Appended { kept, evicted, error } = appended;
        self.evicted(evicted);
        match error {
            None => {
                self.failing.ends();
            }
            Some(error) => {
                self.disk_at = Instant::now() + DISK_REST;
                if self.failing.begins_or_lasts() {
                    tracing::warn!("cannot write to the spool: {error}; calls wait in memory");
                }
            }
        }
        kept
    }

    /// The calls for the next requests: those in memory first, for only they can be lost.
    pub(super) async fn next_batch(&mut self) -> VecDeque<Encoded> {
        if !self.held.is_empty() {
            let mut bytes = 0;
            let fits = |call: &&Bytes| {
                bytes += call.len();
                bytes - call.len() < REQUEST_BYTES
            };
            let count = self.held.iter().take(self.batch_max).take_while(fits).count();
            let calls = self.held.drain(..count).map(|bytes| Encoded { bytes, place: None });
            let calls = calls.collect();
            self.held_bytes = self.held.iter().map(Bytes::len).sum();
            return calls;
        }
        let count = self.batch_max;
        let taken = self.on_disk(move |spool| spool.take(count, REQUEST_BYTES)).await;
        let Some(taken) = taken else { return VecDeque::new() };
        if taken.unreadable > 0 {
            self.account.dropped(UNREADABLE, taken.unreadable);
        }
        let on_disk = |(bytes, place)| Encoded { bytes, place: Some(place) };
        taken.calls.into_iter().map(on_disk).collect()
    }

    /// MCPulse has answered for these calls, which batches took from the disk.
    pub(super) async fn settle(&mut self, places: Vec<Place>) {
        self.on_disk(move |spool| spool.settle(&places)).await;
    }

    /// Writes whatever is in memory only to the disk, within this time; how many calls could not
    /// be written.
    pub(super) async fn keep(&mut self, batch: &Batch, more: Vec<Bytes>, time: Duration) -> usize {
        // What became of a spool that failed for good, nobody knows: it is not written again.
        let is_on_disk = |place| self.spool.as_ref().is_none_or(|spool| spool.holds(place));
        let in_memory = batch.all().filter(|call| !call.place.is_some_and(is_on_disk));
        let mut calls: Vec<_> = in_memory.map(|call| call.bytes.clone()).collect();
        calls.extend(self.held.drain(..));
        calls.extend(more);
        let all = calls.len();
        if all == 0 {
            return 0;
        }
        let kept = tokio::time::timeout(time, self.append(calls)).await;
        all - kept.unwrap_or_default()
    }

    /// Calls in memory.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// Whether calls outlive the process.
    pub(super) fn has_spool(&self) -> bool {
        self.spool.is_some()
    }

    /// Whether no call is in memory only, but for those that [`Backlog::keep`] can still write.
    pub(super) fn is_on_disk(&self) -> bool {
        self.spool.is_some() && self.held.is_empty()
    }

    /// Calls on disk that are not settled.
    pub(super) fn spooled(&self) -> u64 {
        self.spool.as_ref().map_or(0, Spool::unsettled)
    }

    fn evicted(&mut self, calls: u64) {
        if calls > 0 {
            self.account.dropped("spool_full", calls);
            if self.full.begins_or_lasts() {
                tracing::warn!(
                    "the spool is full, the oldest {calls} calls are lost: --spool-limit"
                );
            }
        }
    }

    /// Works on the spool, if there is one, without holding up anything else.
    async fn on_disk<R: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Spool) -> R + Send + 'static,
    ) -> Option<R> {
        let mut spool = self.spool.take()?;
        let done = blocking(move || {
            let result = work(&mut spool);
            (spool, result)
        });
        if let Some((spool, result)) = done.await {
            self.on_disk = spool.waiting();
            self.spool = Some(spool);
            Some(result)
        } else {
            tracing::error!("the spool failed for good; calls wait in memory only");
            self.on_disk = 0;
            None
        }
    }
}

/// Runs on a thread that may block; none when it panicked, or at the end of the runtime.
async fn blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Option<R> {
    tokio::task::spawn_blocking(work).await.ok()
}
