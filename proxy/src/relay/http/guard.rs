//! Who may talk to the listener: the check of `Host` and `Origin` against DNS rebinding, and
//! the mirrored bearer token.
//! What is doubtful is refused, before anything goes upstream.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, Method, StatusCode, header, request::Parts};
use ring::digest;
use subtle::ConstantTimeEq;

use super::{origin::Origin, refusal::Refusal};
use crate::config::{Fresh, Listen, Secret, kind::split_host};

/// Longest part of a client's header that is repeated in an answer, in characters.
const QUOTED: usize = 100;

/// The rules of one listener.
#[derive(Debug)]
pub struct Guard {
    loopback: bool,
    tls: bool,
    /// Nobody said which names there are: all pass.
    any_host: bool,
    hosts: Vec<(String, Option<u16>)>,
    origins: Vec<Origin>,
    token: Option<Fresh>,
}

impl Guard {
    /// The rules for a listener that was bound to `bound` and demands `token` from clients.
    pub fn new(listen: &Listen, bound: SocketAddr, token: Option<Secret>) -> Self {
        let public = listen.public_url.as_deref().and_then(Origin::parse);
        // What can match nothing was refused with the settings.
        let hosts = listen.allowed_hosts.iter().filter_map(|name| split_host(name));
        let origins = listen.allowed_origins.iter().filter_map(|text| Origin::parse(text));
        let loopback = bound.ip().to_canonical().is_loopback();
        // A terminator of TLS in front may pass on the public name without its port.
        let public_host = public.iter().map(|public| (public.host().to_owned(), None));
        Self {
            loopback,
            tls: listen.tls.is_some(),
            any_host: !loopback && listen.allowed_hosts.is_empty(),
            hosts: hosts.chain(public_host).collect(),
            origins: origins.chain(public.clone()).collect(),
            token: token.map(Fresh::new),
        }
    }

    /// Checks which host the request names and, for browsers, which page it comes from.
    ///
    /// On a loopback listener only loopback names, allowed hosts and the public URL's pass: no DNS answer can
    /// make another name ours. On any other listener every name passes unless some are
    /// allowed, for behind a Service it is the Service's. `*.localhost` is no loopback name
    /// here, since not every resolver keeps it on the machine.
    ///
    /// # Errors
    /// 400 for a request that names no host or two, 403 for a name or origin not allowed.
    pub fn admit(&self, request: &Parts) -> Result<(), Refusal> {
        let host = self.admit_host(request)?;
        self.admit_origin(&request.headers, &host)
    }

    fn admit_host(&self, request: &Parts) -> Result<(String, Option<u16>), Refusal> {
        let bad = |message: &str| Err(Refusal::new(StatusCode::BAD_REQUEST, "host", message));
        let Ok(header) = sole(&request.headers, &header::HOST) else {
            return bad("the request has several Host headers, or one that is no text");
        };
        let mut named = None;
        // HTTP/2 names the host in `:authority`, HTTP/1.1 in `Host`; where there are both,
        // either may be what the server believes.
        for text in [header, request.uri.authority().map(http::uri::Authority::as_str)] {
            let Some(text) = text else { continue };
            let Some(host) = split_host(text) else {
                return bad("the request names no valid host");
            };
            if !self.is_own(&host) {
                let text = quoted(text);
                return Err(Refusal::new(
                    StatusCode::FORBIDDEN,
                    "host",
                    format!("host '{text}' is not served here; allow it with --allowed-host"),
                ));
            }
            named = Some(host);
        }
        named.map_or_else(|| bad("the request names no host"), Ok)
    }

    fn is_own(&self, (host, port): &(String, Option<u16>)) -> bool {
        let allowed = |(name, only): &(String, Option<u16>)| {
            name == host
                && match (only, port) {
                    (None, _) => true,
                    // Clients leave out the port where it is the scheme's own.
                    (Some(only), None) => matches!(only, 80 | 443),
                    (Some(only), Some(port)) => only == port,
                }
        };
        self.any_host || (self.loopback && is_loopback(host)) || self.hosts.iter().any(allowed)
    }

    fn admit_origin(
        &self,
        headers: &HeaderMap,
        (host, port): &(String, Option<u16>),
    ) -> Result<(), Refusal> {
        let text = match sole(headers, &header::ORIGIN) {
            Ok(None) => return Ok(()),
            Ok(Some(text)) => text,
            Err(()) => "unreadable",
        };
        let passes = Origin::parse_header(text).is_some_and(|origin| {
            self.is_served_at(&origin, host, *port) || self.origins.contains(&origin)
        });
        if passes {
            return Ok(());
        }
        let text = quoted(text);
        Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "origin",
            format!("origin '{text}' is not allowed here; allow it with --allowed-origin"),
        ))
    }

    /// Whether an origin is the listener's own. A plain one may be `https` by a terminator of
    /// TLS in front, but not under a name of loopback on loopback: there the page would be
    /// another program's.
    fn is_served_at(&self, origin: &Origin, host: &str, port: Option<u16>) -> bool {
        let local = self.loopback && is_loopback(host);
        let scheme_fits = origin.is_https() == self.tls || (!self.tls && !local);
        scheme_fits && (origin.is_at(host, port) || (local && origin.is_loopback_at(port)))
    }

    /// Checks the bearer token, where the listener demands one. A CORS preflight passes: no
    /// browser sends it with credentials.
    ///
    /// # Errors
    /// 401 for a missing or wrong token, 503 while the proxy cannot read its own.
    pub fn authorize(&self, request: &Parts) -> Result<(), Refusal> {
        let Some(token) = &self.token else { return Ok(()) };
        if is_preflight(request) {
            return Ok(());
        }
        let token = token.get().map_err(|error| {
            tracing::debug!("bearer token of the listener: {error}");
            Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "token_unreadable",
                "the proxy cannot read the bearer token that it demands",
            )
        })?;
        match bearer(&request.headers) {
            Some(given) if equal(given.as_bytes(), token.as_bytes()) => Ok(()),
            given => Err(Refusal {
                status: StatusCode::UNAUTHORIZED,
                reason: "token",
                message: "send the bearer token of this server in the Authorization header"
                    .to_owned(),
                // RFC 6750, 3: one parameter at least, and no error where no token was sent.
                challenge: Some(match given {
                    None => "Bearer realm=\"mcpulse-proxy\"",
                    Some(_) => "Bearer realm=\"mcpulse-proxy\", error=\"invalid_token\"",
                }),
            }),
        }
    }
}

/// Says in the log when anybody who can reach the listener can use the server.
pub(in crate::relay) fn warn_of_exposure(
    listen: &Listen,
    bound: SocketAddr,
    token: Option<&Secret>,
) {
    if !bound.ip().to_canonical().is_loopback() && token.is_none() {
        let pages = if listen.allowed_hosts.is_empty() {
            "; --allowed-host NAME keeps out pages that a browser shows"
        } else {
            ""
        };
        tracing::warn!(
            "listening on {bound} without a bearer token: whoever can reach this address \
             can use the server; set --bearer-token, or listen on 127.0.0.1{pages}"
        );
    }
}

/// The value of a header that may stand there once; an error for several or for one that is
/// no text.
fn sole<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Result<Option<&'a str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(drop),
        _ => Err(()),
    }
}

/// Whether clients look there for how to get a token, and so have none yet (RFC 9728, RFC
/// 8414, OpenID Connect Discovery). A path that an upstream might resolve to another one, by
/// dot segments or encoded slashes, is none of these.
pub fn is_discovery(method: &Method, path: &str) -> bool {
    const DOCUMENTS: [&str; 3] =
        ["oauth-protected-resource", "oauth-authorization-server", "openid-configuration"];
    let Some(rest) = path.strip_prefix("/.well-known/") else { return false };
    let plain =
        !rest.contains(['%', '\\', ';']) && !rest.split('/').any(|it| matches!(it, "." | ".."));
    matches!(*method, Method::GET | Method::HEAD)
        && plain
        && rest.split('/').next().is_some_and(|document| DOCUMENTS.contains(&document))
}

pub(super) fn is_loopback(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    host == "localhost"
        || address.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

fn quoted(text: &str) -> String {
    text.chars().take(QUOTED).collect()
}

/// Whether a browser asks what it may ask; such a request has no credentials, by the standard
/// (Fetch, CORS-preflight fetch).
pub(in crate::relay) fn is_preflight(request: &Parts) -> bool {
    request.method == Method::OPTIONS
        && request.headers.contains_key(header::ORIGIN)
        && request.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = sole(headers, &header::AUTHORIZATION).ok()??.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start_matches(' '))
}

/// Compares in a time that tells nothing of either text, the length included.
fn equal(left: &[u8], right: &[u8]) -> bool {
    let digest = |text| digest::digest(&digest::SHA256, text);
    digest(left).as_ref().ct_eq(digest(right).as_ref()).into()
}

#[cfg(test)]
mod tests;
