//! Addresses and URLs. A URL is never shown in a message: its query may be a key.

use std::net::IpAddr;

use rustls::pki_types::ServerName;

/// The URL of a server: scheme `http` or `https`, without credentials.
pub(super) fn url(text: &str) -> Result<String, String> {
    web(text, "https://api.example.com/mcp", "send them with --bearer-token or --header")
}

/// A URL with scheme `http` or `https`; the remedies are an example, and what to do with
/// credentials.
fn web(text: &str, example: &str, credentials: &str) -> Result<String, String> {
    let uri: http::Uri = text.parse().map_err(|error| format!("is no URL ({error})"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(format!("is no http:// or https:// URL; write e.g. {example}"));
    }
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    if authority.contains('@') {
        return Err(format!("has credentials in it; {credentials}"));
    }
    if text.contains('#') {
        return Err("has a fragment (#…), which never leaves a client; leave it out".to_owned());
    }
    match split_host(authority) {
        None if uri.host().is_some_and(|host| !host.is_empty()) => {
            Err(format!("has no valid port; write e.g. {example}"))
        }
        None => Err(format!("has no host; write e.g. {example}")),
        Some((_, Some(0))) => Err("has the port 0, at which nobody can be reached".to_owned()),
        Some((host, _)) if uri.scheme_str() == Some("https") && !is_certifiable(&host) => {
            Err("has a host that no certificate can name".to_owned())
        }
        Some(_) => Ok(text.to_owned()),
    }
}

fn is_certifiable(host: &str) -> bool {
    ServerName::try_from(host.trim_matches(['[', ']'])).is_ok()
}

/// Splits `host[:port]`; the host in lower case and without the dot of a full name.
pub fn split_host(authority: &str) -> Option<(String, Option<u16>)> {
    let authority: http::uri::Authority = authority.parse().ok()?;
    let (host, port) = (authority.host(), authority.port());
    // What is left over is a user name, or a port that is no number.
    let length = host.len() + port.as_ref().map_or(0, |port| 1 + port.as_str().len());
    if host.is_empty() || length != authority.as_str().len() {
        return None;
    }
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    Some((host, port.map(|port| port.as_u16())))
}

/// A host, with or without a port.
pub(super) fn host(text: &str) -> Result<String, String> {
    match split_host(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err("is no host; write NAME or NAME:PORT".to_owned()),
    }
}

/// Scheme and authority, nothing else.
pub(super) fn origin(text: &str) -> Result<String, String> {
    let url = web(text, "https://mcp.example.com", "leave them out")?;
    let bare = url.strip_suffix('/').unwrap_or(&url);
    if bare.matches('/').count() == 2 && !bare.contains(['?', '#']) {
        Ok(bare.to_owned())
    } else {
        Err("has a path; write scheme and host only, e.g. https://mcp.example.com".into())
    }
}

/// `HOST:PORT` or a URL, or the word that turns reporting off.
pub(super) fn endpoint(text: &str) -> Result<String, String> {
    if text == crate::config::Mcpulse::OFF {
        return Ok(text.to_owned());
    }
    if text.contains("://") {
        let url = web(text, "https://mcpulse.example.com", "send the key with --mcpulse-api-key")?;
        if url.strip_suffix('/').unwrap_or(&url).matches('/').count() > 2
            || url.contains(['?', '#'])
        {
            return Err("has a path, and gRPC has none; write scheme, host and port only".into());
        }
        return Ok(url);
    }
    let spelled = "is neither HOST:PORT nor a URL; write e.g. localhost:50051, or none";
    destination(text).ok_or_else(|| spelled.to_owned())
}

/// `HOST:PORT` of something to dial.
fn destination(text: &str) -> Option<String> {
    let (_, port) = split_host(text)?;
    listener(text).ok().filter(|_| port != Some(0))
}

/// A URL, or `HOST:PORT` for one without TLS.
pub(super) fn collector(text: &str) -> Result<String, String> {
    if text.contains("://") {
        return web(text, "http://localhost:4317", "send them with --otel-headers");
    }
    match destination(text) {
        Some(text) => Ok(format!("http://{text}")),
        None => Err("is no URL; write e.g. http://localhost:4317".to_owned()),
    }
}

/// `HOST:PORT`, or `:PORT` for every interface. Brackets may be around an address of either kind:
/// the variables of a pod, of which nobody knows the kind before it runs, cannot add them.
pub(super) fn listener(text: &str) -> Result<String, String> {
    let read = || {
        let (host, port) = text.rsplit_once(':')?;
        port.parse::<u16>().ok()?;
        if let Some(inner) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            return Some(match inner.parse::<IpAddr>().ok()? {
                IpAddr::V4(_) => format!("{inner}:{port}"),
                IpAddr::V6(_) => text.to_owned(),
            });
        }
        let foreign = |c: char| ":/@[]?#".contains(c) || c.is_whitespace();
        (!host.contains(foreign)).then(|| text.to_owned())
    };
    read().ok_or_else(|| "is no address; write e.g. :8080, 127.0.0.1:8080 or [::1]:8080".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_as_people_write_them() {
        for good in [":8080", "127.0.0.1:0", "localhost:80", "[::1]:8080", "0.0.0.0:65535"] {
            assert_eq!(listener(good).as_deref(), Ok(good));
        }
        for bad in ["8080", "localhost", "::1:8080", ":65536", "http://a:80", "[a]:1", "a b:1"] {
            assert!(listener(bad).is_err(), "{bad}");
        }
        assert_eq!(listener("[127.0.0.1]:8080").as_deref(), Ok("127.0.0.1:8080"));
    }

    #[test]
    fn mcpulse_may_be_an_address_a_url_or_nothing() {
        for good in ["localhost:50051", "analytics.example.com:443", "https://a.example", "none"] {
            assert_eq!(endpoint(good).as_deref(), Ok(good));
        }
        for bad in [
            ":50051",
            "localhost",
            "ftp://a:1",
            "https://user:pass@a",
            "http://:1",
            "host:0",
            "http://host:0",
            "https://-a-",
        ] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
        assert_eq!(collector("localhost:4317").as_deref(), Ok("http://localhost:4317"));
    }

    #[test]
    fn no_message_shows_a_url() {
        for secret in [
            "https://user:hunter2@a/mcp",
            "ftp://a/?key=hunter2",
            "a b?hunter2",
            "https://a/#hunter2",
            "https://-a-/?hunter2",
        ] {
            for read in [url, origin, endpoint, collector] {
                assert!(!read(secret).unwrap_err().contains("hunter2"), "{secret}");
            }
        }
    }

    #[test]
    fn a_public_url_has_no_path() {
        assert_eq!(origin("https://a.example/").as_deref(), Ok("https://a.example"));
        assert!(origin("https://a.example/mcp").is_err());
        assert!(origin("https://a.example?x").is_err());
    }
}
