//! Servers that speak HTTP/2: everything at once on one connection, and what comes of it when
//! that goes.

use std::sync::Arc;

use mcpulse_tests::{Identity, eventually};
use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    sync::{Notify, watch},
};

use super::{
    PATIENCE,
    faults::{count, ok, reported, waiting},
    script::{Asked, Fate, Reply, Script, Talk},
};
use crate::faults::{call, upstream::Front};

async fn talk(script: &Script, identity: &Identity) -> Talk {
    Talk::with(&script.url(), &["--ca-file", &identity.cert()]).await
}

/// A server whose own stream stays open, and which answers calls when `open` says so.
async fn holding(identity: &Identity, open: watch::Receiver<bool>) -> Script {
    Script::start_secure(identity, move |asked, _| {
        let mut open = open.clone();
        async move {
            match &*asked.name() {
                "GET" => stream(&asked),
                "tools/call" => {
                    open.wait_for(|open| *open).await.expect("the test goes on");
                    asked.usual("one")
                }
                _ => asked.usual("one"),
            }
        }
    })
    .await
}

/// The server's own stream, which says from where it was opened and stays open.
fn stream(asked: &Asked) -> Reply {
    let from = asked.header("last-event-id");
    let note = json!({ "jsonrpc": "2.0", "method": "n", "params": { "from": from } });
    let (reply, sender) = Reply::stream(format!("id: here\nretry: 1\ndata: {note}\n\n"));
    tokio::spawn(async move { sender.closed().await });
    reply
}

async fn begin(talk: &mut Talk) {
    talk.begin().await;
    assert_eq!(talk.hear().await["params"]["from"], "", "the server's own stream");
}

#[tokio::test]
async fn everything_goes_at_once_on_one_connection() {
    let identity = Identity::default();
    let (open, is_open) = watch::channel(false);
    let script = holding(&identity, is_open).await;
    let mut talk = talk(&script, &identity).await;
    begin(&mut talk).await;
    for id in 1..=60 {
        talk.call(id).await;
    }
    waiting(&script, 60).await;
    assert_eq!(script.connections(), 1);
    // More than servers let onto one connection as a rule.
    for id in 61..=150 {
        talk.call(id).await;
    }
    waiting(&script, 128).await;
    assert!(script.connections() <= 3, "{}", script.connections());
    open.send_replace(true);
    let mut heard = Vec::new();
    for _ in 1..=150 {
        heard.push(talk.hear().await["id"].as_u64().expect("an answer"));
    }
    heard.sort_unstable();
    assert_eq!(heard, (1..=150).collect::<Vec<_>>());
    assert_eq!(count(&script.asked(), "tools/call"), 150);
}

#[tokio::test]
async fn a_connection_that_retires_ends_with_what_it_has() {
    let identity = Identity::default();
    let (open, is_open) = watch::channel(false);
    let script = holding(&identity, is_open).await;
    let mut talk = talk(&script, &identity).await;
    begin(&mut talk).await;
    talk.call(1).await;
    waiting(&script, 1).await;
    script.befall(Fate::Retire);
    // As soon as the proxy has heard of it, others go elsewhere.
    let mut id = 1;
    while script.connections() == 1 {
        id += 1;
        talk.call(id).await;
        waiting(&script, id.try_into().expect("few")).await;
    }
    open.send_replace(true);
    let mut heard = Vec::new();
    while heard.len() < id.try_into().expect("few") {
        let answer = talk.hear().await;
        assert_eq!(answer["error"], Value::Null, "{answer}");
        heard.extend(answer["id"].as_u64());
    }
    heard.sort_unstable();
    assert_eq!(heard, (1..=id).collect::<Vec<_>>());
    assert_eq!(count(&script.asked(), "tools/call"), heard.len());
}

#[tokio::test]
async fn what_the_server_has_not_looked_at_goes_again() {
    let identity = Identity::default();
    let script = Script::start_secure(&identity, |asked, before| async move {
        match (&*asked.name(), asked.body["id"].as_u64(), count(&before, "tools/call")) {
            ("tools/call", Some(1), 0 | 1) | ("tools/call", Some(2), _) => Reply::refused(),
            _ => asked.usual("one"),
        }
    })
    .await;
    let mut talk = talk(&script, &identity).await;
    talk.begin().await;
    talk.call(1).await;
    assert_eq!(talk.hear().await["result"], json!({ "content": [] }));
    assert_eq!(reported(&talk).await, ok());
    assert_eq!(count(&script.asked(), "tools/call"), 3);
    // But not for ever.
    talk.call(2).await;
    assert_eq!(talk.hear().await["error"]["code"], -32603);
    assert_eq!(count(&script.asked(), "tools/call"), 7);
    let scrape = talk.proxy.scrape().await;
    scrape.assert_balanced();
}

#[tokio::test]
async fn a_connection_that_breaks_fails_what_may_have_been_worked_on() {
    let identity = Identity::default();
    let (open, is_open) = watch::channel(false);
    let script = holding(&identity, is_open).await;
    let mut talk = talk(&script, &identity).await;
    begin(&mut talk).await;
    talk.call(1).await;
    waiting(&script, 1).await;
    script.befall(Fate::Break);
    // The error, and the stream that is opened again, in whichever order.
    let heard = [talk.hear().await, talk.hear().await];
    let error = heard.iter().find(|heard| heard["id"] == 1).expect("an answer");
    assert_eq!(error["error"]["code"], -32603);
    let note = heard.iter().find(|heard| heard["method"] == "n").expect("the stream");
    assert_eq!(note["params"]["from"], "here", "where it broke off");
    assert_eq!(reported(&talk).await.1, "transport");
    open.send_replace(true);
    talk.call(2).await;
    assert_eq!(talk.hear().await["result"], json!({ "content": [] }));
    assert_eq!((script.connections(), count(&script.asked(), "tools/call")), (2, 2));
    assert_eq!(count(&script.asked(), "initialize"), 1, "the session lives on");
}

#[tokio::test]
async fn an_answer_with_events_goes_on_after_the_connection() {
    let identity = Identity::default();
    let begun = Arc::new(Notify::new());
    let script = Script::start_secure(&identity, {
        let begun = Arc::clone(&begun);
        move |asked, _| {
            let begun = Arc::clone(&begun);
            async move {
                match (&*asked.name(), asked.header("last-event-id")) {
                    ("tools/call", _) => {
                        let (reply, sender) = Reply::stream("id: 7\nretry: 1\ndata:\n\n");
                        tokio::spawn(async move {
                            begun.notify_one();
                            sender.closed().await;
                        });
                        reply
                    }
                    ("GET", "7") => {
                        let answer = json!({ "jsonrpc": "2.0", "id": 1, "result": {} });
                        Reply::events(format!("data: {answer}\n\n"))
                    }
                    _ => asked.usual("one"),
                }
            }
        }
    })
    .await;
    let mut talk = talk(&script, &identity).await;
    talk.begin().await;
    talk.call(1).await;
    begun.notified().await;
    // Until the first event is certain to be there, a second request has passed behind it.
    talk.ask(2, "ping", json!({})).await;
    talk.hear().await;
    script.befall(Fate::Break);
    assert_eq!(talk.hear().await["result"], json!({}));
    assert_eq!(reported(&talk).await, ok());
    assert_eq!(count(&script.asked(), "tools/call"), 1);
}

#[tokio::test]
async fn a_stream_that_is_reset_takes_nothing_else_with_it() {
    let identity = Identity::default();
    let script = Script::start_secure(&identity, |asked, _| async move {
        match asked.body["id"].as_u64() {
            Some(1) => Reply::json(200, &json!({ "jsonrpc": "2.0" })).broken(),
            _ => asked.usual("one"),
        }
    })
    .await;
    let mut talk = talk(&script, &identity).await;
    talk.begin().await;
    talk.call(1).await;
    assert_eq!(talk.hear().await["error"]["code"], -32603);
    talk.call(2).await;
    assert_eq!(talk.hear().await["result"], json!({ "content": [] }));
    assert_eq!((script.connections(), count(&script.asked(), "tools/call")), (1, 2));
}

/// Answers calls by so many bytes.
async fn verbose(identity: &Identity, size: usize) -> Script {
    Script::start_secure(identity, move |asked, _| async move {
        match (&*asked.name(), &asked.body["id"]) {
            ("tools/call", id) if *id != 0 => {
                let content = [json!({ "type": "text", "text": "x".repeat(size) })];
                asked.result(&json!({ "content": content }))
            }
            _ => asked.usual("one"),
        }
    })
    .await
}

#[tokio::test]
async fn a_client_that_does_not_read_loses_nothing() {
    let identity = Identity::default();
    let script = verbose(&identity, 1 << 20).await;
    let mut talk = talk(&script, &identity).await;
    talk.begin().await;
    for id in 1..=40 {
        talk.call(id).await;
    }
    // Nobody reads, and still all is asked.
    waiting(&script, 40).await;
    let mut heard = Vec::new();
    for _ in 1..=40 {
        let answer = talk.hear().await;
        assert_eq!(answer["result"]["content"][0]["text"].as_str().map(str::len), Some(1 << 20));
        heard.extend(answer["id"].as_u64());
    }
    heard.sort_unstable();
    assert_eq!(heard, (1..=40).collect::<Vec<_>>());
    assert_eq!(script.connections(), 1);
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_no_other() {
    let identity = Identity::default();
    let script = verbose(&identity, 16 << 20).await;
    let front = Front::before(&script.url(), &["--ca-file", &identity.cert()]).await;
    let mut deaf = Vec::new();
    for id in 1..=8 {
        let mut socket = TcpStream::connect(front.address()).await.expect("it listens");
        let body = call(&id.to_string());
        let head = "POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n";
        let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        socket.write_all(request.as_bytes()).await.expect("it reads");
        deaf.push(socket);
    }
    waiting(&script, 8).await;
    for _ in 0..3 {
        let answer = front.call("0").await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    eventually("one connection has carried it all", PATIENCE, async || {
        (script.connections() == 1).then_some(())
    })
    .await;
}
