//! One record a call, which says what its client was told, however the call ends.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

use super::{
    PATIENCE,
    faults::waiting,
    script::{Reply, Script, Talk},
};

/// Bytes of a body that not every server takes.
const LARGE: usize = 4 << 20;

/// How each call was reported, once there are so many.
pub(super) async fn ends(talk: &Talk, calls: usize) -> Vec<String> {
    let records = talk.receiver.wait_for(calls, PATIENCE).await;
    records.into_iter().map(|call| call.error_type).collect()
}

#[tokio::test]
async fn a_client_that_hears_no_more_has_left() {
    let script = Script::start(|asked, _| async move {
        match (&*asked.name(), asked.body["id"].as_u64()) {
            ("tools/call", Some(2..)) => std::future::pending().await,
            _ => asked.usual("one"),
        }
    })
    .await;
    let mut talk = Talk::to(&script).await;
    talk.begin().await;
    talk.call(2).await;
    waiting(&script, 1).await;
    talk.deafen();
    // Its answer is what the proxy cannot say.
    talk.call(1).await;
    let status = talk.end(Duration::from_secs(10)).await;
    assert!(status.success(), "{status}: {}", talk.proxy.stderr());
    assert_eq!(script.names().last().map(String::as_str), Some("DELETE"));
    assert_eq!(ends(&talk, 2).await, ["", "cancelled"]);
}

/// Where a server is that takes nothing of the first large request, and says `early` to it.
async fn hasty(early: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/mcp", listener.local_addr().expect("an address"));
    let hasty = Arc::new(AtomicBool::new(true));
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(converse(BufReader::new(socket), early, Arc::clone(&hasty)));
        }
    });
    url
}

async fn converse(mut socket: BufReader<TcpStream>, early: &str, hasty: Arc<AtomicBool>) {
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if socket.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            let line = line.trim().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            if line.is_empty() {
                break;
            }
        }
        if length > LARGE && hasty.swap(false, Ordering::SeqCst) {
            socket.write_all(early.as_bytes()).await.expect("the proxy reads");
            socket.shutdown().await.expect("it was open");
            // Not closed, which would take back what was said.
            return std::future::pending().await;
        }
        let mut body = vec![0; length];
        socket.read_exact(&mut body).await.expect("the body");
        let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
        let result = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "content": [] });
        let answer = json!({ "jsonrpc": "2.0", "id": asked["id"], "result": result }).to_string();
        let reply = if asked["id"].is_null() {
            "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n".to_owned()
        } else {
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nMcp-Session-Id: one\r\n\
                 Content-Length: {}\r\n\r\n{answer}",
                answer.len()
            )
        };
        socket.write_all(reply.as_bytes()).await.expect("the proxy reads");
    }
}

#[tokio::test]
async fn what_is_answered_before_it_was_taken_is_one_call() {
    for (early, end) in [
        ("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "http_413"),
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", ""),
        (
            "HTTP/1.1 307 Elsewhere\r\nContent-Length: 0\r\nLocation: /other\r\n\
             Connection: close\r\n\r\n",
            "",
        ),
    ] {
        let mut talk = Talk::with(&hasty(early).await, &["--tap-bytes", "64MiB"]).await;
        talk.begin().await;
        let text = "x".repeat(2 * LARGE);
        talk.ask(1, "tools/call", json!({ "name": "t", "arguments": { "text": text } })).await;
        assert_eq!(talk.hear().await["id"], 1, "{early}");
        talk.call(2).await;
        assert_eq!(talk.hear().await["id"], 2, "{early}");
        assert_eq!(ends(&talk, 2).await, [end, ""], "{early}");
        talk.proxy.scrape().await.assert_balanced();
    }
}

#[tokio::test]
async fn what_is_no_answer_is_reported_as_the_client_was_told() {
    const JSON: &str = "application/json";
    let result = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
    let cut = &result[..result.len() - 2];
    let trailed = format!("{result}}}");
    let other = r#"{"jsonrpc":"2.0","id":"1","result":{}}"#;
    let error = r#"{"jsonrpc":"2.0","id":7,"error":{"code":-5,"message":"m"}}"#;
    let event = format!("data: {error}\n\n");
    let late = format!(": ping\n\ndata: {{\"jsonrpc\":\"2.0\",\"method\":\"n\"}}\n\n{event}");
    let large = error.replace("\"m\"", &format!("\"{}\"", "m".repeat(2 << 20)));
    let cases = [
        (200, JSON, cut, -32603, "transport"),
        (200, JSON, &trailed, -32603, "transport"),
        (200, JSON, other, -32603, "transport"),
        (200, "text/html", result, -32603, "transport"),
        (202, "text/plain", "", -32603, "transport"),
        (400, JSON, result, -32603, "http_400"),
        (400, JSON, error, -5, "-5"),
        (401, JSON, error, -32603, "http_401"),
        (403, JSON, error, -5, "-5"),
        (500, JSON, &large, -5, "-5"),
        (400, "text/event-stream", &event, -5, "-5"),
        (502, "text/event-stream", &late, -5, "-5"),
        (400, "text/event-stream", ": nothing\n\n", -32603, "http_400"),
    ];
    for (status, kind, body, code, end) in cases {
        let text = body.to_owned();
        let script = Script::start(move |asked, _| {
            let call = asked.name() == "tools/call";
            let reply =
                if call { Reply::text(status, kind, text.clone()) } else { asked.usual("one") };
            std::future::ready(reply)
        })
        .await;
        let mut talk = Talk::to(&script).await;
        talk.begin().await;
        talk.call(1).await;
        let mut told = talk.hear().await;
        if told["id"] != 1 {
            told = talk.hear().await;
        }
        assert_eq!(told["error"]["code"], code, "{status} {kind} {body}: {told}");
        assert_eq!(ends(&talk, 1).await, [end], "{status} {kind} {body}");
    }
}

#[tokio::test]
async fn a_batch_that_is_refused_is_answered_as_the_server_said() {
    let script = Script::start(|asked, _| async move {
        let error = json!({ "code": -32600, "message": "no batches here" });
        match &asked.body {
            Value::Array(_) => {
                Reply::json(400, &json!({ "jsonrpc": "2.0", "id": null, "error": error }))
            }
            _ => asked.usual("one"),
        }
    })
    .await;
    let mut talk = Talk::to(&script).await;
    talk.begin().await;
    let call = |id| {
        json!({
            "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": "t" },
        })
    };
    talk.say(&json!([call(1), call(2)])).await;
    for id in [1, 2] {
        let told = talk.hear().await;
        assert_eq!((&told["id"], &told["error"]["code"]), (&json!(id), &json!(-32600)));
    }
    assert_eq!(ends(&talk, 2).await, ["-32600", "-32600"]);
    talk.proxy.scrape().await.assert_balanced();
}

#[tokio::test]
async fn a_call_that_is_withdrawn_before_it_was_sent_is_one() {
    for begins in [true, false] {
        let script = Script::start(move |asked, _| async move {
            match &*asked.name() {
                "initialize" if begins => std::future::pending().await,
                "tools/call" => std::future::pending().await,
                _ => asked.usual("one"),
            }
        })
        .await;
        let mut talk = Talk::to(&script).await;
        if begins {
            // Behind the beginning of the session.
            talk.ask(0, "initialize", json!({ "protocolVersion": "2025-11-25" })).await;
        } else {
            // Behind as many as are in flight at once.
            talk.begin().await;
            for id in 1..=128 {
                talk.call(id).await;
            }
            waiting(&script, 128).await;
        }
        talk.call(200).await;
        talk.say(&json!({
            "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 200 },
        }))
        .await;
        assert_eq!(ends(&talk, 1).await, ["cancelled"], "begins: {begins}");
        talk.proxy.scrape().await.assert_balanced();
        // What is left when the client goes is withdrawn as well.
        talk.call(201).await;
        talk.close();
        talk.end(Duration::from_secs(10)).await;
        let calls = if begins { 2 } else { 130 };
        assert_eq!(ends(&talk, calls).await, vec!["cancelled"; calls], "begins: {begins}");
        assert!(script.asked().iter().all(|asked| asked.body["id"] != 200));
    }
}

#[tokio::test]
async fn calls_that_are_too_large_to_observe_are_calls() {
    const CALLS: usize = 4;
    let script = Script::start(|asked, _| std::future::ready(asked.usual("one"))).await;
    let mut talk = Talk::with(&script.url(), &["--tap-bytes", "64KiB"]).await;
    talk.begin().await;
    let arguments = json!({ "text": "x".repeat(LARGE) });
    for id in 1..=CALLS {
        // As the TypeScript SDK writes it: the id comes last.
        let call = if id == CALLS {
            format!(
                r#"{{"method":"tools/call","params":{{"name":"t","arguments":{arguments}}},"jsonrpc":"2.0","id":{id}}}"#
            )
        } else {
            format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"t","arguments":{arguments}}}}}"#
            )
        };
        talk.write(format!("{call}\n").as_bytes()).await;
    }
    for _ in 0..CALLS {
        assert_eq!(talk.hear().await["result"], json!({ "content": [] }));
    }
    let records = talk.receiver.wait_for(CALLS, PATIENCE).await;
    assert!(records.iter().all(|call| call.tool_name == "t"), "{records:#?}");
    let odd = |end: &&str| !["", "unobserved"].contains(end);
    let ends: Vec<_> = records.iter().map(|call| &*call.error_type).collect();
    assert_eq!((ends.len(), ends.iter().copied().find(|end| odd(end))), (CALLS, None));
    talk.proxy.scrape().await.assert_balanced();
}

#[tokio::test]
async fn a_server_that_nobody_uses_is_watched() {
    let script = Script::start(|asked, _| std::future::ready(asked.usual("one"))).await;
    let talk = Talk::to(&script).await;
    talk.proxy.wait_until_ready(true).await;
    assert_eq!(script.names(), Vec::<String>::new());
    drop(script);
    talk.proxy.wait_until_ready(false).await;
}
