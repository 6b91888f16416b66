//! A session that the server has forgotten, where it is more than one, or answers are about.

use std::{sync::Arc, time::Duration};

use mcpulse_tests::eventually;
use serde_json::{Value, json};
use tokio::{sync::Notify, time::Instant};

use super::{
    PATIENCE,
    faults::{count, waiting},
    script::{Asked, Reply, Script, Talk},
};

/// The session that comes after these requests.
fn next(before: &[Asked]) -> String {
    format!("s{}", count(before, "initialize") + 1)
}

/// A stream that stays open and says this.
fn stream(says: impl Into<bytes::Bytes>) -> Reply {
    let (reply, sender) = Reply::stream(says);
    tokio::spawn(async move { sender.closed().await });
    reply
}

/// What ten calls come to with a server that forgets the first session, and the ones after it,
/// before they are used, if that is what is said of them.
async fn ten(forgets: fn(&str) -> bool) -> (Script, Vec<Value>) {
    let script = Script::start(move |asked, before| async move {
        let session = asked.header("mcp-session-id");
        match &*asked.name() {
            "initialize" => asked.usual(&next(&before)),
            "tools/call" if session == "s1" => Reply::empty(404),
            _ if forgets(session) => Reply::empty(404),
            _ => asked.usual(""),
        }
    })
    .await;
    let mut talk = Talk::to(&script).await;
    talk.begin().await;
    let begun = Instant::now();
    let mut answers = Vec::new();
    for id in 1..=10 {
        talk.call(id).await;
    }
    for _ in 1..=10 {
        answers.push(talk.hear().await);
    }
    // It is not a matter of waiting.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    talk.proxy.scrape().await.assert_balanced();
    (script, answers)
}

#[tokio::test]
async fn a_session_that_is_forgotten_at_once_is_begun_once_more() {
    let (script, answers) = ten(|session| session == "s2").await;
    assert!(answers.iter().all(|answer| answer["result"].is_object()), "{answers:?}");
    assert_eq!(count(&script.asked(), "initialize"), 3);
}

#[tokio::test]
async fn a_server_that_forgets_every_session_is_said_to() {
    let (_, answers) = ten(|session| session != "s1").await;
    for answer in &answers {
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(message.contains("404"), "{answer}");
    }
}

#[tokio::test]
async fn what_was_nodded_to_is_lost_with_its_session() {
    let script = Script::start(|asked, before| async move {
        match (&*asked.name(), asked.header("mcp-session-id"), &asked.body["id"]) {
            ("initialize", ..) => asked.usual(&next(&before)),
            ("GET", ..) => stream(": \n\n"),
            ("tools/call", "s1", id) => Reply::empty(if *id == 1 { 202 } else { 404 }),
            _ => asked.usual(""),
        }
    })
    .await;
    let mut talk = Talk::to(&script).await;
    talk.begin().await;
    talk.call(1).await;
    waiting(&script, 1).await;
    talk.call(2).await;
    let mut answers = [talk.hear().await, talk.hear().await];
    answers.sort_by_key(|answer| answer["id"].as_u64());
    let [lost, answer] = answers;
    let message = lost["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("forgotten the session"), "{lost}");
    assert_eq!((&answer["id"], &answer["result"]), (&json!(2), &json!({ "content": [] })));
    talk.proxy.scrape().await.assert_balanced();
}

#[tokio::test]
async fn what_a_session_asked_is_answered_in_no_other() {
    let script = Script::start(|asked, before| async move {
        match (&*asked.name(), asked.header("mcp-session-id")) {
            ("initialize", _) => asked.usual(&next(&before)),
            ("GET", "s1") => stream("data: {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n\n"),
            ("POST", "s1") => Reply::empty(404),
            _ => asked.usual(""),
        }
    })
    .await;
    let mut talk = Talk::to(&script).await;
    talk.begin().await;
    assert_eq!(talk.hear().await["method"], "ping");
    talk.say(&json!({ "jsonrpc": "2.0", "id": 1, "result": {} })).await;
    talk.proxy.wait_for_stderr("a response did not reach the server").await;
    talk.call(2).await;
    assert_eq!(talk.hear().await["result"], json!({ "content": [] }));
    let asked = script.asked();
    assert_eq!((count(&asked, "initialize"), count(&asked, "POST")), (2, 1));
}

#[tokio::test]
async fn what_is_asked_is_answered_in_the_session_that_asked() {
    let ask =
        |id: u64| format!("data: {{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"ping\"}}\n\n");
    let script = Script::start(move |asked, before| async move {
        match (&*asked.name(), asked.header("mcp-session-id")) {
            ("initialize", _) => asked.usual(&next(&before)),
            ("GET", "s1") => stream(ask(1) + &ask(2)),
            ("GET", _) => stream(ask(1)),
            ("notifications/initialized", _) => Reply::empty(202),
            (_, "s1") => Reply::empty(404),
            _ => asked.usual(""),
        }
    })
    .await;
    let mut talk = Talk::to(&script).await;
    talk.begin().await;
    for id in [1, 2] {
        assert_eq!(talk.hear().await["id"], id);
    }
    talk.call(3).await;
    let mut heard = [talk.hear().await, talk.hear().await];
    heard.sort_by_key(|message| message["id"].as_u64());
    assert_eq!((&heard[0]["method"], &heard[1]["id"]), (&json!("ping"), &json!(3)));
    // To the first session, which is gone, twice, and to the second.
    for (id, posts) in [(2, 1), (1, 2), (1, 3)] {
        talk.say(&json!({ "jsonrpc": "2.0", "id": id, "result": {} })).await;
        eventually("it is sent", PATIENCE, async || {
            (count(&script.asked(), "POST") == posts).then_some(())
        })
        .await;
    }
    let asked = script.asked();
    let answers = asked.iter().filter(|asked| asked.name() == "POST");
    let sessions: Vec<_> = answers.map(|asked| asked.header("mcp-session-id")).collect();
    assert_eq!((sessions, count(&asked, "initialize")), (vec!["s1", "s1", "s2"], 2));
}

#[tokio::test]
async fn a_question_that_comes_before_the_session_is_answered_in_it() {
    let answered = Arc::new(Notify::new());
    let script = Script::start(move |asked, _| {
        let answered = Arc::clone(&answered);
        async move {
            match &*asked.name() {
                "initialize" => {
                    let ping = r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#;
                    let begun = json!({
                        "jsonrpc": "2.0", "id": 0,
                        "result": { "protocolVersion": "2025-11-25", "capabilities": {} },
                    });
                    let (reply, sender) = Reply::stream(format!("data: {ping}\n\n"));
                    tokio::spawn(async move {
                        answered.notified().await;
                        sender.send(format!("data: {begun}\n\n").into()).await
                    });
                    reply.header("mcp-session-id", "one")
                }
                "POST" => {
                    answered.notify_one();
                    Reply::empty(202)
                }
                _ => asked.usual("one"),
            }
        }
    })
    .await;
    let mut talk = Talk::to(&script).await;
    assert_eq!(talk.begin().await["method"], "ping");
    talk.say(&json!({ "jsonrpc": "2.0", "id": 7, "result": {} })).await;
    assert_eq!(talk.hear().await["id"], 0);
    let asked = script.asked();
    assert_eq!((&*asked[1].name(), asked[1].header("mcp-session-id")), ("POST", "one"));
}

#[tokio::test]
async fn a_session_that_another_replaces_ends_with_what_is_under_way_in_it() {
    let answers = Arc::new(Notify::new());
    let script = Script::start({
        let answers = Arc::clone(&answers);
        move |asked, before| {
            let answers = Arc::clone(&answers);
            async move {
                match (&*asked.name(), asked.header("mcp-session-id")) {
                    ("initialize", _) => asked.usual(&next(&before)),
                    ("GET", _) => stream(": \n\n"),
                    ("tools/call", "s1") => {
                        answers.notified().await;
                        asked.usual("")
                    }
                    _ => asked.usual(""),
                }
            }
        }
    })
    .await;
    let in_session = |asked: &[Asked], name: &str, session: &str| {
        let is_it =
            |asked: &Asked| asked.name() == name && asked.header("mcp-session-id") == session;
        asked.iter().position(is_it)
    };
    let comes = async |name: &str, session: &str| {
        eventually(&format!("{name} in {session}"), PATIENCE, async || {
            in_session(&script.asked(), name, session)
        })
        .await
    };
    let mut talk = Talk::to(&script).await;
    talk.begin().await;
    comes("GET", "s1").await;
    talk.call(1).await;
    waiting(&script, 1).await;
    talk.begin().await;
    let ready = comes("notifications/initialized", "s2").await;
    assert!(comes("GET", "s2").await > ready, "{:?}", script.names());
    talk.call(2).await;
    assert_eq!(talk.hear().await["id"], 2);
    assert_eq!(in_session(&script.asked(), "DELETE", "s1"), None, "it is still of use");
    answers.notify_one();
    assert_eq!(talk.hear().await["id"], 1);
    comes("DELETE", "s1").await;
    assert_eq!(in_session(&script.asked(), "DELETE", "s2"), None);
    let records = talk.receiver.wait_for(2, PATIENCE).await;
    assert!(records.iter().all(|call| call.error_type.is_empty()), "{records:#?}");
    talk.proxy.scrape().await.assert_balanced();
    talk.close();
    talk.end(Duration::from_secs(10)).await;
    let asked = script.asked();
    assert_eq!((count(&asked, "DELETE"), count(&asked, "GET")), (2, 2), "{:?}", script.names());
}

#[tokio::test]
async fn sessions_that_others_replaced_end_with_the_proxy_at_the_latest() {
    let script = Script::start(|asked, before| async move {
        match &*asked.name() {
            "initialize" => asked.usual(&next(&before)),
            "tools/call" => std::future::pending().await,
            _ => asked.usual(""),
        }
    })
    .await;
    let mut talk = Talk::to(&script).await;
    talk.begin().await;
    talk.call(1).await;
    waiting(&script, 1).await;
    talk.begin().await;
    talk.close();
    talk.end(Duration::from_secs(10)).await;
    let asked = script.asked();
    let ended = asked.iter().filter(|asked| asked.name() == "DELETE");
    let mut ended: Vec<_> = ended.map(|asked| asked.header("mcp-session-id")).collect();
    ended.sort_unstable();
    assert_eq!(ended, ["s1", "s2"]);
}
