//! Origins (scheme, host and port) and references relative to them, as RFC 3986 has them.

use http::{Uri, uri::PathAndQuery};

use super::{UrlError, guard::is_loopback};
use crate::config::kind::split_host;

/// Where a URL leads, without its path. Names are compared in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    https: bool,
    host: String,
    port: u16,
}

/// Where a server is.
#[derive(Clone, Debug)]
pub(in crate::relay) struct Place {
    pub(in crate::relay) origin: Origin,
    pub(in crate::relay) path: PathAndQuery,
}

impl Place {
    /// Where a URL leads.
    ///
    /// # Errors
    /// When its scheme is neither `http` nor `https`.
    pub(in crate::relay) fn of(url: &Uri) -> Result<Self, UrlError> {
        let path = url.path_and_query().cloned();
        let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
        Ok(Self { origin: Origin::of(url).ok_or(UrlError::NotHttp)?, path })
    }
}

impl Origin {
    /// The origin of a URL with scheme `http` or `https`.
    pub fn of(uri: &Uri) -> Option<Self> {
        Self::from_parts(uri.scheme_str()?, uri.authority()?.as_str())
    }

    /// Reads `scheme://host[:port]`; a path behind it is ignored.
    pub fn parse(text: &str) -> Option<Self> {
        let reference = Reference::parse(text);
        Self::from_parts(reference.scheme?, reference.authority?)
    }

    /// Reads an `Origin` header: `scheme://host[:port]` and nothing else (RFC 6454, 7.1).
    pub fn parse_header(text: &str) -> Option<Self> {
        let bare = Reference::parse(text).rest.is_empty();
        bare.then(|| Self::parse(text)).flatten()
    }

    fn from_parts(scheme: &str, authority: &str) -> Option<Self> {
        let https = match scheme {
            _ if scheme.eq_ignore_ascii_case("http") => false,
            _ if scheme.eq_ignore_ascii_case("https") => true,
            _ => return None,
        };
        let (host, port) = split_host(authority)?;
        Some(Self { https, host, port: port.unwrap_or(default_port(https)) })
    }

    /// Its name or address, in lower case.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether its scheme is `https`.
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// Whether a request that names this host and port stays at this origin, if it is of the
    /// same scheme.
    pub fn is_at(&self, host: &str, port: Option<u16>) -> bool {
        self.host == host && self.port == port.unwrap_or(default_port(self.https))
    }

    /// Whether it is on this machine and, by this port, the same listener under another of
    /// loopback's names. Another port is another program's page.
    pub fn is_loopback_at(&self, port: Option<u16>) -> bool {
        is_loopback(&self.host) && self.port == port.unwrap_or(default_port(self.https))
    }

    /// The path, query and fragment of `reference`, when it names this origin in full. They
    /// start with one slash, so that they mean the same alone. Plain `http` counts as the same origin where the origin is
    /// `https` on the default port: servers behind a terminator of TLS do not know better.
    pub fn strip(&self, reference: &str) -> Option<String> {
        let reference = Reference::parse(reference);
        let scheme = reference.scheme.unwrap_or(if self.https { "https" } else { "http" });
        let named = Self::from_parts(scheme, reference.authority?)?;
        let naive = self.https && !named.https && named.host == self.host;
        let same = named == *self || (naive && (named.port == 80 || named.port == self.port));
        same.then(|| merge("/", reference.rest))
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.host)?;
        if self.port == default_port(self.https) { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

fn default_port(https: bool) -> u16 {
    if https { 443 } else { 80 }
}

/// A URI reference (RFC 3986, 4.1) in three parts.
struct Reference<'a> {
    scheme: Option<&'a str>,
    authority: Option<&'a str>,
    rest: &'a str,
}

impl<'a> Reference<'a> {
    fn parse(text: &'a str) -> Self {
        let (scheme, rest) = match text.split_once(':') {
            Some((scheme, rest)) if is_scheme(scheme) => (Some(scheme), rest),
            _ => (None, text),
        };
        let Some(behind) = rest.strip_prefix("//") else {
            return Self { scheme, authority: None, rest };
        };
        let end = behind.find(['/', '?', '#']).unwrap_or(behind.len());
        Self { scheme, authority: Some(&behind[..end]), rest: &behind[end..] }
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// Resolves a reference without scheme and authority against the path of a request (RFC 3986,
/// 5.2). What comes out starts with one slash: two would name a host. None for a reference
/// that names another origin, or its own in full.
pub fn resolve(base: &str, reference: &str) -> Option<String> {
    let parsed = Reference::parse(reference);
    let relative = parsed.scheme.is_none() && parsed.authority.is_none();
    relative.then(|| merge(base, reference))
}

fn merge(base: &str, reference: &str) -> String {
    let end = reference.find(['?', '#']).unwrap_or(reference.len());
    let (path, tail) = reference.split_at(end);
    let path = match path {
        "" => without_dots(base),
        _ if path.starts_with('/') => without_dots(path),
        _ => without_dots(&format!("{}/{path}", base.rfind('/').map_or("", |at| &base[..at]))),
    };
    let dot = if path.starts_with("//") || path.starts_with("/\\") { "/." } else { "" };
    format!("{dot}{path}{tail}")
}

fn without_dots(path: &str) -> String {
    if !path.contains("/.") {
        return path.to_owned();
    }
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        match segment {
            ".." => drop(kept.pop()),
            "." => {}
            _ => {
                kept.push(segment);
                continue;
            }
        }
        if segments.peek().is_none() {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests;
