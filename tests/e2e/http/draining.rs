//! SIGTERM. In front of a legacy SSE server streams on which nothing is awaited end at once, and
//! calls whose answers come on them finish; a second signal ends the wait for them.

use std::time::{Duration, Instant};

use mcpulse_tests::{
    Proxy, Tools, eventually,
    remote::{Kind, Remote},
};
use rustix::process::Signal;

use super::{Wire, before, post};
use crate::faults::{
    call,
    upstream::{Front, Upstream},
};

/// What the end may take when nothing is awaited: it is at once, but for a machine that has
/// much else to do, and far from the 25 s of the drain.
const SOON: Duration = Duration::from_secs(3);

/// A session by hand: its stream, and where its messages go.
struct Session {
    stream: Wire,
    proxy: std::net::SocketAddr,
    target: String,
}

impl Session {
    async fn open(proxy: std::net::SocketAddr) -> Self {
        let mut stream = Wire::to(proxy).await;
        stream.say(format!("GET /sse HTTP/1.1\r\nhost: {proxy}\r\n\r\n")).await;
        stream.head().await;
        stream.hear_to("data: ").await;
        let target = stream.hear_to("\n").await.trim().to_owned();
        let mut session = Self { stream, proxy, target };
        session
            .post(
                r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2024-11-05","capabilities":{},"clientInfo":{"name":"by-hand","version":"1"}}}"#,
            )
            .await;
        session.stream.hear_to("serverInfo").await;
        session.post(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
        session
    }

    async fn post(&mut self, message: &str) {
        let mut wire = Wire::to(self.proxy).await;
        wire.say(format!(
            "POST {} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{message}",
            self.target,
            self.proxy,
            message.len()
        ))
        .await;
        let head = wire.head().await;
        assert!(head.starts_with("HTTP/1.1 202"), "{head}");
    }
}

struct Scene {
    _server: Remote,
    proxy: Proxy,
}

impl Scene {
    async fn set() -> Option<Self> {
        let tools = Tools::with(&[Kind::EverythingSse.part()])?;
        let server = Remote::start(tools, Kind::EverythingSse).await;
        let url = server.url_at(server.address());
        Some(Self { _server: server, proxy: Proxy::run(before("sse", &url)) })
    }
}

#[tokio::test]
async fn idle_streams_do_not_hold_up_the_end() {
    let Some(mut scene) = Scene::set().await else { return };
    let address = scene.proxy.address().await;
    let mut sessions = [Session::open(address).await, Session::open(address).await];
    let begun = Instant::now();
    scene.proxy.signal(Signal::TERM);
    for session in &mut sessions {
        let (rest, clean) = session.stream.rest().await;
        assert!(clean && rest.ends_with(b"0\r\n\r\n"), "{}", rest.escape_ascii());
    }
    assert!(scene.proxy.wait(Duration::from_secs(10)).await.success());
    let took = begun.elapsed();
    assert!(took < SOON, "{took:?}");
}

#[tokio::test]
async fn a_call_whose_answer_comes_on_the_stream_finishes() {
    let Some(mut scene) = Scene::set().await else { return };
    let address = scene.proxy.address().await;
    let (mut idle, mut busy) = (Session::open(address).await, Session::open(address).await);
    busy.post(
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"trigger-long-running-operation","arguments":{"duration":4,"steps":2}}}"#,
    )
    .await;
    scene.proxy.signal(Signal::TERM);
    let begun = Instant::now();
    let (rest, clean) = idle.stream.rest().await;
    assert!(clean && rest.ends_with(b"0\r\n\r\n"), "{}", rest.escape_ascii());
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    busy.stream.hear_to("Long running operation completed").await;
    let answered = Instant::now();
    let (rest, clean) = busy.stream.rest().await;
    assert!(clean && rest.ends_with(b"0\r\n\r\n"), "{}", rest.escape_ascii());
    assert!(scene.proxy.wait(Duration::from_secs(10)).await.success());
    assert!(answered.elapsed() < SOON, "{:?}", answered.elapsed());
}

#[tokio::test]
async fn a_second_signal_cuts_the_drain_short() {
    let silent = Upstream::silent().await;
    let mut front = Front::of(silent.address(), &[]).await;
    let mut client = Wire::to(front.address()).await;
    client.say(post(&call("7"))).await;
    front.assert_in_flight().await;
    front.proxy.signal(Signal::TERM);
    front.proxy.wait_for_stderr("draining").await;
    front.proxy.signal(Signal::INT);
    let begun = Instant::now();
    let answer = String::from_utf8(client.message().await).expect("text");
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains(r#""id":7,"#), "{answer}");
    assert!(answer.contains("\r\nretry-after: 2\r\n"), "{answer}");
    assert!(front.proxy.wait(Duration::from_secs(10)).await.success());
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_second_signal_leaves_no_program_behind() {
    let directory = tempfile::tempdir().expect("a directory");
    let pids = directory.path().join("pids");
    let script = r#"trap '' TERM; echo $$ >> "$0"; cat >/dev/null; sleep 60"#;
    let bridge = ["stdio", "--server-id", "x", "--mcpulse-url", "none", "--listen", "127.0.0.1:0"];
    let program = ["--", "sh", "-c", script, pids.to_str().expect("a path that is text")];
    let mut proxy = Proxy::start([&bridge[..], &program].concat());
    let mut client = Wire::to(proxy.address().await).await;
    client.say(post(r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}"#)).await;
    let pids = || std::fs::read_to_string(&pids).unwrap_or_default();
    // One for the client, and one by which the proxy sees whether it can be used.
    let both = async || (pids().lines().count() == 2).then_some(());
    eventually("both run", Duration::from_mins(1), both).await;
    proxy.signal(Signal::TERM);
    proxy.wait_for_stderr("draining").await;
    proxy.signal(Signal::TERM);
    let begun = Instant::now();
    assert!(proxy.wait(Duration::from_mins(1)).await.success());
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    for pid in pids().lines() {
        assert!(!std::path::Path::new("/proc").join(pid).exists(), "{pid} lives on");
    }
}
