//! Several messages in one body, in sessions of the revision that has them (2025-03-26).

use http::{Method, Response};
use hyper::body::Incoming;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Actor, Answer, ENDED, INITIALIZED, Stage, Stream};
use crate::faults::{call, result};

const CHANGED: &str = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;

impl Stage {
    async fn send_batch(&self, session: &str, calls: &[String]) -> Response<Incoming> {
        let request = self.bridge.request(Method::POST, Some(session));
        self.bridge.send(request, format!("[{}]", calls.join(","))).await
    }

    /// For a client that takes no events.
    async fn post_batch(&self, session: &str, calls: &[String]) -> Answer {
        let mut request = self.bridge.request(Method::POST, Some(session));
        let headers = request.headers_mut().expect("headers");
        headers.insert("accept", "application/json".parse().expect("a value"));
        self.bridge.exchange(request, format!("[{}]", calls.join(",\n"))).await
    }
}

/// Hears this batch.
async fn hear(program: &mut Actor, batch: &[String]) {
    for said in batch {
        assert_eq!(program.hear().await.as_ref(), Some(said));
    }
}

/// The id and the code of an error.
fn error(answer: &Value) -> (Value, i64) {
    (answer["id"].clone(), answer["error"]["code"].as_i64().expect("an error"))
}

async fn next_error(stream: &mut Stream) -> (Value, i64) {
    error(&serde_json::from_str(&stream.next().await.expect("an error")).expect("JSON"))
}

#[tokio::test]
async fn each_answer_comes_when_it_is_there_and_nothing_else() {
    let stage = Stage::set(&[]).await;
    let bridge = &stage.bridge;
    let (session, mut program) = stage.open_as("2025-03-26").await;
    let batch = [INITIALIZED.to_owned(), call("1"), call("\"a\"")];
    let (response, ()) =
        tokio::join!(stage.send_batch(&session, &batch), hear(&mut program, &batch));
    let mut stream = Stream::of(response);
    // Programs may do likewise, and say something else before.
    program.say(&format!("[{CHANGED}, {}]", result("\"a\""))).await;
    assert_eq!(stream.next().await, Some(result("\"a\"")));
    program.say(&result("1")).await;
    assert_eq!(stream.next().await, Some(result("1")));
    assert_eq!(stream.next().await, None);
    let mut own = bridge.listen(&session).await;
    assert_eq!(own.next().await.as_deref(), Some(CHANGED));
    let told = bridge.post(Some(&session), format!("[{INITIALIZED}]")).await;
    assert_eq!((told.status, &*told.body), (202, ""));
    assert_eq!(program.hear().await.as_deref(), Some(INITIALIZED));

    let (answer, ()) = tokio::join!(stage.post_batch(&session, &batch), async {
        hear(&mut program, &batch).await;
        program.say(&result("1")).await;
        program.say(&result("\"a\"")).await;
    });
    let array = format!("[{},{}]", result("1"), result("\"a\""));
    assert_eq!((answer.status, answer.body), (200, array));

    // One that uses an id twice, and a program that ends before it has answered all.
    let batch = [call("1"), call("1"), call("2")];
    let (answer, ()) = tokio::join!(stage.post_batch(&session, &batch), async {
        hear(&mut program, &[call("1"), call("2")]).await;
        program.say(&result("1")).await;
        drop(program);
    });
    let answers = answer.json();
    assert_eq!(error(&answers[0]), (json!(1), -32600));
    assert_eq!(answers[1], serde_json::from_str::<Value>(&result("1")).expect("JSON"));
    assert_eq!(error(&answers[2]), (json!(2), -32603));
    assert_eq!(answers[3], json!(null));

    let (other, _program) = stage.open().await;
    for (session, body) in [(&session, "[]".to_owned()), (&other, format!("[{}]", call("1")))] {
        let answer = bridge.post(Some(session), body).await;
        assert_eq!(answer.error(), (400, json!(null), -32600));
    }
}

#[tokio::test]
async fn the_end_of_its_session_leaves_a_batch_what_had_come() {
    let stage = Stage::set(&[]).await;
    let bridge = &stage.bridge;
    let batch = [call("1"), call("2")];
    let (session, mut program) = stage.open_as("2025-03-26").await;
    let (response, ()) =
        tokio::join!(stage.send_batch(&session, &batch), hear(&mut program, &batch));
    let mut stream = Stream::of(response);
    program.say(&result("2")).await;
    assert_eq!(stream.next().await, Some(result("2")));
    assert_eq!(bridge.delete(&session).await, 204);
    assert_eq!(next_error(&mut stream).await, (json!(1), -32603));
    assert_eq!(stream.next().await, None);
    bridge.assert_settled(&[("ok", 1), ("cancelled", 1)], &[]).await;
}

#[tokio::test]
async fn a_drain_waits_for_the_rest_of_a_batch_and_leaves_it_what_had_come() {
    let mut stage = Stage::set(&["--drain-timeout", "2s"]).await;
    let batch = [call("1"), call("2"), call("3")];
    let (session, mut program) = stage.open_as("2025-03-26").await;
    let (other, mut second) = stage.open_as("2025-03-26").await;
    let (answer, mut stream, ()) = tokio::join!(
        stage.post_batch(&session, &batch),
        async { Stream::of(stage.send_batch(&other, &batch).await) },
        async {
            for (of, program) in [(&session, &mut program), (&other, &mut second)] {
                hear(program, &batch).await;
                program.say(&result("2")).await;
                let params = r#"{"requestId":3}"#;
                let word = "notifications/cancelled";
                let cancel = format!(r#"{{"jsonrpc":"2.0","method":"{word}","params":{params}}}"#);
                assert_eq!(stage.bridge.post(Some(of), cancel).await.status, 202);
            }
            stage.bridge.proxy.signal(Signal::TERM);
        }
    );
    let answers = answer.json();
    assert_eq!(answers[0], serde_json::from_str::<Value>(&result("2")).expect("JSON"));
    assert_eq!(error(&answers[1]), (json!(1), -32603));
    assert_eq!(answers[2], json!(null), "nobody is told of what was cancelled");
    assert_eq!(stream.next().await, Some(result("2")));
    assert_eq!(next_error(&mut stream).await, (json!(1), -32603));
    assert_eq!(stream.next().await, None);
    assert!(stage.bridge.proxy.wait(ENDED).await.success());
}
