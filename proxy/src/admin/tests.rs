use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::sink::{Ledger, Metrics};

struct Running {
    address: SocketAddr,
    ready: Ready,
    shutdown: Shutdown,
    drain: Drain,
    task: tokio::task::JoinHandle<()>,
}

async fn start() -> Running {
    let listener = bind("127.0.0.1:0", false).await.unwrap().unwrap();
    let address = listener.local_addr().unwrap();
    let (ready, shutdown, drain) = (Ready::default(), Shutdown::default(), Drain::default());
    let metrics = Arc::new(Metrics::new(&Arc::new(Ledger::default()), 10).unwrap());
    let render = Arc::new(move || metrics.render());
    let ends = Ends { shutdown: shutdown.clone(), drain: Some(drain.clone()) };
    let task = tokio::spawn(serve(listener, render, ready.clone(), ends));
    Running { address, ready, shutdown, drain, task }
}

impl Running {
    /// Sends a request on a connection of its own; the whole answer.
    async fn ask(&self, line: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn metrics_come_as_prometheus_text() {
    let admin = start().await;
    let answer = admin.ask("GET /metrics").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(body.contains("# TYPE mcpulse_build_info gauge"), "{body}");
    let answer = admin.ask("HEAD /metrics").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n"), "{answer}");
    assert!(!answer.contains("content-length: 0"), "{answer}");
}

#[tokio::test]
async fn readiness_names_the_closed_gates_and_fails_while_draining() {
    let admin = start().await;
    let answer = admin.ask("GET /readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.ends_with("process: is starting\n"), "{answer}");
    let gate = admin.ready.gate("upstream");
    gate.open();
    assert!(admin.ask("GET /readyz").await.starts_with("HTTP/1.1 200"));
    gate.close("connection refused");
    let answer = admin.ask("GET /readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.ends_with("upstream: connection refused\n"), "{answer}");
    gate.open();
    admin.shutdown.begin(Duration::from_mins(1));
    let answer = admin.ask("GET /readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.ends_with("process: shutting down\n"), "{answer}");
    assert!(admin.ask("GET /healthz").await.starts_with("HTTP/1.1 200"));
    assert!(admin.ask("GET /metrics").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn who_is_here_may_have_it_drain() {
    let admin = start().await;
    admin.ready.gate("upstream").open();
    let answer = admin.ask("GET /drain").await;
    assert!(answer.starts_with("HTTP/1.1 405") && answer.contains("allow: POST"), "{answer}");
    assert!(!admin.drain.has_begun());
    assert!(admin.ask("POST /drain").await.starts_with("HTTP/1.1 200"));
    assert!(admin.drain.has_begun());
    let answer = admin.ask("GET /readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.ends_with("process: draining\n"), "{answer}");
}

#[test]
fn who_is_elsewhere_may_not() {
    let near = |peer: &str, own: &str| is_same_host(peer.parse().unwrap(), own.parse().unwrap());
    assert!(near("127.0.0.1", "127.0.0.1") && near("::ffff:127.0.0.1", "::ffff:127.0.0.1"));
    assert!(near("10.0.0.7", "10.0.0.7") && near("::1", "::1"));
    assert!(!near("10.0.0.8", "10.0.0.7") && !near("fd00::8", "fd00::7"));
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let admin = start().await;
    assert!(admin.ask("GET /mcp").await.starts_with("HTTP/1.1 404"));
    let answer = admin.ask("POST /metrics").await;
    assert!(answer.starts_with("HTTP/1.1 405") && answer.contains("allow: GET, HEAD"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_loses_its_place() {
    let admin = start().await;
    let mut silent = Vec::new();
    for _ in 0..CONNECTIONS {
        silent.push(TcpStream::connect(admin.address).await.unwrap());
    }
    assert!(admin.ask("GET /healthz").await.starts_with("HTTP/1.1 200"));
    let mut nothing = Vec::new();
    silent[0].read_to_end(&mut nothing).await.unwrap();
}

#[tokio::test]
async fn a_taken_port_is_a_warning_only_where_that_is_wanted() {
    let first = bind("127.0.0.1:0", false).await.unwrap().unwrap();
    let taken = first.local_addr().unwrap().to_string();
    assert!(bind(&taken, true).await.unwrap().is_none());
    let error = bind(&taken, false).await.unwrap_err().to_string();
    assert!(error.contains(&taken) && error.contains("--metrics-listen"), "{error}");
    assert!(bind("no such host:1", true).await.is_err());
}
