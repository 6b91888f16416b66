//! MCPulse in trouble of every kind: calls pass as fast as ever, one line says what to do, the
//! books balance all the while, and once it is well again nothing is missing.

use std::{
    io::Write as _,
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use mcpulse_tests::{Mood, Receiver, eventually};
use rustix::process::Signal;
use tonic::Code;

use super::{Counts, Ends, PATIENCE, balanced, by, pipe::Pipe};

/// Calls made in each state.
const CALLS: u64 = 50;
/// A call may take so many times as long while MCPulse is in trouble.
const SLOWER: u32 = 5;
/// What an unlucky call on a busy machine takes in any case.
const NOISE: Duration = Duration::from_millis(2);

/// Makes calls and returns the median of what they took.
async fn calls(pipe: &mut Pipe) -> Duration {
    let mut took = Vec::new();
    for id in 0..CALLS {
        let begun = Instant::now();
        pipe.call(&id.to_string()).await;
        took.push(begun.elapsed());
    }
    took.sort_unstable();
    took[took.len() / 2]
}

/// How often the log speaks of the trouble.
fn complaints(pipe: &Pipe) -> usize {
    pipe.proxy.stderr().matches("cannot report to MCPulse").count()
}

/// Goes through one trouble: `remedy` is what the log must say, and `tried` whether reporting
/// has failed more than once.
async fn endure(pipe: &mut Pipe, remedy: &str, tried: impl Fn(&Ends) -> bool) {
    let mut slow = calls(pipe).await;
    eventually("further attempts to report", PATIENCE, async || {
        balanced(&pipe.proxy).await;
        tried(&pipe.ends).then_some(())
    })
    .await;
    slow = slow.max(calls(pipe).await);
    pipe.proxy.wait_for_stderr(remedy).await;
    assert_eq!(complaints(pipe), 1, "{}", pipe.proxy.stderr());

    // The other sinks go on meanwhile, and nothing counts as delivered that is not.
    let owed = Counts::from([("mcpulse".to_owned(), 2 * CALLS)]);
    eventually("only MCPulse is owed anything", PATIENCE, async || {
        let scrape = balanced(&pipe.proxy).await;
        (by(&scrape, "mcpulse_report_queue_length", "sink") == owed).then_some(())
    })
    .await;

    // A session with an MCPulse that is well, for comparison.
    let mut well = Pipe::open().await;
    let usual = calls(&mut well).await;
    well.close(CALLS).await;
    assert!(slow <= usual * SLOWER + NOISE, "{slow:?} a call, and {usual:?} without the trouble");
}

/// The end of the trouble: everything arrives.
async fn recover(pipe: Pipe) {
    pipe.proxy.wait_for_stderr("takes calls again").await;
    pipe.assert_settled(&[("ok", 2 * CALLS)], &[]).await;
    assert_eq!(complaints(&pipe), 1, "{}", pipe.proxy.stderr());
    pipe.close(2 * CALLS).await;
}

/// A receiver in this mood, which then is well.
async fn moody(mood: Mood, remedy: &str) {
    let ends = Ends::start().await;
    ends.mcpulse.set_mood(mood);
    let mut pipe = Pipe::with(ends, &["--mcpulse-timeout", "200ms"]).await;
    endure(&mut pipe, remedy, |ends| ends.mcpulse.attempts() >= 2).await;
    pipe.ends.mcpulse.set_mood(Mood::Accept);
    recover(pipe).await;
}

#[tokio::test]
async fn absent() {
    let mut ends = Ends::start().await;
    // Nobody answers there any more.
    let address = ends.mcpulse.address();
    ends.mcpulse = Receiver::start().await;
    let mut pipe = Pipe::with(ends, &[]).await;
    let since = Instant::now();
    // No attempt can be seen: there is time for several.
    let remedy = "start it, or name its address in MCPULSE_URL";
    endure(&mut pipe, remedy, |_| since.elapsed() > Duration::from_secs(3)).await;
    pipe.ends.mcpulse = Receiver::start_at(address).await;
    recover(pipe).await;
}

#[tokio::test]
async fn refusing() {
    moody(Mood::Fail(Code::Unavailable), "cannot report to MCPulse").await;
}

#[tokio::test]
async fn rejecting_the_key() {
    moody(Mood::Fail(Code::Unauthenticated), "check MCPULSE_API_KEY").await;
}

#[tokio::test]
async fn hanging() {
    moody(Mood::Hang, "is it overloaded?").await;
}

#[tokio::test]
async fn a_queue_that_fills_up_is_told_of_and_summed_up() {
    let ends = Ends::start().await;
    ends.mcpulse.set_mood(Mood::Hang);
    let small = ["--mcpulse-queue-calls", "10", "--batch-max", "5", "--batch-size", "5"];
    let mut pipe = Pipe::with(ends, &small).await;
    calls(&mut pipe).await;
    pipe.proxy.wait_for_stderr("the queue of mcpulse is full").await;
    pipe.ends.mcpulse.set_mood(Mood::Accept);
    let dropped = eventually("all are settled", PATIENCE, async || {
        let scrape = balanced(&pipe.proxy).await;
        let queued = by(&scrape, "mcpulse_report_queue_length", "sink");
        let dropped = by(&scrape, "mcpulse_reports_total", "result")["dropped_queue_full"];
        queued.is_empty().then_some(dropped)
    })
    .await;
    pipe.proxy.signal(Signal::TERM);
    pipe.proxy.wait(PATIENCE).await;
    // It may have had room for a while in between: the last line then has the rest.
    let said = pipe.proxy.stderr();
    let sums = said.lines().filter_map(|line| {
        let sum = match line.split_once("the queue of mcpulse has room again; ") {
            Some((_, sum)) => sum,
            None => line.split_once(" dropped while the queue of mcpulse was full")?.0,
        };
        let words: Vec<_> = sum.split_whitespace().collect();
        let calls = words.iter().position(|word| word.starts_with("call"))?;
        words[calls.checked_sub(1)?].parse::<u64>().ok()
    });
    let told: u64 = sums.sum();
    assert_eq!(told, dropped, "{said}");
    assert_eq!(said.matches("the queue of mcpulse is full").count(), 1, "{said}");
}

#[tokio::test]
async fn not_an_mcpulse_at_all() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("the address of a bound socket");
    let visits = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&visits);
    thread::spawn(move || {
        while let Ok((mut visitor, _)) = listener.accept() {
            counted.fetch_add(1, Ordering::SeqCst);
            let _ = visitor.write_all(b"220 mail.example.com ESMTP\r\n");
        }
    });
    let mut ends = Ends::start().await;
    ends.mcpulse_url = address.to_string();
    let mut pipe = Pipe::with(ends, &[]).await;
    endure(&mut pipe, "cannot report to MCPulse", |_| visits.load(Ordering::SeqCst) >= 3).await;
}
