//! The end: streams that nobody waits on, calls in flight, and the drain.

use std::{sync::Arc, time::Duration};

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::sync::{Mutex, oneshot};

use super::harness::{Relay, Server, eventually, stream, whole};
use crate::traffic::End;

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
