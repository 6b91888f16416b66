//! Bad input and faults, made by hand at both ends of the real proxy. Whatever happens, what
//! was said arrives as it was said, and every call is accounted for.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use mcpulse_tests::{Collector, Proxy, Receiver, Scrape, eventually};
use tempfile::TempDir;

mod answers;
mod http;
mod lines;
pub(crate) mod pipe;
mod reports;
mod spool;
pub(crate) mod upstream;

/// Longest wait for what should happen at once, on a machine that has much else to do.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
/// Most memory that the proxy may ever have taken, in KiB. A build with debug assertions takes
/// more than what users run.
const MOST_MEMORY: u64 = 64 << 10;

/// Every sink that keeps books, in the order of `/metrics`.
const SINKS: [&str; 3] = ["log", "mcpulse", "otel"];

/// How many of each kind.
pub(crate) type Counts = BTreeMap<String, u64>;

/// What stands around the proxy: one receiving end for every sink.
#[derive(Debug)]
pub(crate) struct Ends {
    mcpulse: Receiver,
    /// Where the proxy looks for it.
    mcpulse_url: String,
    pub(crate) collector: Collector,
    directory: TempDir,
}

impl Ends {
    pub(crate) async fn start() -> Self {
        let (mcpulse, collector) = (Receiver::start().await, Collector::start().await);
        let mcpulse_url = mcpulse.url();
        let directory = TempDir::new().expect("a directory");
        Self { mcpulse, mcpulse_url, collector, directory }
    }

    /// Flags for a proxy that uses every sink, and reports without long waits.
    pub(crate) fn flags(&self) -> Vec<String> {
        let log = self.log().display().to_string();
        let collector = self.collector.url();
        let flags = [
            ["--server-id", "faulty"],
            ["--mcpulse-url", &self.mcpulse_url],
            ["--flush-interval", "20ms"],
            ["--otel-endpoint", &collector],
            ["--call-log", &log],
            ["--metrics-listen", "127.0.0.1:0"],
        ];
        flags.concat().into_iter().map(str::to_owned).collect()
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.directory.path().join("calls.jsonl")
    }

    /// What the requests to MCPulse said of where they come from.
    pub(crate) fn resources(&self) -> Vec<Option<String>> {
        self.mcpulse.batches().into_iter().map(|batch| batch.resource).collect()
    }

    /// Checks that each sink brought exactly these calls to their end.
    pub(crate) async fn assert_delivered(&self, calls: u64) {
        let calls = usize::try_from(calls).expect("few calls");
        let mcpulse = || {
            let calls = self.mcpulse.metrics().into_iter();
            calls.map(|call| call.id).collect::<BTreeSet<_>>().len()
        };
        let spans = || {
            let spans = self.collector.spans();
            spans.iter().filter(|span| span.name.starts_with("tools/call")).count()
        };
        let lines = || fs::read_to_string(self.log()).unwrap_or_default().lines().count();
        let all =
            async || (mcpulse() >= calls && spans() >= calls && lines() >= calls).then_some(());
        eventually(&format!("{calls} calls at every end"), PATIENCE, all).await;
        assert_eq!((mcpulse(), spans(), lines()), (calls, calls, calls));
    }
}

/// The assertion that every fault ends with: exactly these tool calls were observed, by
/// outcome, and exactly these oddities met; the books balance for every sink at every scrape
/// until all is settled; and the proxy never took much memory.
pub(crate) async fn assert_settled(proxy: &Proxy, calls: &[(&str, u64)], oddities: &[(&str, u64)]) {
    let counts = |counts: &[(&str, u64)]| -> Counts {
        counts.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect()
    };
    let wanted = (counts(calls), counts(oddities), 0);
    let deadline = Instant::now() + PATIENCE;
    let found = loop {
        let scrape = balanced(proxy).await;
        let calls = by(&scrape, "mcpulse_calls_total", "outcome");
        let oddities = by(&scrape, "mcpulse_oddities_total", "kind");
        let queued = by(&scrape, "mcpulse_report_queue_length", "sink").values().sum();
        let found = (calls, oddities, queued);
        if found == wanted || Instant::now() > deadline {
            break found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(found, wanted, "left: what /metrics says of calls, oddities and queues");
    assert_modest(proxy);
}

/// A scrape, in which the books of every sink balance.
pub(crate) async fn balanced(proxy: &Proxy) -> Scrape {
    let scrape = proxy.scrape().await;
    assert_eq!(scrape.assert_balanced(), SINKS, "the sinks that keep books");
    scrape
}

/// The figures of a family summed by one label, without those that are 0.
pub(crate) fn by(scrape: &Scrape, name: &str, label: &str) -> Counts {
    let mut counts = Counts::new();
    for sample in scrape.find(name, &[]) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        let count = sample.value.round() as u64;
        if count > 0 {
            *counts.entry(sample.labels[label].clone()).or_default() += count;
        }
    }
    counts
}

/// Checks the most memory that the proxy has ever taken.
pub(crate) fn assert_modest(proxy: &Proxy) {
    let status = fs::read_to_string(format!("/proc/{}/status", proxy.pid())).expect("it runs");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number of KiB");
    assert!(peak < MOST_MEMORY, "{peak} KiB");
}

/// A call of the tool `probe`, as a line without its end.
pub(crate) fn call(id: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"probe","arguments":{{}}}}}}"#
    )
}

/// A result for the call with this id.
pub(crate) fn result(id: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[]}}}}"#)
}
