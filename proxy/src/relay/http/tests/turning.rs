//! Answers that name the upstream: turned so that clients stay with the proxy.

use std::{sync::Arc, time::Duration};

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::harness::{Body, Relay, Server, eventually, stream, whole};
use crate::{
    config::{Header, Listen, Remote},
    traffic::HttpTransport,
};

#[tokio::test]
async fn a_redirect_within_the_upstream_stays_with_the_proxy() {
    let server = Server::start(|request: Request<Incoming>| async move {
        if request.uri().path() == "/mcp/" {
            return Response::new(whole("here"));
        }
        let host = request.headers()["host"].to_str().unwrap().to_owned();
        Response::builder()
            .status(StatusCode::TEMPORARY_REDIRECT)
            .header("location", format!("http://{host}/mcp/"))
            .body(whole(""))
            .unwrap()
    })
    .await;
    let relay = Relay::to(server.url()).await;
    let request = relay.request("POST", "/mcp").body(whole("{}")).unwrap();
    let response = relay.client().await.send_request(request).await.unwrap();
    let location = response.headers()["location"].to_str().unwrap();
    assert_eq!((response.status().as_u16(), location), (307, "/mcp/"));
    let request = relay.request("POST", location).body(whole("{}")).unwrap();
    assert_eq!(relay.exchange(request).await.1, "here");
}

#[tokio::test]
async fn metadata_names_the_public_url_where_there_is_one() {
    let server = Server::start(|request: Request<Incoming>| async move {
        let host = request.headers()["host"].to_str().unwrap().to_owned();
        let metadata = json!({"resource": format!("http://{host}/mcp"), "extra": 1.0});
        Response::builder()
            .header("content-type", "application/json")
            .header("etag", "\"1\"")
            .body(whole(metadata.to_string()))
            .unwrap()
    })
    .await;
    let path = "/.well-known/oauth-protected-resource/mcp";
    let mut listen = Listen::new(":0");
    listen.public_url = Some("https://mcp.example.com".to_owned());
    let relay = Relay::start(Remote::new(server.url()), listen, HttpTransport::Streamable).await;
    let request = relay.request("GET", path).body(whole("")).unwrap();
    let response = relay.client().await.send_request(request).await.unwrap();
    assert!(!response.headers().contains_key("etag"));
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["resource"], "https://mcp.example.com/mcp");

    let plain = Relay::to(server.url()).await;
    let (_, body) = plain.exchange(plain.request("GET", path).body(whole("")).unwrap()).await;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["resource"], server.url());
}

/// A legacy SSE server: announces an endpoint under its own origin, answers on the stream.
async fn legacy() -> Server {
    let sessions = Arc::new(Mutex::new(None));
    Server::start(move |request: Request<Incoming>| {
        let sessions = Arc::clone(&sessions);
        async move {
            let host = request.headers()["host"].to_str().unwrap().to_owned();
            if request.method() == "GET" {
                let (events, response) = stream();
                let endpoint = format!("event: endpoint\ndata: http://{host}/messages?s=1\n\n");
                let (first, second) = endpoint.split_at(20);
                events.send(first.to_owned().into()).await.unwrap();
                events.send(second.to_owned().into()).await.unwrap();
                *sessions.lock().await = Some(events);
                return response;
            }
            let key = request.headers().get("x-key").map_or("none", |key| key.to_str().unwrap());
            let text = format!("event: message\ndata: {} {key}\n\n", request.uri());
            let sessions = sessions.lock().await;
            sessions.as_ref().unwrap().send(text.into()).await.unwrap();
            accepted()
        }
    })
    .await
}

fn accepted() -> Response<Body> {
    Response::builder().status(StatusCode::ACCEPTED).body(whole("Accepted")).unwrap()
}

#[tokio::test]
async fn a_legacy_client_posts_through_the_proxy() {
    let server = legacy().await;
    let mut remote = Remote::new(format!("http://{}/sse", server.address));
    remote.headers = vec![Header::new("x-key", "k").unwrap()];
    let relay = Relay::start(remote, Listen::new(":0"), HttpTransport::LegacySse).await;
    let request = relay.request("GET", "/sse").body(whole("")).unwrap();
    let response = relay.client().await.send_request(request).await.unwrap();
    let mut body = response.into_body();
    let mut events = String::new();
    while !events.ends_with("\n\n") {
        let chunk = body.frame().await.unwrap().unwrap().into_data().unwrap();
        events.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    assert_eq!(events, "event: endpoint\ndata: /messages?s=1\n\n");
    let request = relay.request("POST", "/messages?s=1").body(whole("{}")).unwrap();
    assert_eq!(relay.exchange(request).await.0, 202);
    let chunk = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(chunk, "event: message\ndata: /messages?s=1 k\n\n");

    relay.shutdown.begin(Duration::from_secs(30));
    let address = relay.address;
    eventually("no more clients", || std::net::TcpStream::connect(address).is_err()).await;
    let direct = Request::post("/messages?s=1").header("host", "upstream").body(whole("{}"));
    server.client().await.send_request(direct.unwrap()).await.unwrap();
    let chunk = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(chunk, "event: message\ndata: /messages?s=1 none\n\n", "answers still come");
}
