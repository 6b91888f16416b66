//! Servers of HTTP+SSE (2024-11-05) that somebody took for servers of streamable HTTP.

use std::time::Duration;

use http::Method;
use mcpulse_tests::{Scrape, eventually};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    PATIENCE,
    faults::{count, modern, ok, reported},
    legacy::Streams,
    script::{Asked, Reply, Script, Talk},
};

/// What servers of HTTP+SSE say to a POST where their stream is.
fn not_here(asked: &Asked) -> bool {
    asked.method == Method::POST && asked.path == "/mcp"
}

/// Operations of this method so far, by their errors.
async fn operations(talk: &Talk, method: &str) -> Vec<(String, f64)> {
    let name = "mcp_server_operation_duration_seconds_count";
    let labels = [("mcp_method_name", method)];
    let of = |scrape: &Scrape| -> Vec<_> {
        let samples = scrape.find(name, &labels);
        samples.map(|sample| (sample.labels["error_type"].clone(), sample.value)).collect()
    };
    eventually("the operation is counted", PATIENCE, async || {
        Some(of(&talk.proxy.scrape().await)).filter(|operations| !operations.is_empty())
    })
    .await
}

#[tokio::test]
async fn the_session_goes_on_by_the_transport_that_the_server_speaks() {
    for status in [400, 404, 405] {
        let streams = Streams::default();
        let script = Script::start(move |asked, _| {
            let usual = || streams.usual(&asked);
            let reply = if not_here(&asked) { Reply::empty(status) } else { usual() };
            std::future::ready(reply)
        })
        .await;
        let mut talk = Talk::to(&script).await;
        // What is said meanwhile waits for the outcome.
        let begin = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","clientInfo":{"name":"talk","version":"1"}}}"#;
        let ready = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t"}}"#;
        talk.write(format!("{begin}\n{ready}\n{call}\n").as_bytes()).await;
        assert_eq!(talk.hear().await["result"]["protocolVersion"], "2024-11-05");
        assert_eq!(talk.hear().await["result"], json!({ "content": [] }));
        assert_eq!(
            script.names(),
            ["initialize", "GET", "initialize", "notifications/initialized", "tools/call"]
        );
        assert_eq!(reported(&talk).await, ok());
        // The client asked once.
        assert_eq!(operations(&talk, "initialize").await, [(String::new(), 1.0)]);
        let said = talk.proxy.stderr();
        let lines = said.lines().filter(|line| line.contains("HTTP+SSE")).count();
        assert_eq!((lines, said.contains(&status.to_string())), (1, true), "{said}");

        // The server is known from then on.
        talk.begin().await;
        talk.call(2).await;
        assert_eq!(talk.hear().await["id"], 2);
        let asked = script.asked();
        assert_eq!(asked.iter().filter(|asked| not_here(asked)).count(), 1, "{asked:?}");
        assert_eq!(count(&asked, "GET"), 1);
        talk.proxy.scrape().await.assert_balanced();
        talk.close();
        assert!(talk.end(Duration::from_millis(1900)).await.success());
    }
}

#[tokio::test]
async fn without_an_endpoint_the_first_answer_is_the_clients() {
    let refused = || Reply::empty(405);
    let other = || Reply::events("event: other\ndata: /m\n\n");
    let silent = || {
        let (reply, sender) = Reply::stream(": nothing comes\n\n");
        tokio::spawn(async move { sender.closed().await });
        reply
    };
    let cases: [(fn() -> Reply, _); 3] = [(refused, 0), (other, 0), (silent, 5)];
    for (gets, seconds) in cases {
        let script = Script::start(move |asked, _| {
            let is_get = asked.method == Method::GET;
            let reply = if is_get { gets() } else { Reply::json(404, &json!("no such page")) };
            std::future::ready(reply)
        })
        .await;
        let mut talk = Talk::to(&script).await;
        let begun = Instant::now();
        talk.ask(0, "initialize", json!({ "protocolVersion": "2025-11-25" })).await;
        let answer = talk.hear().await;
        let took = begun.elapsed();
        assert!(took >= Duration::from_secs(seconds) && took < PATIENCE, "{took:?}");
        let message = answer["error"]["message"].as_str().expect("a message");
        assert!(message.contains("404") && message.contains("no such page"), "{message}");
        assert_eq!(operations(&talk, "initialize").await, [("http_404".to_owned(), 1.0)]);
        talk.proxy.wait_for_stderr("HTTP+SSE").await;
        let said = talk.proxy.stderr();
        assert_eq!(said.lines().filter(|line| line.contains("HTTP+SSE")).count(), 1, "{said}");
        // The stream that was of no use is left.
        eventually("nothing is open", PATIENCE, async || (script.open().0 == 0).then_some(()))
            .await;
        talk.call(1).await;
        talk.hear().await;
        assert_eq!(script.names(), ["initialize", "GET", "tools/call"]);
        talk.proxy.scrape().await.assert_balanced();
    }
}

#[tokio::test]
async fn what_a_server_of_streamable_http_refuses_goes_to_the_client() {
    let error = |code: i64| json!({ "jsonrpc": "2.0", "id": 0, "error": { "code": code, "message": "no" } });
    let cases = [
        // Servers of the era without sessions know better.
        ("initialize", 400, error(-32022)),
        ("initialize", 404, error(-32601)),
        // Others are not asked for the other transport before a session.
        ("initialize", 503, Value::Null),
        ("initialize", 401, Value::Null),
        ("server/discover", 404, Value::Null),
        ("server/discover", 400, error(-32000)),
    ];
    for (method, status, body) in cases {
        let (refusal, named) = (body.clone(), !body.is_null());
        let script = Script::start(move |_, _| {
            let reply = if named { Reply::json(status, &refusal) } else { Reply::empty(status) };
            std::future::ready(reply)
        })
        .await;
        let mut talk = Talk::to(&script).await;
        talk.ask(0, method, json!({})).await;
        let answer = talk.hear().await;
        if named {
            assert_eq!(answer["error"], body["error"], "{method} {status}");
        } else {
            assert_eq!(answer["error"]["code"], -32603, "{method} {status}");
        }
        assert_eq!(script.names(), [method], "{status}");
    }
}

/// A server that has begun a session speaks what it began it by, whatever it says later.
#[tokio::test]
async fn a_session_that_was_begun_does_not_change_its_transport() {
    let script = Script::start(|asked, before| async move {
        match &*asked.name() {
            "initialize" if count(&before, "initialize") > 0 => Reply::empty(404),
            _ => asked.usual("one"),
        }
    })
    .await;
    let mut talk = Talk::to(&script).await;
    talk.begin().await;
    let again = talk.begin().await;
    assert_eq!(again["error"]["code"], -32603);
    talk.say(&modern(1, "t", &json!({}))).await;
    assert_eq!(talk.hear().await["id"], 1);
    // The first is for the server's own stream, as in every session.
    let said = talk.proxy.stderr();
    assert!(!said.contains("HTTP+SSE"), "{said}");
}
