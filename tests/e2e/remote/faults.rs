//! What servers do too seldom to wait for it.

use std::time::Duration;

use mcpulse_proto::v1::MetricStatus;
use mcpulse_tests::eventually;
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::Instant};

use super::{
    PATIENCE,
    script::{Asked, Reply, Script, Talk},
};

/// How the one call of the conversation was reported.
pub(super) async fn reported(talk: &Talk) -> (MetricStatus, String, String) {
    let calls = eventually("a call is reported", PATIENCE, async || {
        let calls = talk.receiver.metrics();
        (!calls.is_empty()).then_some(calls)
    })
    .await;
    assert_eq!(calls.len(), 1, "{calls:#?}");
    talk.proxy.scrape().await.assert_balanced();
    (calls[0].status(), calls[0].error_type.clone(), calls[0].client_name.clone())
}

pub(super) fn ok() -> (MetricStatus, String, String) {
    (MetricStatus::Success, String::new(), "talk".to_owned())
}

pub(super) fn count(asked: &[Asked], name: &str) -> usize {
    asked.iter().filter(|asked| asked.name() == name).count()
}

#[tokio::test]
async fn a_session_begins_before_anything_else_is_sent() {
    let script = Script::start(|asked, before| async move {
        if count(&before, "initialize") == 0 {
            // Long enough for whoever does not wait.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        asked.usual("one")
    })
    .await;
    let mut talk = Talk::to(&script).await;
    let begin = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","clientInfo":{"name":"talk","version":"1"}}}"#;
    let ready = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    let call = r#"{"jsonrpc":"2.0","id":"\u0061", "method":"tools/call","params":{"name":"t"}}"#;
    talk.write(format!("{begin}\n{ready}\r\n\n{call}\n").as_bytes()).await;
    assert_eq!(talk.hear().await["id"], 0);
    assert_eq!(talk.hear().await["id"], "a");
    let asked = script.asked();
    let names: Vec<_> = asked.iter().map(Asked::name).filter(|name| name != "GET").collect();
    assert_eq!(names, ["initialize", "notifications/initialized", "tools/call"]);
    assert_eq!(asked[0].header("mcp-session-id"), "");
    for later in &asked[1..] {
        assert_eq!(later.header("mcp-session-id"), "one", "{later:?}");
        assert_eq!(later.header("mcp-protocol-version"), "2025-11-25", "{later:?}");
    }
    assert_eq!(asked[0].header("accept"), "application/json, text/event-stream");
    assert_eq!(reported(&talk).await, ok());
    talk.close();
    assert!(talk.end(Duration::from_millis(1900)).await.success());
    let last = script.asked().pop().expect("asked");
    assert_eq!((last.name().as_str(), last.header("mcp-session-id")), ("DELETE", "one"));
}

#[tokio::test]
async fn a_forgotten_session_is_begun_anew() {
    let script = Script::start(|asked, before| async move {
        let first = count(&before, "initialize") < 2;
        match (&*asked.name(), asked.header("mcp-session-id")) {
            ("initialize", _) => asked.usual(if before.is_empty() { "one" } else { "two" }),
            ("tools/call", "one") => Reply::json(404, &json!({ "error": "no such session" })),
            _ => asked.usual(if first { "one" } else { "two" }),
        }
    })
    .await;
    let mut talk = Talk::to(&script).await;
    talk.begin().await;
    talk.call(1).await;
    assert_eq!(talk.hear().await["result"], json!({ "content": [] }));
    assert_eq!(reported(&talk).await, ok());
    talk.proxy.wait_for_stderr("a new one was begun").await;
    assert_eq!(count(&script.asked(), "notifications/initialized"), 2);
    assert_eq!(count(&script.asked(), "tools/call"), 2);
}

#[tokio::test]
async fn a_stream_that_breaks_off_goes_on_where_it_did() {
    let script = Script::start(|asked, _| async move {
        let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#;
        match (&*asked.name(), asked.header("last-event-id")) {
            ("tools/call", _) => {
                Reply::events(format!("id: 7\nretry: 5\ndata: {progress}\n\ndata: cut o"))
            }
            ("GET", "7") => Reply::events("id: 8\ndata: {\"jsonrpc\":\"2.0\",\ndata: \"id\":1,\"result\":{}}\n\n"),
            _ => asked.usual("one"),
        }
    })
    .await;
    let mut talk = Talk::to(&script).await;
    talk.begin().await;
    talk.call(1).await;
    assert_eq!(talk.hear().await["method"], "notifications/progress");
    assert_eq!(talk.line().await, r#"{"jsonrpc":"2.0", "id":1,"result":{}}"#);
    assert_eq!(reported(&talk).await, ok());
}

#[tokio::test]
async fn a_stream_that_cannot_go_on_is_an_error_at_once() {
    let script = Script::start(|asked, _| async move {
        match &*asked.name() {
            "tools/call" => Reply::events(": nothing comes of this\n\n"),
            _ => asked.usual("one"),
        }
    })
    .await;
    let mut talk = Talk::to(&script).await;
    talk.begin().await;
    talk.call(1).await;
    let answer = talk.hear().await;
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(1), &json!(-32603)));
    assert_eq!(reported(&talk).await.1, "transport");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_none_though_its_json_is_whole() {
    let script = Script::start(|asked, _| async move {
        match &*asked.name() {
            "tools/call" => asked.usual("one").broken(),
            _ => asked.usual("one"),
        }
    })
    .await;
    let mut talk = Talk::to(&script).await;
    talk.begin().await;
    talk.call(1).await;
    assert_eq!(talk.hear().await["error"]["code"], -32603);
    assert_eq!(reported(&talk).await.1, "transport");
}

#[tokio::test]
async fn what_cannot_be_resumed_is_reported_as_the_client_was_told() {
    let script = Script::start(|asked, before| async move {
        match (&*asked.name(), asked.header("last-event-id")) {
            ("tools/call", _) => Reply::events("id: 7\nretry: 5\ndata:\n\n"),
            // First it is only overloaded.
            ("GET", "7") => {
                let resumed = before.iter().any(|asked| asked.header("last-event-id") == "7");
                Reply::empty(if resumed { 400 } else { 503 })
            }
            _ => asked.usual("one"),
        }
    })
    .await;
    let mut talk = Talk::to(&script).await;
    talk.begin().await;
    talk.call(1).await;
    let message = talk.hear().await["error"]["message"].to_string();
    assert!(message.contains("400"), "{message}");
    assert_eq!(reported(&talk).await.1, "transport");
}

#[tokio::test]
async fn a_stream_is_resumed_in_its_own_session_alone() {
    let script = Script::start(|asked, before| async move {
        match (&*asked.name(), asked.header("mcp-session-id")) {
            ("initialize", _) => asked.usual(if before.is_empty() { "one" } else { "two" }),
            ("tools/call", "one") if asked.body["id"] == 1 => {
                Reply::events("id: 7\nretry: 700\ndata:\n\n")
            }
            ("tools/call", "one") => Reply::empty(404),
            (_, session) => asked.usual(session),
        }
    })
    .await;
    let mut talk = Talk::to(&script).await;
    talk.begin().await;
    talk.call(1).await;
    waiting(&script, 1).await;
    talk.call(2).await;
    assert_eq!(talk.hear().await["id"], 2);
    let answer = talk.hear().await;
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(1), &json!(-32603)));
    assert!(script.asked().iter().all(|asked| asked.header("last-event-id") != "7"));
}

#[tokio::test]
async fn to_go_on_takes_no_longer_than_an_answer_may() {
    let script = Script::start(|asked, _| async move {
        match (&*asked.name(), asked.header("last-event-id")) {
            ("tools/call", _) => Reply::events("id: 7\nretry: 5\ndata:\n\n"),
            ("GET", "7") => std::future::pending().await,
            _ => asked.usual("one"),
        }
    })
    .await;
    let mut talk = Talk::with(&script.url(), &["--response-timeout", "300ms"]).await;
    talk.begin().await;
    talk.call(1).await;
    assert_eq!(talk.hear().await["error"]["code"], -32603);
    assert_eq!(reported(&talk).await.1, "timeout");
}

#[tokio::test]
async fn what_the_server_says_by_itself_arrives_and_is_answered() {
    let script = Script::start(|asked, before| async move {
        let question = "data: {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n\n";
        match (&*asked.name(), count(&before, "GET")) {
            // The first stream ends, the second stays open.
            ("GET", 0) => {
                Reply::events("id: a\nretry: 1\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"n\"}\n\n")
            }
            ("GET", 1) => {
                let (reply, sender) = Reply::stream(question);
                tokio::spawn(async move { sender.closed().await });
                reply
            }
            _ => asked.usual("one"),
        }
    })
    .await;
    let mut talk = Talk::to(&script).await;
    talk.begin().await;
    assert_eq!(talk.hear().await["method"], "n");
    assert_eq!(talk.hear().await["method"], "ping");
    talk.say(&json!({ "jsonrpc": "2.0", "id": 1, "result": {} })).await;
    eventually("the answer arrives", PATIENCE, async || {
        let asked = script.asked();
        asked.iter().any(|asked| asked.body["result"] == json!({})).then_some(())
    })
    .await;
    let asked = script.asked();
    let again = asked.iter().filter(|asked| asked.name() == "GET").nth(1).expect("a second GET");
    assert_eq!(again.header("last-event-id"), "a");
    talk.close();
    assert!(talk.end(Duration::from_millis(1900)).await.success());
}

/// A server that never answers calls.
async fn hanging() -> Script {
    Script::start(|asked, _| async move {
        match &*asked.name() {
            "tools/call" => std::future::pending().await,
            _ => asked.usual("one"),
        }
    })
    .await
}

pub(super) async fn waiting(script: &Script, calls: usize) {
    eventually("the calls are with the server", PATIENCE, async || {
        (count(&script.asked(), "tools/call") == calls).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_end_does_not_wait_for_a_server_that_hangs() {
    for signal in [false, true] {
        let script = hanging().await;
        let mut talk = Talk::to(&script).await;
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
        assert_eq!(count(&script.asked(), "DELETE"), 1);
        let calls = talk.receiver.metrics();
        assert_eq!(calls.len(), 1);
        assert_eq!(calls[0].error_type, "cancelled", "{calls:#?}");
    }
}

#[tokio::test]
async fn answers_that_come_after_the_last_word_still_arrive() {
    let script = Script::start(|asked, _| async move {
        if asked.name() == "tools/call" {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        asked.usual("one")
    })
    .await;
    let mut talk = Talk::to(&script).await;
    talk.begin().await;
    talk.call(1).await;
    talk.close();
    assert_eq!(talk.hear().await["id"], 1);
    assert!(talk.end(Duration::from_secs(10)).await.success());
}

#[tokio::test]
async fn requests_wait_for_one_another_and_cancellations_do_not() {
    let script = hanging().await;
    let mut talk = Talk::to(&script).await;
    talk.begin().await;
    for id in 1..=150 {
        talk.call(id).await;
    }
    waiting(&script, 128).await;
    let cancel = json!({
        "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 1 },
    });
    talk.say(&cancel).await;
    eventually("the cancellation is with the server", PATIENCE, async || {
        (count(&script.asked(), "notifications/cancelled") == 1).then_some(())
    })
    .await;
    // The place of the one that was cancelled is another's.
    waiting(&script, 129).await;
    let (_, most) = script.open();
    assert!(most <= 131, "{most} at once");
}

pub(super) fn modern(id: u64, name: &str, arguments: &Value) -> Value {
    json!({
        "jsonrpc": "2.0", "id": id, "method": "tools/call",
        "params": { "name": name, "arguments": arguments, "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": { "name": "talk", "version": "1" },
            "io.modelcontextprotocol/clientCapabilities": {},
        } },
    })
}

#[tokio::test]
async fn in_the_modern_era_to_cancel_is_to_leave() {
    let script = hanging().await;
    let mut talk = Talk::to(&script).await;
    talk.say(&modern(1, "t", &json!({}))).await;
    waiting(&script, 1).await;
    talk.say(&json!({
        "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 1 },
    }))
    .await;
    eventually("the server is left", PATIENCE, async || (script.open().0 == 0).then_some(())).await;
    assert_eq!(script.names(), ["tools/call"]);
    let (_, error, client) = reported(&talk).await;
    assert_eq!((error.as_str(), client.as_str()), ("cancelled", "talk"));
}

#[tokio::test]
async fn headers_that_a_server_misses_are_learned_from_its_tools() {
    let script = Script::start(|asked, _| async move {
        let schema = json!({ "type": "object", "properties": {
            "region": { "type": "string", "x-mcp-header": "Region" },
        } });
        match &*asked.name() {
            "tools/list" if asked.body["params"]["cursor"].is_null() => {
                asked.result(&json!({ "tools": [], "nextCursor": "more" }))
            }
            "tools/list" => {
                asked.result(&json!({ "tools": [{ "name": "t", "inputSchema": schema }] }))
            }
            _ if asked.header("mcp-param-region") == "eu" => asked.usual("none"),
            _ => Reply::json(
                400,
                &json!({
                    "jsonrpc": "2.0", "id": asked.body["id"],
                    "error": { "code": -32020, "message": "Mcp-Param-Region is missing" },
                }),
            ),
        }
    })
    .await;
    let mut talk = Talk::to(&script).await;
    talk.say(&modern(1, "t", &json!({ "region": "eu" }))).await;
    assert_eq!(talk.hear().await["result"], json!({ "content": [] }));
    assert_eq!(script.names(), ["tools/call", "tools/list", "tools/list", "tools/call"]);
    let call = script.asked().pop().expect("asked");
    assert_eq!(call.header("mcp-name"), "t");
    assert_eq!(call.header("mcp-method"), "tools/call");
    assert_eq!(call.header("mcp-session-id"), "");
    // Without anything to learn the server's answer is the client's.
    talk.say(&modern(2, "t", &json!({}))).await;
    assert_eq!(talk.hear().await["error"]["code"], -32020);
}

#[tokio::test]
async fn redirects_are_followed_where_the_credentials_belong() {
    let script = Script::start(|asked, _| async move {
        match &*asked.path {
            "/mcp" => Reply::empty(308).header("location", "/mcp/"),
            "/mcp/" if asked.name() == "tools/list" => {
                Reply::empty(307).header("location", "http://localhost:1/mcp?key=secret")
            }
            _ => asked.usual("one"),
        }
    })
    .await;
    let mut talk = Talk::with(&script.url(), &["--bearer-token", "t0ken"]).await;
    talk.begin().await;
    talk.call(1).await;
    assert_eq!(talk.hear().await["id"], 1);
    let asked = script.asked();
    assert!(asked.iter().all(|asked| asked.header("authorization") == "Bearer t0ken"));
    let before = asked.iter().filter(|asked| asked.path == "/mcp").count();
    assert_eq!(before, 1, "where it is now is remembered");
    talk.ask(2, "tools/list", json!({})).await;
    let answer = talk.hear().await;
    let message = answer["error"]["message"].as_str().expect("a message");
    assert!(message.contains("localhost:1") && !message.contains("secret"), "{message}");
}

#[tokio::test]
async fn what_is_elsewhere_for_now_is_looked_for_where_it_was() {
    let script = Script::start(|asked, before| async move {
        match (&*asked.path, &*asked.name()) {
            // For good, but only for the stream.
            ("/mcp", "GET") => Reply::empty(308).header("location", "/streams"),
            ("/streams", _) => Reply::empty(405),
            ("/mcp", "tools/call") if count(&before, "tools/call") == 0 => {
                Reply::empty(307).header("location", "/maintenance")
            }
            ("/maintenance", _) => Reply::empty(503),
            _ => asked.usual("one"),
        }
    })
    .await;
    let mut talk = Talk::to(&script).await;
    talk.begin().await;
    talk.call(1).await;
    assert!(talk.hear().await["error"]["message"].to_string().contains("503"));
    talk.call(2).await;
    assert_eq!(talk.hear().await["result"], json!({ "content": [] }));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_said_to_and_found_later() {
    let port = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = port.local_addr().expect("an address");
    drop(port);
    let mut talk = Talk::with(&format!("http://{address}/mcp"), &[]).await;
    talk.call(1).await;
    let answer = talk.hear().await;
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(1), &json!(-32603)));
    assert_eq!(reported(&talk).await.1, "transport");
    let script = Script::start_at(address, |asked, _| async move { asked.usual("one") }).await;
    talk.begin().await;
    talk.call(2).await;
    assert_eq!(talk.hear().await["result"], json!({ "content": [] }));
    let calls = talk.receiver.wait_for(2, PATIENCE).await;
    assert_eq!(calls[1].error_type, "", "{calls:#?}");
    assert_eq!(count(&script.asked(), "tools/call"), 1);
}

#[tokio::test]
async fn lines_that_are_no_messages_are_answered_and_nothing_else_is() {
    let script = Script::start(|asked, _| async move { asked.usual("one") }).await;
    let mut talk = Talk::to(&script).await;
    talk.write(b"\n  \r\nnot json\n{\"id\":1}\n{\"method\":\"n\"}\n").await;
    let codes =
        [talk.hear().await, talk.hear().await].map(|answer| answer["error"]["code"].clone());
    assert_eq!(codes, [json!(-32700), json!(-32600)]);
    eventually("the notification arrives", PATIENCE, async || {
        (script.names() == ["n"]).then_some(())
    })
    .await;
    talk.close();
    assert!(talk.end(Duration::from_millis(1900)).await.success());
}

#[tokio::test]
async fn large_messages_pass_both_ways() {
    let script = Script::start(|asked, _| async move {
        let text = asked.body["params"]["arguments"]["text"].clone();
        match &*asked.name() {
            "tools/call" => asked.result(&json!({ "content": [{ "type": "text", "text": text }] })),
            _ => asked.usual("one"),
        }
    })
    .await;
    let mut talk = Talk::to(&script).await;
    talk.begin().await;
    // The larger one is more than an observer without optimisation keeps up with.
    for (id, size) in [(1, 2 << 20), (2, 32 << 20)] {
        let text = "x".repeat(size);
        talk.ask(id, "tools/call", json!({ "name": "t", "arguments": { "text": text } })).await;
        let answer = talk.hear().await;
        assert!(answer["result"]["content"][0]["text"] == text, "{size} bytes");
        if id == 1 {
            assert_eq!(reported(&talk).await, ok());
        }
    }
    talk.proxy.scrape().await.assert_balanced();
}
