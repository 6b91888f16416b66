//! What the messages of one stream belong to, and what is known of the stream itself.

use std::sync::Arc;

use http::{HeaderValue, StatusCode};

use super::{
    pending::{Identity, Key, Role, Scope, Ticket},
    session::Hashes,
};
use crate::{
    jsonrpc::Id,
    record::Transport,
    traffic::{BodyKind, Direction, End, Exchange, HttpTransport, Stream, StreamKind},
};

/// One stream.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) stream: Arc<Stream>,
    /// The place of its server in the list of servers.
    pub(super) server: usize,
    /// The legacy session over HTTP that it belongs to.
    pub(super) session: Option<u64>,
    /// The client of a stdio session, once it was initialized.
    pub(super) identity: Identity,
    /// The requests that came on it and end with it; some may be closed already.
    pub(super) calls: Vec<Ticket>,
    /// The head of the response.
    pub(super) head: Option<(StatusCode, BodyKind)>,
    /// Events of the response had ids: the client can go on with it on another stream.
    pub(super) resumable: bool,
    /// Something of the response was lost.
    pub(super) lost: bool,
    ended: [Option<End>; 2],
}

impl Route {
    /// A stream of which nothing was seen yet.
    pub(super) fn new(stream: Arc<Stream>, server: usize, hashes: &mut Hashes) -> Self {
        let session = match &stream.kind {
            StreamKind::Lines => None,
            StreamKind::Exchange(exchange) => match exchange.transport {
                HttpTransport::Streamable => exchange.session.as_ref().map(HeaderValue::as_bytes),
                // The GET stream learns its session from the `endpoint` event.
                HttpTransport::LegacySse if exchange.method == http::Method::GET => None,
                HttpTransport::LegacySse => Some(exchange.target.as_str().as_bytes()),
            },
        };
        let session = session.map(|secret| hashes.of(server, &stream.server_id, secret));
        Self {
            stream,
            server,
            session,
            identity: Identity::default(),
            calls: Vec::new(),
            head: None,
            resumable: false,
            lost: false,
            ended: [None; 2],
        }
    }

    /// The HTTP exchange that the stream is; none for stdio.
    pub(super) fn exchange(&self) -> Option<&Exchange> {
        match &self.stream.kind {
            StreamKind::Lines => None,
            StreamKind::Exchange(exchange) => Some(exchange),
        }
    }

    /// Whether this is the legacy HTTP+SSE transport.
    pub(super) fn is_legacy_sse(&self) -> bool {
        self.exchange().is_some_and(|exchange| exchange.transport == HttpTransport::LegacySse)
    }

    /// Whether this is the one stream of a legacy HTTP+SSE session.
    pub(super) fn is_session_stream(&self) -> bool {
        self.is_legacy_sse() && self.exchange().is_some_and(|it| it.method == http::Method::GET)
    }

    /// How the client and the proxy talk.
    pub(super) fn transport(&self) -> Transport {
        if self.exchange().is_some() { Transport::Http } else { Transport::Pipe }
    }

    /// The stream alone.
    pub(super) fn own_scope(&self) -> Scope {
        Scope::Stream(self.stream.id)
    }

    /// Within what the id of a request on this stream is unique. In the modern era an exchange
    /// is all there is, but on legacy SSE the answer still comes on the session's stream.
    pub(super) fn scope(&self, modern: bool) -> Scope {
        match self.session {
            Some(session) if !modern || self.is_legacy_sse() => Scope::Session(session),
            _ => self.own_scope(),
        }
    }

    /// What may find the open request that something on this stream is about.
    pub(super) fn keys(
        &self,
        role: Role,
        direction: Direction,
        name: Id,
    ) -> impl Iterator<Item = Key> {
        let scopes = [Some(self.own_scope()), self.session.map(Scope::Session)];
        let key = move |scope| Key::new(role, scope, direction, name.clone());
        scopes.into_iter().flatten().map(key)
    }

    /// Whether a request that goes `direction` on this stream is to be answered on it, while
    /// others of the session are answered elsewhere.
    pub(super) fn answers(&self, direction: Direction) -> bool {
        direction == Direction::ToServer && self.exchange().is_some() && !self.is_legacy_sse()
    }

    /// What finds a task that a request which went `direction` became. Modern tasks belong to
    /// the server and no session.
    pub(super) fn task_key(&self, modern: bool, direction: Direction, task: Id) -> Key {
        let scope = match self.session {
            _ if self.exchange().is_none() => self.own_scope(),
            Some(session) if !modern => Scope::Session(session),
            _ => Scope::Server(self.server),
        };
        Key::new(Role::Task, scope, direction, task)
    }

    /// A direction has ended.
    pub(super) fn set_ended(&mut self, direction: Direction, end: End) {
        self.ended[direction as usize].get_or_insert(end);
    }

    /// How a direction ended, if it did.
    pub(super) fn ended(&self, direction: Direction) -> Option<End> {
        self.ended[direction as usize]
    }

    /// Learns the session that the response's head names; `initialize` came without one.
    pub(super) fn learn_session(&mut self, secret: &[u8], hashes: &mut Hashes) {
        if self.session.is_none() {
            self.session = Some(hashes.of(self.server, &self.stream.server_id, secret));
        }
    }

    /// Learns the session from the `endpoint` event of the legacy transport: the path and query
    /// that the client will POST to. A client resolves the URI as a browser does.
    pub(super) fn learn_endpoint(&mut self, uri: &[u8], hashes: &mut Hashes) {
        let Some(exchange) = self.exchange() else { return };
        let Ok(uri) = str::from_utf8(uri) else { return };
        let target = resolve(exchange.target.as_str(), uri.trim());
        self.session = Some(hashes.of(self.server, &self.stream.server_id, target.as_bytes()));
    }
}

/// The path and query of `reference`, relative to `base`.
fn resolve(base: &str, reference: &str) -> String {
    let reference = reference.split('#').next().unwrap_or_default();
    let after_authority = reference
        .split_once("//")
        .filter(|(scheme, _)| scheme.is_empty() || scheme.ends_with(':') && !scheme.contains('/'))
        .map(|(_, rest)| rest);
    if let Some(rest) = after_authority {
        let path = rest.find(['/', '?']).map_or("", |at| &rest[at..]);
        return if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    }
    let base_path = base.split('?').next().unwrap_or_default();
    if reference.starts_with('/') {
        reference.to_owned()
    } else if reference.starts_with('?') {
        format!("{base_path}{reference}")
    } else {
        let folder = base_path.rfind('/').map_or("/", |at| &base_path[..=at]);
        format!("{folder}{}", reference.trim_start_matches("./"))
    }
}

#[cfg(test)]
mod tests {
    use super::resolve;

    #[test]
    fn endpoints_resolve_as_clients_resolve_them() {
        for (base, reference, target) in [
            ("/sse", "/messages/?session_id=1", "/messages/?session_id=1"),
            ("/a/sse?x=1", "message?s=1", "/a/message?s=1"),
            ("/a/sse", "./message?s=1", "/a/message?s=1"),
            ("/sse?x=1", "?s=1", "/sse?s=1"),
            ("/sse", "http://127.0.0.1:1/m?s=1", "/m?s=1"),
            ("/sse", "//host?s=1", "/?s=1"),
            ("/sse", "/m?u=http://x/y", "/m?u=http://x/y"),
        ] {
            assert_eq!(resolve(base, reference), target, "{reference} from {base}");
        }
    }
}
