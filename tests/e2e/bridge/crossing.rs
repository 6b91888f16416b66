//! Clients of one HTTP transport before servers of the other.

use std::{future::ready, sync::Arc};

use http::{Method, request::Builder};
use mcpulse_tests::eventually;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::{Bridge, INITIALIZE, INITIALIZED, Stream};
use crate::{
    faults::{PATIENCE, call, result},
    remote::{
        legacy::Streams,
        script::{Asked, Reply, Script},
    },
};

/// What nobody who reads and writes JSON anew would write like this.
const ODD: &str = r#"{"id" : 7.0,"jsonrpc":"2.0", "method":"tools/call","params":{ "name":"probe","arguments":{"z":1.0e2,"a":"\u0061","z":10000000000000000000001} }}"#;
const ODD_RESULT: &str =
    r#"{"result":{ "content":[],"x":1e400,"a":"\u00e9"}, "id":7.0,"jsonrpc":"2.0" }"#;

/// A server of HTTP+SSE.
async fn lines() -> (Streams, Script) {
    let streams = Streams::default();
    let script = Script::start({
        let streams = streams.clone();
        move |asked, _| ready(streams.usual(&asked))
    });
    (streams, script.await)
}

async fn before_lines(script: &Script, flags: &[&str]) -> Bridge {
    let bridge = Bridge::before_remote("sse", &script.url_of("/events"), flags).await;
    bridge.wait_until_ready(true).await;
    bridge
}

/// A session, begun by a client with this right.
async fn open(bridge: &Bridge, right: &str) -> String {
    let request = bridge.request(Method::POST, None).header("authorization", right);
    let begun = bridge.exchange(request, INITIALIZE).await;
    assert_eq!((begun.status, &begun.json()["id"]), (200, &json!(0)), "{begun:?}");
    let session = begun.session.expect("a session");
    let request = bridge.request(Method::POST, Some(&session)).header("authorization", right);
    assert_eq!(bridge.exchange(request, INITIALIZED).await.status, 202);
    session
}

/// A request of the era without sessions.
fn modern(bridge: &Bridge, right: &str) -> (Builder, String) {
    let request = bridge.request(Method::POST, None).header("authorization", right);
    let request = request.header("mcp-protocol-version", "2026-07-28");
    let request = request.header("mcp-method", "tools/call").header("mcp-name", "probe");
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let params = json!({ "name": "probe", "arguments": {}, "_meta": meta });
    let body = json!({ "jsonrpc": "2.0", "id": "same", "method": "tools/call", "params": params });
    (request, body.to_string())
}

fn posts(asked: &[Asked]) -> Vec<(&str, String, &str)> {
    let posts = asked.iter().filter(|asked| asked.method == Method::POST);
    posts.map(|asked| (&*asked.path, asked.name(), asked.header("authorization"))).collect()
}

#[tokio::test]
async fn a_session_over_http_is_a_stream_of_the_server() {
    let streams = Streams::default();
    let script = Script::start({
        let streams = streams.clone();
        move |asked: Asked, _| {
            let odd = asked.text == ODD;
            if odd {
                streams.say_on(1, ODD_RESULT);
            }
            ready(if odd { Reply::empty(202) } else { streams.usual(&asked) })
        }
    })
    .await;
    let bridge = before_lines(&script, &["--max-sessions", "1"]).await;
    let session = open(&bridge, "Bearer a").await;
    let full = bridge.post(None, INITIALIZE).await;
    assert_eq!(full.status, 503, "{full:?}");
    let mut own = bridge.listen(&session).await;
    let answer = bridge.post(Some(&session), ODD).await;
    assert_eq!((answer.status, &*answer.body), (200, ODD_RESULT));
    let question = r#"{"jsonrpc":"2.0", "id":1,"method":"roots/list"}"#;
    streams.say_on(1, question);
    assert_eq!(own.next().await.as_deref(), Some(question));
    assert_eq!(bridge.post(Some(&session), result("1")).await.status, 202);
    eventually("the server is answered", PATIENCE, async || {
        script.asked().iter().any(|asked| asked.text == result("1")).then_some(())
    })
    .await;
    let asked = script.asked();
    assert!(asked.iter().any(|asked| asked.text == ODD), "{asked:?}");
    // The call came without a right, and so it is asked.
    let call = asked.iter().find(|asked| asked.name() == "tools/call").expect("the call");
    assert_eq!((call.header("authorization"), asked[0].header("authorization")), ("", "Bearer a"));
    assert_eq!(bridge.delete(&session).await, 204);
    bridge.wait_for_ended("deleted", 1).await;
    bridge.assert_settled(&[("ok", 1)], &[]).await;
}

#[tokio::test]
async fn clients_share_a_stream_only_by_the_same_right() {
    let (_, script) = lines().await;
    let bridge = before_lines(&script, &["--max-programs", "2"]).await;
    for right in ["Bearer a", "Bearer b", "Bearer a"] {
        let (request, body) = modern(&bridge, right);
        let answer = bridge.exchange(request, body).await;
        assert_eq!((answer.status, &answer.json()["id"]), (200, &json!("same")), "{answer:?}");
    }
    let asked = script.asked();
    let call = "tools/call".to_owned();
    assert_eq!(
        posts(&asked),
        [
            ("/m/1", call.clone(), "Bearer a"),
            ("/m/2", call.clone(), "Bearer b"),
            ("/m/1", call, "Bearer a")
        ]
    );
    let (request, body) = modern(&bridge, "Bearer c");
    assert_eq!(bridge.exchange(request, body).await.status, 503, "no room for another right");
    bridge.assert_settled(&[("ok", 3), ("transport", 1)], &[]).await;
}

#[tokio::test]
async fn a_token_of_the_proxy_stands_for_that_of_clients() {
    let (_, script) = lines().await;
    let bridge = before_lines(&script, &["--bearer-token", "secret"]).await;
    assert_eq!(bridge.post(None, INITIALIZE).await.status, 401);
    open(&bridge, "Bearer secret").await;
    let asked = eventually("all is asked", PATIENCE, async || {
        let asked = script.asked();
        (asked.len() == 3).then_some(asked)
    })
    .await;
    assert!(asked.iter().all(|asked| asked.header("authorization") == "Bearer secret"));
}

#[tokio::test]
async fn who_is_not_let_in_is_told_so() {
    let script = Script::start(|asked: Asked, _| {
        ready(match asked.header("authorization") {
            "" => Reply::empty(401).header("www-authenticate", "Bearer scope=\"x\""),
            _ => Reply::empty(403),
        })
    })
    .await;
    let bridge = before_lines(&script, &[]).await;
    let response = bridge.send(bridge.request(Method::POST, None), INITIALIZE).await;
    assert_eq!(response.status(), 401);
    assert_eq!(response.headers()["www-authenticate"], "Bearer scope=\"x\"");
    let (request, body) = modern(&bridge, "Bearer wrong");
    let refused = bridge.exchange(request, body).await;
    assert_eq!(refused.error(), (403, json!("same"), -32603), "{refused:?}");
    bridge.assert_settled(&[("http_error", 1)], &[]).await;
}

#[tokio::test]
async fn a_stream_that_breaks_fails_its_calls_and_the_session_goes_on() {
    let streams = Streams::default();
    let script = Script::start(move |asked: Asked, before: Vec<Asked>| {
        let is_first = !before.iter().any(|asked| asked.name() == "tools/call");
        let breaks = is_first && asked.name() == "tools/call";
        if breaks {
            streams.end();
        }
        ready(if breaks { Reply::empty(202) } else { streams.usual(&asked) })
    })
    .await;
    let bridge = before_lines(&script, &[]).await;
    let session = open(&bridge, "Bearer a").await;
    let broken = bridge.post(Some(&session), call("1")).await;
    assert_eq!(broken.error(), (502, json!(1), -32603), "{broken:?}");
    let healed = bridge.post(Some(&session), call("2")).await;
    assert_eq!((healed.status, &healed.json()["id"]), (200, &json!(2)), "{healed:?}");
    drop(script);
    let away = bridge.post(Some(&session), call("3")).await;
    assert_eq!(away.error(), (502, json!(3), -32603), "{away:?}");
    bridge.wait_until_ready(false).await;
    bridge.assert_settled(&[("ok", 1), ("transport", 2)], &[]).await;
}

#[tokio::test]
async fn where_the_server_takes_messages_itself_its_relay_wins() {
    let script = Script::start(|_, _| ready(Reply::empty(202))).await;
    let bridge = Bridge::before_remote("sse", &script.url(), &[]).await;
    assert_eq!(bridge.post(None, call("1")).await.status, 202);
    assert_eq!(posts(&script.asked())[0].0, "/mcp");
    let script = Script::start(|asked: Asked, _| ready(asked.usual("s"))).await;
    let bridge = Bridge::before_remote("http", &script.url_of("/message"), &[]).await;
    let answer = bridge.exchange(bridge.at(Method::POST, "/message"), call("1")).await;
    assert_eq!((answer.status, &answer.json()["id"]), (200, &json!(1)), "{answer:?}");
}

#[tokio::test]
async fn a_stream_of_a_client_is_a_session_over_http() {
    let script = Script::start(|asked: Asked, _| {
        ready(if asked.text == ODD {
            Reply::events(format!("data: {ODD_RESULT}\n\n"))
        } else {
            asked.usual("minted")
        })
    })
    .await;
    let bridge = Bridge::before_remote("http", &script.url(), &[]).await;
    bridge.wait_until_ready(true).await;
    let with_right = |request: Builder| request.header("authorization", "Bearer a");
    let opening = bridge.send(with_right(bridge.at(Method::GET, "/sse")), "").await;
    let mut stream = Stream::of(opening);
    let target = stream.endpoint().await;
    for said in [INITIALIZE, INITIALIZED, ODD] {
        let request = with_right(bridge.at(Method::POST, &target));
        assert_eq!(bridge.exchange(request, said).await.status, 202);
    }
    let begun: Value = serde_json::from_str(&stream.next().await.expect("it")).expect("JSON");
    assert_eq!(begun["result"]["serverInfo"]["name"], "script");
    assert_eq!(stream.next().await.as_deref(), Some(ODD_RESULT));
    drop(stream);
    bridge.wait_for_ended("deleted", 1).await;
    let asked = eventually("the session is ended at the server", PATIENCE, async || {
        let asked = script.asked();
        asked.iter().any(|asked| asked.method == Method::DELETE).then_some(asked)
    })
    .await;
    assert!(asked.iter().any(|asked| asked.text == ODD), "{asked:?}");
    assert!(asked.iter().all(|asked| asked.header("authorization") == "Bearer a"), "{asked:?}");
    let sessions = asked.iter().filter(|asked| asked.header("mcp-session-id") == "minted");
    assert_eq!(sessions.count(), asked.len() - 1, "{asked:?}");
    bridge.assert_settled(&[("ok", 1)], &[]).await;
}

#[tokio::test]
async fn a_session_that_begins_when_its_client_has_left_is_ended_as_well() {
    let gate = Arc::new(Semaphore::new(0));
    let script = Script::start({
        let gate = Arc::clone(&gate);
        move |asked: Asked, _| {
            let gate = Arc::clone(&gate);
            async move {
                if asked.name() == "initialize" {
                    gate.acquire().await.expect("it is not closed").forget();
                }
                asked.usual("minted")
            }
        }
    })
    .await;
    let bridge = Bridge::before_remote("http", &script.url(), &[]).await;
    bridge.wait_until_ready(true).await;
    let mut stream = Stream::of(bridge.send(bridge.at(Method::GET, "/sse"), "").await);
    let target = stream.endpoint().await;
    let begun = bridge.exchange(bridge.at(Method::POST, &target), INITIALIZE).await;
    assert_eq!(begun.status, 202);
    let asked = async |name: &str| {
        eventually(&format!("{name} is asked"), PATIENCE, async || {
            script.asked().into_iter().find(|asked| asked.name() == name)
        })
        .await
    };
    asked("initialize").await;
    drop(stream);
    bridge.wait_for_ended("deleted", 1).await;
    gate.add_permits(1);
    assert_eq!(asked("DELETE").await.header("mcp-session-id"), "minted");
}

#[tokio::test]
async fn on_a_stream_of_a_client_faults_of_the_server_are_errors() {
    let script = Script::start(|asked: Asked, _| {
        ready(match asked.header("authorization") {
            "" => Reply::empty(401).header("www-authenticate", "Bearer"),
            _ => asked.usual("minted"),
        })
    })
    .await;
    let bridge = Bridge::before_remote("http", &script.url(), &[]).await;
    bridge.wait_until_ready(true).await;
    let mut stream = Stream::of(bridge.send(bridge.at(Method::GET, "/sse"), "").await);
    let target = stream.endpoint().await;
    let mut failed = async |id: &str| {
        let said = bridge.exchange(bridge.at(Method::POST, &target), call(id)).await;
        assert_eq!(said.status, 202, "{said:?}");
        let error: Value = serde_json::from_str(&stream.next().await.expect("it")).expect("JSON");
        assert_eq!((error["id"].to_string(), &error["error"]["code"]), (id.into(), &json!(-32603)));
        error["error"]["message"].to_string()
    };
    assert!(failed("1").await.contains("401"));
    drop(script);
    assert!(failed("2").await.contains("connect"));
    bridge.wait_until_ready(false).await;
    bridge.assert_settled(&[("rpc_error", 2)], &[]).await;
}
