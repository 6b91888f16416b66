//! What a client on standard streams may rely on, whatever the server does.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mcpulse_tests::{Identity, eventually};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    PATIENCE,
    faults::{count, modern, reported, waiting},
    order::large,
    script::{Asked, Fate, Reply, Script, Talk},
};

/// Long enough for whoever does not wait.
const A_WHILE: Duration = Duration::from_millis(200);

#[tokio::test]
async fn nothing_overtakes_the_beginning_of_a_session() {
    let too_early = Arc::new(AtomicBool::new(false));
    let script = Script::start({
        let (too_early, begun) = (Arc::clone(&too_early), Arc::new(AtomicBool::new(false)));
        move |asked, _| {
            let (too_early, begun) = (Arc::clone(&too_early), Arc::clone(&begun));
            async move {
                match &*asked.name() {
                    "notifications/initialized" => {
                        tokio::time::sleep(A_WHILE).await;
                        begun.store(true, Ordering::SeqCst);
                    }
                    "tools/call" | "GET" if !begun.load(Ordering::SeqCst) => {
                        too_early.store(true, Ordering::SeqCst);
                    }
                    _ => {}
                }
                asked.usual("one")
            }
        }
    })
    .await;
    let mut talk = Talk::to(&script).await;
    talk.begin().await;
    talk.call(1).await;
    assert_eq!(talk.hear().await["id"], 1);
    eventually("the server's own stream is asked for", PATIENCE, async || {
        (count(&script.asked(), "GET") == 1).then_some(())
    })
    .await;
    assert!(!too_early.load(Ordering::SeqCst), "{:?}", script.names());
}

#[tokio::test]
async fn a_byte_order_mark_crosses_neither_way() {
    let answer = |asked: &Asked| {
        json!({ "jsonrpc": "2.0", "id": asked.body["id"], "result": {} }).to_string()
    };
    let script = Script::start(move |asked, _| {
        std::future::ready(match asked.body["id"].as_u64() {
            Some(1) => Reply::text(200, "application/json", format!("\u{feff}{}", answer(&asked))),
            Some(2) => Reply::events(format!("\u{feff}data: \u{feff}{}\n\n", answer(&asked))),
            _ => asked.usual("one"),
        })
    })
    .await;
    let mut talk = Talk::to(&script).await;
    talk.begin().await;
    for id in [1, 2] {
        let call = large(id, 1).to_string();
        talk.write(format!("\u{feff}{call}\n").as_bytes()).await;
        let answer = json!({ "jsonrpc": "2.0", "id": id, "result": {} });
        assert_eq!(talk.line().await, answer.to_string());
        let asked = script.asked();
        let last = asked.iter().rfind(|asked| asked.name() == "tools/call");
        assert_eq!(last.expect("the call").text, call);
    }
    let records = talk.receiver.wait_for(2, PATIENCE).await;
    assert!(records.iter().all(|call| call.error_type.is_empty()), "{records:#?}");
    talk.proxy.scrape().await.assert_balanced();
}

/// A stream that stays open and asks.
fn question(id: u64) -> Reply {
    let ping = json!({ "jsonrpc": "2.0", "id": id, "method": "ping" });
    let (reply, sender) = Reply::stream(format!("data: {ping}\n\n"));
    tokio::spawn(async move { sender.closed().await });
    reply
}

fn answered(script: &Script) -> usize {
    script.asked().iter().filter(|asked| asked.body["result"] == json!({})).count()
}

#[tokio::test]
async fn answers_to_the_server_wait_for_nothing() {
    let script = Script::start(|asked, before| async move {
        match (&*asked.name(), count(&before, "initialize")) {
            ("GET", _) => question(1),
            ("tools/call", _) | ("initialize", 1) => std::future::pending().await,
            _ => asked.usual("one"),
        }
    })
    .await;
    let mut talk = Talk::to(&script).await;
    talk.begin().await;
    assert_eq!(talk.hear().await["method"], "ping");
    for id in 1..=150 {
        talk.call(id).await;
    }
    waiting(&script, 128).await;
    let answer = json!({ "jsonrpc": "2.0", "id": 1, "result": {} });
    for (times, barrier) in [(1, false), (2, true)] {
        if barrier {
            talk.ask(0, "initialize", json!({ "protocolVersion": "2025-11-25" })).await;
        }
        talk.say(&answer).await;
        eventually("the answer is with the server", PATIENCE, async || {
            (answered(&script) == times).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_server_says_when_to_come_back() {
    let pause = Duration::from_millis(700);
    let script = Script::start(move |asked, before| async move {
        let events = |id: &str| format!("id: {id}\nretry: 700\ndata:\n\n");
        match (&*asked.name(), count(&before, "GET")) {
            ("tools/call", _) => Reply::events(events("call")),
            ("GET", _) if asked.header("last-event-id") == "call" => {
                let answer = json!({ "jsonrpc": "2.0", "id": 1, "result": {} });
                Reply::events(format!("data: {answer}\n\n"))
            }
            ("GET", 0) => Reply::events(events("own")),
            ("GET", _) if asked.header("last-event-id") == "own" => question(9),
            _ => asked.usual("one"),
        }
    })
    .await;
    let mut talk = Talk::to(&script).await;
    talk.begin().await;
    let begun = Instant::now();
    assert_eq!(talk.hear().await["method"], "ping");
    assert!(begun.elapsed() >= pause, "{:?}", begun.elapsed());
    let begun = Instant::now();
    talk.call(1).await;
    assert_eq!(talk.hear().await["id"], 1);
    assert!(begun.elapsed() >= pause, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn all_who_find_the_session_gone_share_one_new_one() {
    let script = Script::start(|asked, before| async move {
        match (&*asked.name(), asked.header("mcp-session-id")) {
            ("initialize", _) => asked.usual(if before.is_empty() { "one" } else { "two" }),
            ("tools/call", "one") => Reply::empty(404),
            (_, "two") => asked.usual("two"),
            _ => asked.usual("one"),
        }
    })
    .await;
    let mut talk = Talk::to(&script).await;
    talk.begin().await;
    for id in 1..=20 {
        talk.call(id).await;
    }
    for _ in 1..=20 {
        assert_eq!(talk.hear().await["result"], json!({ "content": [] }));
    }
    let asked = script.asked();
    assert_eq!(count(&asked, "initialize"), 2, "{:?}", script.names());
    let taken = |asked: &&Asked| asked.header("mcp-session-id") == "two";
    let calls = asked.iter().filter(|asked| asked.name() == "tools/call");
    assert_eq!(calls.filter(taken).count(), 20);
}

#[tokio::test]
async fn a_session_that_cannot_be_begun_anew_is_said_to_be_gone() {
    let script = Script::start(|asked, before| async move {
        match &*asked.name() {
            "initialize" if !before.is_empty() => Reply::empty(503),
            "tools/call" => Reply::json(404, &json!("no such session")),
            _ => asked.usual("one"),
        }
    })
    .await;
    let mut talk = Talk::to(&script).await;
    talk.begin().await;
    talk.call(1).await;
    let message = talk.hear().await["error"]["message"].to_string();
    assert!(message.contains("404") && message.contains("no such session"), "{message}");
    assert_eq!(count(&script.asked(), "tools/call"), 1, "not again without a session");
    assert_eq!(reported(&talk).await.1, "http_404");
}

#[tokio::test]
async fn all_who_find_the_session_gone_share_a_failure_too() {
    let script = Script::start(|asked, before| async move {
        match &*asked.name() {
            "initialize" if !before.is_empty() => std::future::pending().await,
            "tools/call" => Reply::empty(404),
            _ => asked.usual("one"),
        }
    })
    .await;
    let mut talk = Talk::with(&script.url(), &["--response-timeout", "2s"]).await;
    talk.begin().await;
    let begun = Instant::now();
    for id in 1..=10 {
        talk.call(id).await;
    }
    for _ in 1..=10 {
        let message = talk.hear().await["error"]["message"].to_string();
        assert!(message.contains("404"), "{message}");
    }
    // One after the other they would take 20 s.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn what_is_answered_by_a_404_was_worked_on() {
    let script = Script::start(|asked, _| async move {
        let error = |code| json!({ "code": code, "message": "no such resource" });
        match (&*asked.name(), &asked.body["id"]) {
            ("tools/call", id) if *id == 1 => {
                let answer = json!({ "jsonrpc": "2.0", "id": 1, "error": error(-32002) });
                Reply::json(404, &answer)
            }
            _ => asked.usual("one"),
        }
    })
    .await;
    let mut talk = Talk::to(&script).await;
    talk.begin().await;
    talk.call(1).await;
    assert_eq!(talk.hear().await["error"]["code"], -32002);
    assert_eq!(count(&script.asked(), "tools/call"), 1);
    assert_eq!(count(&script.asked(), "initialize"), 1);
}

#[tokio::test]
async fn what_may_have_been_worked_on_is_not_repeated() {
    let identity = Identity::default();
    let answer = |asked: Asked, before: Vec<Asked>| async move {
        match &*asked.name() {
            "tools/call" if count(&before, "tools/call") == 0 => std::future::pending().await,
            _ => asked.usual("one"),
        }
    };
    for secure in [false, true] {
        let script = if secure {
            Script::start_secure(&identity, answer).await
        } else {
            Script::start(answer).await
        };
        let mut talk = Talk::with(&script.url(), &["--ca-file", &identity.cert()]).await;
        talk.begin().await;
        talk.call(1).await;
        waiting(&script, 1).await;
        script.befall(Fate::Break);
        assert_eq!(talk.hear().await["error"]["code"], -32603);
        assert_eq!(reported(&talk).await.1, "transport");
        talk.call(2).await;
        assert_eq!(talk.hear().await["id"], 2);
        assert_eq!(count(&script.asked(), "tools/call"), 2);
    }
}

#[tokio::test]
async fn headers_for_arguments_are_learned_from_the_lists_that_pass() {
    let script = Script::start(|asked, _| async move {
        let schema = json!({ "type": "object", "properties": {
            "region": { "type": "string", "x-mcp-header": "Region" },
        } });
        match &*asked.name() {
            "tools/list" => {
                asked.result(&json!({ "tools": [{ "name": "t", "inputSchema": schema }] }))
            }
            _ => asked.usual("none"),
        }
    })
    .await;
    let mut talk = Talk::to(&script).await;
    let mut list = modern(1, "", &Value::Null);
    list["method"] = "tools/list".into();
    talk.say(&list).await;
    talk.hear().await;
    talk.say(&modern(2, "t", &json!({ "region": "Zürich" }))).await;
    talk.hear().await;
    assert_eq!(script.names(), ["tools/list", "tools/call"]);
    let call = script.asked().pop().expect("asked");
    assert_eq!(call.header("mcp-param-region"), "=?base64?WsO8cmljaA==?=");
}

#[tokio::test]
async fn another_origin_is_told_nothing() {
    for status in [307, 308] {
        let other = Script::start(|asked, _| async move { asked.usual("one") }).await;
        let onwards = other.url();
        let script = Script::start(move |_, _| {
            let reply = Reply::empty(status).header("location", &onwards);
            std::future::ready(reply)
        })
        .await;
        let mut talk = Talk::with(&script.url(), &["--bearer-token", "t0ken"]).await;
        talk.call(1).await;
        let message = talk.hear().await["error"]["message"].to_string();
        assert!(message.contains(&other.url()) && message.contains("--remote-url"), "{message}");
        assert_eq!((other.names(), other.connections()), (Vec::new(), 0));
        assert_eq!(script.asked().len(), 1);
    }
}

#[tokio::test]
async fn what_the_server_echoes_is_not_logged() {
    let script = Script::start(|asked, _| async move {
        match &*asked.name() {
            "n" => Reply::json(403, &json!(asked.header("authorization"))),
            _ => asked.usual("one"),
        }
    })
    .await;
    let mut talk = Talk::with(&script.url(), &["--bearer-token", "t0ken"]).await;
    talk.begin().await;
    talk.say(&json!({ "jsonrpc": "2.0", "method": "n" })).await;
    talk.proxy.wait_for_stderr("did not reach the server: the server").await;
    assert!(!talk.proxy.stderr().contains("t0ken"), "{}", talk.proxy.stderr());
}

#[tokio::test]
async fn a_demand_for_a_login_names_the_ways_there_are() {
    let scope = "Bearer error=\"insufficient_scope\", scope=\"tools\"";
    let cases = [
        (401, Some("Bearer resource_metadata=\"http://127.0.0.1/x\""), true),
        (401, None, true),
        (403, Some(scope), true),
        // A server that does not want this client at all.
        (403, None, false),
    ];
    for (status, challenge, demands) in cases {
        let script = Script::start(move |_, _| {
            let reply = Reply::json(status, &json!({ "error": "go away" }));
            std::future::ready(match challenge {
                Some(challenge) => reply.header("www-authenticate", challenge),
                None => reply,
            })
        })
        .await;
        let mut talk = Talk::to(&script).await;
        talk.call(1).await;
        let message = talk.hear().await["error"]["message"].to_string();
        let ways = ["--bearer-token", &format!("stdio -- npx mcp-remote {}", script.url())];
        let named = ways.iter().all(|way| message.contains(way));
        assert!(named == demands, "{status} {challenge:?}: {message}");
        assert!(message.contains(&status.to_string()), "{message}");
        assert_eq!(reported(&talk).await.1, if status == 401 { "http_401" } else { "http_403" });
    }
}
