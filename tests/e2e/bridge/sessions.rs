//! What each request of a client means.

use http::Method;
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

use super::{Bridge, INITIALIZED, STRANGER, Stage, Stream};
use crate::faults::{call, result};

const CHANGED: &str = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;

#[tokio::test]
async fn a_session_from_its_first_word_to_its_last() {
    let stage = Stage::set(&[]).await;
    let bridge = &stage.bridge;
    let (session, mut program) = stage.open().await;
    let id = session.parse::<uuid::Uuid>().expect("a UUID");
    assert_eq!(id.get_version_num(), 4);
    let told = bridge.post(Some(&session), INITIALIZED).await;
    assert_eq!((told.status, &*told.body), (202, ""));
    assert_eq!(program.hear().await.as_deref(), Some(INITIALIZED));

    // Nothing but the answer comes of it: JSON, byte for byte.
    let odd = r#"{"result": {"content":[],"x":1e400}, "id":1,"jsonrpc":"2.0"}"#;
    let question = call("1");
    let (answer, ()) = tokio::join!(bridge.post(Some(&session), question.clone()), async {
        assert_eq!(program.hear().await, Some(question.clone()));
        program.say(odd).await;
    });
    assert_eq!((answer.status, &*answer.body), (200, odd));

    // A question of the program comes before: a stream, which ends with the answer.
    let sampling = r#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{}}"#;
    let (stream, ()) = tokio::join!(
        bridge.send(bridge.request(Method::POST, Some(&session)), call("\"a\"")),
        async {
            program.hear().await.expect("the call");
            program.say(CHANGED).await;
            program.say(sampling).await;
        }
    );
    let mut stream = Stream::of(stream);
    assert_eq!(stream.next().await.as_deref(), Some(sampling));
    assert_eq!(bridge.post(Some(&session), result("1")).await.status, 202);
    assert_eq!(program.hear().await, Some(result("1")));
    program.say(&format!("{}\r", result("\"a\""))).await;
    assert_eq!(stream.next().await, Some(result("\"a\"")));
    assert_eq!(stream.next().await, None);

    // What belonged to no request has waited for the client's own stream.
    let mut own = bridge.listen(&session).await;
    assert_eq!(own.status, 200);
    assert_eq!(own.next().await.as_deref(), Some(CHANGED));

    assert_eq!(bridge.delete(&session).await, 204);
    assert_eq!(own.next().await, None);
    assert_eq!(program.hear().await, None);
    assert_eq!(bridge.post(Some(&session), call("3")).await.error().0, 404);
    assert_eq!(bridge.delete(&session).await, 404);
    bridge.wait_for_ended("deleted", 1).await;
    bridge.assert_settled(&[("ok", 2), ("transport", 1)], &[]).await;
}

#[tokio::test]
async fn a_pretty_body_is_one_line_for_the_program() {
    let stage = Stage::set(&[]).await;
    let (session, mut program) = stage.open().await;
    let value: Value = serde_json::from_str(&call("7")).expect("JSON");
    let pretty = serde_json::to_string_pretty(&value).expect("JSON").replace('\n', "\r\n");
    let (answer, line) = tokio::join!(stage.bridge.post(Some(&session), pretty), async {
        let line = program.hear().await.expect("the call");
        program.say(&result("7")).await;
        line
    });
    assert_eq!(serde_json::from_str::<Value>(&line).expect("JSON"), value);
    assert_eq!(answer.body, result("7"));
    stage.bridge.assert_settled(&[("ok", 1)], &[]).await;
}

#[tokio::test]
async fn what_is_not_to_be_passed_on_is_refused() {
    let stage = Stage::set(&["--max-body", "64KiB"]).await;
    let bridge = &stage.bridge;
    let (session, mut program) = stage.open().await;
    let listing = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let discover = listing.replace("tools/list", "server/discover");
    let modern = listing.replace(
        r#""tools/list""#,
        r#""tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#,
    );
    let here = Some(&*session);
    for (to, body, wanted) in [
        (None, listing, (400, json!(1), -32600)),
        (Some(STRANGER), listing, (404, json!(1), -32600)),
        (Some("../etc"), listing, (404, json!(1), -32600)),
        (None, &discover, (404, json!(1), -32601)),
        (None, &modern, (400, json!(1), -32020)),
        (here, &format!("[{listing}]"), (400, json!(null), -32600)),
        (here, &format!("{listing}\n{listing}"), (400, json!(null), -32700)),
        (here, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\nb\"}", (400, json!(null), -32700)),
        (here, "no json", (400, json!(null), -32700)),
        (here, "", (400, json!(null), -32700)),
        (here, "{}", (400, json!(null), -32600)),
    ] {
        let answer = bridge.post(to, body.to_owned()).await;
        assert_eq!(answer.error(), wanted, "{}", &body[..body.len().min(80)]);
    }
    let request = |method, name: &str, value: &str| {
        let mut request = bridge.request(method, here);
        let headers = request.headers_mut().expect("headers");
        let name: http::HeaderName = name.parse().expect("a name");
        headers.insert(name, value.parse().expect("a value"));
        request
    };
    for (request, status) in [
        (request(Method::GET, "accept", "application/json"), 406),
        (request(Method::POST, "accept", "text/html"), 406),
        (request(Method::POST, "content-type", "text/plain"), 415),
        (request(Method::POST, "mcp-protocol-version", "1999-01-01"), 400),
        (request(Method::GET, "host", "evil.example.com"), 403),
        (request(Method::POST, "origin", "http://evil.example.com"), 403),
        (request(Method::PUT, "x", "y"), 405),
        (bridge.request(Method::GET, None), 400),
        (bridge.request(Method::DELETE, None), 400),
        (bridge.web.request(Method::POST, "/other", here), 404),
    ] {
        let shown = format!("{request:?}");
        assert_eq!(bridge.exchange(request, listing).await.status, status, "{shown}");
    }
    // Refused by its head alone: the body is never sent.
    let mut socket = TcpStream::connect(bridge.proxy.address().await).await.expect("a listener");
    let head = "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                content-length: 70000\r\n\r\n";
    socket.write_all(head.as_bytes()).await.expect("the proxy reads");
    let mut status = [0; 12];
    socket.read_exact(&mut status).await.expect("an answer");
    assert_eq!(&status, b"HTTP/1.1 413");
    // None of it has reached the program.
    assert_eq!(bridge.delete(&session).await, 204);
    assert_eq!(program.hear().await, None);
}

#[tokio::test]
async fn the_token_is_demanded_and_the_program_does_not_get_it() {
    let stage = Bridge::before(&["env"], &["--bearer-token", "hunter2"]).await;
    let listing = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    assert_eq!(stage.post(None, listing).await.status, 401);
    let wrong = stage.request(Method::POST, None).header("authorization", "Bearer x");
    assert_eq!(stage.exchange(wrong, listing).await.status, 401);
    let right = stage.request(Method::POST, None).header("authorization", "Bearer hunter2");
    assert_eq!(stage.exchange(right, listing).await.status, 400);
    stage.proxy.wait_for_stderr("writes to standard output").await;
    assert!(!stage.proxy.stderr().contains("hunter2"));
}

#[tokio::test]
async fn a_client_that_leaves_does_not_cancel() {
    let stage = Stage::set(&[]).await;
    let bridge = &stage.bridge;
    let (session, mut program) = stage.open().await;
    let (left, heard) = tokio::join!(
        async {
            let asked = bridge.post(Some(&session), call("1"));
            tokio::time::timeout(std::time::Duration::from_millis(500), asked).await
        },
        program.hear()
    );
    assert!(left.is_err(), "nobody has answered");
    assert_eq!(heard, Some(call("1")));
    bridge.assert_settled(&[("transport", 1)], &[]).await;
    program.say(&result("1")).await;
    let (answer, ()) = tokio::join!(bridge.post(Some(&session), call("2")), async {
        assert_eq!(program.hear().await, Some(call("2")), "no cancellation came between");
        program.say(&result("2")).await;
    });
    assert_eq!(answer.body, result("2"));
    bridge.assert_settled(&[("ok", 1), ("transport", 1)], &[]).await;
}

#[tokio::test]
async fn a_call_in_flight_is_withdrawn_by_the_end_of_its_session() {
    let stage = Stage::set(&[]).await;
    let bridge = &stage.bridge;
    let (session, mut program) = stage.open().await;
    let (answer, deleted) = tokio::join!(bridge.post(Some(&session), call("1")), async {
        program.hear().await.expect("the call");
        bridge.delete(&session).await
    });
    assert_eq!(deleted, 204);
    assert_eq!(answer.error(), (502, json!(1), -32603));
    bridge.assert_settled(&[("cancelled", 1)], &[]).await;
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_may_ask_and_read() {
    let page = "https://app.example.com";
    let flags = ["--bearer-token", "hunter2", "--allowed-origin", page];
    let stage = Bridge::before(&["cat"], &flags).await;
    let ask = |origin: &str| {
        let request = stage.request(Method::OPTIONS, None).header("origin", origin);
        let request = request.header("access-control-request-method", "POST");
        request.header("access-control-request-headers", "authorization,mcp-session-id")
    };
    let allowed = stage.send(ask(page), "").await;
    let header = |response: &http::Response<_>, name: &str| {
        response.headers().get(name).map(|value| value.to_str().expect("text").to_owned())
    };
    assert_eq!(allowed.status(), 204);
    let allow = |what| header(&allowed, &format!("access-control-allow-{what}"));
    assert_eq!(allow("origin").as_deref(), Some(page));
    assert_eq!(allow("headers").as_deref(), Some("authorization,mcp-session-id"));
    assert_eq!(allow("methods").as_deref(), Some("GET, POST, DELETE"));
    assert_eq!(stage.exchange(ask("https://evil.example.com"), "").await.status, 403);
    let refused = stage.request(Method::POST, None).header("origin", page);
    let refused = stage.send(refused, "{}").await;
    assert_eq!(refused.status(), 401);
    assert_eq!(header(&refused, "access-control-allow-origin").as_deref(), Some(page));
    let exposed = header(&refused, "access-control-expose-headers");
    assert!(exposed.is_some_and(|names| names.contains("Mcp-Session-Id")));
}

#[tokio::test]
async fn who_asks_more_than_may_wait_is_told_when_to_come_again() {
    const MOST: usize = 1024;
    let stage = Stage::set(&[]).await;
    let bridge = &stage.bridge;
    let (session, mut program) = stage.open_as("2025-03-26").await;
    let calls: Vec<_> = (0..MOST).map(|id| call(&id.to_string())).collect();
    let mut batches = JoinSet::new();
    for calls in calls.chunks(100) {
        let batch = bridge.request(Method::POST, Some(&session));
        let batch = batch.body(Full::from(format!("[{}]", calls.join(","))));
        let answered = bridge.web.client.request(batch.expect("a request"));
        batches.spawn(async move {
            let answered = answered.await.expect("HTTP");
            let status = answered.status();
            answered.into_body().collect().await.expect("all answers");
            status
        });
    }
    for _ in &calls {
        program.hear().await.expect("a call");
    }
    let request = bridge.request(Method::POST, Some(&session));
    let refused = bridge.send(request, call("1024")).await;
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["retry-after"], "2");
    bridge.wait_for_refused("waiting", 1).await;
    for id in 0..MOST {
        program.say(&result(&id.to_string())).await;
    }
    while let Some(answered) = batches.join_next().await {
        assert_eq!(answered.expect("no panic"), 200);
    }
    bridge.assert_settled(&[("ok", 1024), ("transport", 1)], &[]).await;
}
