//! What MCPulse being away costs a session through the real binary: nothing but one line, and
//! with a spool not even the reports, though the proxy be killed.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use mcpulse_tests::{Mood, Proxy, Receiver, eventually, program};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::tempdir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::TcpListener,
    process::{ChildStdin, ChildStdout},
};
use tonic::Code;

mod log;
mod series;
mod spans;
mod tls;

const PATIENCE: Duration = Duration::from_mins(1);

/// A session held by hand.
struct Session {
    proxy: Proxy,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Session {
    /// Starts the proxy with these flags in front of a small server.
    async fn start(url: &str, flags: &[&str]) -> Self {
        let server = program("example_server");
        let mut command = Proxy::command(["stdio", "--server-id", "s", "--mcpulse-url", url]);
        command.args(["--flush-interval", "50ms"]).args(flags).arg("--").arg(server);
        let mut proxy = Proxy::run(command);
        let (stdin, stdout) = (proxy.stdin(), BufReader::new(proxy.stdout()).lines());
        let mut session = Self { proxy, stdin, stdout };
        let client = json!({"name": "test", "version": "1"});
        let params =
            json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client});
        session.ask("initialize", params).await;
        session.send(json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
        session
    }

    async fn send(&mut self, message: Value) {
        let line = format!("{message}\n");
        self.stdin.write_all(line.as_bytes()).await.expect("the proxy reads");
    }

    async fn ask(&mut self, method: &str, params: Value) -> String {
        self.send(json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})).await;
        let answer = tokio::time::timeout(PATIENCE, self.stdout.next_line()).await;
        answer.expect("an answer in time").expect("the proxy writes").expect("an answer")
    }

    async fn call(&mut self, message: &str) {
        let params = json!({"name": "echo", "arguments": {"message": message}});
        let answer = self.ask("tools/call", params).await;
        assert!(answer.contains(message), "{answer}");
    }
}

#[tokio::test]
async fn an_absent_mcpulse_costs_one_line_that_says_what_to_do() {
    let absent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = absent.local_addr().expect("the address of a bound socket").to_string();
    drop(absent);
    let mut session = Session::start(&url, &[]).await;
    for n in 0..20 {
        session.call(&format!("message {n}")).await;
    }
    session.proxy.wait_for_stderr("cannot report to MCPulse").await;
    // More attempts follow; none of them is worth a line.
    session.call("one more").await;
    let begun = Instant::now();
    let Session { mut proxy, stdin, stdout } = session;
    drop((stdin, stdout));
    assert!(proxy.wait(PATIENCE).await.success());
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    // What was said last may still be on its way through the pipe.
    proxy.wait_for_stderr("21 calls were not reported").await;
    let said = proxy.stderr();
    assert_eq!(said.matches("cannot report to MCPulse").count(), 1, "{said}");
    assert!(said.contains(&url) && said.contains("MCPULSE_URL"), "{said}");
}

#[tokio::test]
async fn what_is_spooled_holds_up_no_end_and_is_not_called_lost() {
    let receiver = Receiver::start().await;
    receiver.set_mood(Mood::Fail(Code::Unavailable));
    let directory = tempdir().expect("a directory");
    let spool = directory.path().to_str().expect("a path that is text");
    let mut session = Session::start(&receiver.url(), &["--spool-dir", spool]).await;
    for n in 0..20 {
        session.call(&format!("message {n}")).await;
    }
    session.proxy.wait_for_stderr("cannot report to MCPulse").await;
    let Session { mut proxy, stdin, stdout } = session;
    drop((stdin, stdout));
    assert!(proxy.wait(PATIENCE).await.success());
    proxy.wait_for_stderr(&format!("20 calls are spooled in {spool}")).await;
    let said = proxy.stderr();
    assert!(!said.contains("not reported") && !said.contains("not everything"), "{said}");
}

#[tokio::test]
async fn a_rejected_key_is_named_and_not_shown() {
    let receiver = Receiver::start().await;
    receiver.set_mood(Mood::Fail(Code::Unauthenticated));
    let mut session = Session::start(&receiver.url(), &["--mcpulse-api-key", "hush"]).await;
    session.call("message").await;
    session.proxy.wait_for_stderr("MCPULSE_API_KEY").await;
    assert!(!session.proxy.stderr().contains("hush"));
}

#[tokio::test]
async fn a_killed_proxy_leaves_its_calls_to_the_next() {
    let directory = tempdir().expect("a directory");
    let spool = directory.path().to_str().expect("a path that is text");
    let receiver = Receiver::start().await;
    receiver.set_mood(Mood::Hang);
    let flags = ["--spool-dir", spool];
    let mut session = Session::start(&receiver.url(), &flags).await;
    for n in 0..30 {
        session.call(&format!("message {n}")).await;
    }
    eventually("the calls are on disk", PATIENCE, async || {
        let files = files(directory.path()).into_iter().filter_map(|file| fs::read(file).ok());
        let last = b"message 29";
        files.flatten().collect::<Vec<_>>().windows(last.len()).any(|at| at == last).then_some(())
    })
    .await;
    session.proxy.signal(Signal::KILL);
    session.proxy.wait(PATIENCE).await;

    let mut session = Session::start(&receiver.url(), &flags).await;
    session.call("message 30").await;
    receiver.set_mood(Mood::Accept);
    let metrics = receiver.wait_for(31, PATIENCE).await;
    let mut ids: Vec<_> = metrics.iter().map(|metric| &metric.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 31);
}

/// Every file one level below.
fn files(directory: &Path) -> Vec<PathBuf> {
    let list = |path: &Path| {
        let entries = path.read_dir().map(|entries| entries.flatten().map(|entry| entry.path()));
        entries.map(Iterator::collect::<Vec<_>>).unwrap_or_default()
    };
    list(directory).iter().flat_map(|folder| list(folder)).collect()
}
