//! The task that takes calls from the queue, sends them, and settles each exactly once.

use std::{
    collections::VecDeque,
    future::{Future, pending},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use mcpulse_proto::v1::IngestResponse;
use tokio::time::Instant;

use super::{
    backoff::Backoff,
    batch::{Batch, Next, Settled},
    client::{Client, Failure, printable},
    metric::Convert,
    trouble::Trouble,
};
use crate::{
    config,
    record::Call,
    shutdown::Shutdown,
    sink::{Account, ledger::SHUTDOWN, queue::Take},
};

/// Bytes at which a request is full; gRPC servers take 4 MiB by default.
const REQUEST_BYTES: usize = 3 << 20;
/// What is left of the grace when sending ends, for the accounts.
const LAST_MOMENT: Duration = Duration::from_millis(50);

/// The answer to a request.
type Answer = Result<IngestResponse, Failure>;
/// A request on its way.
type Sending = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Everything the task owns.
#[derive(Debug)]
pub(super) struct Reporter {
    take: Take,
    /// Whether more calls may come.
    observing: bool,
    shutdown: Shutdown,
    ending: bool,
    convert: Convert,
    client: Client,
    account: Account,
    batch_size: usize,
    batch_max: usize,
    flush_interval: Duration,
    /// Calls for the next batch.
    held: VecDeque<Bytes>,
    held_bytes: usize,
    /// When the oldest of them was taken.
    held_since: Instant,
    batch: Batch,
    send_at: Instant,
    backoff: Backoff,
    unreachable: Trouble,
    refusing: Trouble,
}

impl Reporter {
    pub(super) fn new(
        config: &config::Mcpulse,
        take: Take,
        client: Client,
        convert: Convert,
        account: Account,
        shutdown: Shutdown,
    ) -> Self {
        let batch_max = config.batch_max.max(1);
        Self {
            take,
            observing: true,
            shutdown,
            ending: false,
            convert,
            client,
            account,
            batch_size: config.batch_size.clamp(1, batch_max),
            batch_max,
            flush_interval: config.flush_interval,
            held: VecDeque::new(),
            held_bytes: 0,
            held_since: Instant::now(),
            batch: Batch::default(),
            send_at: Instant::now(),
            backoff: Backoff::default(),
            unreachable: Trouble::default(),
            refusing: Trouble::default(),
        }
    }

    /// Reports until every call is settled and no more can come, or to the end of the grace.
    pub(super) async fn report(mut self) {
        let shutdown = self.shutdown.clone();
        tokio::select! {
            () = self.run() => {}
            () = last_moment(&shutdown) => {}
        }
        self.give_up();
    }

    async fn run(&mut self) {
        let mut sending: Option<Sending> = None;
        loop {
            if self.batch.is_empty() && self.due() {
                self.batch = Batch::new(std::mem::take(&mut self.held));
                self.held_bytes = 0;
                self.send_at = self.send_at.max(Instant::now());
            }
            if self.batch.is_empty() && self.held.is_empty() && !self.observing {
                return;
            }
            if sending.is_none() && !self.batch.is_empty() && self.send_at <= Instant::now() {
                sending = Some(Box::pin(self.client.send(self.batch.request())));
            }
            let wake = self.wake(sending.is_some());
            tokio::select! {
                answer = answer(&mut sending) => {
                    sending = None;
                    self.answered(answer);
                }
                call = self.take.next(), if self.observing && self.room() => match call {
                    Some(call) => self.hold(&call),
                    None => self.observing = false,
                },
                () = at(wake) => {}
                () = self.shutdown.begun(), if !self.ending => {
                    self.ending = true;
                    self.backoff.reset();
                    self.send_at = Instant::now();
                }
            }
        }
    }

    /// Whether the calls held should be sent now.
    fn due(&self) -> bool {
        let now = self.ending || !self.observing || self.held.len() >= self.batch_size;
        !self.held.is_empty()
            && (now || !self.room() || self.held_since.elapsed() >= self.flush_interval)
    }

    /// Whether another call may leave the queue: while a batch is on its way none does, so that
    /// the bounds of the queue bound what is kept.
    fn room(&self) -> bool {
        self.batch.is_empty() && self.held.len() < self.batch_max && self.held_bytes < REQUEST_BYTES
    }

    /// Holds this call and those that wait behind it.
    fn hold(&mut self, call: &Arc<Call>) {
        if self.held.is_empty() {
            self.held_since = Instant::now();
        }
        self.push(call);
        while self.room()
            && let Some(call) = self.take.try_next()
        {
            self.push(&call);
        }
    }

    fn push(&mut self, call: &Call) {
        let encoded = self.convert.encode(call);
        self.held_bytes += encoded.len();
        self.held.push_back(encoded);
    }

    /// When there is something to do although nothing happens.
    fn wake(&self, sending: bool) -> Option<Instant> {
        if sending {
            None
        } else if !self.batch.is_empty() {
            Some(self.send_at)
        } else if !self.held.is_empty() {
            Some(self.held_since + self.flush_interval)
        } else {
            None
        }
    }

    fn answered(&mut self, answer: Answer) {
        match answer {
            Ok(answer) => {
                self.backoff.reset();
                self.send_at = Instant::now();
                if let Some(lasted) = self.unreachable.ends() {
                    tracing::info!(
                        "MCPulse at {} takes calls again, after {}s",
                        self.client.address(),
                        lasted.as_secs()
                    );
                }
                let settled = self.batch.taken(&answer);
                let reason = answer.errors.first().map_or("no reason given", |error| &error.reason);
                self.settle(settled, reason);
            }
            Err(failure) => self.failed(&failure),
        }
    }

    fn failed(&mut self, failure: &Failure) {
        let wait = match self.batch.failed(failure.kind) {
            Next::Wait => self.backoff.next(false),
            Next::WaitLong => self.backoff.next(true),
            Next::Smaller => Duration::ZERO,
            Next::Settle(settled) => return self.settle(settled, &failure.text),
        };
        if !wait.is_zero() {
            self.client.hang_up();
            if self.unreachable.begins_or_lasts() {
                tracing::warn!(
                    "cannot report to MCPulse at {}: {}; calls are kept and sent again",
                    self.client.address(),
                    failure.text
                );
            }
        }
        self.send_at = Instant::now() + wait;
    }

    /// Moves calls at the front of the batch to where they ended.
    fn settle(&mut self, settled: Settled, reason: &str) {
        let Settled { delivered, rejected } = settled;
        self.account.delivered(delivered as u64);
        self.account.rejected(rejected as u64);
        self.batch.settle(settled);
        if rejected == 0 {
            self.refusing.ends();
        } else if self.refusing.begins_or_lasts() {
            let calls = settled.calls();
            tracing::warn!("MCPulse refused {rejected} of {calls} calls: {}", printable(reason));
        }
    }

    /// The grace is over: what is left here is lost.
    fn give_up(mut self) {
        self.take.close();
        let mut left = std::mem::take(&mut self.batch).into_calls().len() + self.held.len();
        while self.take.try_next().is_some() {
            left += 1;
        }
        if left > 0 {
            self.account.dropped(SHUTDOWN, left as u64);
            tracing::warn!(
                "{left} calls were not reported to MCPulse at {} before the end",
                self.client.address()
            );
        }
    }
}

/// Completes shortly before the end of the grace.
async fn last_moment(shutdown: &Shutdown) {
    shutdown.begun().await;
    let grace = shutdown.remaining().unwrap_or_default();
    tokio::time::sleep(grace.saturating_sub(LAST_MOMENT)).await;
}

/// The answer to a request that is on its way.
async fn answer(sending: &mut Option<Sending>) -> Answer {
    match sending {
        Some(sending) => sending.await,
        None => pending().await,
    }
}

async fn at(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => pending().await,
    }
}
