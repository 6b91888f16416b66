//! Streams of events that their clients lose, and go on with.

use http::Method;

use serde_json::Value;

use super::{Actor, Bridge, Stage, Stream};
use crate::faults::{call, result};

const QUESTION: &str = r#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage"}"#;
const CHANGED: &str = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;

impl Bridge {
    /// Goes on with a stream behind this event.
    async fn resume(&self, session: &str, last: &str) -> Stream {
        let request = self.request(Method::GET, Some(session)).header("last-event-id", last);
        Stream::of(self.send(request, "").await)
    }
}

impl Stage {
    /// The stream of a call that has brought about a question, which was read.
    async fn ask(&self, session: &str, program: &mut Actor) -> Stream {
        let request = self.bridge.request(Method::POST, Some(session));
        let (stream, ()) = tokio::join!(self.bridge.send(request, call("1")), async {
            program.hear().await.expect("the call");
            program.say(QUESTION).await;
        });
        let mut stream = Stream::of(stream);
        assert_eq!(stream.next().await.as_deref(), Some(QUESTION));
        stream
    }
}

/// A notification of log, of so many bytes.
fn logged(length: usize) -> String {
    let data = "x".repeat(length);
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"data":"{data}"}}}}"#)
}

#[tokio::test]
async fn an_answer_comes_on_the_stream_that_goes_on() {
    let stage = Stage::set(&[]).await;
    let bridge = &stage.bridge;
    let (session, mut program) = stage.open().await;
    let mut stream = stage.ask(&session, &mut program).await;
    let last = stream.last.take().expect("an id");
    drop(stream);
    // The client is gone, the call is not: neither is it withdrawn nor over.
    let mut stream = bridge.resume(&session, &last).await;
    program.say(&result("1")).await;
    assert_eq!(stream.next().await, Some(result("1")));
    assert_eq!(stream.next().await, None);
    // What was said may have been lost on the way as well.
    let mut again = bridge.resume(&session, &last).await;
    assert_eq!(again.next().await, Some(result("1")));
    assert_eq!(again.next().await, None);
    bridge.assert_settled(&[("ok", 1)], &[("unmatched_answer", 1)]).await;
}

#[tokio::test]
async fn a_call_whose_client_lost_its_stream_ends_with_the_session() {
    let stage = Stage::set(&[]).await;
    let bridge = &stage.bridge;
    for (resumes, ended) in [(true, 1), (false, 2)] {
        let (session, mut program) = stage.open().await;
        let mut stream = stage.ask(&session, &mut program).await;
        let last = stream.last.take().expect("an id");
        drop(stream);
        let resumed = if resumes { Some(bridge.resume(&session, &last).await) } else { None };
        drop(program);
        if let Some(mut stream) = resumed {
            assert!(stream.next().await.expect("an error").contains("has ended"));
        }
        bridge.assert_settled(&[("transport", ended)], &[]).await;
    }
}

#[tokio::test]
async fn a_stream_of_the_clients_own_goes_on_without_a_gap() {
    let stage = Stage::set(&[]).await;
    let bridge = &stage.bridge;
    let (session, mut program) = stage.open().await;
    let mut own = bridge.listen(&session).await;
    program.say(CHANGED).await;
    assert_eq!(own.next().await.as_deref(), Some(CHANGED));
    let last = own.last.take().expect("an id");
    drop(own);
    let told = |n| {
        let params = format!(r#"{{"progressToken":"x","progress":{n}}}"#);
        format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{params}}}"#)
    };
    for n in 1..=3 {
        program.say(&told(n)).await;
    }
    let mut own = bridge.resume(&session, &last).await;
    program.say(&told(4)).await;
    for n in 1..=4 {
        assert_eq!(own.next().await, Some(told(n)));
    }
    for stranger in ["999-1", "no id"] {
        drop(own);
        own = bridge.resume(&session, stranger).await;
        program.say(CHANGED).await;
        assert_eq!(own.next().await.as_deref(), Some(CHANGED));
    }
}

#[tokio::test]
async fn streams_begin_with_an_id_for_clients_that_know_it() {
    let stage = Stage::set(&[]).await;
    let bridge = &stage.bridge;
    let (session, mut program) = stage.open().await;
    for (version, begins) in [("2025-06-18", false), ("2025-11-25", true)] {
        let request = bridge.request(Method::GET, Some(&session));
        let request = request.header("mcp-protocol-version", version);
        let mut own = Stream::of(bridge.send(request, "").await);
        program.say(CHANGED).await;
        let mut text = String::new();
        while !text.contains(CHANGED) {
            let frame = http_body_util::BodyExt::frame(&mut own.body).await.expect("more");
            let data = frame.expect("a stream").into_data().expect("data");
            text.push_str(str::from_utf8(&data).expect("UTF-8"));
        }
        let first = text.split("\n\n").next().expect("an event");
        assert_eq!(first.ends_with("-0\nretry: 1000\ndata:"), begins, "{text}");
    }
}

#[tokio::test]
async fn a_stream_with_ids_that_nobody_can_go_on_with_ends_its_call() {
    let stage = Stage::set(&[]).await;
    let bridge = &stage.bridge;
    let (session, mut program) = stage.open().await;
    let mut stream = stage.ask(&session, &mut program).await;
    drop(program);
    let told: Value = serde_json::from_str(&stream.next().await.expect("an error")).expect("JSON");
    assert_eq!((&told["id"], &told["error"]["code"]), (&1.into(), &(-32603).into()));
    assert_eq!(stream.next().await, None);
    bridge.assert_settled(&[("transport", 1)], &[]).await;
}

#[tokio::test]
async fn a_stream_of_the_clients_own_may_be_lost_again_and_again() {
    let stage = Stage::set(&[]).await;
    let bridge = &stage.bridge;
    let told = |n| CHANGED.replace('}', &format!(r#","params":{{"n":{n}}}}}"#));
    for (version, begins) in [("2025-06-18", false), ("2025-11-25", true)] {
        let (session, mut program) = stage.open_as(version).await;
        let listen = async |last: Option<&str>| {
            let request = bridge.request(Method::GET, Some(&session));
            let request = request.header("mcp-protocol-version", version);
            let request = match last {
                Some(last) => request.header("last-event-id", last),
                None => request,
            };
            let mut own = Stream::of(bridge.send(request, "").await);
            if begins {
                let event = own.event().await.expect("an event");
                let id = event.strip_prefix("id: ").and_then(|it| it.split_once('\n'));
                own.last = Some(id.expect("an id").0.to_owned());
            }
            own
        };
        let mut own = listen(None).await;
        for n in 1..=5 {
            program.say(&told(n)).await;
        }
        for n in 1..=2 {
            assert_eq!(own.next().await, Some(told(n)));
        }
        // Lost before anything was read of it, but for the event that begins it.
        let again = listen(own.last.as_deref()).await;
        let mut own = listen(again.last.or(own.last).as_deref()).await;
        assert_eq!(own.next().await, Some(told(3)));
        // Lost with what came on the stream that goes on.
        for n in 6..=7 {
            program.say(&told(n)).await;
        }
        let last = own.last.take();
        assert_eq!(own.next().await, Some(told(4)));
        drop(own);
        let mut own = listen(last.as_deref()).await;
        program.say(&told(8)).await;
        for n in 4..=8 {
            assert_eq!(own.next().await, Some(told(n)));
        }
    }
}

#[tokio::test]
async fn what_comes_while_the_stream_of_a_call_is_lost_comes_when_it_goes_on() {
    let stage = Stage::set(&[]).await;
    let bridge = &stage.bridge;
    let (session, mut program) = stage.open().await;
    let mut stream = stage.ask(&session, &mut program).await;
    let last = stream.last.take().expect("an id");
    drop(stream);
    // It may take a while until this is noticed.
    for n in 0..100 {
        program.say(&logged(n)).await;
    }
    let mut stream = bridge.resume(&session, &last).await;
    for n in 0..100 {
        assert_eq!(stream.next().await, Some(logged(n)));
    }
    program.say(&result("1")).await;
    assert_eq!(stream.next().await, Some(result("1")));
    assert_eq!(stream.next().await, None);
    bridge.assert_settled(&[("ok", 1)], &[]).await;
}

#[tokio::test]
async fn an_answer_that_is_kept_no_longer_is_an_error() {
    let stage = Stage::set(&[]).await;
    let bridge = &stage.bridge;
    let (session, mut program) = stage.open().await;
    let mut stream = stage.ask(&session, &mut program).await;
    let last = stream.last.take().expect("an id");
    drop(stream);
    let large = result("1").replace("[]", &format!(r#"["{}"]"#, "x".repeat(5 << 20)));
    program.say(&large).await;
    // By then it was heard.
    let (answer, ()) = tokio::join!(bridge.post(Some(&session), call("2")), async {
        program.hear().await.expect("another call");
        program.say(&result("2")).await;
    });
    assert_eq!(answer.body, result("2"));
    for _ in 0..2 {
        let mut stream = bridge.resume(&session, &last).await;
        let told: Value =
            serde_json::from_str(&stream.next().await.expect("an error")).expect("JSON");
        assert_eq!((&told["id"], &told["error"]["code"]), (&1.into(), &(-32603).into()));
        assert_eq!(stream.next().await, None);
    }
    assert!((bridge.figure("mcpulse_bridge_dropped_total").await - 1.0).abs() < 0.5);
    let again = [("unmatched_answer", 1)];
    bridge.assert_settled(&[("ok", 1), ("rpc_error", 1)], &again).await;
}

#[tokio::test]
async fn an_answer_is_kept_whatever_is_said_besides() {
    let stage = Stage::set(&[]).await;
    let bridge = &stage.bridge;
    let (session, mut program) = stage.open().await;
    let mut own = bridge.listen(&session).await;
    let mut stream = stage.ask(&session, &mut program).await;
    let last = stream.last.take().expect("an id");
    program.say(&result("1")).await;
    // It may have been lost on the way, as far as the client says.
    assert_eq!(stream.next().await, Some(result("1")));
    drop(stream);
    for _ in 0..6 {
        program.say(&logged(100_000)).await;
        assert_eq!(own.next().await, Some(logged(100_000)));
    }
    let mut stream = bridge.resume(&session, &last).await;
    assert_eq!(stream.next().await, Some(result("1")));
    assert_eq!(stream.next().await, None);
    bridge.assert_settled(&[("ok", 1)], &[("unmatched_answer", 1)]).await;
}
