//! The streams of a server: its own, and those of answers, given up only where nothing comes of
//! them.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use mcpulse_proto::v1::MetricStatus;
use mcpulse_tests::eventually;
use serde_json::json;
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, timeout},
};

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

/// Calls a tool twice of a server that takes so long to answer for its own stream, and forgets
/// the session between the two. Tells for either call whether it came behind that answer.
async fn called_behind_the_stream(takes: Duration) -> [bool; 2] {
    let given = watch::Sender::new(0);
    let (calls, mut called) = mpsc::channel(2);
    let script = Script::start({
        let given = given.clone();
        move |asked, before| {
            let (given, calls) = (given.clone(), calls.clone());
            async move {
                let session = if count(&before, "initialize") < 2 { "one" } else { "two" };
                match &*asked.name() {
                    "initialize" if count(&before, "initialize") == 0 => asked.usual("one"),
                    "initialize" => asked.usual("two"),
                    "GET" => {
                        sleep(takes).await;
                        given.send_modify(|given| *given += 1);
                        question()
                    }
                    "tools/call" if asked.header("mcp-session-id") != session => Reply::empty(404),
                    "tools/call" if count(&before, "tools/call") == 1 => Reply::empty(404),
                    "tools/call" => {
                        let given = *given.borrow();
                        calls.send(given).await.expect("the test waits for it");
                        asked.usual(session)
                    }
                    _ => asked.usual(session),
                }
            }
        }
    })
    .await;
    let mut talk = Talk::to(&script).await;
    talk.begin().await;
    let mut behind = Vec::new();
    for (id, streams) in [(1, 1), (2, 2)] {
        talk.call(id).await;
        let said = async { called.recv().await.expect("the server answers calls") };
        behind.push(timeout(PATIENCE, said).await.expect("the call arrives") == streams);
        while talk.hear().await["id"] != id {}
    }
    behind.try_into().expect("two calls")
}

#[tokio::test]
async fn calls_wait_for_the_stream_on_which_they_may_be_asked_about() {
    assert_eq!(called_behind_the_stream(Duration::from_millis(300)).await, [true; 2]);
}

#[tokio::test]
async fn calls_do_not_wait_long_for_a_stream_that_says_nothing() {
    assert_eq!(called_behind_the_stream(PATIENCE).await, [false; 2]);
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

/// Where else than on its own exchange a call is answered.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answered {
    /// And its own stream ends without an answer.
    First,
    /// And on its own as well.
    Twice,
    /// While nothing comes of the POST.
    Alone,
    /// After the server has nodded.
    AfterNod,
}

/// A server that answers calls on its own stream.
async fn astray(answered: Answered, session: bool) -> Script {
    let stream: Arc<watch::Sender<Option<mpsc::Sender<Bytes>>>> = Arc::default();
    Script::start(move |asked, _| {
        let stream = Arc::clone(&stream);
        async move {
            match &*asked.name() {
                "initialize" if !session => asked.result(&json!({
                    "protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {},
                })),
                "GET" => {
                    let (reply, sender) = Reply::stream(": nothing yet\n\n");
                    stream.send_replace(Some(sender));
                    reply
                }
                "tools/call" => {
                    let answer = json!({ "jsonrpc": "2.0", "id": asked.body["id"], "result": {} });
                    let event = Bytes::from(format!("data: {answer}\n\n"));
                    let mut own = stream.subscribe();
                    let sender = own.wait_for(Option::is_some).await.expect("a stream").clone();
                    let sender = sender.expect("a stream");
                    if answered == Answered::AfterNod {
                        tokio::spawn(async move {
                            sleep(Duration::from_millis(200)).await;
                            sender.send(event).await
                        });
                        return Reply::empty(202);
                    }
                    sender.send(event.clone()).await.expect("the proxy listens");
                    match answered {
                        Answered::Twice => Reply::events(event),
                        Answered::Alone => std::future::pending().await,
                        _ => {
                            sleep(Duration::from_millis(100)).await;
                            Reply::events(": no more\n\n")
                        }
                    }
                }
                "ping" => asked.result(&json!({})),
                _ => asked.usual("one"),
            }
        }
    })
    .await
}

#[tokio::test]
async fn an_answer_counts_once_wherever_it_comes() {
    for answered in [Answered::First, Answered::Twice, Answered::Alone, Answered::AfterNod] {
        for session in [true, false] {
            let script = astray(answered, session).await;
            let mut talk = Talk::to(&script).await;
            talk.begin().await;
            talk.call(1).await;
            let told = talk.hear().await;
            assert_eq!((&told["id"], &told["result"]), (&json!(1), &json!({})), "{answered:?}");
            let (status, error, _) = reported(&talk).await;
            assert_eq!(
                (status, &*error),
                (MetricStatus::Success, ""),
                "{answered:?} session: {session}"
            );
            eventually("the exchange is left", PATIENCE, async || {
                (script.open().0 == 0).then_some(())
            })
            .await;
            talk.ask(2, "ping", json!({})).await;
            assert_eq!(talk.hear().await["id"], 2, "{answered:?} session: {session}");
        }
    }
}

#[tokio::test]
async fn a_nod_is_no_answer_once_the_server_has_no_stream() {
    let script = Script::start(|asked, _| async move {
        match &*asked.name() {
            "tools/call" => Reply::empty(202),
            "GET" => {
                sleep(Duration::from_millis(200)).await;
                Reply::empty(405)
            }
            _ => asked.usual("one"),
        }
    })
    .await;
    let mut talk = Talk::to(&script).await;
    talk.begin().await;
    talk.call(1).await;
    let message = talk.hear().await["error"]["message"].to_string();
    assert!(message.contains("202"), "{message}");
    assert_eq!(reported(&talk).await.1, "transport");
}
