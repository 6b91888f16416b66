//! Many sessions for a long time through both bridges, opened and closed throughout: memory,
//! open files and processes stay where they are, the books balance at every scrape, and every
//! call that a client made is reported once.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that reports and fails by panicking"
)]

use std::{
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Parser;
use mcpulse_tests::{
    Proxy, Receiver, Tools, eventually, program,
    remote::{Kind, Remote},
};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::task::{JoinSet, LocalSet};

mod sessions;
mod watch;

use sessions::{Place, Tally};
use watch::Watch;

/// How long a session may be left alone before the proxy ends it.
const IDLE: &str = "10s";
/// Longest wait for what follows the last session.
const PATIENCE: Duration = Duration::from_mins(1);

/// Holds sessions through both bridges and watches the proxies.
#[derive(Parser)]
struct Plan {
    /// For how long, in seconds.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// Sessions at a time, through each of the bridges.
    #[arg(long, default_value_t = 64)]
    sessions: usize,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    LocalSet::new().run_until(soak(Plan::parse())).await
}

async fn soak(plan: Plan) -> ExitCode {
    let Some(tools) = Tools::with(&["go"]) else { return ExitCode::FAILURE };
    let begun = Instant::now();
    let end = begun + Duration::from_secs(plan.seconds);
    let (receiver, directory) = (Receiver::start().await, TempDir::new().expect("a directory"));
    let remote = Remote::start(tools, Kind::GoEverything).await;
    let log = directory.path().join("calls").display().to_string();
    let url = receiver.url();
    let reporting = ["--server-id", "soak", "--mcpulse-url", &url, "--call-log", &log];
    let metrics = ["--metrics-listen", "127.0.0.1:0"];
    let server = program("example_server").display().to_string();
    let flags = ["--session-timeout", IDLE, "--listen", "127.0.0.1:0", "--", &server];
    let bridge = [&["stdio"], &reporting[..], &metrics, &flags].concat();
    let mut bridge = Proxy::start(bridge);
    let upstream = remote.url_at(remote.address());
    let command = [&["http", "--remote-url", &upstream], &reporting[..], &metrics].concat();
    let command: Vec<_> = command.into_iter().map(str::to_owned).collect();

    let tally = Arc::new(Tally::default());
    let address = bridge.address().await;
    let mut sessions = JoinSet::new();
    for number in 0..plan.sessions {
        let place = Place { number, tally: Arc::clone(&tally) };
        sessions.spawn_local(place.clone().over_http(address));
        sessions.spawn_local(place.on_streams(command.clone()));
    }
    let mut watch = Watch::new(bridge.pid(), bridge.metrics_address().await);
    while Instant::now() < end {
        watch.look(begun, &tally).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    tally.end();
    while let Some(ended) = sessions.join_next().await {
        ended.expect("a session goes as it should");
    }

    let made = tally.calls();
    let reported = receiver.wait_for(made, PATIENCE).await.len();
    eventually(
        "no program is left of sessions that ended or were left alone",
        PATIENCE,
        async || (watch::below(bridge.pid()) == 0).then_some(()),
    )
    .await;
    bridge.scrape().await.assert_balanced();
    bridge.signal(Signal::TERM);
    let status = bridge.wait(PATIENCE).await;
    drop(remote);
    eventually("no process is left", PATIENCE, async || {
        (watch::below(std::process::id()) == 0).then_some(())
    })
    .await;

    println!("{} s, {} sessions at a time through each bridge", plan.seconds, plan.sessions);
    let scrapes = watch.scrapes() + tally.scrapes();
    println!("{tally}; {reported} calls reported; {scrapes} scrapes, all balanced");
    let flat = watch.report();
    let ok = flat && reported == made && status.success();
    println!("{}", if ok { "flat, and nothing lost" } else { "FAILED" });
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
