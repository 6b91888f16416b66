//! The call log: one JSON object per tool call and line, in a file or on standard error.
//! Arguments are never written, and what a server said went wrong only redacted.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::sleep;

use self::{line::Lines, target::Target};
use super::{
    Account, Exporter,
    foreign::{printable, were},
    ledger::SHUTDOWN,
    losses::Losses,
    queue::{Take, queue},
};
use crate::{config::Capture, record::Call, shutdown::Shutdown};

mod line;
mod target;

pub use target::Error;

/// Calls that wait to be written.
const QUEUE_CALLS: usize = 10_000;
const QUEUE_BYTES: usize = 8 << 20;
/// Calls that are written together, and how long a call waits for others.
const BATCH: usize = 1000;
const LINGER: Duration = Duration::from_millis(50);
/// What is left of the grace when writing ends, for the accounts.
const LAST_MOMENT: Duration = Duration::from_millis(50);
/// The reason of calls that could not be written.
const WRITE_ERROR: &str = "write_error";

/// Starts writing to the file `target`, or to standard error for `-`. The file is appended
/// to, and opened anew once it was renamed or removed: rotating it takes no signal. Must be
/// called within a runtime.
///
/// # Errors
/// When the file cannot be opened.
pub fn start(
    target: &str,
    capture: Capture,
    account: Account,
    shutdown: Shutdown,
) -> Result<Exporter, Error> {
    let target = Target::open(target)?;
    if target.is_unread() {
        tracing::warn!("nobody reads the pipe {target}; until somebody does, calls are not logged");
    }
    let lines = Lines::new(capture);
    account.may_drop(&[WRITE_ERROR, SHUTDOWN]);
    let remedy = format!("{target} takes lines too slowly; if it is a pipe, read it");
    let (offer, take) = queue(QUEUE_CALLS, QUEUE_BYTES, account.clone(), remedy);
    let worker = Worker {
        take,
        lines,
        written: target.written(),
        target: Some(target),
        account,
        shutdown,
        batch: Vec::new(),
        failing: Losses::default(),
    };
    Ok(Exporter { offer, task: tokio::spawn(worker.work()) })
}

/// Tries the target, and leaves it as it was.
///
/// # Errors
/// Why it cannot be written, with the remedy.
pub fn check(target: &str) -> Result<String, String> {
    let is_new = !Path::new(target).exists();
    let opened = Target::open(target).map_err(|error| error.to_string())?;
    if is_new {
        // Nothing is there for standard error.
        let _ = fs::remove_file(target);
    }
    let unread = if opened.is_unread() { ", once somebody reads the pipe" } else { "" };
    Ok(format!("{opened} can be written{unread}"))
}

/// Everything the task owns.
#[derive(Debug)]
struct Worker {
    take: Take,
    lines: Lines,
    /// Away while a thread writes to it.
    target: Option<Target>,
    /// Lines of the batch that are written, as far as the thread has come.
    written: Arc<AtomicUsize>,
    account: Account,
    shutdown: Shutdown,
    /// Calls that are owed and no longer in the queue.
    batch: Vec<Arc<Call>>,
    failing: Losses,
}

impl Worker {
    /// Writes until everything is settled and no more can come, or to the end of the grace.
    async fn work(mut self) {
        let shutdown = self.shutdown.clone();
        tokio::select! {
            () = self.write_all() => {}
            () = shutdown.nears(LAST_MOMENT) => {}
        }
        self.take.close();
        if let Some(lost) = self.failing.sum() {
            tracing::warn!("{} not logged, for they could not be written", were(lost));
        }
        // A thread that still writes has written so much.
        let written = self.written.load(Ordering::Relaxed).min(self.batch.len());
        self.account.delivered(written as u64);
        let mut left = (self.batch.len() - written) as u64;
        while self.take.try_next().is_some() {
            left += 1;
        }
        if left > 0 {
            self.account.dropped(SHUTDOWN, left);
            tracing::warn!("{} not logged before the end", were(left));
        }
    }

    async fn write_all(&mut self) {
        while let Some(call) = self.take.next().await {
            self.batch.push(call);
            tokio::select! {
                () = sleep(LINGER) => {}
                () = self.shutdown.begun() => {}
            }
            while self.batch.len() < BATCH
                && let Some(call) = self.take.try_next()
            {
                self.batch.push(call);
            }
            self.write().await;
        }
    }

    /// Writes the batch on a thread of its own, for a disk may hang and a pipe may be full.
    async fn write(&mut self) {
        let Some(mut target) = self.target.take() else { return };
        let lines: Vec<_> = self.batch.iter().map(|call| self.lines.line(call)).collect();
        let written = tokio::task::spawn_blocking(move || {
            let written = target.write(&lines);
            (target, written)
        });
        // A panic there is none; should there be one, the calls are dropped at the end.
        let Ok((target, (written, result))) = written.await else { return };
        let lost = self.batch.len() - written;
        self.account.delivered(written as u64);
        self.account.dropped(WRITE_ERROR, lost as u64);
        self.batch.clear();
        self.written.store(0, Ordering::Relaxed);
        match result {
            Ok(()) => {
                if let Some(lost) = self.failing.ends() {
                    tracing::warn!("{target} can be written again; {} not logged", were(lost));
                }
            }
            Err(error) => {
                if let Some(lost) = self.failing.lose(lost as u64) {
                    let error = printable(&error.to_string());
                    tracing::warn!(
                        "{} not logged: write {target}: {error}; give it free space that can be \
                         written, or name another --call-log",
                        were(lost)
                    );
                }
            }
        }
        self.target = Some(target);
    }
}

#[cfg(test)]
mod tests;
