//! The MCPulse sink against a real gRPC server: after every fault each call has ended somewhere,
//! once, and the books say where.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc, time::Duration};

use mcpulse_proto::v1::ToolCallMetric;
use mcpulse_proxy::{
    config::{Mcpulse, Secret},
    record::{Call, Outcome, Transport},
    shutdown::Shutdown,
    sink::{
        Exporter, Ledger,
        ledger::Line,
        mcpulse::{self, Error},
        queue::Offer,
    },
    traffic::Direction,
};
use mcpulse_tests::{Mood, Receiver, eventually};
use tempfile::tempdir;
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::Code;
use uuid::Uuid;

/// Longest wait for what should be done within a second or two.
const PATIENCE: Duration = Duration::from_secs(30);

/// The sink at work, fed by hand.
struct Sink {
    ledger: Arc<Ledger>,
    offer: Offer,
    task: JoinHandle<()>,
    shutdown: Shutdown,
}

impl Sink {
    fn start(config: &Mcpulse) -> Self {
        let (ledger, shutdown) = (Arc::new(Ledger::default()), Shutdown::default());
        let account = ledger.account("mcpulse");
        let Exporter { offer, task } =
            mcpulse::start(config, &BTreeMap::new(), account, shutdown.clone())
                .expect("a valid configuration");
        Self { ledger, offer, task, shutdown }
    }

    /// Observes calls of the tools `NAME0`, `NAME1`, and so on.
    fn observe(&self, name: &str, count: usize) {
        for n in 0..count {
            self.ledger.observed();
            self.offer.offer(&Arc::new(call(&format!("{name}{n}"))));
        }
    }

    /// The books of the sink, which always balance.
    fn line(&self) -> Line {
        let books = self.ledger.snapshot();
        let [line] = &books.sinks[..] else { panic!("{books:?}") };
        assert!(line.balances(books.observed), "{books:?}");
        line.clone()
    }

    /// The books, once they are as demanded.
    async fn until(&self, what: &str, demanded: impl Fn(&Line) -> bool) -> Line {
        let settled = async || Some(self.line()).filter(&demanded);
        eventually(&format!("{what}, but {:?}", self.line()), PATIENCE, settled).await
    }

    async fn until_delivered(&self, calls: u64) -> Line {
        self.until(&format!("{calls} delivered"), |line| line.delivered == calls).await
    }

    /// Ends as the proxy does: nothing more is observed, and this much time is left.
    async fn end(self, grace: Duration) -> Line {
        let Self { ledger, offer, task, shutdown } = self;
        shutdown.begin(grace);
        drop(offer);
        task.await.expect("the sink ends by itself");
        let books = ledger.snapshot();
        assert!(books.sinks[0].balances(books.observed), "{books:?}");
        books.sinks[0].clone()
    }
}

fn call(tool: &str) -> Call {
    Call {
        id: Uuid::new_v4(),
        server_id: "server".into(),
        method: "tools/call".into(),
        direction: Direction::ToServer,
        tool: Some(tool.into()),
        request_id: "1".into(),
        started: std::time::SystemTime::now(),
        duration: Duration::from_millis(3),
        outcome: Outcome::Ok,
        error_message: None,
        session: None,
        client: None,
        protocol_version: None,
        request_size: 10,
        response_size: 20,
        arguments: None,
        trace: None,
        transport: Transport::Pipe,
    }
}

/// Reports to this address, without long waits.
fn to(url: impl Into<String>) -> Mcpulse {
    Mcpulse {
        url: url.into(),
        flush_interval: Duration::from_millis(20),
        timeout: Duration::from_millis(500),
        ..Mcpulse::default()
    }
}

/// Waits for this many requests, whatever became of them.
async fn attempts(receiver: &Receiver, count: usize) {
    let what = format!("{count} requests");
    eventually(&what, PATIENCE, async || (receiver.attempts() >= count).then_some(())).await;
}

fn refused(metric: &ToolCallMetric) -> Option<&'static str> {
    metric.tool_name.starts_with("bad").then_some("the test does not like it")
}

fn ids(metrics: &[ToolCallMetric]) -> Vec<&str> {
    let mut ids: Vec<_> = metrics.iter().map(|metric| &*metric.id).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn calls_arrive_in_batches_with_the_key() {
    let receiver = Receiver::start().await;
    let key = Some(Secret::from("the key"));
    let sink = Sink::start(&Mcpulse { api_key: key, ..to(receiver.url()) });
    sink.observe("tool", 2500);
    sink.until_delivered(2500).await;
    let batches = receiver.batches();
    assert!(batches.iter().all(|batch| batch.metrics.len() <= 1000), "{}", batches.len());
    assert!(batches.iter().all(|batch| batch.api_key.as_deref() == Some("the key")));
    let metrics = receiver.metrics();
    let mut ids = ids(&metrics);
    ids.dedup();
    assert_eq!(ids.len(), 2500);
    assert_eq!(sink.end(Duration::from_secs(1)).await.queued, 0);
}

#[tokio::test]
async fn a_full_batch_does_not_wait_and_a_part_of_one_waits_its_time() {
    let receiver = Receiver::start().await;
    let interval = Duration::from_mins(10);
    let config = Mcpulse { flush_interval: interval, batch_size: 5, ..to(receiver.url()) };
    let sink = Sink::start(&config);
    sink.observe("tool", 5);
    sink.until_delivered(5).await;
    sink.observe("tool", 4);
    // What another sink sends later is there first: these wait for their interval.
    let other = Sink::start(&to(receiver.url()));
    other.observe("other", 1);
    other.until_delivered(1).await;
    assert_eq!(sink.line().queued, 4);
    // The end waits for nothing.
    assert_eq!(sink.end(PATIENCE).await.delivered, 9);
}

#[tokio::test]
async fn a_key_in_a_file_is_read_again() {
    let directory = tempdir().expect("a directory");
    let file = directory.path().join("key");
    fs::write(&file, "first\n").expect("write the key");
    let receiver = Receiver::start().await;
    let sink =
        Sink::start(&Mcpulse { api_key: Some(Secret::File(file.clone())), ..to(receiver.url()) });
    sink.observe("tool", 1);
    sink.until_delivered(1).await;
    fs::write(&file, "second\n").expect("write the key");
    sink.observe("tool", 1);
    sink.until_delivered(2).await;
    let keys: Vec<_> = receiver.batches().into_iter().map(|batch| batch.api_key).collect();
    assert_eq!(keys, [Some("first".to_owned()), Some("second".to_owned())]);
}

#[tokio::test]
async fn calls_wait_for_a_receiver_that_comes_and_goes() {
    let absent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = absent.local_addr().expect("the address of a bound socket");
    let sink = Sink::start(&to(address.to_string()));
    sink.observe("early", 10);
    // It comes once in vain.
    drop(absent.accept().await.expect("a connection"));
    drop(absent);
    assert_eq!(sink.line().queued, 10);
    let receiver = Receiver::start_at(address).await;
    sink.until_delivered(10).await;
    drop(receiver);
    sink.observe("late", 10);
    let receiver = Receiver::start_at(address).await;
    sink.until_delivered(20).await;
    assert!(receiver.metrics().iter().all(|metric| metric.tool_name.starts_with("late")));
}

#[tokio::test]
async fn every_kind_of_failure_keeps_the_calls() {
    let receiver = Receiver::start().await;
    for (mood, calls) in [
        (Mood::Fail(Code::Unavailable), 3),
        (Mood::Fail(Code::ResourceExhausted), 6),
        (Mood::Fail(Code::Aborted), 9),
        (Mood::Fail(Code::Internal), 12),
        (Mood::Hang, 15),
    ] {
        receiver.set_mood(mood);
        let before = receiver.attempts();
        let sink = Sink::start(&to(receiver.url()));
        sink.observe("tool", 3);
        attempts(&receiver, before + 2).await;
        assert_eq!(sink.line().queued, 3, "{mood:?}");
        receiver.set_mood(Mood::Accept);
        sink.until_delivered(3).await;
        let metrics = receiver.metrics();
        assert_eq!(ids(&metrics).len(), calls, "{mood:?}");
    }
}

#[tokio::test]
async fn a_rejected_key_keeps_the_calls_to_the_end_and_counts_them() {
    let receiver = Receiver::start().await;
    receiver.set_mood(Mood::Fail(Code::Unauthenticated));
    let sink = Sink::start(&to(receiver.url()));
    sink.observe("tool", 7);
    attempts(&receiver, 1).await;
    assert_eq!(sink.line().queued, 7);
    let line = sink.end(Duration::from_millis(300)).await;
    assert_eq!((line.queued, line.dropped["shutdown"]), (0, 7));
}

#[tokio::test]
async fn the_end_is_in_time_whatever_the_receiver_does() {
    for mood in [Mood::Hang, Mood::Fail(Code::Unavailable), Mood::Fail(Code::PermissionDenied)] {
        let receiver = Receiver::start().await;
        receiver.set_mood(mood);
        let config = Mcpulse { timeout: PATIENCE, ..to(receiver.url()) };
        let sink = Sink::start(&config);
        sink.observe("tool", 5);
        let begun = std::time::Instant::now();
        let line = sink.end(Duration::from_millis(400)).await;
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        assert_eq!(line.dropped["shutdown"], 5, "{mood:?}");
    }
}

#[tokio::test]
async fn a_full_queue_drops_and_counts() {
    let receiver = Receiver::start().await;
    receiver.set_mood(Mood::Hang);
    let config = Mcpulse { queue_calls: 20, batch_max: 10, batch_size: 10, ..to(receiver.url()) };
    let sink = Sink::start(&config);
    sink.observe("first", 10);
    attempts(&receiver, 1).await;
    sink.observe("more", 100);
    let line = sink.line();
    assert_eq!((line.queued, line.dropped["queue_full"]), (30, 80));
    receiver.set_mood(Mood::Accept);
    sink.until_delivered(30).await;
}

#[tokio::test]
async fn single_calls_are_rejected_and_counted() {
    let receiver = Receiver::start().await;
    receiver.set_judge(refused);
    let sink = Sink::start(&to(receiver.url()));
    sink.observe("good", 5);
    sink.observe("bad", 3);
    let line = sink.until("all are settled", |line| line.queued == 0).await;
    assert_eq!((line.delivered, line.rejected), (5, 3));
}

#[tokio::test]
async fn calls_that_spoil_a_request_are_isolated() {
    let receiver = Receiver::start().await;
    receiver.set_poison(Code::InvalidArgument, refused);
    let config = Mcpulse { flush_interval: Duration::from_millis(200), ..to(receiver.url()) };
    let sink = Sink::start(&config);
    sink.observe("good", 40);
    sink.observe("bad", 2);
    sink.observe("fine", 40);
    let line = sink.until("all are settled", |line| line.queued == 0).await;
    assert_eq!((line.delivered, line.rejected), (80, 2));
    let metrics = receiver.metrics();
    assert_eq!(ids(&metrics).len(), 80);
}

#[tokio::test]
async fn calls_that_mcpulse_fails_at_hold_up_no_other_and_are_rejected() {
    let receiver = Receiver::start().await;
    receiver.set_poison(Code::Internal, refused);
    let spool = tempdir().expect("a directory");
    for spool_dir in [None, Some(spool.path().to_owned())] {
        let sink = Sink::start(&Mcpulse { spool_dir, ..to(receiver.url()) });
        sink.observe("bad", 4);
        sink.observe("good", 50);
        sink.observe("bad", 3);
        let line = sink.until_delivered(50).await;
        assert_eq!((line.queued, line.rejected), (7, 0));
        // Once others got through again and again, it is clear what fails.
        let mut delivered = 50;
        while sink.line().rejected < 7 {
            sink.observe("more", 1);
            delivered += 1;
            sink.until("another is delivered", |line| line.delivered == delivered).await;
        }
        let line = sink.end(PATIENCE).await;
        assert_eq!((line.rejected, line.queued), (7, 0));
    }
    assert_eq!(fs::read_dir(spool.path()).expect("list the spool").count(), 0);
}

#[tokio::test]
async fn the_end_sends_what_can_be_sent_whatever_mcpulse_fails_at() {
    let receiver = Receiver::start().await;
    receiver.set_poison(Code::Internal, refused);
    let config = Mcpulse { flush_interval: Duration::from_mins(1), ..to(receiver.url()) };
    let sink = Sink::start(&config);
    sink.observe("bad", 7);
    sink.observe("good", 53);
    let line = sink.end(Duration::from_millis(1500)).await;
    assert_eq!((line.delivered, line.dropped["shutdown"]), (53, 7));
}

#[tokio::test]
async fn a_spool_keeps_only_what_mcpulse_failed_at() {
    let directory = tempdir().expect("a directory");
    let receiver = Receiver::start().await;
    receiver.set_poison(Code::Internal, refused);
    let spool_dir = Some(directory.path().to_owned());
    let config = Mcpulse { spool_dir, ..to(receiver.url()) };
    let sink = Sink::start(&config);
    sink.observe("bad", 2);
    sink.observe("good", 50);
    sink.until_delivered(50).await;
    // There is nothing to wait for.
    let ended = tokio::time::timeout(PATIENCE, sink.end(Duration::from_mins(10))).await;
    assert_eq!(ended.expect("the end comes at once").queued, 2);
    let sink = Sink::start(&config);
    sink.until("those two are found", |line| line.restored == 2).await;
}

#[tokio::test]
async fn tls_trusts_the_given_authority_and_no_other() {
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
    let rcgen::CertifiedKey { cert, signing_key } = certificate.expect("a certificate");
    let receiver = Receiver::start_tls(&cert.pem(), &signing_key.serialize_pem()).await;
    let url = format!("https://localhost:{}", receiver.address().port());
    let directory = tempdir().expect("a directory");
    let ca_file = directory.path().join("ca.pem");
    fs::write(&ca_file, cert.pem()).expect("write the authority");

    let stranger = Sink::start(&to(&url));
    stranger.observe("stranger", 1);
    let friend = Sink::start(&Mcpulse { ca_file: Some(ca_file.clone()), ..to(&url) });
    friend.observe("friend", 1);
    friend.until_delivered(1).await;
    assert_eq!(stranger.line().queued, 1);
    assert_eq!(receiver.metrics().len(), 1);

    fs::write(&ca_file, "no certificate").expect("write the authority");
    let nobody = Mcpulse { ca_file: Some(ca_file), ..to(&url) };
    let account = Arc::new(Ledger::default()).account("mcpulse");
    let error = mcpulse::start(&nobody, &BTreeMap::new(), account, Shutdown::default());
    assert!(matches!(error, Err(Error::Authorities { .. })));
}

#[tokio::test]
async fn the_spool_outlives_the_process() {
    let directory = tempdir().expect("a directory");
    let spooled = |url: String| Mcpulse { spool_dir: Some(directory.path().to_owned()), ..to(url) };
    let receiver = Receiver::start().await;
    receiver.set_mood(Mood::Fail(Code::Unavailable));
    let sink = Sink::start(&spooled(receiver.url()));
    sink.observe("tool", 50);
    eventually("the calls are on disk", PATIENCE, async || {
        (used(directory.path()) > 50 * 60).then_some(())
    })
    .await;
    let line = sink.end(Duration::from_millis(300)).await;
    assert_eq!((line.queued, line.dropped.get("shutdown")), (50, None));

    // The next process finds them, and its own calls are none the worse for it.
    let sink = Sink::start(&spooled(receiver.url()));
    sink.observe("later", 5);
    sink.until("the calls are found", |line| line.restored == 50 && line.queued == 55).await;
    receiver.set_mood(Mood::Accept);
    let line = sink.until_delivered(55).await;
    assert_eq!(line.queued, 0);
    let metrics = receiver.metrics();
    assert_eq!(ids(&metrics).len(), 55);
    sink.end(PATIENCE).await;
    assert_eq!(fs::read_dir(directory.path()).expect("list the spool").count(), 0);
}

#[tokio::test]
async fn the_end_waits_for_nothing_that_is_on_disk() {
    let directory = tempdir().expect("a directory");
    let receiver = Receiver::start().await;
    receiver.set_mood(Mood::Fail(Code::Unavailable));
    let spool_dir = Some(directory.path().to_owned());
    let sink = Sink::start(&Mcpulse { spool_dir, ..to(receiver.url()) });
    sink.observe("tool", 50);
    attempts(&receiver, 1).await;
    // Ten minutes of grace, which an MCPulse that is away would all be given.
    let ended = tokio::time::timeout(PATIENCE, sink.end(Duration::from_mins(10))).await;
    let line = ended.expect("the end comes at once");
    assert_eq!((line.queued, line.dropped.get("shutdown")), (50, None));
}

#[tokio::test]
async fn a_spool_takes_more_than_memory_would_and_loses_the_oldest_at_its_limit() {
    let directory = tempdir().expect("a directory");
    let receiver = Receiver::start().await;
    receiver.set_mood(Mood::Hang);
    let config = Mcpulse {
        spool_dir: Some(directory.path().to_owned()),
        spool_limit: 64 << 10,
        queue_calls: 100,
        ..to(receiver.url())
    };
    let sink = Sink::start(&config);
    let mut calls = 0;
    let line = eventually("the oldest go", PATIENCE, async || {
        sink.observe("tool", 50);
        calls += 50;
        Some(sink.line()).filter(|line| line.dropped.contains_key("spool_full"))
    })
    .await;
    assert!(used(directory.path()) <= 64 << 10, "{line:?}");
    receiver.set_mood(Mood::Accept);
    let line = sink.until("all are settled", |line| line.queued == 0).await;
    let dropped: u64 = line.dropped.values().sum();
    assert_eq!((line.delivered + dropped, line.dropped["queue_full"]), (calls, 0));
}

#[tokio::test]
async fn a_spool_that_cannot_be_used_costs_nothing_but_the_spool() {
    let directory = tempdir().expect("a directory");
    let file = directory.path().join("file");
    fs::write(&file, "in the way").expect("write a file");
    let receiver = Receiver::start().await;
    let sink = Sink::start(&Mcpulse { spool_dir: Some(file), ..to(receiver.url()) });
    sink.observe("tool", 5);
    sink.until_delivered(5).await;
}

/// Bytes of all files below a directory.
fn used(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).expect("list a directory");
    entries
        .map(|entry| {
            let entry = entry.expect("an entry");
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => used(&entry.path()),
                Ok(metadata) => metadata.len(),
                // Deleted meanwhile.
                Err(_) => 0,
            }
        })
        .sum()
}
