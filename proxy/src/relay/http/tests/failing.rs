//! An upstream that is away, breaks or is slow, and what the client is told.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use http::Response;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::harness::{Relay, Server, eventually, whole};
use crate::{
    config::{ErrorStatus, Listen, Remote},
    relay::http::counters::Failed,
    traffic::{End, HttpTransport},
};

const CALL: &str = r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"x"},"id":"a-1"}"#;

/// An address where nobody listens.
async fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}/mcp", listener.local_addr().unwrap())
}

#[tokio::test]
async fn an_upstream_that_is_away_is_answered_for_under_the_requests_id() {
    let relay = Relay::to(nowhere().await).await;
    let (status, body) =
        relay.exchange(relay.request("POST", "/mcp").body(whole(CALL)).unwrap()).await;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &body["id"]), (503, &json!("a-1")));
    assert_eq!(body["error"]["code"], -32603);
    assert_eq!(body["error"]["data"]["source"], "mcpulse-proxy");
    assert_eq!(relay.counters.failed(Failed::Connect), 1);
    assert_eq!(relay.ready.closed().len(), 1);

    let (data, to_server, to_client) = relay.observed();
    assert_eq!(data, CALL, "the call is seen although it went nowhere");
    assert_eq!((to_server, to_client), (Some(End::Clean), Some(End::Unreachable)));

    let note = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    let (status, body) =
        relay.exchange(relay.request("POST", "/mcp").body(whole(note)).unwrap()).await;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, body.get("id")), (503, None));
    let (status, _) = relay.exchange(relay.request("GET", "/mcp").body(whole("")).unwrap()).await;
    assert_eq!(status, 503);
}

#[tokio::test]
async fn an_id_without_a_value_is_answered_as_it_was_written() {
    let relay = Relay::to(nowhere().await).await;
    let (digits, text) = ("9".repeat(400), format!("\"{}\"", "x".repeat(5000)));
    for id in [r#""\ud800""#, "1e999", "-0", &digits, &text] {
        let call = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
        for body in [format!("[{call}]"), call] {
            let request = relay.request("POST", "/mcp").body(whole(body)).unwrap();
            let (status, body) = relay.exchange(request).await;
            let body = String::from_utf8(body.to_vec()).unwrap();
            assert_eq!(status, 503);
            assert!(body.contains(&format!(r#""id":{id},"#)), "{body}");
        }
    }
}

#[tokio::test]
async fn the_error_status_can_be_200_for_requests() {
    let mut remote = Remote::new(nowhere().await);
    remote.error_status = ErrorStatus::Ok;
    let relay = Relay::start(remote, Listen::new(":0"), HttpTransport::Streamable).await;
    let (status, body) =
        relay.exchange(relay.request("POST", "/mcp").body(whole(CALL)).unwrap()).await;
    assert_eq!(status, 200);
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["id"], "a-1");
}

#[tokio::test]
async fn an_upstream_that_comes_back_is_noticed_without_a_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let relay = Relay::to(format!("http://{address}/mcp")).await;
    eventually("the gate says why", || {
        relay.ready.closed().iter().any(|(_, reason)| reason.contains("connect to upstream"))
    })
    .await;
    let listener = TcpListener::bind(address).await.unwrap();
    eventually("the gate opens", || relay.ready.closed().is_empty()).await;
    // From now on it is down, and not still on its way up.
    drop(listener);
    eventually("the gate closes", || !relay.ready.closed().is_empty()).await;
    let (status, _) =
        relay.exchange(relay.request("POST", "/mcp").body(whole(CALL)).unwrap()).await;
    assert_eq!(status, 502);
}

#[tokio::test]
async fn a_slow_answer_is_given_up_after_the_response_timeout() {
    let server = Server::start(|request| async move {
        let _ = request.into_body().collect().await;
        std::future::pending::<Response<_>>().await
    })
    .await;
    let mut remote = Remote::new(server.url());
    remote.response_timeout = Some(Duration::from_millis(50));
    let relay = Relay::start(remote, Listen::new(":0"), HttpTransport::Streamable).await;
    let (status, body) =
        relay.exchange(relay.request("POST", "/mcp").body(whole(CALL)).unwrap()).await;
    assert_eq!(status, 504);
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["id"], "a-1");
    assert_eq!(relay.observed().2, Some(End::TimedOut));
}

#[tokio::test]
async fn a_request_that_may_have_been_read_is_not_sent_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let relay = Relay::to(format!("http://{}/mcp", listener.local_addr().unwrap())).await;
    let requests = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&requests);
    tokio::spawn(async move {
        loop {
            // Some connections are the relay's own look whether the upstream is there.
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 4096];
            seen.fetch_add(usize::from(stream.read(&mut head).await.unwrap() > 0), SeqCst);
        }
    });
    let (status, body) =
        relay.exchange(relay.request("POST", "/mcp").body(whole(CALL)).unwrap()).await;
    assert_eq!(status, 502);
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["id"], "a-1");
    assert_eq!(relay.observed().2, Some(End::ServerGone));
    assert_eq!(relay.counters.resent(), 0);
    // The relay answers once it has done all that it will.
    assert_eq!(requests.load(SeqCst), 1, "how often the upstream saw it");
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off_for_the_client() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let relay = Relay::to(format!("http://{}/mcp", listener.local_addr().unwrap())).await;
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 4096];
            if stream.read(&mut head).await.unwrap() > 0 {
                let part = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\
                    content-type: text/event-stream\r\n\r\n5\r\n: hi\n\r\n";
                stream.write_all(part).await.unwrap();
            }
        }
    });
    let request = relay.request("POST", "/mcp").body(whole(CALL)).unwrap();
    let response = relay.client().await.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.into_body().collect().await.is_err(), "it ended as if it were whole");
    assert_eq!(relay.observed().2, Some(End::ServerGone));
    assert_eq!(relay.counters.failed(Failed::Truncated), 1);
}
