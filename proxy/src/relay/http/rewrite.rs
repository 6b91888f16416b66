//! Keeps clients on the listener: the paths that stand for the remote URL, `Location`, and
//! what OAuth compares with the URL that a client dialled.
//! Everything that names another origin passes untouched, and so does all of OAuth unless
//! the public URL is known.

use std::ops::Range;

use bytes::Bytes;
use http::{HeaderValue, Uri, uri::PathAndQuery};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::origin::{Origin, resolve};

/// Where protected resources describe themselves (RFC 9728, 3).
const RESOURCE_METADATA: &str = "/.well-known/oauth-protected-resource";

/// The largest body that is worth collecting for [`Rewrite::metadata`], in bytes.
pub const METADATA_LIMIT: usize = 64 << 10;

/// The map between one listener and one remote server.
#[derive(Clone, Debug)]
pub struct Rewrite {
    served: &'static str,
    origin: Origin,
    remote: PathAndQuery,
    public: Option<Origin>,
    /// What clients have before each path, of which nothing is left in what is asked here.
    prefix: String,
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What the server is asked for.
    pub path: PathAndQuery,
    /// Whether it is the endpoint itself, which gets the configured credentials.
    pub endpoint: bool,
}

/// A reference to something on the remote server.
pub(super) struct Local {
    /// Its path, query and fragment there.
    pub(super) path: String,
    /// Whether a client would take the reference as it is to the same path.
    pub(super) kept: bool,
}

impl Rewrite {
    /// The map between `served` (`/mcp` or `/sse`) on the listener and the URL `upstream`;
    /// `public` is the URL under which clients know the listener, of which only the origin
    /// counts. None when `upstream` is no URL of scheme `http` or `https`.
    pub fn new(served: &'static str, upstream: &Uri, public: Option<&str>) -> Option<Self> {
        Some(Self {
            served,
            origin: Origin::of(upstream)?,
            remote: upstream.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/")),
            public: public.and_then(Origin::parse),
            prefix: String::new(),
        })
    }

    /// The same map where clients have `prefix` (as `/api`) before each path of this listener,
    /// and behind the name of a well-known document (RFC 9728, 3.1).
    #[must_use]
    pub fn below(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self
    }

    /// A path as clients know it.
    pub(super) fn outward(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    /// What is asked for, as clients know it.
    pub(super) fn known(&self, asked: &PathAndQuery) -> PathAndQuery {
        if self.prefix.is_empty() {
            return asked.clone();
        }
        self.outward(asked.as_str()).try_into().unwrap_or_else(|_| asked.clone())
    }

    /// A path at the public URL as clients know it: a well-known name stays the first.
    fn outward_well_known(&self, path: &str) -> String {
        match path.strip_prefix(RESOURCE_METADATA) {
            Some(rest) if rest.is_empty() || rest.starts_with(['/', '?']) => {
                format!("{RESOURCE_METADATA}{}{rest}", self.prefix)
            }
            _ => self.outward(path),
        }
    }

    /// Where a request for `asked` goes. The served path stands for the remote URL, and with
    /// a slash behind it for the remote URL with one; the remote URL's own path stands for
    /// itself; the remote URL's query is added where it is missing. All else goes as it is.
    pub fn target(&self, asked: &PathAndQuery) -> Target {
        if same_but_slash(asked.path(), self.remote.path()) {
            return self.with_query(asked.path(), asked);
        }
        if asked.path() == self.served {
            return self.with_query(self.remote.path(), asked);
        }
        if same_but_slash(asked.path(), self.served) {
            let path = format!("{}/", self.remote.path().trim_end_matches('/'));
            return self.with_query(&path, asked);
        }
        let path = match (&self.public, asked.path().strip_prefix(RESOURCE_METADATA)) {
            (Some(_), Some(suffix)) if same_but_slash(suffix, self.served) => {
                join(&format!("{RESOURCE_METADATA}{}", self.suffix()), asked.query())
            }
            _ => None,
        };
        Target { path: path.unwrap_or_else(|| asked.clone()), endpoint: false }
    }

    fn with_query(&self, path: &str, asked: &PathAndQuery) -> Target {
        let own = self.remote.query();
        let has_own = match (own, asked.query()) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(given)) => given
                .strip_prefix(own)
                .is_some_and(|behind| behind.is_empty() || behind.starts_with('&')),
        };
        let path = match (asked.query(), own) {
            _ if has_own && path == asked.path() => None,
            (None, _) if path == self.remote.path() => Some(self.remote.clone()),
            (Some(given), Some(own)) if !has_own => join(path, Some(&format!("{own}&{given}"))),
            (given, own) => join(path, given.or(own)),
        };
        Target { path: path.unwrap_or_else(|| asked.clone()), endpoint: true }
    }

    /// The remote path as it stands behind a well-known path (RFC 9728, 3.1).
    fn suffix(&self) -> &str {
        self.remote.path().trim_end_matches('/')
    }

    /// A `Location` with which the client stays on the listener, for a response to a request
    /// for `asked`; None to leave it as it is. Said as a path, which is true however the
    /// client reached the listener. The remote URL's query, perhaps a key, is left out.
    pub fn location(&self, value: &HeaderValue, asked: &PathAndQuery) -> Option<HeaderValue> {
        let local = self.local(value.to_str().ok()?, asked)?;
        let end = local.path.find(['?', '#']).unwrap_or(local.path.len());
        let (path, tail) = local.path.split_at(end);
        if !same_but_slash(path, self.remote.path()) {
            return if local.kept { None } else { self.outward(&local.path).try_into().ok() };
        }
        let bare = self.without_own_query(tail);
        if !self.by_served(asked) {
            let kept = local.kept && bare == tail;
            let turned = || self.outward(&format!("{path}{bare}")).try_into().ok();
            return if kept { None } else { turned() };
        }
        let slash = if path.len() > 1 && path.ends_with('/') { "/" } else { "" };
        self.outward(&format!("{}{slash}{bare}", self.served)).try_into().ok()
    }

    fn without_own_query(&self, tail: &str) -> String {
        let behind = self
            .remote
            .query()
            .and_then(|own| tail.strip_prefix('?')?.strip_prefix(own))
            .filter(|behind| behind.is_empty() || behind.starts_with(['&', '#']));
        match behind {
            None => tail.to_owned(),
            Some(behind) => match behind.strip_prefix('&') {
                Some(more) => format!("?{more}"),
                None => behind.to_owned(),
            },
        }
    }

    /// Whether the client knows the endpoint by the served path, and that is not its own.
    fn by_served(&self, asked: &PathAndQuery) -> bool {
        same_but_slash(asked.path(), self.served)
            && !same_but_slash(asked.path(), self.remote.path())
    }

    /// What a reference in the answer to a request for `asked` leads to; None when that is
    /// neither on the remote server nor, by its public URL, on the listener.
    pub(super) fn local(&self, reference: &str, asked: &PathAndQuery) -> Option<Local> {
        if let Some(path) = self.origin.strip(reference) {
            return Some(Local { path, kept: false });
        }
        if let Some(path) = self.public.as_ref().and_then(|public| public.strip(reference)) {
            return Some(Local { path, kept: true });
        }
        let path = resolve(self.target(asked).path.path(), reference)?;
        // From the root a client would miss the prefix.
        let rooted = reference.starts_with('/') && !self.prefix.is_empty();
        let kept = !rooted && resolve(asked.path(), reference).as_ref() == Some(&path);
        Some(Local { path, kept })
    }

    /// A `WWW-Authenticate` whose `resource_metadata` (RFC 9728, 5.1) is at the public URL,
    /// for a response to a request for `asked`; None to leave it as it is.
    pub fn challenge(&self, value: &HeaderValue, asked: &PathAndQuery) -> Option<HeaderValue> {
        let public = self.public.as_ref()?;
        let text = value.to_str().ok()?;
        let span = parameter(text, "resource_metadata")?;
        let url: Uri = text[span.clone()].parse().ok()?;
        let origin = Origin::of(&url)?;
        let known = url.path().strip_prefix(RESOURCE_METADATA);
        if known.is_none() && origin != self.origin {
            return None;
        }
        let rest = match known {
            Some(suffix) if self.by_served(asked) && same_but_slash(suffix, self.suffix()) => {
                format!("{RESOURCE_METADATA}{}", self.served)
            }
            _ => url.path_and_query().map_or("", PathAndQuery::as_str).to_owned(),
        };
        let rest = self.outward_well_known(&rest);
        splice(text, span, &format!("{public}{rest}")).try_into().ok()
    }

    /// Metadata of a protected resource (RFC 9728, 2) that names the public URL as its
    /// `resource`, for a response to a request for `asked`; None to leave the body as it is.
    /// Only that one string changes: authorization servers keep their own URLs, because
    /// clients compare these with what the servers say of themselves.
    pub fn metadata(&self, asked: &PathAndQuery, body: &[u8]) -> Option<Bytes> {
        #[derive(Deserialize)]
        struct Metadata<'a> {
            #[serde(borrow)]
            resource: &'a RawValue,
        }
        let public = self.public.as_ref()?;
        let suffix = asked.path().strip_prefix(RESOURCE_METADATA)?;
        let text = std::str::from_utf8(body).ok()?;
        let raw = serde_json::from_str::<Metadata<'_>>(text).ok()?.resource.get();
        let url: String = serde_json::from_str(raw).ok()?;
        Origin::parse(&url)?;
        let behind = url.find("//").map_or(0, |at| at + 2);
        let path = url[behind..].find(['/', '?', '#']).map_or("", |at| &url[behind + at..]);
        // Asked for by the remote path, it is the remote path that the client dialled.
        let by_remote = same_but_slash(suffix, self.suffix());
        let at_remote = same_but_slash(path, self.remote.path()) && !by_remote;
        let path = self.outward(if at_remote { self.served } else { path });
        let resource = format!("{public}{path}");
        let start = raw.as_ptr().addr() - text.as_ptr().addr();
        let resource = serde_json::to_string(&resource).ok()?;
        Some(splice(text, start..start + raw.len(), &resource).into())
    }
}

fn same_but_slash(left: &str, right: &str) -> bool {
    left.strip_suffix('/').unwrap_or(left) == right.strip_suffix('/').unwrap_or(right)
}

fn join(path: &str, query: Option<&str>) -> Option<PathAndQuery> {
    match query {
        Some(query) => format!("{path}?{query}").try_into().ok(),
        None => path.try_into().ok(),
    }
}

fn splice(text: &str, span: Range<usize>, new: &str) -> String {
    format!("{}{new}{}", &text[..span.start], &text[span.end..])
}

/// Where the value of an authentication parameter (RFC 9110, 11.2) stands, without quotes.
fn parameter(text: &str, name: &str) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'"' {
            at = quoted_end(bytes, at)? + 1;
            continue;
        }
        let end = at + bytes[at..].iter().take_while(|byte| is_token(**byte)).count();
        if end == at {
            at += 1;
            continue;
        }
        let named = text[at..end].eq_ignore_ascii_case(name);
        let equals = skip_space(bytes, end);
        at = end;
        if named && bytes.get(equals) == Some(&b'=') {
            let start = skip_space(bytes, equals + 1);
            if bytes.get(start)? == &b'"' {
                return Some(start + 1..quoted_end(bytes, start)?);
            }
            let length = bytes[start..].iter().take_while(|byte| !b", \t".contains(byte)).count();
            return Some(start..start + length);
        }
    }
    None
}

/// Where the quote that opens at `start` closes.
fn quoted_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

fn skip_space(bytes: &[u8], at: usize) -> usize {
    at + bytes[at..].iter().take_while(|byte| b" \t".contains(byte)).count()
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests;
