//! One OpenTelemetry span per tool call, exported over OTLP/gRPC from a queue of its own.
//! Every call is settled exactly once: exported, refused, sampled out or given up at the end.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, sleep_until};

use self::{
    collector::{Collector, Failure, Owned},
    span::Spans,
};
use super::{
    Account, Exporter,
    ledger::SHUTDOWN,
    queue::{Take, queue},
};
use crate::{
    backoff::{Backoff, Pace},
    config,
    shutdown::Shutdown,
    trouble::Trouble,
};

mod collector;
mod own;
mod resource;
mod span;

pub use self::{collector::Error, own::OwnSpans};

/// Spans that are sent together without waiting longer, and at most.
const BATCH: usize = 512;
/// Longest wait for a batch to fill up.
const FLUSH_INTERVAL: Duration = Duration::from_secs(2);
/// Bytes of calls kept in memory while the collector is away.
const QUEUE_BYTES: usize = 8 << 20;
/// What helps when the queue is full.
const REMEDY: &str = "the collector is away or too slow; --trace-sample sends less, \
                      --otel-queue-calls keeps more";
/// What is left of the grace when sending ends, for the accounts.
const LAST_MOMENT: Duration = Duration::from_millis(50);

/// The reason of calls that are not in the sample.
const SAMPLED: &str = "sampled";

/// Starts exporting. Must be called within a runtime.
///
/// # Errors
/// When the endpoint, a header or the file of authorities cannot be used. A collector that is
/// away is no error.
pub fn start(
    config: &config::Otel,
    account: Account,
    shutdown: Shutdown,
) -> Result<Exporter, Error> {
    let collector = Collector::new(config)?;
    account.may_drop(&[SAMPLED, SHUTDOWN]);
    let (offer, take) = queue(config.queue_calls.max(1), QUEUE_BYTES, account.clone(), REMEDY);
    let worker = Worker {
        take,
        spans: Spans::new(config),
        collector,
        account,
        shutdown,
        batch: Vec::new(),
        backoff: Backoff::default(),
        unreachable: Trouble::default(),
        refusing: Trouble::default(),
    };
    Ok(Exporter { offer, task: tokio::spawn(worker.work()) })
}

/// Sends the collector a batch without a span in it, and says what came of it.
///
/// # Errors
/// Why the collector does not take it.
pub async fn check(config: &config::Otel) -> Result<String, String> {
    let collector = Collector::new(config).map_err(|error| error.to_string())?;
    let address = collector.address();
    match collector.export(Vec::new()).await {
        Ok(_) => Ok(format!("{address} takes spans")),
        Err(Failure::Passing(why) | Failure::Final(why)) => {
            Err(format!("{address} takes none: {why}"))
        }
    }
}

/// Everything the task owns.
#[derive(Debug)]
struct Worker {
    take: Take,
    spans: Spans,
    collector: Collector,
    account: Account,
    shutdown: Shutdown,
    /// Spans that are owed and no longer in the queue.
    batch: Vec<Owned>,
    backoff: Backoff,
    unreachable: Trouble,
    refusing: Trouble,
}

impl Worker {
    /// Exports until everything is settled and no more can come, or to the end of the grace.
    async fn work(mut self) {
        let shutdown = self.shutdown.clone();
        tokio::select! {
            () = self.export_all() => {}
            () = shutdown.nears(LAST_MOMENT) => {}
        }
        self.give_up();
    }

    async fn export_all(&mut self) {
        while self.fill().await {
            self.export().await;
        }
    }

    /// Waits for a batch to send; false once there will be none.
    async fn fill(&mut self) -> bool {
        let mut due = Instant::now();
        while self.batch.len() < BATCH {
            let call = tokio::select! {
                call = self.take.next() => call,
                () = sleep_until(due), if !self.batch.is_empty() => break,
                () = self.shutdown.begun(), if !self.batch.is_empty() => {
                    due = Instant::now();
                    self.take.try_next()
                }
            };
            let Some(call) = call else { break };
            let Some(span) = self.spans.span(&call) else {
                self.account.dropped(SAMPLED, 1);
                continue;
            };
            if self.batch.is_empty() {
                due = Instant::now() + FLUSH_INTERVAL;
            }
            self.batch.push((Arc::clone(&call.server_id), span));
        }
        !self.batch.is_empty()
    }

    /// Sends the batch until it is settled.
    #[tracing::instrument(name = "export_spans", skip_all, fields(spans = self.batch.len()))]
    async fn export(&mut self) {
        loop {
            let spans = self.batch.len() as u64;
            match self.collector.export(self.batch.clone()).await {
                Ok(answer) => {
                    self.reached();
                    self.settle(spans, answer.refused.min(spans), &answer.reason);
                    return;
                }
                Err(Failure::Final(reason)) => {
                    self.reached();
                    self.settle(spans, spans, &reason);
                    return;
                }
                Err(Failure::Passing(reason)) => {
                    if self.unreachable.begins_or_lasts() {
                        let to = self.collector.address();
                        tracing::warn!(
                            "cannot export spans to {to}: {reason}; they are kept and sent again"
                        );
                    }
                    sleep(self.backoff.next(Pace::SOON)).await;
                }
            }
        }
    }

    fn reached(&mut self) {
        self.backoff.reset();
        if let Some(lasted) = self.unreachable.ends() {
            let to = self.collector.address();
            tracing::info!("{to} takes spans again, after {}s", lasted.as_secs());
        }
    }

    fn settle(&mut self, spans: u64, refused: u64, reason: &str) {
        self.account.delivered(spans - refused);
        self.account.rejected(refused);
        self.batch.clear();
        if refused == 0 {
            self.refusing.ends();
        } else if self.refusing.begins_or_lasts() {
            let by = self.collector.address();
            tracing::warn!("{by} refused {refused} of {spans} spans: {reason}");
        }
    }

    /// The grace is over: what is left is lost.
    fn give_up(mut self) {
        let mut left = self.batch.len() as u64;
        while self.take.try_next().is_some() {
            left += 1;
        }
        if left > 0 {
            self.account.dropped(SHUTDOWN, left);
            let to = self.collector.address();
            tracing::warn!("{left} spans were not exported to {to} before the end");
        }
    }
}

#[cfg(test)]
mod tests;
