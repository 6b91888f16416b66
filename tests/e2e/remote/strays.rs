//! Servers of HTTP+SSE (2024-11-05) that answer elsewhere than on their stream, or too often, or
//! whose streams do not last.

use std::time::Duration;

use mcpulse_proto::v1::MetricStatus;
use mcpulse_tests::eventually;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    PATIENCE,
    faults::{count, modern, reported},
    legacy::Streams,
    script::{Asked, Reply, Script, Talk},
};

fn answer(id: u64) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "result": {} })
}

/// A conversation with a server that does this with what it is asked, unless it does nothing.
async fn with(
    does: impl Fn(&Streams, &Asked) -> Option<Reply> + Send + Sync + 'static,
) -> (Script, Streams, Talk) {
    let streams = Streams::default();
    let script = Script::start({
        let streams = streams.clone();
        move |asked, _| {
            let reply = does(&streams, &asked).unwrap_or_else(|| streams.usual(&asked));
            std::future::ready(reply)
        }
    })
    .await;
    let mut talk = Talk::over("sse", &script.url(), &[]).await;
    talk.begin().await;
    (script, streams, talk)
}

fn calls(streams: &Streams, asked: &Asked, call: impl Fn(&Streams) -> Reply) -> Option<Reply> {
    (asked.name() == "tools/call").then(|| call(streams))
}

#[tokio::test]
async fn what_is_left_of_a_batch_is_answered() {
    let (_script, streams, mut talk) =
        with(|_, asked| asked.body.is_array().then(|| Reply::json(200, &json!([answer(1)])))).await;
    let call = |id| json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {} });
    talk.say(&json!([call(1), call(2)])).await;
    assert_eq!(talk.hear().await, json!([answer(1)]));
    streams.say(&json!([answer(1), answer(2)]));
    assert_eq!(talk.hear().await, json!([answer(2)]));
    let calls = talk.receiver.wait_for(2, PATIENCE).await;
    assert!(calls.iter().all(|call| call.status() == MetricStatus::Success), "{calls:#?}");
    talk.proxy.scrape().await.assert_balanced();
}

#[tokio::test]
async fn what_nobody_awaits_is_left_out() {
    let (_script, _streams, mut talk) = with(|streams, asked| {
        calls(streams, asked, |streams| {
            for id in [1, 1, 99] {
                streams.say(&answer(id));
            }
            Reply::empty(202)
        })
    })
    .await;
    talk.call(1).await;
    assert_eq!(talk.hear().await, answer(1));
    assert_eq!(reported(&talk).await.0, MetricStatus::Success);
    talk.close();
    talk.end(Duration::from_secs(10)).await;
    assert_eq!(talk.rest().await, Vec::<String>::new());
}

#[tokio::test]
async fn an_error_in_the_response_is_an_answer() {
    let error = json!({ "code": -32602, "message": "no such tool", "data": { "a": 1 } });
    for (status, id) in [(400, json!(1)), (400, Value::Null), (500, json!(1)), (200, Value::Null)] {
        let body = json!({ "jsonrpc": "2.0", "id": id, "error": error });
        let (_script, _streams, mut talk) =
            with(move |streams, asked| calls(streams, asked, |_| Reply::json(status, &body))).await;
        talk.call(1).await;
        let answer = talk.hear().await;
        assert_eq!((&answer["id"], &answer["error"]), (&json!(1), &error), "{status}, {id}");
        let (came, kind, _) = reported(&talk).await;
        assert_eq!((came, kind.as_str()), (MetricStatus::Error, "-32602"), "{status}, {id}");
    }
}

#[tokio::test]
async fn subscriptions_keep_no_call_waiting() {
    let (script, _streams, mut talk) =
        with(|_, asked| (asked.name() == "subscriptions/listen").then(|| Reply::empty(202))).await;
    for id in 1..=129 {
        let mut listen = modern(id, "", &Value::Null);
        listen["method"] = "subscriptions/listen".into();
        talk.say(&listen).await;
    }
    eventually("they fill all their places", PATIENCE, async || {
        (count(&script.asked(), "subscriptions/listen") == 128).then_some(())
    })
    .await;
    talk.call(200).await;
    assert_eq!(talk.hear().await["id"], 200);
    assert_eq!(count(&script.asked(), "subscriptions/listen"), 128);
}

#[tokio::test]
async fn streams_that_bring_something_are_no_failures() {
    let (_script, _streams, mut talk) = with(|streams, asked| {
        (asked.name() == "notifications/initialized").then(|| {
            streams.say(&json!({ "jsonrpc": "2.0", "method": "n" }));
            streams.end();
            Reply::empty(202)
        })
    })
    .await;
    let begun = Instant::now();
    for _ in 1..=5 {
        assert_eq!(talk.hear().await["method"], "n");
    }
    // Four pauses, of 15 s if each were twice as long as the one before.
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_question_is_answered_while_the_session_is_begun_anew() {
    let streams = Streams::default();
    let (answered, _) = tokio::sync::broadcast::channel::<()>(4);
    let script = Script::start({
        let streams = streams.clone();
        move |asked, _| {
            let (streams, answered) = (streams.clone(), answered.clone());
            async move {
                match &*asked.name() {
                    "notifications/initialized" => {
                        let mut answer = answered.subscribe();
                        streams.say(&json!({ "jsonrpc": "2.0", "id": 7, "method": "roots/list" }));
                        answer.recv().await.expect("an answer");
                        Reply::empty(202)
                    }
                    "POST" => {
                        answered.send(()).expect("somebody waits");
                        Reply::empty(202)
                    }
                    _ => streams.usual(&asked),
                }
            }
        }
    })
    .await;
    let mut talk = Talk::over("sse", &script.url(), &[]).await;
    talk.begin().await;
    let begun = Instant::now();
    for times in 1..=2 {
        assert_eq!(talk.hear().await["method"], "roots/list");
        talk.say(&json!({ "jsonrpc": "2.0", "id": 7, "result": { "roots": [] } })).await;
        talk.call(times).await;
        assert_eq!(talk.hear().await["id"], times);
        if times == 1 {
            streams.end();
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}
