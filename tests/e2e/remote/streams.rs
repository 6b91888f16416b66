//! The streams of a server: its own, and those of answers, given up only where nothing comes of
//! them.

use mcpulse_tests::eventually;
use serde_json::json;

use super::{
    PATIENCE,
    faults::{count, ok, reported},
    script::{Asked, Reply, Script, Talk},
};

/// A stream that stays open and asks.
fn question() -> Reply {
    let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });
    let (reply, sender) = Reply::stream(format!("data: {ping}\n\n"));
    tokio::spawn(async move { sender.closed().await });
    reply
}

fn gets(script: &Script) -> Vec<Asked> {
    script.asked().into_iter().filter(|asked| asked.name() == "GET").collect()
}

#[tokio::test]
async fn a_stream_that_is_refused_is_asked_for_again() {
    let script = Script::start(|asked, before| async move {
        match (&*asked.name(), count(&before, "GET")) {
            ("GET", 0) => Reply::events("id: a\nretry: 1\ndata:\n\n"),
            // The server no longer knows where to go on.
            ("GET", 1) => Reply::empty(400),
            ("GET", 2) => Reply::events("id: b\nretry: 1\ndata:\n\n"),
            // A token that was about to be renewed.
            ("GET", 3) => Reply::empty(401),
            ("GET", _) => question(),
            _ => asked.usual("one"),
        }
    })
    .await;
    let mut talk = Talk::to(&script).await;
    talk.begin().await;
    assert_eq!(talk.hear().await["method"], "ping");
    let gets = gets(&script);
    let last: Vec<_> = gets.iter().map(|asked| asked.header("last-event-id")).collect();
    assert_eq!(last, ["", "a", "", "b", "b"]);
}

#[tokio::test]
async fn a_stream_is_asked_for_until_the_session_can_be_begun_anew() {
    let script = Script::start(|asked, before| async move {
        let begun = count(&before, "initialize");
        match (&*asked.name(), asked.header("mcp-session-id")) {
            ("initialize", _) if begun == 1 => Reply::empty(503),
            ("initialize", _) => asked.usual(if begun == 0 { "one" } else { "two" }),
            ("GET", "one") if count(&before, "GET") > 0 => Reply::empty(404),
            ("GET", "one") => Reply::events(": the server is restarted\n\n"),
            ("GET", _) => question(),
            _ => asked.usual("two"),
        }
    })
    .await;
    let mut talk = Talk::to(&script).await;
    talk.begin().await;
    assert_eq!(talk.hear().await["method"], "ping");
    assert_eq!(count(&script.asked(), "initialize"), 3);
}

#[tokio::test]
async fn a_session_that_never_had_a_stream_is_not_begun_anew_for_one() {
    let script = Script::start(|asked, _| async move {
        match &*asked.name() {
            "GET" => Reply::empty(404),
            _ => asked.usual("one"),
        }
    })
    .await;
    let mut talk = Talk::to(&script).await;
    talk.begin().await;
    eventually("a stream is asked for", PATIENCE, async || {
        (count(&script.asked(), "GET") == 1).then_some(())
    })
    .await;
    for id in 1..=20 {
        talk.call(id).await;
        assert_eq!(talk.hear().await["id"], id);
    }
    assert_eq!(count(&script.asked(), "initialize"), 1);
}

#[tokio::test]
async fn an_answer_may_be_asked_for_many_times() {
    let script = Script::start(|asked, before| async move {
        let answer = json!({ "jsonrpc": "2.0", "id": 1, "result": {} });
        match (&*asked.name(), asked.header("last-event-id")) {
            ("tools/call", _) => Reply::events("id: 7\nretry: 1\ndata:\n\n"),
            ("GET", "7") if count(&before, "GET") < 9 => Reply::events(": not yet\n\n"),
            ("GET", "7") => Reply::events(format!("data: {answer}\n\n")),
            _ => asked.usual("one"),
        }
    })
    .await;
    let mut talk = Talk::to(&script).await;
    talk.begin().await;
    talk.call(1).await;
    assert_eq!(talk.hear().await["result"], json!({}));
    assert_eq!(reported(&talk).await, ok());
}
