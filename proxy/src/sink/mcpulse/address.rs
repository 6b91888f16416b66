//! Where MCPulse is: reads `localhost:50051`, `host:443`, `http(s)://…` and `grpc(s)://…`.

use http::Uri;
use thiserror::Error;

/// The port of MCPulse where the address names none and the scheme implies none.
const DEFAULT_PORT: u16 = 50051;
/// The port on which nobody speaks without TLS.
const TLS_PORT: u16 = 443;

/// An address that cannot be dialled.
#[derive(Debug, PartialEq, Eq, Error)]
#[error(
    "the MCPulse address '{address}' {problem}; write HOST:PORT, http://HOST:PORT or https://HOST"
)]
pub struct AddressError {
    address: String,
    problem: &'static str,
}

/// The URI to dial, with scheme and port. TLS by `tls` when given, else by scheme, else by port.
pub(super) fn parse(address: &str, tls: Option<bool>) -> Result<Uri, AddressError> {
    let error = |problem| AddressError { address: address.to_owned(), problem };
    let (scheme, rest) = match address.trim().split_once("://") {
        Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()), rest),
        None => (None, address.trim()),
    };
    let by_scheme = match scheme.as_deref() {
        Some("https" | "grpcs") => Some(true),
        Some("http" | "grpc") => Some(false),
        Some(_) => return Err(error("has a scheme other than http, https, grpc and grpcs")),
        None => None,
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '?', '#']) {
        return Err(error("has a path, and gRPC has none"));
    }
    if rest.contains('@') {
        return Err(error("has a user, and the API key is given apart"));
    }
    // A bare `:50051` is this machine, as everywhere in the configuration.
    let rest = if rest.starts_with(':') { format!("localhost{rest}") } else { rest.to_owned() };
    let authority: http::uri::Authority = rest.parse().map_err(|_| error("is no host and port"))?;
    let explicit = authority.port_u16();
    if explicit.is_none() && authority.as_str() != authority.host() {
        return Err(error("has no valid port"));
    }
    let tls = tls.or(by_scheme).unwrap_or(explicit == Some(TLS_PORT));
    let port = explicit.unwrap_or(if by_scheme == Some(true) { TLS_PORT } else { DEFAULT_PORT });
    let scheme = if tls { "https" } else { "http" };
    format!("{scheme}://{}:{port}", authority.host())
        .parse()
        .map_err(|_| error("is no host and port"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_in_use_is_read() {
        for (address, tls, uri) in [
            ("localhost:50051", None, "http://localhost:50051"),
            ("localhost", None, "http://localhost:50051"),
            (":50051", None, "http://localhost:50051"),
            ("analytics.example.com:443", None, "https://analytics.example.com:443"),
            ("analytics.example.com:443", Some(false), "http://analytics.example.com:443"),
            ("h:9000", Some(true), "https://h:9000"),
            ("http://h:443", None, "http://h:443"),
            ("https://h", None, "https://h:443"),
            ("HTTPS://h:50051/", None, "https://h:50051"),
            ("grpc://h", None, "http://h:50051"),
            ("grpcs://h", None, "https://h:443"),
            ("[::1]:50051", None, "http://[::1]:50051"),
            (" 10.0.0.1:50051 ", None, "http://10.0.0.1:50051"),
        ] {
            let parsed = parse(address, tls).map(|uri| uri.to_string());
            assert_eq!(parsed.as_deref(), Ok(format!("{uri}/").as_str()), "{address}");
        }
    }

    #[test]
    fn the_error_says_what_is_wrong_and_what_would_be_right() {
        for (address, problem) in [
            ("", "host"),
            ("ftp://h", "scheme"),
            ("https://h/api", "path"),
            ("https://key@h", "user"),
            ("h:port", "port"),
            ("h:99999", "port"),
            ("two words", "host"),
        ] {
            let error = parse(address, None).unwrap_err().to_string();
            assert!(error.contains(problem) && error.contains("HOST:PORT"), "{error}");
        }
    }
}
