//! The end: streams that nobody waits on, calls in flight, and the drain.

use std::{sync::Arc, time::Duration};

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Mutex, oneshot},
    time::timeout,
};

use super::{
    harness::{DEADLINE, Relay, Server, eventually, stream, whole},
    versions::Identity,
};
use crate::{
    config::{Listen, Remote},
    relay::http::counters::Away,
    traffic::{End, HttpTransport},
};

#[tokio::test]
async fn streams_end_and_calls_finish() {
    let (release, released) = oneshot::channel::<()>();
    let released = Arc::new(Mutex::new(Some(released)));
    let server = Server::start(move |request| {
        let released = Arc::clone(&released);
        async move {
            if request.method() == "GET" {
                let (events, response) = stream();
                tokio::spawn(async move { events.closed().await });
                return response;
            }
            if let Some(released) = released.lock().await.take() {
                released.await.unwrap();
            }
            Response::new(whole("done"))
        }
    })
    .await;
    let relay = Relay::to(server.url()).await;
    let get = relay.request("GET", "/mcp").body(whole("")).unwrap();
    let listening = relay.client().await.send_request(get).await.unwrap();
    let post = relay.request("POST", "/mcp").body(whole("{}")).unwrap();
    let mut client = relay.client().await;
    let calling = tokio::spawn(async move {
        let response = client.send_request(post).await.unwrap();
        response.into_body().collect().await.unwrap().to_bytes()
    });
    eventually("both requests arrived", || relay.counters.requests() == 2).await;
    relay.shutdown.begin(Duration::from_secs(30));
    assert_eq!(listening.into_body().collect().await.unwrap().to_bytes(), "");
    let address = relay.address;
    eventually("no more clients", || std::net::TcpStream::connect(address).is_err()).await;
    assert!(!relay.task.is_finished());
    release.send(()).unwrap();
    assert_eq!(calling.await.unwrap(), "done");
    eventually("the relay ended", || relay.task.is_finished()).await;
}

#[tokio::test]
async fn who_still_waits_when_the_drain_is_over_is_told_so() {
    let server = Server::start(|request: Request<Incoming>| async move {
        let _ = request.into_body().collect().await;
        std::future::pending::<Response<_>>().await
    })
    .await;
    let relay = Relay::to(server.url()).await;
    let call = whole(r#"{"jsonrpc":"2.0","id":5,"method":"tools/call"}"#);
    let request = relay.request("POST", "/mcp").body(call).unwrap();
    let mut client = relay.client().await;
    let calling = tokio::spawn(async move {
        let response = client.send_request(request).await.unwrap();
        let status = response.status().as_u16();
        (status, response.into_body().collect().await.unwrap().to_bytes())
    });
    eventually("the call went upstream", || server.requests() == 1).await;
    relay.shutdown.begin(Duration::from_millis(20));
    let (status, body) = calling.await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &body["id"]), (503, &json!(5)));
    assert_eq!(relay.observed().2, Some(End::Refused));
    eventually("the relay ended", || relay.task.is_finished()).await;
}

#[tokio::test]
async fn who_has_asked_nothing_does_not_hold_the_end() {
    let identity = Identity::new();
    for (tls, away) in [(None, Away::Silent), (Some(identity.files()), Away::NoTls)] {
        let mut listen = Listen::new("127.0.0.1:0");
        listen.read_timeout = Duration::from_hours(1);
        listen.tls = tls;
        let remote = Remote::new("http://127.0.0.1:1/mcp");
        let relay = Relay::start(remote, listen, HttpTransport::Streamable).await;
        let mut silent = TcpStream::connect(relay.address).await.unwrap();
        // Clients are taken in the order in which they came.
        drop(TcpStream::connect(relay.address).await.unwrap());
        eventually("the next one was taken", || relay.counters.turned_away(away) == 1).await;
        relay.shutdown.begin(Duration::from_hours(1));
        let ended = timeout(DEADLINE, silent.read(&mut [0; 1])).await;
        assert!(ended.is_ok(), "the connection is still served");
        eventually("the relay ended", || relay.task.is_finished()).await;
        assert_eq!(relay.counters.turned_away(away), 1, "it did nothing wrong");
    }
}

#[tokio::test]
async fn half_a_head_and_a_greeting_do_not_hold_the_end() {
    let server = Server::start(|_| async { Response::new(whole("done")) }).await;
    let preface: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let half: &[u8] = b"POST /mcp HTTP/1.1\r\nhost: 127";
    let get: &[u8] = b"GET /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";
    for (asked, begun) in [(&[][..], preface), (&[], half), (get, half)] {
        let mut listen = Listen::new("127.0.0.1:0");
        listen.read_timeout = Duration::from_hours(1);
        listen.drain_timeout = Duration::from_hours(1);
        let remote = Remote::new(server.url());
        let relay = Relay::start(remote, listen, HttpTransport::Streamable).await;
        let mut client = TcpStream::connect(relay.address).await.unwrap();
        client.write_all(asked).await.unwrap();
        let mut heard = Vec::new();
        while !asked.is_empty() && !heard.ends_with(b"done") {
            assert!(client.read_buf(&mut heard).await.unwrap() > 0);
        }
        client.write_all(begun).await.unwrap();
        relay.shutdown.begin(Duration::from_hours(1));
        let ended = timeout(DEADLINE, client.read_to_end(&mut heard)).await;
        assert!(ended.is_ok(), "still served after {:?}", begun.escape_ascii().to_string());
        eventually("the relay ended", || relay.task.is_finished()).await;
    }
}

#[tokio::test]
async fn a_drain_that_is_cut_short_waits_for_nobody() {
    let server = Server::start(|request: Request<Incoming>| async move {
        let _ = request.into_body().collect().await;
        std::future::pending::<Response<_>>().await
    })
    .await;
    let relay = Relay::to(server.url()).await;
    let call = whole(r#"{"jsonrpc":"2.0","id":5,"method":"tools/call"}"#);
    let request = relay.request("POST", "/mcp").body(call).unwrap();
    let mut client = relay.client().await;
    let calling = tokio::spawn(async move { client.send_request(request).await.unwrap() });
    eventually("the call went upstream", || server.requests() == 1).await;
    relay.shutdown.begin(Duration::from_hours(1));
    relay.shutdown.hasten(Duration::from_hours(1));
    let answer = timeout(DEADLINE, calling).await.unwrap().unwrap();
    assert_eq!(answer.status(), 503);
    eventually("the relay ended", || relay.task.is_finished()).await;
}

#[tokio::test]
async fn a_subscription_that_is_posted_does_not_hold_the_end() {
    let server = Server::start(|_| async {
        let (events, response) = stream();
        tokio::spawn(async move {
            events.send("data: {}\n\n".into()).await.unwrap();
            events.closed().await;
        });
        response
    })
    .await;
    let relay = Relay::to(server.url()).await;
    let listen = r#"{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{}}"#;
    let request = relay.request("POST", "/mcp").header("mcp-method", "subscriptions/listen");
    let request = request.body(whole(listen)).unwrap();
    let response = relay.client().await.send_request(request).await.unwrap();
    relay.shutdown.begin(Duration::from_hours(1));
    let body = timeout(DEADLINE, response.into_body().collect()).await.unwrap().unwrap();
    assert_eq!(body.to_bytes(), "data: {}\n\n");
    eventually("the relay ended", || relay.task.is_finished()).await;
}
