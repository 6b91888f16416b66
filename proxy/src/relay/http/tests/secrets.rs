//! Tokens and headers: who gets them, and who does not.

use http::{HeaderMap, Response, StatusCode};
use tokio::sync::mpsc;

use super::harness::{Relay, Server, whole};
use crate::{
    config::{Header, HostHeader, Listen, Remote},
    traffic::HttpTransport,
};

/// A server that shows the heads of its requests.
async fn showing() -> (Server, mpsc::Receiver<(String, HeaderMap)>) {
    let (heads, seen) = mpsc::channel(16);
    let server = Server::start(move |request| {
        let heads = heads.clone();
        async move {
            let (parts, _) = request.into_parts();
            heads.send((parts.uri.to_string(), parts.headers)).await.unwrap();
            Response::new(whole("ok"))
        }
    })
    .await;
    (server, seen)
}

async fn mirroring(server: &Server) -> Relay {
    let mut remote = Remote::new(server.url());
    remote.bearer_token = Some("secret123".into());
    remote.headers = vec![Header::new("X-API-Key", "abc123").unwrap()];
    Relay::start(remote, Listen::new(":0"), HttpTransport::Streamable).await
}

#[tokio::test]
async fn the_endpoint_gets_the_credentials_and_other_paths_do_not() {
    let (server, mut seen) = showing().await;
    let relay = mirroring(&server).await;
    for (path, with) in [("/mcp", true), ("/mcp/", true), ("/admin", false), ("/mcp/x", false)] {
        let request = relay
            .request("POST", path)
            .header("authorization", "Bearer secret123")
            .header("x-api-key", "the client's own")
            .body(whole("{}"))
            .unwrap();
        assert_eq!(relay.exchange(request).await.0, 200, "{path}");
        let (asked, headers) = seen.recv().await.unwrap();
        assert_eq!(asked, path);
        let keys: Vec<_> = headers.get_all("x-api-key").iter().collect();
        if with {
            assert_eq!(headers["authorization"], "Bearer secret123", "{path}");
            assert_eq!(keys, ["abc123"], "{path}");
        } else {
            assert!(!headers.contains_key("authorization"), "{path}");
            assert_eq!(keys, ["the client's own"], "{path}");
        }
    }
}

#[tokio::test]
async fn a_preflight_passes_without_credentials_of_anyone() {
    let (server, mut seen) = showing().await;
    let relay = mirroring(&server).await;
    let preflight = relay
        .request("OPTIONS", "/mcp")
        .header("origin", format!("http://{}", relay.address))
        .header("access-control-request-method", "POST");
    assert_eq!(relay.exchange(preflight.body(whole("")).unwrap()).await.0, 200);
    let (asked, headers) = seen.recv().await.unwrap();
    assert_eq!(asked, "/mcp");
    assert!(!headers.contains_key("authorization"));
    assert!(!headers.contains_key("x-api-key"));
}

#[tokio::test]
async fn a_client_without_the_token_gets_no_further() {
    let (server, mut seen) = showing().await;
    let relay = mirroring(&server).await;
    for token in [None, Some("Bearer secret12"), Some("Basic secret123")] {
        let mut request = relay.request("POST", "/mcp");
        if let Some(token) = token {
            request = request.header("authorization", token);
        }
        let response =
            relay.client().await.send_request(request.body(whole("{}")).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert!(response.headers().contains_key("www-authenticate"));
    }
    assert!(seen.try_recv().is_err());
    let discovery = relay.request("GET", "/.well-known/oauth-protected-resource/mcp");
    assert_eq!(relay.exchange(discovery.body(whole("")).unwrap()).await.0, 200);
    assert_eq!(seen.recv().await.unwrap().0, "/.well-known/oauth-protected-resource/mcp");
}

#[tokio::test]
async fn without_a_token_the_clients_own_authorization_passes() {
    let (server, mut seen) = showing().await;
    let relay = Relay::to(server.url()).await;
    for path in ["/mcp", "/token"] {
        let request = relay.request("POST", path).header("authorization", "Basic abc");
        assert_eq!(relay.exchange(request.body(whole("")).unwrap()).await.0, 200);
        assert_eq!(seen.recv().await.unwrap().1["authorization"], "Basic abc");
    }
}

#[tokio::test]
async fn another_host_or_origin_is_refused_before_the_upstream() {
    let (server, mut seen) = showing().await;
    let relay = Relay::to(server.url()).await;
    for (host, origin) in [("evil.example.com", None), ("localhost", Some("http://evil.example"))] {
        let mut request = http::Request::post("/mcp").header("host", host);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        assert_eq!(relay.exchange(request.body(whole("{}")).unwrap()).await.0, 403);
    }
    assert!(seen.try_recv().is_err());
}

#[tokio::test]
async fn host_and_origin_go_upstream_as_configured() {
    let (server, mut seen) = showing().await;
    let mut remote = Remote::new(server.url());
    remote.host_header = HostHeader::Preserve;
    let preserving = Relay::start(remote, Listen::new(":0"), HttpTransport::Streamable).await;
    let origin = format!("http://{}", preserving.address);
    let request = preserving.request("POST", "/mcp").header("origin", &origin);
    assert_eq!(preserving.exchange(request.body(whole("")).unwrap()).await.0, 200);
    let (_, headers) = seen.recv().await.unwrap();
    assert_eq!(headers["host"], preserving.address.to_string());
    assert_eq!(headers["origin"], origin);

    let mut listen = Listen::new(":0");
    listen.allowed_origins = vec!["https://inspector.example".to_owned()];
    let vouching = Relay::start(Remote::new(server.url()), listen, HttpTransport::Streamable).await;
    let request = vouching.request("POST", "/mcp").header("origin", "https://inspector.example");
    assert_eq!(vouching.exchange(request.body(whole("")).unwrap()).await.0, 200);
    let (_, headers) = seen.recv().await.unwrap();
    assert_eq!(headers["host"], server.address.to_string());
    assert_eq!(headers["origin"], "https://inspector.example");
}
