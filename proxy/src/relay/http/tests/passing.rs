//! What goes through, and how.

use http::{HeaderMap, Response};
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use super::harness::{Relay, Server, eventually, whole};

#[tokio::test]
async fn a_call_arrives_and_its_answer_comes_back() {
    let (heads, mut seen) = mpsc::channel(1);
    let server = Server::start(move |request| {
        let heads = heads.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            heads.send((parts, body.clone())).await.unwrap();
            Response::builder()
                .header("content-type", "application/json")
                .header("mcp-session-id", "s1")
                .header("set-cookie", "a=1")
                .header("set-cookie", "b=2")
                .header("keep-alive", "timeout=5")
                .body(whole(body))
                .unwrap()
        }
    })
    .await;
    let relay = Relay::to(server.url()).await;
    let request = relay
        .request("POST", "/mcp?x=%20y")
        .header("content-type", "application/json")
        .header("mcp-param-region", "eu")
        .header("accept-encoding", "gzip")
        .header("origin", format!("http://{}", relay.address))
        .header("connection", "x-hop")
        .header("x-hop", "1")
        .body(whole("{\"id\":1}"))
        .unwrap();
    let response = relay.client().await.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["mcp-session-id"], "s1");
    let cookies: Vec<_> = response.headers().get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
    assert!(!response.headers().contains_key("keep-alive"));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "{\"id\":1}");

    let (parts, body) = seen.recv().await.unwrap();
    assert_eq!((parts.method.as_str(), parts.uri.to_string().as_str()), ("POST", "/mcp?x=%20y"));
    assert_eq!(body, "{\"id\":1}");
    let header = |headers: &HeaderMap, name: &str| {
        headers.get(name).map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(header(&parts.headers, "host"), Some(server.address.to_string()));
    assert_eq!(header(&parts.headers, "mcp-param-region").as_deref(), Some("eu"));
    assert_eq!(header(&parts.headers, "accept-encoding").as_deref(), Some("identity"));
    assert_eq!(header(&parts.headers, "content-length").as_deref(), Some("8"));
    for gone in ["origin", "connection", "x-hop", "transfer-encoding"] {
        assert_eq!(header(&parts.headers, gone), None, "{gone}");
    }
    eventually("the upstream is known to be up", || relay.ready.closed().is_empty()).await;
}

#[tokio::test]
async fn connections_are_used_again() {
    let server = Server::start(|request| async move {
        Response::new(whole(request.into_body().collect().await.unwrap().to_bytes()))
    })
    .await;
    let relay = Relay::to(server.url()).await;
    eventually("the first dial", || relay.counters.dialled() == 1).await;
    let mut client = relay.client().await;
    for n in 0..20 {
        let request = relay.request("POST", "/mcp").body(whole(format!("call {n}"))).unwrap();
        client.ready().await.unwrap();
        let response = client.send_request(request).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, format!("call {n}"));
    }
    assert_eq!(server.connections(), 1);
    assert_eq!(relay.counters.requests(), 20);
}

#[tokio::test]
async fn a_head_without_its_body_says_what_the_body_would_be() {
    let server = Server::start(|_| async { Response::new(whole("four")) }).await;
    let relay = Relay::to(server.url()).await;
    let request = relay.request("HEAD", "/mcp").body(whole("")).unwrap();
    let response = relay.client().await.send_request(request).await.unwrap();
    assert_eq!(response.headers()["content-length"], "4");
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "");
}
