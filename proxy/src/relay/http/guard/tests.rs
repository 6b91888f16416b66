use http::Request;
use http_body_util::BodyExt;

use super::*;
use crate::config::ServerTls;

const LOOPBACK: &str = "127.0.0.1:8080";
const EVERYWHERE: &str = "0.0.0.0:8080";

fn guard(bound: &str, listen: &Listen) -> Guard {
    Guard::new(listen, bound.parse().unwrap(), None)
}

fn plain(bound: &str) -> Guard {
    guard(bound, &Listen::new(bound))
}

fn request(headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::post("/mcp");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn status(guard: &Guard, headers: &[(&str, &str)]) -> u16 {
    guard.admit(&request(headers)).err().map_or(200, |refusal| refusal.status.as_u16())
}

fn host(guard: &Guard, host: &str) -> u16 {
    status(guard, &[("host", host)])
}

fn from(guard: &Guard, host: &str, origin: &str) -> u16 {
    status(guard, &[("host", host), ("origin", origin)])
}

#[test]
fn a_loopback_listener_answers_to_loopback_names_only() {
    for bound in [LOOPBACK, "[::1]:8080", "127.8.8.8:1", "[::ffff:127.0.0.1]:1"] {
        let guard = plain(bound);
        for name in [
            "localhost",
            "LOCALHOST:1",
            "localhost.:8080",
            "127.0.0.1",
            "127.9.9.9:5",
            "[::1]:8080",
        ] {
            assert_eq!(host(&guard, name), 200, "{name} at {bound}");
        }
        for name in [
            "evil.test",
            "evil.test:8080",
            "localhost.evil.test",
            "127.0.0.1.evil.test",
            "evil.localhost",
            "0.0.0.0",
            "192.168.0.1:8080",
            "[::2]",
            "2130706433",
        ] {
            assert_eq!(host(&guard, name), 403, "{name} at {bound}");
        }
    }
}

#[test]
fn a_request_names_one_host() {
    let guard = plain(EVERYWHERE);
    assert_eq!(status(&guard, &[]), 400);
    assert_eq!(status(&guard, &[("host", "a.test"), ("host", "a.test")]), 400);
    for name in ["", "a b", "user@a.test", "a.test:x", "a.test/x"] {
        assert_eq!(host(&guard, name), 400, "{name}");
    }
}

#[test]
fn every_place_that_names_a_host_is_checked() {
    let guard = plain(LOOPBACK);
    let admit = |uri: &str, host: Option<&str>| {
        let mut request = Request::get(uri);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        guard.admit(&request.body(()).unwrap().into_parts().0).is_ok()
    };
    assert!(admit("http://localhost:8080/mcp", None));
    assert!(admit("http://localhost:8080/mcp", Some("localhost:8080")));
    assert!(!admit("http://evil.test/mcp", None));
    assert!(!admit("http://evil.test/mcp", Some("localhost")));
    assert!(!admit("http://localhost/mcp", Some("evil.test")));
}

#[test]
fn allowed_hosts_pass_beside_loopback_names() {
    let names = ["Box.test".to_owned(), "dev.test:8443".to_owned(), "web.test:443".to_owned()];
    let guard = guard(LOOPBACK, &Listen { allowed_hosts: names.into(), ..Listen::new(LOOPBACK) });
    for name in
        ["box.test", "BOX.test:99", "dev.test:8443", "web.test", "web.test:443", "localhost"]
    {
        assert_eq!(host(&guard, name), 200, "{name}");
    }
    for name in ["dev.test", "dev.test:80", "web.test:8080", "sub.box.test"] {
        assert_eq!(host(&guard, name), 403, "{name}");
    }
}

#[test]
fn elsewhere_every_host_passes_unless_some_are_named() {
    for name in ["mcp.default.svc:8080", "10.0.0.7", "evil.test"] {
        assert_eq!(host(&plain(EVERYWHERE), name), 200);
    }
    let listen = Listen { allowed_hosts: vec!["mcp.test".to_owned()], ..Listen::new(":8080") };
    let named = guard(EVERYWHERE, &listen);
    assert_eq!(host(&named, "mcp.test:8080"), 200);
    assert_eq!(host(&named, "localhost:8080"), 403);
    // A name that cannot be read does not open the listener.
    let listen = Listen { allowed_hosts: vec!["https://mcp.test/".to_owned()], ..listen };
    assert_eq!(host(&guard(EVERYWHERE, &listen), "evil.test"), 403);
}

#[test]
fn an_origin_must_be_the_listeners_own() {
    let here = plain(LOOPBACK);
    for origin in ["http://localhost:8080", "http://127.0.0.1:8080", "http://[::1]:8080"] {
        assert_eq!(from(&here, "localhost:8080", origin), 200, "{origin}");
    }
    for origin in [
        // Another program of this machine.
        "http://localhost:6274",
        "https://localhost:8080",
        "https://[::1]:8080",
        "http://localhost:8080/",
        "http://127.0.0.1:8080/x",
        "http://127.0.0.1:8080?x",
        "http://localhost",
        "http://evil.test",
        "null",
        "",
        "localhost:8080",
        "http://localhost.evil.test",
        "file://localhost",
        "chrome-extension://abc",
    ] {
        assert_eq!(from(&here, "localhost:8080", origin), 403, "{origin}");
    }
    let twice =
        [("host", "localhost"), ("origin", "http://localhost"), ("origin", "http://localhost")];
    assert_eq!(status(&here, &twice), 403);

    let everywhere = plain(EVERYWHERE);
    assert_eq!(from(&everywhere, "mcp.test:8080", "http://mcp.test:8080"), 200);
    // A terminator of TLS in front.
    assert_eq!(from(&everywhere, "mcp.test", "https://mcp.test"), 200);
    assert_eq!(from(&everywhere, "mcp.test:443", "https://mcp.test"), 200);
    assert_eq!(from(&everywhere, "mcp.test:8080", "http://mcp.test"), 403);
    assert_eq!(from(&everywhere, "mcp.test", "http://localhost"), 403);
}

#[test]
fn behind_tls_only_https_is_its_own() {
    for bound in [LOOPBACK, EVERYWHERE] {
        let tls = Some(ServerTls { cert: "c".into(), key: "k".into() });
        let guard = guard(bound, &Listen { tls, ..Listen::new(bound) });
        assert_eq!(from(&guard, "localhost:8080", "https://localhost:8080"), 200, "{bound}");
        assert_eq!(from(&guard, "localhost:8080", "http://localhost:8080"), 403, "{bound}");
    }
}

#[test]
fn the_public_url_passes_on_loopback_without_further_options() {
    let public_url = Some("https://mcp.test:8443".to_owned());
    let guard = guard(LOOPBACK, &Listen { public_url, ..Listen::new(LOOPBACK) });
    for name in ["mcp.test:8443", "mcp.test", "localhost:8080"] {
        assert_eq!(host(&guard, name), 200, "{name}");
        assert_eq!(from(&guard, name, "https://mcp.test:8443"), 200, "{name}");
        assert_eq!(from(&guard, name, "https://evil.test"), 403, "{name}");
    }
    assert_eq!(host(&guard, "evil.test"), 403);
}

#[test]
fn allowed_origins_and_the_public_url_pass() {
    let listen = Listen {
        allowed_origins: vec!["https://app.test".to_owned(), "http://app.test:3000".to_owned()],
        public_url: Some("https://mcp.test/mcp".to_owned()),
        ..Listen::new(EVERYWHERE)
    };
    let guard = guard(EVERYWHERE, &listen);
    for origin in ["https://app.test", "http://APP.test:3000", "https://mcp.test"] {
        assert_eq!(from(&guard, "10.0.0.7:8080", origin), 200, "{origin}");
    }
    for origin in ["http://app.test", "https://app.test:3000", "null"] {
        assert_eq!(from(&guard, "10.0.0.7:8080", origin), 403, "{origin}");
    }
}

fn authorize(guard: &Guard, authorization: &[&str]) -> Result<(), Refusal> {
    let headers: Vec<_> = authorization.iter().map(|value| ("authorization", *value)).collect();
    guard.authorize(&request(&headers))
}

fn with_token(token: Secret) -> Guard {
    Guard::new(&Listen::new(LOOPBACK), LOOPBACK.parse().unwrap(), Some(token))
}

#[test]
fn the_token_is_demanded_where_there_is_one() {
    let guard = with_token("secret123".into());
    for right in ["Bearer secret123", "bearer secret123", "BEARER  secret123"] {
        assert_eq!(authorize(&guard, &[right]), Ok(()), "{right}");
    }
    for wrong in
        ["Bearer secret12", "Bearer secret1234", "Bearer Secret123", "Bearer ", "Basic secret123"]
    {
        let refusal = authorize(&guard, &[wrong]).unwrap_err();
        assert_eq!(refusal.status, StatusCode::UNAUTHORIZED, "{wrong}");
    }
    assert!(authorize(&guard, &["Bearer secret123", "Bearer secret123"]).is_err());
    assert_eq!(authorize(&plain(LOOPBACK), &[]), Ok(()));
}

#[test]
fn a_challenge_names_an_error_only_for_a_token() {
    let guard = with_token("secret123".into());
    let none = authorize(&guard, &[]).unwrap_err().challenge.unwrap();
    assert!(none.starts_with("Bearer ") && !none.contains("error"));
    let wrong = authorize(&guard, &["Bearer x"]).unwrap_err().challenge.unwrap();
    assert!(wrong.contains("error=\"invalid_token\""));
}

#[test]
fn a_preflight_needs_no_token() {
    let guard = with_token("secret123".into());
    let mut preflight =
        request(&[("origin", "http://localhost:6274"), ("access-control-request-method", "POST")]);
    assert!(guard.authorize(&preflight).is_err());
    preflight.method = Method::OPTIONS;
    assert_eq!(guard.authorize(&preflight), Ok(()));
    let mut bare = request(&[]);
    bare.method = Method::OPTIONS;
    assert!(guard.authorize(&bare).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_token_file_is_read_again_and_fails_closed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let guard = with_token(Secret::File(path.clone()));
    for content in [None, Some("\n")] {
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let refusal = authorize(&guard, &["Bearer "]).unwrap_err();
        assert_eq!(refusal.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(refusal.response().headers().contains_key("retry-after"));
    }
    std::fs::write(&path, "one\n").unwrap();
    assert_eq!(authorize(&guard, &["Bearer one"]), Ok(()));
    std::fs::write(&path, "two\n").unwrap();
    tokio::time::advance(std::time::Duration::from_secs(1)).await;
    assert!(authorize(&guard, &["Bearer one"]).is_err());
    assert_eq!(authorize(&guard, &["Bearer two"]), Ok(()));
}

#[tokio::test]
async fn a_refusal_is_a_json_rpc_error_without_an_id() {
    let refusal = plain(LOOPBACK).admit(&request(&[("host", "evil.test")])).unwrap_err();
    assert_eq!(refusal.reason, "host");
    let response = refusal.response();
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert_eq!(response.headers()["content-type"], "application/json");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["id"], serde_json::Value::Null);
    assert_eq!(body["error"]["code"], -32600);
    assert!(body["error"]["message"].as_str().unwrap().contains("evil.test"));

    let unauthorized = authorize(&with_token("x".into()), &[]).unwrap_err().response();
    assert!(unauthorized.headers()["www-authenticate"].to_str().unwrap().starts_with("Bearer"));
}

#[test]
fn debug_shows_no_token() {
    let guard = with_token("secret123".into());
    assert_eq!(authorize(&guard, &["Bearer secret123"]), Ok(()));
    assert!(!format!("{guard:?}").contains("secret123"));
}

#[test]
fn only_discovery_needs_no_token() {
    for path in [
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-protected-resource/mcp",
        "/.well-known/oauth-authorization-server/a/b",
        "/.well-known/openid-configuration",
    ] {
        assert!(is_discovery(&Method::GET, path), "{path}");
        assert!(!is_discovery(&Method::POST, path), "{path}");
    }
    for path in [
        "/mcp",
        "/.well-known/",
        "/.well-known/security.txt",
        "/.well-known/../admin",
        "/.well-known/oauth-protected-resource/../../mcp",
        "/.well-known/oauth-protected-resource/%2e%2e/mcp",
        "/.well-known/oauth-protected-resource\\..\\mcp",
        "/.well-known/oauth-protected-resource-not",
    ] {
        assert!(!is_discovery(&Method::GET, path), "{path}");
    }
}
