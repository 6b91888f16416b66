//! One listener for several servers: the first segment of a path is the id of a server, and what
//! follows is a path of its own. A table says who is where; it is changed while clients are
//! served, and locked for no longer than a look takes.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, PoisonError, RwLock},
};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, ready},
};
use http::{Request, Response, StatusCode, Uri, uri::PathAndQuery};
use hyper::body::Incoming;
use tokio::net::TcpListener;

use super::{
    http::{Counters, Listener, guard::Guard, head, listener::Answering, refusal::Refusal},
    site::{Reply, Site},
};
use crate::config::Listen;

/// Where well-known documents are (RFC 8615), whose names come before the path of what they are
/// about (RFC 9728, 3.1; RFC 8414, 3.1).
const WELL_KNOWN: &str = "/.well-known/";

/// Where a server is: the segment that begins its paths, or none for one that has them all.
pub type Segment = Option<Arc<str>>;

/// Whom a listener serves.
#[derive(Debug)]
pub struct Router {
    table: RwLock<Table>,
    guard: Guard,
    max_header: u64,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Table {
    /// Who has all paths.
    alone: Option<Route>,
    by_segment: BTreeMap<Arc<str>, Route>,
}

/// Who is at a place.
#[derive(Debug, Default)]
struct Route {
    current: Option<Arc<Site>>,
    /// Who was there before, and still has sessions.
    leaving: Vec<Arc<Site>>,
}

impl Router {
    /// Nobody yet, for clients that come by a listener `bound` to this address. Requests that
    /// belong to no server are counted by `counters`.
    pub fn new(listen: &Listen, bound: SocketAddr, counters: Arc<Counters>) -> Self {
        Self {
            table: RwLock::default(),
            guard: Guard::new(listen, bound, None),
            max_header: listen.max_header,
            counters,
        }
    }

    /// From now on `site` has this place. Who had it before keeps the sessions that it has,
    /// until [`Router::forget`].
    pub fn place(&self, segment: &Segment, site: Arc<Site>) {
        self.change(segment, |route| route.leaving.extend(route.current.replace(site)));
    }

    /// Nobody has this place any more, but for sessions that there are, until
    /// [`Router::forget`].
    pub fn clear(&self, segment: &Segment) {
        self.change(segment, |route| route.leaving.extend(route.current.take()));
    }

    /// A site that had this place has ended.
    pub fn forget(&self, segment: &Segment, site: &Arc<Site>) {
        self.change(segment, |route| route.leaving.retain(|other| !Arc::ptr_eq(other, site)));
    }

    /// Serves the clients that come by `socket`, until the shutdown of `listener`.
    pub async fn serve(self: &Arc<Self>, listener: Listener, socket: TcpListener) {
        listener.run(socket, Arc::clone(self)).await;
    }

    fn change(&self, segment: &Segment, change: impl FnOnce(&mut Route)) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let Some(segment) = segment else {
            return change(table.alone.get_or_insert_default());
        };
        let route = table.by_segment.entry(Arc::clone(segment)).or_default();
        change(route);
        if route.current.is_none() && route.leaving.is_empty() {
            table.by_segment.remove(segment);
        }
    }

    /// Who answers a request, which then asks for a path of theirs.
    fn find(&self, request: &mut Request<Incoming>) -> Option<Arc<Site>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let found = split(request.uri()).filter(|_| !table.by_segment.is_empty());
        let found = found.and_then(|(segment, path)| {
            Some((table.by_segment.get(segment)?, with_path(request.uri(), &path)?))
        });
        match found {
            Some((route, uri)) => {
                *request.uri_mut() = uri;
                route.site_for(request)
            }
            None => table.alone.as_ref()?.site_for(request),
        }
    }

    /// What is said to a request that belongs to no server.
    fn refuse(&self, request: Request<Incoming>) -> Response<Reply> {
        self.counters.count_request();
        let (parts, _) = request.into_parts();
        let admitted = head::admit(&parts, self.max_header).and_then(|()| self.guard.admit(&parts));
        let refusal = admitted.err().unwrap_or_else(|| {
            Refusal::new(StatusCode::NOT_FOUND, "path", "there is no server at this path")
        });
        self.counters.count_refused(refusal.reason);
        refusal.response().map(Reply::of_none)
    }
}

impl Answering for Router {
    type Body = Reply;

    fn respond(
        self: Arc<Self>,
        mut request: Request<Incoming>,
    ) -> BoxFuture<'static, Response<Reply>> {
        match self.find(&mut request) {
            Some(site) => site.respond(request),
            None => ready(self.refuse(request)).boxed(),
        }
    }

    fn abandon(&self) {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        for route in table.alone.iter().chain(table.by_segment.values()) {
            route.leaving.iter().chain(&route.current).for_each(|site| site.abandon());
        }
    }
}

impl Route {
    /// A session stays with the site that has it.
    fn site_for(&self, request: &Request<Incoming>) -> Option<Arc<Site>> {
        let knows = self.leaving.iter().rev().find(|site| site.knows(request));
        knows.or(self.current.as_ref()).cloned()
    }
}

/// The segment that says which server is meant, and the path of that server, with its query.
fn split(uri: &Uri) -> Option<(&str, Cow<'_, str>)> {
    let all = uri.path_and_query()?.as_str();
    let (known, rest) = match all.strip_prefix(WELL_KNOWN) {
        Some(behind) => {
            let (document, _) = behind.split_once('/')?;
            all.split_at(WELL_KNOWN.len() + document.len())
        }
        None => ("", all),
    };
    let rest = rest.strip_prefix('/')?;
    let (segment, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let path = match (known, path) {
        ("", path) if path.starts_with('/') => Cow::Borrowed(path),
        ("", path) => Cow::Owned(format!("/{path}")),
        (known, path) => Cow::Owned(format!("{known}{path}")),
    };
    Some((segment, path))
}

fn with_path(uri: &Uri, path: &str) -> Option<Uri> {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_segment_names_the_server_also_behind_a_well_known_name() {
        for (asked, segment, path) in [
            ("/api/mcp", "api", "/mcp"),
            ("/api/mcp?key=a/b", "api", "/mcp?key=a/b"),
            ("http://host/api/mcp/", "api", "/mcp/"),
            ("/api", "api", "/"),
            ("/api?x=1", "api", "/?x=1"),
            ("/api/../other/mcp", "api", "/../other/mcp"),
            ("//api/mcp", "", "/api/mcp"),
            (
                "/.well-known/oauth-protected-resource/api/mcp?x",
                "api",
                "/.well-known/oauth-protected-resource/mcp?x",
            ),
            (
                "/.well-known/oauth-authorization-server/api",
                "api",
                "/.well-known/oauth-authorization-server",
            ),
        ] {
            let uri: Uri = asked.parse().unwrap();
            let (found, rest) = split(&uri).unwrap();
            assert_eq!((found, &*rest), (segment, path), "{asked}");
            let turned = with_path(&uri, &rest).unwrap();
            assert_eq!(turned.path_and_query().unwrap().as_str(), path);
            assert_eq!(turned.authority(), uri.authority());
        }
        for asked in ["*", "/.well-known/oauth-protected-resource", "/.well-known/x?a"] {
            assert_eq!(split(&asked.parse().unwrap()), None, "{asked}");
        }
    }
}
