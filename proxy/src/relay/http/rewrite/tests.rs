use proptest::prelude::*;

use super::*;

fn rewrite(upstream: &str) -> Rewrite {
    Rewrite::new("/mcp", &upstream.parse().unwrap(), None).unwrap()
}

fn public(upstream: &str) -> Rewrite {
    Rewrite::new("/mcp", &upstream.parse().unwrap(), Some("https://proxy.test")).unwrap()
}

fn asked(path: &str) -> PathAndQuery {
    path.parse().unwrap()
}

#[test]
fn the_served_path_stands_for_the_remote_url() {
    for (upstream, path, target, endpoint) in [
        ("http://up.test/mcp", "/mcp", "/mcp", true),
        ("http://up.test/mcp", "/mcp/", "/mcp/", true),
        ("http://up.test/mcp", "/mcp?a=1", "/mcp?a=1", true),
        ("http://up.test/mcp", "/mcp/sub", "/mcp/sub", false),
        ("http://up.test/mcp", "/mcpx", "/mcpx", false),
        ("http://up.test/mcp", "/", "/", false),
        ("http://up.test/v1/tools", "/mcp", "/v1/tools", true),
        ("http://up.test/v1/tools", "/mcp/", "/v1/tools/", true),
        ("http://up.test/v1/tools", "/v1/tools", "/v1/tools", true),
        ("http://up.test/v1/tools", "/v1/tools/?a", "/v1/tools/?a", true),
        ("http://up.test/v1/tools", "/v1/tool", "/v1/tool", false),
        ("http://up.test/v1/tools/", "/mcp", "/v1/tools/", true),
        ("http://up.test/v1/tools/", "/mcp/", "/v1/tools/", true),
        ("http://up.test", "/mcp", "/", true),
        ("http://up.test", "/mcp/?a", "/?a", true),
        ("http://up.test", "/", "/", true),
        ("http://up.test/mcp?key=k", "/mcp", "/mcp?key=k", true),
        ("http://up.test/mcp?key=k", "/mcp?a=1", "/mcp?key=k&a=1", true),
        ("http://up.test/mcp?key=k", "/mcp?key=k&a=1", "/mcp?key=k&a=1", true),
        ("http://up.test/mcp?key=k", "/mcp?key=k2", "/mcp?key=k&key=k2", true),
        ("http://up.test/x?key=k", "/mcp/?a=1", "/x/?key=k&a=1", true),
        ("http://up.test/x?key=k", "/other?a=1", "/other?a=1", false),
    ] {
        let found = rewrite(upstream).target(&asked(path));
        assert_eq!(found, Target { path: asked(target), endpoint }, "{path} at {upstream}");
    }
}

#[test]
fn only_http_urls_can_be_a_remote() {
    for url in ["/mcp", "ftp://up.test/mcp", "up.test:80"] {
        assert!(Rewrite::new("/mcp", &url.parse().unwrap(), None).is_none(), "{url}");
    }
}

fn location(upstream: &str, path: &str, value: &'static str) -> Option<String> {
    let found = rewrite(upstream).location(&HeaderValue::from_static(value), &asked(path))?;
    Some(found.to_str().unwrap().to_owned())
}

#[test]
fn a_location_on_the_server_stays_on_the_listener() {
    for (upstream, path, value, rewritten) in [
        ("http://up.test/mcp", "/mcp", "http://up.test/mcp/", "/mcp/"),
        ("http://up.test/mcp", "/mcp?a=1", "http://up.test/mcp/?a=1", "/mcp/?a=1"),
        ("http://up.test/mcp", "/mcp", "//up.test/mcp/", "/mcp/"),
        ("http://up.test/mcp", "/x", "http://up.test:80", "/"),
        // A server behind a terminator of TLS takes itself for plain HTTP.
        ("https://up.test/mcp", "/mcp", "http://up.test/mcp/", "/mcp/"),
        // The served path stays what the client knows.
        ("http://up.test/v1/tools", "/mcp", "/v1/tools/", "/mcp/"),
        ("http://up.test/v1/tools", "/mcp", "http://up.test/v1/tools/?a=1", "/mcp/?a=1"),
        ("http://up.test/v1/tools", "/mcp", "tools/", "/mcp/"),
        ("http://up.test/v1/tools/", "/mcp/", "/v1/tools", "/mcp"),
        ("http://up.test/v1/tools", "/mcp", "other", "/v1/other"),
        ("http://up.test/v1/tools", "/v1/tools", "http://up.test/v1/tools/", "/v1/tools/"),
        ("http://up.test", "/mcp", "http://up.test/v2", "/v2"),
    ] {
        let found = location(upstream, path, value);
        assert_eq!(found.as_deref(), Some(rewritten), "{value} for {path} at {upstream}");
    }
}

#[test]
fn a_location_that_needs_nothing_is_left_alone() {
    for (upstream, path, value) in [
        ("http://up.test/mcp", "/mcp", "/mcp/"),
        ("http://up.test/mcp", "/mcp", "mcp/"),
        ("http://up.test/mcp", "/mcp", ""),
        ("http://up.test/mcp", "/mcp", "https://up.test/mcp/"),
        ("http://up.test/mcp", "/mcp", "https://login.test/authorize?x"),
        ("http://up.test/mcp", "/mcp", "http://up.test:8080/mcp/"),
        ("http://up.test/mcp", "/mcp", "mailto:a@up.test"),
        ("http://up.test/v1/tools", "/v1/tools", "/v1/tools/"),
        ("http://up.test/v1/tools", "/mcp", "/login"),
    ] {
        assert_eq!(location(upstream, path, value), None, "{value} for {path} at {upstream}");
    }
}

#[test]
fn the_remote_urls_query_stays_secret_and_is_added_again() {
    for (upstream, path, value, rewritten, target) in [
        ("http://up.test/x?k=1", "/mcp", "http://up.test/x/?k=1", "/mcp/", "/x/?k=1"),
        ("http://up.test/x?k=1", "/mcp", "/x/?k=1&a=2#f", "/mcp/?a=2#f", "/x/?k=1&a=2"),
        ("http://up.test/x?k=1", "/x", "/x/?k=1", "/x/", "/x/?k=1"),
        ("http://up.test/mcp?k=1", "/mcp", "mcp/?k=1#f", "/mcp/#f", "/mcp/?k=1"),
        ("http://up.test/x?k=1", "/mcp", "/x/?k=12", "/mcp/?k=12", "/x/?k=1&k=12"),
    ] {
        let found = location(upstream, path, value).unwrap();
        assert_eq!(found, rewritten, "{value} for {path} at {upstream}");
        let followed = found.split('#').next().unwrap();
        assert_eq!(rewrite(upstream).target(&asked(followed)).path, target);
    }
}

#[test]
fn a_location_at_the_public_url_is_on_the_listener_already() {
    let tools = public("http://up.test/v1/tools");
    let location =
        |value: &'static str| tools.location(&HeaderValue::from_static(value), &asked("/mcp"));
    assert_eq!(location("https://proxy.test/login"), None);
    assert_eq!(location("https://proxy.test/v1/tools/").unwrap(), "/mcp/");
}

fn challenge(upstream: &str, path: &str, value: &str) -> Option<String> {
    let found = public(upstream).challenge(&value.try_into().unwrap(), &asked(path))?;
    Some(found.to_str().unwrap().to_owned())
}

#[test]
fn the_metadata_url_of_a_challenge_moves_to_the_public_url() {
    let known = "/.well-known/oauth-protected-resource";
    for (before, after) in [
        (
            format!("Bearer resource_metadata=\"http://up.test{known}/mcp\", scope=\"a b\""),
            format!("Bearer resource_metadata=\"https://proxy.test{known}/mcp\", scope=\"a b\""),
        ),
        (
            format!(
                "Bearer error=\"a, \\\"resource_metadata=x\", Resource_Metadata = http://up.test{known}"
            ),
            format!(
                "Bearer error=\"a, \\\"resource_metadata=x\", Resource_Metadata = https://proxy.test{known}"
            ),
        ),
        // The server knows itself by another name; the well-known path is the proxy's too.
        (
            format!("bearer x=y,resource_metadata=https://known.test{known}/mcp,z=1"),
            format!("bearer x=y,resource_metadata=https://proxy.test{known}/mcp,z=1"),
        ),
        (
            "Bearer resource_metadata=\"http://up.test/meta?x\"".to_owned(),
            "Bearer resource_metadata=\"https://proxy.test/meta?x\"".to_owned(),
        ),
    ] {
        assert_eq!(challenge("http://up.test/mcp", "/mcp", &before), Some(after));
    }
    let value = format!("Bearer resource_metadata=\"https://up.test{known}/v1/tools\"");
    let served = format!("Bearer resource_metadata=\"https://proxy.test{known}/mcp\"");
    let own = format!("Bearer resource_metadata=\"https://proxy.test{known}/v1/tools\"");
    assert_eq!(challenge("https://up.test/v1/tools", "/mcp", &value), Some(served));
    assert_eq!(challenge("https://up.test/v1/tools", "/v1/tools", &value), Some(own));
}

#[test]
fn other_challenges_are_left_alone() {
    for value in [
        "Bearer",
        "Basic realm=\"resource_metadata=http://up.test/x\"",
        "Bearer resource_metadata",
        "Bearer resource_metadata=",
        "Bearer resource_metadata=\"http://up.test/x",
        "Bearer resource_metadata=\"not a url\"",
        "Bearer xresource_metadata=\"http://up.test/x\"",
        "Bearer resource_metadata=\"https://elsewhere.test/meta\"",
    ] {
        assert_eq!(challenge("http://up.test/mcp", "/mcp", value), None, "{value}");
    }
}

fn metadata(upstream: &str, path: &str, body: &str) -> Option<String> {
    let found = public(upstream).metadata(&asked(path), body.as_bytes())?;
    Some(String::from_utf8(found.to_vec()).unwrap())
}

const KNOWN: &str = "/.well-known/oauth-protected-resource";

#[test]
fn only_the_resource_of_the_metadata_changes() {
    let body = r#" {"authorization_servers":["http://up.test"], "resource" : "http:\/\/up.test\/mcp", "x":1.0e2,"resource_name":"http://up.test/mcp"}"#;
    let after = r#" {"authorization_servers":["http://up.test"], "resource" : "https://proxy.test/mcp", "x":1.0e2,"resource_name":"http://up.test/mcp"}"#;
    for path in [KNOWN.to_owned(), format!("{KNOWN}/mcp"), format!("{KNOWN}/mcp?v")] {
        assert_eq!(metadata("http://up.test/mcp", &path, body).as_deref(), Some(after));
    }
}

#[test]
fn the_resource_is_the_url_that_the_client_dialled() {
    for (upstream, suffix, resource, rewritten) in [
        ("http://up.test/v1/tools", "/mcp", "http://up.test/v1/tools", "/mcp"),
        ("http://up.test/v1/tools", "/v1/tools", "http://up.test/v1/tools", "/v1/tools"),
        ("http://up.test/v1/tools", "", "http://up.test/v1/tools/", "/mcp"),
        ("http://up.test/v1/tools", "/mcp", "http://up.test", ""),
        ("http://up.test/v1/tools", "/mcp", "http://up.test/v1", "/v1"),
        ("http://up.test", "", "http://up.test/", "/"),
        ("http://up.test", "/mcp", "http://up.test", "/mcp"),
        ("http://up.test/mcp", "/mcp", "https://known.test/mcp?a", "/mcp?a"),
    ] {
        let body = format!("{{\"resource\":\"{resource}\"}}");
        let after = format!("{{\"resource\":\"https://proxy.test{rewritten}\"}}");
        let found = metadata(upstream, &format!("{KNOWN}{suffix}"), &body);
        assert_eq!(found, Some(after), "{resource} for {suffix} at {upstream}");
    }
}

#[test]
fn what_is_no_metadata_is_left_alone() {
    let good = "{\"resource\":\"http://up.test/mcp\"}";
    for (path, body) in [
        (KNOWN, "not found"),
        (KNOWN, "{}"),
        (KNOWN, "{\"resource\":1}"),
        (KNOWN, "{\"resource\":\"urn:x\"}"),
        (KNOWN, "{\"nested\":{\"resource\":\"http://up.test/mcp\"}}"),
        ("/.well-known/oauth-authorization-server", good),
        ("/mcp", good),
    ] {
        assert_eq!(metadata("http://up.test/mcp", path, body), None, "{path} {body}");
    }
    assert_eq!(
        public("http://up.test/mcp").metadata(&asked(KNOWN), b"{\"resource\":\"\xff\"}"),
        None
    );
}

#[test]
fn the_well_known_path_of_the_served_path_is_the_remote_ones() {
    let target = |rewrite: &Rewrite, path: &str| rewrite.target(&asked(path)).path.to_string();
    let served = format!("{KNOWN}/mcp");
    let tools = public("http://up.test/v1/tools/");
    assert_eq!(target(&tools, &served), format!("{KNOWN}/v1/tools"));
    assert_eq!(target(&tools, &format!("{served}?a")), format!("{KNOWN}/v1/tools?a"));
    assert_eq!(target(&tools, KNOWN), KNOWN);
    assert_eq!(target(&public("http://up.test"), &served), KNOWN);
    assert_eq!(target(&rewrite("http://up.test/v1/tools"), &served), served);
}

#[test]
fn without_a_public_url_oauth_is_left_alone() {
    let rewrite = rewrite("http://up.test/mcp");
    let value = HeaderValue::from_static("Bearer resource_metadata=\"http://up.test/x\"");
    assert_eq!(rewrite.challenge(&value, &asked("/mcp")), None);
    let body = b"{\"resource\":\"http://up.test/mcp\"}";
    assert_eq!(rewrite.metadata(&asked(KNOWN), body), None);
}

proptest! {
    #[test]
    fn no_header_or_body_makes_it_panic(
        value in "[ -~]{0,60}",
        parameters in "[ =,\"\\\\a]{0,12}",
        body in any::<Vec<u8>>(),
    ) {
        let rewrite = public("http://up.test/v1/tools");
        let path = asked("/mcp");
        let _ = rewrite.location(&value.as_str().try_into().unwrap(), &path);
        let _ = rewrite.challenge(&value.as_str().try_into().unwrap(), &path);
        let challenge = format!("resource_metadata{parameters}");
        let _ = rewrite.challenge(&challenge.as_str().try_into().unwrap(), &path);
        let _ = rewrite.metadata(&asked(KNOWN), &body);
    }
}

#[test]
fn below_a_prefix_clients_stay_below_it() {
    let below = |rewrite: Rewrite| rewrite.below("/api");
    let location = |path: &str, value: &'static str| {
        let rewrite = below(rewrite("http://up.test/v1"));
        let found = rewrite.location(&HeaderValue::from_static(value), &asked(path))?;
        Some(found.to_str().unwrap().to_owned())
    };
    for (path, value, turned) in [
        ("/mcp", "http://up.test/v1", Some("/api/mcp")),
        ("/mcp", "/v1?x", Some("/api/mcp?x")),
        ("/mcp", "http://up.test/other", Some("/api/other")),
        ("/mcp", "/other", Some("/api/other")),
        ("/docs/a", "b", None),
        ("/docs/a", "/docs/b", Some("/api/docs/b")),
        ("/mcp", "https://elsewhere.test/x", None),
    ] {
        assert_eq!(location(path, value).as_deref(), turned, "{value} for {path}");
    }
    let rewrite = below(public("http://up.test/v1"));
    let challenge = |url: &str| {
        let value = format!("Bearer resource_metadata=\"{url}\"").parse().unwrap();
        let turned: HeaderValue = rewrite.challenge(&value, &asked("/mcp")).unwrap();
        turned.to_str().unwrap().to_owned()
    };
    for (url, turned) in [
        (
            "/.well-known/oauth-protected-resource/v1",
            "/.well-known/oauth-protected-resource/api/mcp",
        ),
        ("/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/api"),
        ("/metadata", "/api/metadata"),
    ] {
        let found = challenge(&format!("http://up.test{url}"));
        assert_eq!(found, format!("Bearer resource_metadata=\"https://proxy.test{turned}\""));
    }
    let document = asked("/.well-known/oauth-protected-resource/mcp");
    let turned = rewrite.metadata(&document, br#"{"resource":"http://up.test/v1"}"#).unwrap();
    assert_eq!(&*turned, br#"{"resource":"https://proxy.test/api/mcp"}"#);
}
