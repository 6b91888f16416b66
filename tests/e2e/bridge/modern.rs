//! Clients without sessions (2026-07-28), which share a program.

use http::Method;
use mcpulse_tests::eventually;
use serde_json::{Value, json};

use super::{Actor, Answer, Bridge, ENDED, Stage, Stream};
use crate::faults::{PATIENCE, result};

mod sharing;

pub(super) const VERSION: &str = "2026-07-28";
const META: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}"#;

/// A request of this era, with further members of `_meta` and of `params`.
pub(super) fn request(id: &str, method: &str, meta: &str, params: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0", "id" : {id} ,"method":"{method}","params":{{{params}"_meta":{{{META}{meta}}}}}}}"#
    )
}

fn call(id: &str, meta: &str) -> String {
    request(
        id,
        "tools/call",
        meta,
        r#""name":"probe","arguments":{"n":123456789012345678901234567890},"#,
    )
}

/// The number under which a request came to the program.
pub(super) fn number(line: &str) -> String {
    let heard: Value = serde_json::from_str(line).expect("JSON");
    heard["id"].as_i64().expect("a number").to_string()
}

impl Stage {
    fn modern(&self, method: &str, name: Option<&str>) -> http::request::Builder {
        let request = self.bridge.request(Method::POST, None);
        let request = request.header("mcp-protocol-version", VERSION).header("mcp-method", method);
        match name {
            Some(name) => request.header("mcp-name", name),
            None => request,
        }
    }

    /// A call of the tool `probe`, and its answer.
    async fn call(&self, body: impl Into<bytes::Bytes>) -> Answer {
        self.bridge.exchange(self.modern("tools/call", Some("probe")), body).await
    }

    /// The program that clients share, once it has answered a call.
    async fn share(&self) -> Actor {
        let (answer, actor) = tokio::join!(self.call(call("0", "")), async {
            let mut actor = self.enter().await;
            let id = number(&actor.hear().await.expect("the call"));
            actor.say(&result(&id)).await;
            actor
        });
        assert_eq!((answer.status, answer.body), (200, result("0")));
        actor
    }
}

#[tokio::test]
async fn clients_that_use_the_same_names_share_a_program() {
    let stage = Stage::set(&[]).await;
    let bridge = &stage.bridge;
    let mut program = stage.share().await;
    let token = r#","progressToken":"t""#;
    let send = |id: &str| bridge.send(stage.modern("tools/call", Some("probe")), call(id, token));
    let program = async {
        let (first, second) =
            (program.hear().await.expect("a call"), program.hear().await.expect("a call"));
        for line in [&first, &second] {
            let number = number(line);
            let text = |id: &str| {
                call(id, token)
                    .replace(&format!(r#""id" : {id} "#), &format!(r#""id" : {number} "#))
                    .replace(r#""t""#, &number)
            };
            assert!(*line == text("7") || *line == text("\"7\""), "{line}");
            let told = |token: &str| {
                format!(
                    r#"{{"method":"notifications/progress","params":{{"progress":1.0,"progressToken":{token}}}}}"#
                )
            };
            program.say(&told(&number)).await;
        }
        assert_ne!(number(&first), number(&second));
        for line in [&second, &first] {
            let odd = r#"{"result": {"content":[],"x":1e400}, "id" :ID,"jsonrpc":"2.0"}"#;
            program.say(&odd.replace("ID", &number(line))).await;
        }
        program
    };
    let (first, second, _program) = tokio::join!(send("7"), send("\"7\""), program);
    for (response, id) in [(first, "7"), (second, "\"7\"")] {
        assert!(!response.headers().contains_key("mcp-session-id"));
        let mut stream = Stream::of(response);
        let told =
            r#"{"method":"notifications/progress","params":{"progress":1.0,"progressToken":"t"}}"#;
        assert_eq!(stream.next().await.as_deref(), Some(told));
        let answer =
            format!(r#"{{"result": {{"content":[],"x":1e400}}, "id" :{id},"jsonrpc":"2.0"}}"#);
        assert_eq!(stream.next().await, Some(answer));
        assert_eq!(stream.next().await, None);
    }
    let started = bridge.figure("mcpulse_bridge_shared_started_total").await;
    assert!((started - 1.0).abs() < 0.1, "{started}");
    bridge.assert_settled(&[("ok", 3)], &[]).await;
}

#[tokio::test]
async fn headers_say_what_the_body_says() {
    let stage = Stage::set(&[]).await;
    let mut program = stage.share().await;
    let plain = || stage.bridge.request(Method::POST, None);
    let version = || plain().header("mcp-protocol-version", VERSION);
    let method = || version().header("mcp-method", "tools/call");
    for (request, code) in [
        (plain(), -32020),
        (plain().header("mcp-protocol-version", "2025-11-25"), -32020),
        (version(), -32020),
        (version().header("mcp-method", "tools/list"), -32020),
        (version().header("mcp-method", "Tools/Call"), -32020),
        (method(), -32020),
        (method().header("mcp-name", "other"), -32020),
        (method().header("mcp-name", "=?base64?cHJvYmU?="), -32020),
        (method().header("mcp-name", "probe").header("mcp-name", "probe"), -32020),
    ] {
        let shown = format!("{request:?}");
        let answer = stage.bridge.exchange(request, call("1", "")).await;
        assert_eq!(answer.error(), (400, json!(1), code), "{shown}");
    }
    let twice = call("1", "").replace(r#""name":"probe""#, r#""name":"probe","name":"x""#);
    assert_eq!(stage.call(twice).await.error(), (400, json!(1), -32020));
    let bare = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}"#;
    let answer = stage.bridge.exchange(stage.modern("tools/list", None), bare).await;
    assert_eq!(answer.error(), (400, json!(1), -32602));
    // What goes by sessions is nothing that others could be bothered with.
    let listing = request("1", "ping", "", "");
    let answer = stage.bridge.exchange(stage.modern("ping", None), listing).await;
    assert_eq!(answer.error(), (404, json!(1), -32601));
    let cancelled =
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    let answer = stage.bridge.exchange(stage.modern("notifications/cancelled", None), cancelled);
    assert_eq!(answer.await.status, 202);
    let answer = stage.bridge.exchange(stage.modern("x", None), result("1")).await;
    assert_eq!(answer.status, 400);
    for wrong in [Method::GET, Method::DELETE] {
        let request = stage.bridge.request(wrong, Some(super::STRANGER));
        let request = request.header("mcp-protocol-version", VERSION);
        assert_eq!(stage.bridge.exchange(request, "").await.status, 405);
    }
    // None of it came to the program. This does, and a session means nothing.
    let encoded = method().header("mcp-name", "=?base64?cHJvYmU=?=");
    let encoded = encoded.header("mcp-session-id", super::STRANGER);
    let (answer, ()) = tokio::join!(stage.bridge.exchange(encoded, call("1", "")), async {
        let line = program.hear().await.expect("the call");
        assert!(line.contains("tools/call"), "{line}");
        program.say(&result(&number(&line))).await;
    });
    assert_eq!((answer.status, answer.body), (200, result("1")));
}

#[tokio::test]
async fn parameters_that_a_listed_tool_wants_in_headers_are_compared() {
    let stage = Stage::set(&[]).await;
    let mut program = stage.share().await;
    let listed = r#"{"jsonrpc":"2.0","id":ID,"result":{"tools":[{"name":"probe","inputSchema":{"type":"object","properties":{"n":{"type":"integer","x-mcp-header":"N"},"in":{"type":"object","properties":{"text":{"type":"string","x-mcp-header":"Text"}}}}}}]}}"#;
    let listing =
        stage.bridge.exchange(stage.modern("tools/list", None), request("1", "tools/list", "", ""));
    let (answer, ()) = tokio::join!(listing, async {
        let id = number(&program.hear().await.expect("the request"));
        program.say(&listed.replace("ID", &id)).await;
    });
    assert_eq!(answer.body, listed.replace("ID", "1"));
    let body = |arguments: &str| {
        let params = format!(r#""name":"probe","arguments":{arguments},"#);
        request("2", "tools/call", "", &params)
    };
    let both = r#"{"n":12,"in":{"text":"Hello"}}"#;
    for (headers, arguments) in [
        (&[][..], both),
        (&[("mcp-param-n", "12")], both),
        (&[("mcp-param-n", "13"), ("mcp-param-text", "Hello")], both),
        (&[("mcp-param-n", "12"), ("mcp-param-text", "hello")], both),
        (&[("mcp-param-n", "12"), ("mcp-param-text", "=?base64?SGVsbG8?=")], both),
        (&[("mcp-param-n", "12")], r#"{"n":null}"#),
        (&[("mcp-param-n", "1.5")], r#"{"n":1.5}"#),
    ] {
        let mut request = stage.modern("tools/call", Some("probe"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = stage.bridge.exchange(request, body(arguments)).await;
        assert_eq!(answer.error(), (400, json!(2), -32020), "{headers:?} {arguments}");
    }
    let right = stage.modern("tools/call", Some("probe"));
    let right = right.header("mcp-param-n", "12.0");
    let right = right.header("mcp-param-text", "=?base64?SGVsbG8=?=");
    let (answer, ()) = tokio::join!(stage.bridge.exchange(right, body(both)), async {
        let line = program.hear().await.expect("the call");
        program.say(&result(&number(&line))).await;
    });
    assert_eq!((answer.status, answer.body), (200, result("2")));
}

#[tokio::test]
async fn the_status_tells_which_error_it_is() {
    let stage = Stage::set(&[]).await;
    let mut program = stage.share().await;
    for (code, status) in [
        (-32601, 404),
        (-32602, 400),
        (-32020, 400),
        (-32021, 400),
        (-32022, 400),
        (-32603, 200),
        (-32000, 200),
    ] {
        let error =
            format!(r#"{{"jsonrpc":"2.0","id":ID,"error":{{"code":{code},"message":""}}}}"#);
        let (answer, ()) = tokio::join!(stage.call(call("\"x\"", "")), async {
            let id = number(&program.hear().await.expect("the call"));
            program.say(&error.replace("ID", &id)).await;
        });
        assert_eq!((answer.status, answer.body), (status, error.replace("ID", "\"x\"")));
    }
    stage.bridge.assert_settled(&[("ok", 1), ("rpc_error", 7)], &[]).await;
}

#[tokio::test]
async fn a_client_that_leaves_withdraws_its_call() {
    let stage = Stage::set(&[]).await;
    let mut program = stage.share().await;
    let (left, id) = tokio::join!(
        async {
            let asked = stage.call(call("1", ""));
            tokio::time::timeout(std::time::Duration::from_millis(500), asked).await
        },
        async { number(&program.hear().await.expect("the call")) }
    );
    assert!(left.is_err(), "nobody has answered");
    let told: Value = serde_json::from_str(&program.hear().await.expect("a word")).expect("JSON");
    assert_eq!(told["method"], "notifications/cancelled");
    assert_eq!(told["params"]["requestId"].to_string(), id);
    stage.bridge.assert_settled(&[("ok", 1), ("cancelled", 1)], &[]).await;
}

#[tokio::test]
async fn a_subscription_is_told_under_the_name_that_its_client_gave_it() {
    let stage = Stage::set(&[]).await;
    let mut program = stage.share().await;
    let listen = |id: &str| {
        let body = request(id, "subscriptions/listen", "", r#""notifications":{},"#);
        stage.bridge.send(stage.modern("subscriptions/listen", None), body)
    };
    let told = |method: &str, id: &str| {
        format!(
            r#"{{"method":"notifications/{method}","params":{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}}}}}"#
        )
    };
    let heard = async {
        let mut numbers = Vec::new();
        for _ in 0..2 {
            let line = program.hear().await.expect("a subscription");
            program.say(&told("subscriptions/acknowledged", &number(&line))).await;
            let is_text = line.contains("\"id\" : \"");
            numbers.push((is_text, number(&line)));
        }
        numbers.sort();
        (program, numbers)
    };
    let (first, second, (mut program, _)) = tokio::join!(listen("1"), listen("\"a\""), heard);
    let (mut first, mut second) = (Stream::of(first), Stream::of(second));
    let acknowledged = |id| Some(told("subscriptions/acknowledged", id));
    assert_eq!(first.next().await, acknowledged("1"));
    assert_eq!(second.next().await, acknowledged("\"a\""));
    // Nobody in particular, and nobody at all.
    program.say(r#"{"method":"notifications/tools/list_changed"}"#).await;
    program.say(&told("tools/list_changed", "1")).await;
    eventually("what nobody subscribed to is dropped", PATIENCE, async || {
        (stage.bridge.figure("mcpulse_bridge_dropped_total").await > 1.9).then_some(())
    })
    .await;
    drop(first);
    let word: Value = serde_json::from_str(&program.hear().await.expect("a word")).expect("JSON");
    assert_eq!(word["method"], "notifications/cancelled");
    stage.bridge.proxy.signal(rustix::process::Signal::TERM);
    assert_eq!(second.next().await, None, "the end of the proxy waits for no subscription");
}

#[tokio::test]
async fn what_names_no_request_goes_to_nobody_who_did_not_ask_for_it() {
    let stage = Stage::set(&[]).await;
    let mut program = stage.share().await;
    let log = r#"{"method":"notifications/message","params":{"level":"info","data":"x"}}"#;
    let wants = r#","io.modelcontextprotocol/logLevel":"info""#;
    let send =
        |id, meta| stage.bridge.send(stage.modern("tools/call", Some("probe")), call(id, meta));
    let program = async {
        let mut ids = Vec::new();
        for _ in 0..2 {
            ids.push(number(&program.hear().await.expect("a call")));
        }
        program.say(log).await;
        // Nothing is asked of clients: the program need not wait for an answer.
        program.say(r#"{"jsonrpc":"2.0","id":"q","method":"sampling/createMessage"}"#).await;
        let declined: Value =
            serde_json::from_str(&program.hear().await.expect("an answer")).expect("JSON");
        assert_eq!((&declined["id"], &declined["error"]["code"]), (&json!("q"), &json!(-32601)));
        for id in ids {
            program.say(&result(&id)).await;
        }
    };
    let (silent, told, ()) = tokio::join!(send("1", ""), send("2", wants), program);
    let mut told = Stream::of(told);
    assert_eq!(told.next().await.as_deref(), Some(log));
    assert_eq!(told.next().await, Some(result("2")));
    assert_eq!(silent.headers()["content-type"], "application/json");
}

#[tokio::test]
async fn a_shared_program_that_dies_fails_its_calls_and_is_started_again() {
    let stage = Stage::set(&[]).await;
    let mut program = stage.share().await;
    let (first, second, ()) =
        tokio::join!(stage.call(call("1", "")), stage.call(call("2", "")), async {
            program.hear().await.expect("a call");
            program.hear().await.expect("a call");
            drop(program);
        });
    assert_eq!(first.error(), (502, json!(1), -32603));
    assert_eq!(second.error(), (502, json!(2), -32603));
    stage.bridge.proxy.wait_for_stderr("a program that clients share has ended").await;
    // The first time it is started again at once, and then after longer and longer pauses.
    let dies = async {
        loop {
            let mut program = stage.enter().await;
            let line = program.hear().await.expect("a request");
            if line.contains("initialize") {
                program.say(&result("\"mcpulse-proxy\"")).await;
            }
        }
    };
    let mut failed = 2;
    let refused = eventually("there is a pause", PATIENCE, async || {
        failed += 1;
        let request = stage.modern("tools/call", Some("probe"));
        let response = stage.bridge.send(request, call("3", "")).await;
        (response.status() == 503).then_some(response)
    });
    let refused = tokio::select! {
        refused = refused => refused,
        () = dies => unreachable!("programs die for ever"),
    };
    assert!(failed > 3, "the first was started at once");
    assert!(refused.headers().contains_key("retry-after"));
    stage.bridge.assert_settled(&[("ok", 1), ("transport", failed)], &[]).await;
}

#[tokio::test]
async fn a_server_of_the_other_era_is_one_of_sessions() {
    let stage = Stage::set(&[]).await;
    let discover = || {
        let body = request("1", "server/discover", "", "");
        stage.bridge.exchange(stage.modern("server/discover", None), body)
    };
    // It may say so, or end.
    let (answer, ()) = tokio::join!(discover(), async {
        stage.enter().await.hear().await.expect("the request");
    });
    assert_eq!(answer.error(), (404, json!(1), -32601));
    let (answer, program) = tokio::join!(discover(), async {
        let mut program = stage.enter().await;
        let id = number(&program.hear().await.expect("the request"));
        let error = r#"{"jsonrpc":"2.0","id":ID,"error":{"code":-32601,"message":"?"}}"#;
        program.say(&error.replace("ID", &id)).await;
        program
    });
    assert_eq!(answer.error(), (404, json!(1), -32601));
    assert_eq!(answer.json()["error"]["message"], "?");
    // Or both. It is none the worse for it, however often it is asked.
    drop(program);
    stage.bridge.wait_until_ready(true).await;
    stage.open().await;
    let asked = async {
        for _ in 0..5 {
            assert_eq!(discover().await.error(), (404, json!(1), -32601));
        }
    };
    let ends = async {
        loop {
            stage.enter().await.hear().await.expect("the request");
        }
    };
    tokio::select! {
        () = asked => {}
        () = ends => unreachable!("programs end for ever"),
    }
    stage.bridge.wait_until_ready(true).await;
    let ended = stage.bridge.proxy.stderr();
    assert!(!ended.contains("has ended"), "{ended}");
}

#[tokio::test]
async fn a_shared_program_that_nobody_uses_ends() {
    let stage = Stage::set(&["--session-timeout", "200ms"]).await;
    let mut program = stage.share().await;
    assert_eq!(program.hear().await, None);
    drop(program);
    stage.bridge.wait_until_ready(true).await;
    let mut program = stage.share().await;
    let ended = tokio::time::timeout(ENDED, program.hear()).await;
    assert_eq!(ended, Ok(None));
    stage.bridge.assert_settled(&[("ok", 2)], &[]).await;
}
