//! The end of a bridge: first those go who wait for nothing, then calls finish, then programs end,
//! and all of it by a deadline.

use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use mcpulse_tests::eventually;
use rustix::process::Signal;
use serde_json::json;

use super::{Bridge, ENDED, INITIALIZE, Stage, Stream, programs::ANSWER, running};
use crate::faults::{PATIENCE, by, call, result};

const QUESTION: &str = r#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage"}"#;

impl Bridge {
    async fn wait_for_in_flight(&self, calls: f64) {
        eventually(&format!("{calls} calls are in flight"), PATIENCE, async || {
            let found = self.figure("mcpulse_calls_in_flight").await;
            ((found - calls).abs() < 0.5).then_some(())
        })
        .await;
    }

    /// Waits until so many were refused for this reason.
    pub(super) async fn wait_for_refused(&self, reason: &str, count: u64) {
        eventually(&format!("{count} were refused: {reason}"), PATIENCE, async || {
            let refused = by(&self.proxy.scrape().await, "mcpulse_http_refused_total", "reason");
            (refused.get(reason) == Some(&count)).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn calls_finish_before_their_programs_end() {
    let mut stage = Stage::set(&["--drain-timeout", "30s"]).await;
    let mark = stage.programs.local_addr().expect("the address of a bound socket").to_string();
    let (session, mut program) = stage.open().await;
    let (_idle, mut unused) = stage.open().await;
    let mut own = stage.bridge.listen(&session).await;
    let calling = stage.bridge.post(Some(&session), call("1"));
    let (answer, ()) = tokio::join!(calling, async {
        program.hear().await.expect("the call");
        stage.bridge.proxy.signal(Signal::TERM);
        assert_eq!(own.next().await, None, "a stream on which nothing is awaited ends");
        // The proxy, and both programs: the input of none is closed.
        assert_eq!(running(&mark), 3);
        program.say(&result("1")).await;
    });
    assert_eq!((answer.status, answer.body), (200, result("1")));
    assert_eq!(program.hear().await, None);
    assert_eq!(unused.hear().await, None);
    drop((program, unused));
    assert!(stage.bridge.proxy.wait(ENDED).await.success());
    eventually("no program is left", ENDED, async || (running(&mark) == 0).then_some(())).await;
}

#[tokio::test]
async fn who_still_waits_when_the_drain_is_over_is_told_when_to_come_again() {
    let mut stage = Stage::set(&["--drain-timeout", "300ms"]).await;
    let (session, mut program) = stage.open().await;
    let request = stage.bridge.request(http::Method::POST, Some(&session));
    let (answer, ()) = tokio::join!(stage.bridge.send(request, call("1")), async {
        program.hear().await.expect("the call");
        stage.bridge.proxy.signal(Signal::TERM);
    });
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "2");
    let body = http_body_util::BodyExt::collect(answer.into_body()).await.expect("a body");
    let body: serde_json::Value = serde_json::from_slice(&body.to_bytes()).expect("JSON");
    assert_eq!((&body["id"], &body["error"]["code"]), (&json!(1), &json!(-32603)));
    assert!(stage.bridge.proxy.wait(ENDED).await.success());
}

#[tokio::test]
async fn who_was_not_answered_is_counted_and_recorded_alike() {
    // Asks something first if it is called `stream`, and ends when it is made to: until then
    // there is somebody to be scraped.
    let asks = format!("case \"$call\" in *stream*) echo '{QUESTION}' ;; esac");
    let script =
        format!("{ANSWER} trap '' TERM; read -r call; {asks}; while :; do sleep 0.1; done");
    let flags = ["--drain-timeout", "300ms"];
    let mut bridge = Bridge::before(&["bash", "-c", &script], &flags).await;
    bridge.wait_until_ready(true).await;
    let mut sessions = Vec::new();
    for _ in 0..2 {
        sessions.push(bridge.post(None, INITIALIZE).await.session.expect("a session"));
    }
    let streams = bridge.request(http::Method::POST, Some(&sessions[0]));
    let said = call("1").replace("probe", "stream");
    let mut stream = Stream::of(bridge.send(streams, said).await);
    assert_eq!(stream.next().await.as_deref(), Some(QUESTION));
    let silent = bridge.post(Some(&sessions[1]), call("2"));
    let (silent, told, ()) = tokio::join!(silent, stream.next(), async {
        bridge.wait_for_in_flight(2.0).await;
        bridge.proxy.signal(Signal::TERM);
        bridge.wait_for_refused("shutdown", 2).await;
    });
    assert_eq!(silent.error(), (503, json!(2), -32603));
    assert!(told.expect("an error").contains("shut down or replaced"));
    assert!(bridge.proxy.wait(ENDED).await.success());
    let records = std::fs::read_to_string(bridge.ends.log()).expect("the call log");
    assert_eq!(records.matches(r#""outcome":"transport""#).count(), 2, "{records}");
    assert_eq!(records.lines().count(), 2, "{records}");
}

#[tokio::test]
async fn who_waits_on_a_stream_when_the_drain_is_over_is_told_there() {
    for (name, http2) in [("HTTP/1.1", false), ("HTTP/2", true)] {
        eprintln!("{name}");
        let mut stage = Stage::set(&["--drain-timeout", "300ms"]).await;
        if http2 {
            let builder = &mut Client::builder(TokioExecutor::new());
            stage.bridge.web.client = builder.http2_only(true).build_http();
        }
        let (session, mut program) = stage.open().await;
        let request = stage.bridge.request(http::Method::POST, Some(&session));
        let (answer, ()) = tokio::join!(stage.bridge.send(request, call("1")), async {
            program.hear().await.expect("the call");
            program.say(QUESTION).await;
        });
        let mut stream = Stream::of(answer);
        assert_eq!(stream.next().await.as_deref(), Some(QUESTION));
        stage.bridge.proxy.signal(Signal::TERM);
        let told = stream.next().await.expect("an error");
        let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
        assert_eq!((&told["id"], &told["error"]["code"]), (&json!(1), &json!(-32603)));
        // Not broken off: that fails the test.
        assert_eq!(stream.next().await, None);
        assert!(stage.bridge.proxy.wait(ENDED).await.success());
    }
}

/// A client over HTTP/2 that asks this and falls asleep with its host once it has the answer: it
/// says nothing more until the other end is dropped, not even that it lives.
fn sleeper(url: String, asks: &'static str) -> std::sync::mpsc::Sender<()> {
    let (wake, woken) = std::sync::mpsc::channel();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        runtime.block_on(async {
            let builder = &mut Client::builder(TokioExecutor::new());
            let client: Client<_, http_body_util::Full<bytes::Bytes>> =
                builder.http2_only(true).build_http();
            let request = http::Request::post(url)
                .header("accept", "application/json, text/event-stream")
                .header("content-type", "application/json")
                .body(asks.into());
            let answer = client.request(request.expect("a request")).await.expect("an answer");
            http_body_util::BodyExt::collect(answer.into_body()).await.expect("a body");
            tell.send(()).expect("the test waits");
            // Nothing runs on this thread while it waits here.
            let _ = woken.recv();
        });
    });
    told.recv().expect("an answer");
    wake
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sleeps_does_not_hold_the_drain() {
    let script = format!("{ANSWER} cat");
    let mut bridge = Bridge::before(&["sh", "-c", &script], &["--drain-timeout", "10m"]).await;
    bridge.wait_until_ready(true).await;
    let url = bridge.web.url("/mcp");
    let asleep = tokio::task::spawn_blocking(|| sleeper(url, INITIALIZE)).await.expect("asleep");
    bridge.proxy.signal(Signal::TERM);
    assert!(bridge.proxy.wait(ENDED).await.success());
    drop(asleep);
}

fn cancel(id: &str) -> String {
    let params = format!(r#"{{"requestId":{id}}}"#);
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{params}}}"#)
}

#[tokio::test]
async fn nobody_waits_for_what_was_cancelled() {
    let mut stage = Stage::set(&["--drain-timeout", "10m"]).await;
    let bridge = &stage.bridge;
    let (session, mut program) = stage.open().await;
    let request = || bridge.request(http::Method::POST, Some(&session));
    let (streamed, ()) = tokio::join!(bridge.send(request(), call("1")), async {
        program.hear().await.expect("the call");
        program.say(QUESTION).await;
    });
    let mut streamed = Stream::of(streamed);
    assert_eq!(streamed.next().await.as_deref(), Some(QUESTION));
    let (target, mut line, mut other) = stage.open_line().await;
    assert_eq!(stage.post_at(&target, call("3")).await.status, 202);
    assert_eq!(stage.post_at(&target, cancel("3")).await.status, 202);
    for said in [call("3"), cancel("3")] {
        assert_eq!(other.hear().await, Some(said));
    }
    let (answer, ()) = tokio::join!(bridge.post(Some(&session), call("2")), async {
        assert_eq!(program.hear().await, Some(call("2")));
        for id in ["1", "2"] {
            assert_eq!(bridge.post(Some(&session), cancel(id)).await.status, 202);
            assert_eq!(program.hear().await, Some(cancel(id)));
        }
        bridge.assert_settled(&[("cancelled", 3)], &[]).await;
        bridge.proxy.signal(Signal::TERM);
    });
    assert_eq!((answer.status, answer.json()["id"].clone()), (200, json!(2)));
    assert_eq!(streamed.next().await, None);
    assert_eq!(line.next().await, None);
    assert!(stage.bridge.proxy.wait(ENDED).await.success());
}
