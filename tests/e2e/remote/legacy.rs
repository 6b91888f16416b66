//! Servers of HTTP+SSE (2024-11-05), which answer all there is on one stream.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use mcpulse_proto::v1::MetricStatus;
use mcpulse_tests::eventually;
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use super::{
    PATIENCE,
    faults::{count, modern, ok, reported, waiting},
    order::{UNDAMMED, dam, large},
    records::ends,
    script::{Asked, Reply, Script, Talk},
};

/// The streams of a server, one after the other.
#[derive(Clone, Default)]
pub(crate) struct Streams(Arc<Mutex<Vec<Option<mpsc::Sender<Bytes>>>>>);

impl Streams {
    /// Opens the next one, which takes messages at an endpoint of its own.
    fn open(&self) -> Reply {
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = streams.len() + 1;
        let (reply, sender) =
            Reply::stream(format!("event: endpoint\r\ndata: m/{number}\r\n\r\n: ping\r\n\r\n"));
        streams.push(Some(sender));
        reply
    }

    /// Says something on the latest.
    pub(crate) fn say(&self, message: &Value) {
        let latest = self.0.lock().unwrap_or_else(PoisonError::into_inner).len();
        self.say_on(latest, &message.to_string());
    }

    /// Says something on the one of this number.
    pub(crate) fn say_on(&self, number: usize, message: &str) {
        let streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = streams[number - 1].as_ref().expect("a stream that has not ended");
        let event = format!("event: message\r\ndata: {message}\r\n\r\n");
        sender.try_send(event.into()).expect("the proxy reads");
    }

    /// Ends the latest.
    pub(crate) fn end(&self) {
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        streams.last_mut().expect("a stream").take();
    }

    /// What any server says.
    pub(crate) fn usual(&self, asked: &Asked) -> Reply {
        let result = match &*asked.name() {
            "GET" => return self.open(),
            "initialize" => json!({
                "protocolVersion": "2024-11-05",
                "capabilities": {},
                "serverInfo": { "name": "script", "version": "1" },
            }),
            "tools/call" => json!({ "content": [] }),
            _ => return Reply::empty(202),
        };
        let answer = json!({ "jsonrpc": "2.0", "id": asked.body["id"], "result": result });
        let (_, number) = asked.path.rsplit_once('/').expect("an endpoint of a stream");
        self.say_on(number.parse().expect("its number"), &answer.to_string());
        Reply::empty(202)
    }
}

async fn talk(script: &Script) -> Talk {
    Talk::over("sse", &script.url(), &[]).await
}

#[tokio::test]
async fn all_that_is_said_comes_on_the_stream() {
    let streams = Streams::default();
    let script = Script::start({
        let streams = streams.clone();
        move |asked, _| {
            let reply = streams.usual(&asked);
            std::future::ready(reply)
        }
    })
    .await;
    let mut talk = talk(&script).await;
    assert_eq!(talk.begin().await["id"], 0);
    talk.call(1).await;
    assert_eq!(talk.hear().await["result"], json!({ "content": [] }));
    streams.say(&json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }));
    assert_eq!(talk.hear().await["method"], "ping");
    talk.say(&json!({ "jsonrpc": "2.0", "id": 1, "result": {} })).await;
    eventually("the answer arrives", PATIENCE, async || (script.asked().len() == 5).then_some(()))
        .await;
    assert_eq!(
        script.names(),
        ["GET", "initialize", "notifications/initialized", "tools/call", "POST"]
    );
    let asked = script.asked();
    assert_eq!((asked[0].path.as_str(), asked[0].header("accept")), ("/mcp", "text/event-stream"));
    for post in &asked[1..] {
        assert_eq!(post.path, "/m/1");
        assert_eq!(post.header("content-type"), "application/json");
    }
    assert_eq!(reported(&talk).await, ok());
    talk.close();
    assert!(talk.end(Duration::from_millis(1900)).await.success());
}

#[tokio::test]
async fn a_stream_that_breaks_fails_what_is_asked_and_is_begun_anew() {
    let streams = Streams::default();
    let script = Script::start(move |asked, before| {
        let first_call = asked.name() == "tools/call" && count(&before, "tools/call") == 0;
        if first_call {
            streams.end();
        }
        let reply = if first_call { Reply::empty(202) } else { streams.usual(&asked) };
        std::future::ready(reply)
    })
    .await;
    let mut talk = talk(&script).await;
    talk.begin().await;
    talk.call(1).await;
    let answer = talk.hear().await;
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(1), &json!(-32603)));
    talk.call(2).await;
    let answer = talk.hear().await;
    assert_eq!((&answer["id"], &answer["result"]), (&json!(2), &json!({ "content": [] })));
    let session = ["GET", "initialize", "notifications/initialized", "tools/call"];
    assert_eq!(script.names(), [session, session].concat());
    let asked = script.asked();
    assert_eq!(asked[5].body, asked[1].body, "as the client said it");
    assert!(asked[5..].iter().all(|post| post.path == "/m/2"), "{asked:?}");
    let calls = eventually("the calls are reported", PATIENCE, async || {
        let calls = talk.receiver.metrics();
        (calls.len() >= 2).then_some(calls)
    })
    .await;
    let mut outcomes: Vec<_> = calls.iter().map(|call| call.error_type.as_str()).collect();
    outcomes.sort_unstable();
    assert_eq!(outcomes, ["", "transport"]);
    assert!(calls.iter().all(|call| call.client_name == "talk"), "{calls:#?}");
    talk.proxy.scrape().await.assert_balanced();
}

/// A session with a server whose streams the test has.
async fn begun() -> (Streams, Script, Talk) {
    let streams = Streams::default();
    let script = Script::start({
        let streams = streams.clone();
        move |asked, _| std::future::ready(streams.usual(&asked))
    })
    .await;
    let mut talk = talk(&script).await;
    talk.begin().await;
    (streams, script, talk)
}

#[tokio::test]
async fn a_stream_on_which_nothing_is_asked_is_opened_again() {
    let (streams, script, mut talk) = begun().await;
    let begins = async |times: usize| {
        eventually("the session begins", PATIENCE, async || {
            (count(&script.asked(), "notifications/initialized") == times).then_some(())
        })
        .await;
    };
    begins(1).await;
    // It has also heard that the server took it.
    talk.call(1).await;
    talk.hear().await;
    streams.end();
    begins(2).await;
    streams.say(&json!({ "jsonrpc": "2.0", "method": "n" }));
    assert_eq!(talk.hear().await["method"], "n", "the answer to initialize was not the client's");
}

#[tokio::test]
async fn what_a_stream_asked_is_answered_on_no_other() {
    let (streams, script, mut talk) = begun().await;
    // The server has taken that as well.
    talk.call(1).await;
    talk.hear().await;
    let ask = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });
    let answer = json!({ "jsonrpc": "2.0", "id": 1, "result": {} });
    streams.say(&ask);
    assert_eq!(talk.hear().await, ask);
    streams.end();
    eventually("the session begins anew", PATIENCE, async || {
        (count(&script.asked(), "notifications/initialized") == 2).then_some(())
    })
    .await;
    talk.say(&answer).await;
    talk.proxy.wait_for_stderr("has ended the stream on which it asked").await;
    streams.say(&ask);
    assert_eq!(talk.hear().await, ask);
    talk.say(&answer).await;
    eventually("it is answered", PATIENCE, async || {
        (count(&script.asked(), "POST") > 0).then_some(())
    })
    .await;
    let asked = script.asked();
    assert_eq!(count(&asked, "POST"), 1, "{:?}", script.names());
    assert_eq!(asked.last().map(|asked| &*asked.path), Some("/m/2"));
}

#[tokio::test]
async fn messages_go_to_no_other_origin() {
    let script = Script::start(|_, _| async {
        Reply::events("event: endpoint\ndata: http://localhost:1/m?key=s3cret\n\n")
    })
    .await;
    let mut talk = Talk::over("sse", &script.url(), &["--bearer-token", "t0ken"]).await;
    talk.call(1).await;
    let answer = talk.hear().await;
    let message = answer["error"]["message"].as_str().expect("a message");
    assert!(message.contains("localhost:1") && message.contains("origin"), "{message}");
    assert!(!message.contains("s3cret"), "{message}");
    assert_eq!(script.names(), ["GET"]);
    assert_eq!(reported(&talk).await.1, "transport");
}

#[tokio::test]
async fn what_gives_no_stream_is_said_to() {
    let login = || Reply::empty(401).header("www-authenticate", "Bearer");
    let json = || Reply::json(200, &json!({}));
    let gone: (fn() -> Reply, _, _) = (json, "is this a URL of HTTP+SSE?", "transport");
    let cases: [(fn() -> Reply, _, _); 2] = [(login, "--bearer-token", "http_401"), gone];
    for (reply, part, outcome) in cases {
        let script = Script::start(move |_, _| std::future::ready(reply())).await;
        let mut talk = talk(&script).await;
        talk.call(1).await;
        let answer = talk.hear().await;
        let message = answer["error"]["message"].as_str().expect("a message");
        assert!(message.contains(part), "{message}");
        assert_eq!(reported(&talk).await.1, outcome);
    }
}

#[tokio::test]
async fn a_message_that_is_refused_is_answered_so() {
    let streams = Streams::default();
    let script = Script::start(move |asked, _| {
        let reply = match &*asked.name() {
            "tools/call" => Reply::json(413, &json!("too large")),
            _ => streams.usual(&asked),
        };
        std::future::ready(reply)
    })
    .await;
    let mut talk = talk(&script).await;
    talk.begin().await;
    talk.call(1).await;
    let answer = talk.hear().await;
    assert!(answer["error"]["message"].as_str().expect("a message").contains("413"), "{answer}");
    assert_eq!(reported(&talk).await.1, "http_413");
}

#[tokio::test]
async fn the_answer_counts_and_not_the_nod() {
    let streams = Streams::default();
    let script = Script::start(move |asked, before| {
        let streams = streams.clone();
        async move {
            let calls = before.iter().filter(|asked| asked.name() == "tools/call").count();
            let answer = |id: u64| json!({ "jsonrpc": "2.0", "id": id, "result": {} });
            match (&*asked.name(), calls) {
                // Refused, and answered all the same: first the refusal counts.
                ("tools/call", 0) => Reply::empty(500),
                ("tools/call", 1) => {
                    streams.say(&answer(1));
                    streams.say(&answer(2));
                    std::future::pending().await
                }
                _ => streams.usual(&asked),
            }
        }
    })
    .await;
    let mut talk = talk(&script).await;
    talk.begin().await;
    talk.call(1).await;
    assert!(talk.hear().await["error"]["message"].to_string().contains("500"));
    talk.call(2).await;
    assert_eq!(talk.hear().await, json!({ "jsonrpc": "2.0", "id": 2, "result": {} }));
}

#[tokio::test]
async fn an_answer_in_the_nod_is_an_answer() {
    let streams = Streams::default();
    let script = Script::start({
        let streams = streams.clone();
        move |asked, before| {
            let answer = json!({ "jsonrpc": "2.0", "id": asked.body["id"], "result": {} });
            let is_call = asked.name() == "tools/call";
            let reply = match count(&before, "tools/call") {
                0 if is_call => Reply::json(200, &answer),
                // Answered before; and no message at all.
                1 if is_call => {
                    streams.say(&answer);
                    Reply::json(200, &answer)
                }
                2 if is_call => {
                    streams.say(&answer);
                    Reply::json(200, &json!({ "ok": true }))
                }
                _ => streams.usual(&asked),
            };
            std::future::ready(reply)
        }
    })
    .await;
    let mut talk = talk(&script).await;
    talk.begin().await;
    for id in 1..=3 {
        let answer = json!({ "jsonrpc": "2.0", "id": id, "result": {} });
        talk.call(id).await;
        assert_eq!(talk.hear().await, answer);
        // Once is enough.
        if id == 1 {
            streams.say(&answer);
        }
    }
    let calls = eventually("the calls are reported", PATIENCE, async || {
        let calls = talk.receiver.metrics();
        (calls.len() >= 3).then_some(calls)
    })
    .await;
    assert!(calls.iter().all(|call| call.status() == MetricStatus::Success), "{calls:#?}");
    talk.proxy.scrape().await.assert_balanced();
    talk.close();
    talk.end(Duration::from_secs(10)).await;
    assert_eq!(talk.rest().await, Vec::<String>::new());
}

/// A server that never answers calls.
async fn hanging() -> Script {
    let streams = Streams::default();
    Script::start(move |asked, _| {
        let hangs = asked.name() == "tools/call";
        let reply = if hangs { Reply::empty(202) } else { streams.usual(&asked) };
        std::future::ready(reply)
    })
    .await
}

#[tokio::test]
async fn the_end_does_not_wait_for_a_server_that_hangs() {
    for signal in [false, true] {
        let script = hanging().await;
        let mut talk = talk(&script).await;
        talk.begin().await;
        talk.call(1).await;
        waiting(&script, 1).await;
        let begun = Instant::now();
        let limit = if signal {
            talk.stop();
            Duration::from_millis(900)
        } else {
            talk.close();
            Duration::from_millis(1900)
        };
        talk.end(Duration::from_secs(10)).await;
        assert!(begun.elapsed() < limit, "signal: {signal}, {:?}", begun.elapsed());
        assert_eq!(talk.rest().await, Vec::<String>::new(), "signal: {signal}");
        let calls = talk.receiver.metrics();
        assert_eq!(calls.len(), 1);
        assert_eq!(calls[0].error_type, "cancelled", "{calls:#?}");
    }
}

fn cancel(id: u64) -> Value {
    json!({
        "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": id },
    })
}

#[tokio::test]
async fn requests_wait_until_others_are_answered_or_withdrawn() {
    let script = hanging().await;
    let mut talk = talk(&script).await;
    talk.begin().await;
    for id in 1..=150 {
        talk.call(id).await;
    }
    waiting(&script, 128).await;
    talk.say(&cancel(1)).await;
    // The place of the one that was cancelled is another's.
    waiting(&script, 129).await;
    assert_eq!(count(&script.asked(), "notifications/cancelled"), 1);
    // Whether it was sent or not, each is a call that the client made and withdrew.
    let sent: Vec<_> = script.asked().iter().map(|asked| asked.body["id"].clone()).collect();
    let waits = (1..=150).find(|id| !sent.contains(&json!(id))).expect("some wait");
    talk.say(&cancel(waits)).await;
    assert_eq!(ends(&talk, 2).await, ["cancelled"; 2]);
    talk.close();
    talk.end(Duration::from_secs(10)).await;
    assert_eq!(ends(&talk, 150).await, ["cancelled"; 150]);
    assert_eq!(count(&script.asked(), "tools/call"), 129);
}

#[tokio::test]
async fn to_cancel_is_to_say_so_in_every_era() {
    for is_modern in [false, true] {
        let script = hanging().await;
        let mut talk = talk(&script).await;
        if is_modern {
            talk.say(&modern(1, "t", &json!({}))).await;
        } else {
            talk.begin().await;
            talk.call(1).await;
        }
        waiting(&script, 1).await;
        talk.say(&cancel(1)).await;
        eventually("the cancellation is with the server", PATIENCE, async || {
            (count(&script.asked(), "notifications/cancelled") == 1).then_some(())
        })
        .await;
        let (_, error, client) = reported(&talk).await;
        assert_eq!((error.as_str(), client.as_str()), ("cancelled", "talk"));
    }
}

#[tokio::test]
async fn what_the_server_does_not_read_can_be_cancelled() {
    let script = hanging().await;
    let (_shut, opened) = watch::channel(false);
    let (full, mut filled) = mpsc::channel(1);
    let mut talk = Talk::over("sse", &dam(&script, full, opened).await, &[]).await;
    talk.begin().await;
    talk.say(&large(1, UNDAMMED)).await;
    filled.recv().await.expect("a dam");
    talk.say(&cancel(1)).await;
    let (_, error, client) = reported(&talk).await;
    assert_eq!((error.as_str(), client.as_str()), ("cancelled", "talk"));
}
