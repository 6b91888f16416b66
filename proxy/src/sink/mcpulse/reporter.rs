//! The task that takes calls from the queue, sends them, and settles each exactly once.

use std::{
    future::{Future, pending},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use mcpulse_proto::v1::IngestResponse;
use tokio::time::Instant;

use super::{
    backlog::{Backlog, REQUEST_BYTES},
    batch::{Batch, Next, Settled},
    client::{Client, Failure},
    metric::Convert,
};
use crate::{
    backoff::{Backoff, Pace},
    config,
    record::Call,
    shutdown::Shutdown,
    sink::{
        Account,
        foreign::{printable, were},
        ledger::SHUTDOWN,
        queue::Take,
    },
    trouble::Trouble,
};

/// Calls converted before other tasks get their turn.
const TURN: usize = 16;
/// What is left of the grace when sending ends, for what must be written to disk.
const LAST_MOMENT: Duration = Duration::from_millis(100);

/// The answer to a request.
type Answer = Result<IngestResponse, Failure>;
/// A request on its way.
type Sending = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Everything the task owns.
#[derive(Debug)]
pub(super) struct Reporter {
    config: config::Mcpulse,
    take: Take,
    /// Whether more calls may come.
    observing: bool,
    shutdown: Shutdown,
    ending: bool,
    convert: Convert,
    client: Client,
    account: Account,
    /// Calls on their way from the queue to the backlog.
    fresh: Vec<Bytes>,
    backlog: Backlog,
    /// When the oldest call of the backlog came there, or the last batch was taken from it.
    waiting_since: Instant,
    batch: Batch,
    send_at: Instant,
    backoff: Backoff,
    /// When the suspects of the batch may be tried again.
    retry_at: Instant,
    retries: Backoff,
    unreachable: Trouble,
    suspecting: Trouble,
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
        let batch_size = config.batch_size.clamp(1, batch_max);
        Self {
            config: config::Mcpulse { batch_size, batch_max, ..config.clone() },
            take,
            observing: true,
            shutdown,
            ending: false,
            convert,
            client,
            backlog: Backlog::new(batch_max, account.clone()),
            account,
            fresh: Vec::new(),
            waiting_since: Instant::now(),
            batch: Batch::default(),
            send_at: Instant::now(),
            backoff: Backoff::default(),
            retry_at: Instant::now(),
            retries: Backoff::default(),
            unreachable: Trouble::default(),
            suspecting: Trouble::default(),
            refusing: Trouble::default(),
        }
    }

    /// Reports until every call is settled and no more can come, or to the end of the grace.
    pub(super) async fn report(mut self) {
        let shutdown = self.shutdown.clone();
        tokio::select! {
            () = self.run() => {}
            () = shutdown.nears(LAST_MOMENT) => {}
        }
        self.give_up().await;
    }

    async fn run(&mut self) {
        self.backlog.open_spool(&self.config).await;
        let mut sending: Option<Sending> = None;
        loop {
            if sending.is_none() && self.wants_calls() && self.due() {
                self.batch.add(self.backlog.next_batch().await);
                self.waiting_since = Instant::now();
            }
            if self.is_over() {
                return;
            }
            let now = Instant::now();
            if sending.is_none()
                && self.send_at <= now
                && let Some(request) = self.batch.request(self.retry_at <= now)
            {
                sending = Some(Box::pin(self.client.send(request)));
            }
            let wake = self.wake(sending.is_some());
            let room = self.backlog.has_room(self.wants_calls());
            tokio::select! {
                answer = answer(&mut sending) => {
                    sending = None;
                    self.answered(answer).await;
                }
                call = self.take.next(), if self.observing && room => match call {
                    Some(call) => self.hold(call).await,
                    None => self.observing = false,
                },
                () = at(wake) => {}
                () = self.shutdown.begun(), if !self.ending => {
                    self.ending = true;
                    self.send_anew();
                }
            }
        }
    }

    /// Sends everything at once, as if nothing had failed.
    fn send_anew(&mut self) {
        self.backoff.reset();
        self.retries.reset();
        (self.send_at, self.retry_at) = (Instant::now(), Instant::now());
    }

    /// Whether no more can come and nothing is left to do: all is settled, or the process ends,
    /// MCPulse is known to be away or to fail at what is left, and the next process will find
    /// all of it on disk.
    fn is_over(&self) -> bool {
        let sent = !self.batch.has_calls() && self.backlog.len() == 0;
        let settled = sent && self.batch.is_empty();
        let kept = self.ending && (self.unreachable.lasts() || sent) && self.backlog.is_on_disk();
        !self.observing && (settled || kept)
    }

    /// Whether the backlog should be sent now.
    fn due(&self) -> bool {
        let waiting = self.backlog.len();
        waiting > 0
            && (self.ending
                || !self.observing
                || waiting >= self.config.batch_size
                || self.backlog.holds_a_batch()
                || self.waiting_since.elapsed() >= self.config.flush_interval)
    }

    /// Moves this call and those behind it, up to a batch of them, to the backlog.
    async fn hold(&mut self, call: Arc<Call>) {
        if self.backlog.len() == 0 {
            self.waiting_since = Instant::now();
        }
        let (mut next, mut bytes) = (Some(call), 0);
        while let Some(call) = next {
            let encoded = self.convert.encode(&call);
            bytes += encoded.len();
            self.fresh.push(encoded);
            if self.fresh.len().is_multiple_of(TURN) {
                tokio::task::yield_now().await;
            }
            let held = self.backlog.held() + self.fresh.len();
            let more = held < self.config.batch_max && bytes < REQUEST_BYTES;
            next = if more { self.take.try_next() } else { None };
        }
        self.backlog.add(self.fresh.clone()).await;
        self.fresh.clear();
    }

    /// When there is something to do although nothing happens.
    fn wake(&self, sending: bool) -> Option<Instant> {
        if sending {
            return None;
        }
        let batch = self.batch.has_calls().then_some(self.send_at);
        let suspects = self.batch.has_suspects().then(|| self.send_at.max(self.retry_at));
        let waits = self.wants_calls() && self.backlog.len() > 0;
        let backlog = waits.then(|| self.waiting_since + self.config.flush_interval);
        [batch, suspects, backlog].into_iter().flatten().min()
    }

    /// Whether the batch takes another from the backlog.
    fn wants_calls(&self) -> bool {
        self.batch.has_room(self.config.batch_max, REQUEST_BYTES)
    }

    async fn answered(&mut self, answer: Answer) {
        match answer {
            Ok(answer) => {
                if self.unreachable.lasts() {
                    self.send_anew();
                }
                self.backoff.reset();
                if let Some(lasted) = self.unreachable.ends() {
                    tracing::info!(
                        "MCPulse at {} takes calls again, after {}s",
                        self.client.address(),
                        lasted.as_secs()
                    );
                }
                let settled = self.batch.taken(&answer);
                let reason = answer.errors.first().map_or("no reason given", |error| &error.reason);
                self.settle(settled, reason).await;
            }
            Err(failure) => self.failed(&failure).await,
        }
    }

    async fn failed(&mut self, failure: &Failure) {
        let wait = match self.batch.failed(failure.kind) {
            Next::Wait => self.backoff.next(Pace::SOON),
            Next::WaitLong => self.backoff.next(Pace::LATE),
            Next::Other => return,
            Next::Aside => return self.put_aside(failure),
            Next::Settle(settled) => return self.settle(settled, &failure.text).await,
        };
        self.client.hang_up();
        if self.unreachable.begins_or_lasts() {
            tracing::warn!(
                "cannot report to MCPulse at {}: {}; calls are kept and sent again",
                self.client.address(),
                failure.text
            );
        }
        self.send_at = Instant::now() + wait;
    }

    /// The suspects have their next turn later.
    fn put_aside(&mut self, failure: &Failure) {
        self.retry_at = Instant::now() + self.retries.next(Pace::SOON);
        if self.suspecting.begins_or_lasts() {
            tracing::warn!(
                "MCPulse at {} fails at single calls: {}; the others are sent, these again \
                 until it is clear that it takes others and not them",
                self.client.address(),
                failure.text
            );
        }
    }

    /// Moves calls that the batch let go to where they ended.
    async fn settle(&mut self, settled: Settled, reason: &str) {
        if settled.calls() == 0 {
            return;
        }
        let calls = settled.calls();
        let Settled { delivered, rejected, places } = settled;
        self.account.delivered(delivered as u64);
        self.account.rejected(rejected as u64);
        if rejected == 0 {
            self.refusing.ends();
        } else if self.refusing.begins_or_lasts() {
            tracing::warn!("MCPulse refused {rejected} of {calls} calls: {}", printable(reason));
        }
        if !self.batch.has_suspects() {
            self.suspecting.ends();
            self.retries.reset();
        }
        if !places.is_empty() {
            self.backlog.settle(places).await;
        }
    }

    /// The end: what is on disk waits for the next process, the rest is lost.
    async fn give_up(mut self) {
        self.take.close();
        let mut left = Vec::new();
        let mut lost = 0;
        while let Some(call) = self.take.try_next() {
            if self.backlog.has_spool() {
                left.push(self.convert.encode(&call));
            } else {
                lost += 1;
            }
        }
        self.fresh.append(&mut left);
        lost += self.backlog.keep(&self.batch, self.fresh, LAST_MOMENT).await;
        if lost > 0 {
            self.account.dropped(SHUTDOWN, lost as u64);
            tracing::warn!(
                "{} not reported to MCPulse at {} before the end",
                were(lost as u64),
                self.client.address()
            );
        }
        if let (Some(folder), spooled @ 1..) = (&self.config.spool_dir, self.backlog.spooled()) {
            let folder = folder.display();
            let calls = if spooled == 1 { "1 call is" } else { &format!("{spooled} calls are") };
            tracing::info!("{calls} spooled in {folder}; the next start reports them");
        }
    }
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
