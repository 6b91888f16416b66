//! Clients of the first transport (HTTP+SSE, 2024-11-05), whose stream is their session.

use http::Method;
use mcpulse_tests::eventually;
use serde_json::json;

use super::{Actor, Answer, ENDED, INITIALIZE, Stage, Stream};
use crate::faults::{PATIENCE, call, result};

impl Stage {
    /// A client that has opened its stream: where it POSTs, the stream, and the program.
    pub(super) async fn open_line(&self) -> (String, Stream, Actor) {
        let opening = self.bridge.send(self.bridge.at(Method::GET, "/sse"), "");
        let (response, actor) = tokio::join!(opening, self.enter());
        let mut stream = Stream::of(response);
        let target = stream.endpoint().await;
        assert!(target.starts_with("/message?sessionId="), "{target}");
        (target, stream, actor)
    }

    pub(super) async fn post_at(&self, target: &str, body: impl Into<bytes::Bytes>) -> Answer {
        self.bridge.exchange(self.bridge.at(Method::POST, target), body).await
    }
}

#[tokio::test]
async fn everything_comes_on_the_one_stream() {
    let stage = Stage::set(&[]).await;
    let (target, mut stream, mut program) = stage.open_line().await;
    let (_other, mut unconcerned, other) = stage.open_line().await;
    let sampling = r#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{}}"#;
    for (said, answer) in [(INITIALIZE.to_owned(), result("0")), (call("1"), result("1"))] {
        let answered = stage.post_at(&target, said.clone()).await;
        assert_eq!((answered.status, &*answered.body), (202, ""));
        assert_eq!(program.hear().await, Some(said));
        program.say(sampling).await;
        program.say(&format!("{answer}\r")).await;
        assert_eq!(stream.next().await.as_deref(), Some(sampling));
        assert_eq!(stream.next().await, Some(answer));
    }
    assert_eq!(stage.post_at(&target, result("1")).await.status, 202);
    assert_eq!(program.hear().await, Some(result("1")));
    assert_eq!(stage.post_at(&target, "{").await.error(), (400, json!(null), -32700));
    assert_eq!(stage.post_at("/message?sessionId=x", call("2")).await.status, 404);
    assert_eq!(stage.post_at("/message", call("2")).await.status, 404);
    // It is no session of the other transport.
    let id = target.rsplit('=').next().expect("an id");
    assert_eq!(stage.bridge.post(Some(id), call("2")).await.status, 404);
    for (method, path) in [(Method::POST, "/sse"), (Method::GET, "/message")] {
        let response = stage.bridge.send(stage.bridge.at(method, path), call("2")).await;
        assert_eq!(response.status(), 405);
        let allowed = if path == "/sse" { "GET" } else { "POST" };
        assert_eq!(response.headers()["allow"], allowed);
    }

    // With its client the program ends, and with its program the stream.
    drop(stream);
    assert_eq!(program.hear().await, None);
    stage.bridge.wait_for_ended("deleted", 1).await;
    eventually("its session is gone", PATIENCE, async || {
        (stage.post_at(&target, call("3")).await.status == 404).then_some(())
    })
    .await;
    drop(other);
    assert_eq!(unconcerned.next().await, None);
}

#[tokio::test]
async fn calls_on_a_line_are_accounted_for() {
    let stage = Stage::set(&["--max-sessions", "1"]).await;
    let (target, mut stream, mut program) = stage.open_line().await;
    let refused = stage.bridge.send(stage.bridge.at(Method::GET, "/sse"), "").await;
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    for id in ["1", "\"1\"", "2"] {
        assert_eq!(stage.post_at(&target, call(id)).await.status, 202);
        assert_eq!(program.hear().await, Some(call(id)));
    }
    for id in ["\"1\"", "1"] {
        program.say(&result(id)).await;
        assert_eq!(stream.next().await, Some(result(id)));
    }
    drop(program);
    assert_eq!(stream.next().await, None);
    stage.bridge.assert_settled(&[("ok", 2), ("transport", 1)], &[]).await;
}

#[tokio::test]
async fn a_line_is_waited_for_while_it_owes_an_answer() {
    let mut stage = Stage::set(&["--drain-timeout", "30s"]).await;
    let (target, mut stream, mut program) = stage.open_line().await;
    let (_, mut silent, _other) = stage.open_line().await;
    assert_eq!(stage.post_at(&target, call("1")).await.status, 202);
    program.hear().await.expect("the call");
    stage.bridge.proxy.signal(rustix::process::Signal::TERM);
    assert_eq!(silent.next().await, None);
    program.say(&result("1")).await;
    assert_eq!(stream.next().await, Some(result("1")));
    assert_eq!(stream.next().await, None);
    assert!(stage.bridge.proxy.wait(ENDED).await.success());
}

#[tokio::test]
async fn answers_of_any_size_wait_for_a_client_that_reads() {
    let stage = Stage::set(&[]).await;
    let (target, mut stream, mut program) = stage.open_line().await;
    let large = |id| result(id).replace("[]", &format!(r#"["{}"]"#, "x".repeat(5 << 20)));
    for id in ["1", "2", "3", "4"] {
        assert_eq!(stage.post_at(&target, call(id)).await.status, 202);
        assert_eq!(program.hear().await, Some(call(id)));
        program.say(&large(id)).await;
    }
    // What else is said has room besides.
    let question = r#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{}}"#;
    program.say(question).await;
    for said in [large("1"), large("2"), large("3"), large("4"), question.to_owned()] {
        assert!(stream.next().await == Some(said), "in order");
    }
    assert_eq!(stage.post_at(&target, result("1")).await.status, 202);
    assert_eq!(program.hear().await, Some(result("1")));
    drop(stream);
    stage.bridge.wait_for_ended("deleted", 1).await;
    assert!(stage.bridge.figure("mcpulse_bridge_dropped_total").await < 0.5);
}

#[tokio::test]
async fn a_line_that_is_not_read_is_cut_which_is_not_by_its_client() {
    // Room for all of it, or the observer may rightly miss a part; and time, or the connection is
    // given up while the program still speaks.
    let stage = Stage::set(&["--read-timeout", "10s", "--tap-bytes", "100MiB"]).await;
    let (target, stream, mut program) = stage.open_line().await;
    assert_eq!(stage.post_at(&target, call("1")).await.status, 202);
    assert_eq!(program.hear().await, Some(call("1")));
    // The system takes some of it.
    let params = format!(r#"{{"text":"{}"}}"#, "x".repeat(64 << 10));
    for id in 0..400 {
        program
            .say(&format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"roots/list","params":{params}}}"#
            ))
            .await;
    }
    stage.bridge.wait_for_ended("unread", 1).await;
    stage.bridge.assert_settled(&[("transport", 1)], &[]).await;
    drop((stream, program));
}
