use proptest::prelude::*;

use super::*;

fn origin(text: &str) -> Origin {
    Origin::parse(text).unwrap()
}

#[test]
fn default_ports_and_case_do_not_tell_origins_apart() {
    assert_eq!(origin("https://MCP.Test"), origin("https://mcp.test:443"));
    assert_eq!(origin("http://mcp.test./x"), origin("http://mcp.test:80"));
    assert_ne!(origin("http://mcp.test"), origin("https://mcp.test"));
    assert_ne!(origin("http://mcp.test:8080"), origin("http://mcp.test"));
    assert_eq!(origin("http://[::1]:8080/x").to_string(), "http://[::1]:8080");
    assert_eq!(origin("https://mcp.test:443").to_string(), "https://mcp.test");
}

#[test]
fn what_is_no_origin_is_none() {
    for text in
        ["", "null", "mcp.test", "//mcp.test", "ftp://mcp.test", "http://", "http://u@mcp.test"]
    {
        assert_eq!(Origin::parse(text), None, "{text}");
    }
    for text in ["", "a b", "u@host", "host:port", "host:99999", "http://host", "a/b"] {
        assert_eq!(split_host(text), None, "{text}");
    }
}

#[test]
fn references_resolve_as_the_rfc_says() {
    // RFC 3986, 5.4; fragments and queries of the base never matter here.
    for (reference, target) in [
        ("g", "/b/c/g"),
        ("./g", "/b/c/g"),
        ("g/", "/b/c/g/"),
        ("/g", "/g"),
        ("?y", "/b/c/d;p?y"),
        ("g?y#s", "/b/c/g?y#s"),
        ("#s", "/b/c/d;p#s"),
        (";x", "/b/c/;x"),
        ("", "/b/c/d;p"),
        (".", "/b/c/"),
        ("./", "/b/c/"),
        ("..", "/b/"),
        ("../g", "/b/g"),
        ("../..", "/"),
        ("../../g", "/g"),
        ("../../../g", "/g"),
        ("/./g", "/g"),
        ("/../g", "/g"),
        ("g.", "/b/c/g."),
        (".g", "/b/c/.g"),
        ("..g", "/b/c/..g"),
        ("./../g", "/b/g"),
        ("./g/.", "/b/c/g/"),
        ("g/../h", "/b/c/h"),
        ("g?y/../x", "/b/c/g?y/../x"),
    ] {
        assert_eq!(resolve("/b/c/d;p", reference).as_deref(), Some(target), "{reference}");
    }
    assert_eq!(resolve("/b", "//g"), None);
    assert_eq!(resolve("/b", "g:h"), None);
}

#[test]
fn a_path_never_turns_into_a_host() {
    let here = origin("http://mcp.test");
    assert_eq!(here.strip("http://mcp.test//evil.test/x").as_deref(), Some("/.//evil.test/x"));
    assert_eq!(here.strip("http://mcp.test/\\evil.test").as_deref(), Some("/./\\evil.test"));
    assert_eq!(resolve("/", "/x/..//evil.test").as_deref(), Some("/.//evil.test"));
}

#[test]
fn only_the_own_origin_is_stripped() {
    let here = origin("https://mcp.test");
    for (reference, rest) in [
        ("https://mcp.test/a?b#c", "/a?b#c"),
        ("HTTPS://MCP.test:443/a", "/a"),
        ("https://mcp.test", "/"),
        ("https://mcp.test?q", "/?q"),
        ("//mcp.test/a", "/a"),
        // Behind a terminator of TLS a server takes itself for plain HTTP.
        ("http://mcp.test/a", "/a"),
    ] {
        assert_eq!(here.strip(reference).as_deref(), Some(rest), "{reference}");
    }
    for reference in [
        "/a",
        "a",
        "",
        "https://evil.test/a",
        "https://mcp.test.evil.test/a",
        "https://mcp.test@evil.test/a",
        "https://evil@mcp.test/a",
        "https://mcp.test:8443/a",
        "http://mcp.test:8080/a",
        "ftp://mcp.test/a",
        "//evil.test/a",
    ] {
        assert_eq!(here.strip(reference), None, "{reference}");
    }
    // A step up to TLS is another origin: staying on the plain one would loop.
    assert_eq!(origin("http://mcp.test").strip("https://mcp.test/a"), None);
}

proptest! {
    #[test]
    fn what_is_resolved_stands_alone(base in "/[a/.]{0,8}", reference in "[a./?#\\\\]{0,12}") {
        if let Some(path) = resolve(&base, &reference) {
            prop_assert!(path.starts_with('/'));
            prop_assert!(!path.starts_with("//") && !path.starts_with("/\\"));
            // A client that takes `/.//a` for `//a` resolves as we do.
            if !path.starts_with("/.") {
                prop_assert_eq!(resolve("/other/base", &path), Some(path));
            }
        }
    }
}
