//! The call log of the real binary: rotated, on a full disk, and on standard error.

use std::fs;

use rustix::process::Signal;

use super::*;
use crate::faults::{
    Counts, by,
    upstream::{Front, Upstream, answer},
};

/// Waits until a file has this many lines.
async fn lines(path: &Path, count: usize) {
    let what = format!("{count} lines in {}", path.display());
    eventually(&what, PATIENCE, async || {
        let text = fs::read_to_string(path).unwrap_or_default();
        (text.lines().count() == count && text.ends_with('\n')).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_log_is_rotated_without_a_signal_and_a_hangup_does_no_harm() {
    let body = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#;
    let upstream = Upstream::saying(answer("application/json", body)).await;
    let mut front = Front::of(upstream.address(), &[]).await;
    let log = front.ends.log();
    let rotated = log.with_extension("1");
    assert_eq!(front.call("1").await.status, 200);
    lines(&log, 1).await;

    fs::rename(&log, &rotated).expect("rotated by renaming");
    front.proxy.signal(Signal::HUP);
    front.proxy.wait_for_stderr("SIGHUP changes nothing").await;
    assert_eq!(front.call("2").await.status, 200);
    lines(&log, 1).await;

    fs::File::create(&log).expect("rotated by truncating");
    front.proxy.signal(Signal::HUP);
    assert_eq!(front.call("3").await.status, 200);
    lines(&log, 1).await;
    lines(&rotated, 1).await;
    front.proxy.scrape().await.assert_balanced();
    front.proxy.signal(Signal::TERM);
    assert!(front.proxy.wait(PATIENCE).await.success());
}

#[tokio::test]
async fn a_full_disk_costs_lines_and_no_call() {
    let flags = ["--call-log", "/dev/full", "--metrics-listen", "127.0.0.1:0"];
    let mut session = Session::start("none", &flags).await;
    for n in 0..3 {
        session.call(&format!("message {n}")).await;
        eventually("it is counted", PATIENCE, async || {
            let scrape = session.proxy.scrape().await;
            scrape.assert_balanced();
            let dropped = by(&scrape, "mcpulse_reports_total", "result");
            (dropped == Counts::from([("dropped_write_error".to_owned(), n + 1)])).then_some(())
        })
        .await;
    }
    session.proxy.wait_for_stderr("not logged").await;
    let said = session.proxy.stderr();
    assert_eq!(said.matches("not logged").count(), 1, "{said}");
    assert!(said.contains("/dev/full") && said.contains("free space"), "{said}");
}

#[tokio::test]
async fn a_log_that_cannot_be_opened_is_said_at_the_start() {
    let command = ["stdio", "--server-id", "x", "--call-log", "/no/such/folder/log", "--", "cat"];
    let output = Proxy::command(command).output().await.expect("the proxy runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("/no/such/folder/log") && said.contains("that can be written"), "{said}");
}

#[tokio::test]
async fn a_dash_is_standard_error() {
    let mut session = Session::start("none", &["--call-log", "-"]).await;
    session.call("message").await;
    session.proxy.wait_for_stderr(r#""tool":"echo""#).await;
}
