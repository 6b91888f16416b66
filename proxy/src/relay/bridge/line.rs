//! The first HTTP transport (HTTP+SSE, 2024-11-05): a client opens a stream, is told there where
//! to POST, and hears on it all that its program says. With the stream the session ends.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response, StatusCode, Uri, request::Parts, uri::PathAndQuery};

use super::{
    counters::Ended,
    exchange::Exchanges,
    launcher::Audience as _,
    objection::faulty,
    outbox::Tie,
    reply::{self, Events, Reply},
    session::Session,
    splice::{self, Body},
};
use crate::relay::http::download::Answer;

/// Where a client opens its stream, and where it POSTs.
pub(in crate::relay) const STREAM: &str = "/sse";
pub(in crate::relay) const MESSAGES: &str = "/message";
/// What names the session there.
const PARAMETER: &str = "sessionId=";

/// A session ends when its client leaves the stream.
#[derive(Debug)]
struct Leaving(Arc<Session>);

impl Tie for Leaving {}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.end(Ended::Deleted);
    }
}

/// What tells the sessions of a client apart: path and query, as the client knows them.
pub(super) fn target(prefix: &str, uri: &Uri) -> PathAndQuery {
    // In memory of its own: a stream may stay open for hours.
    let target = uri.path_and_query().map_or(STREAM, PathAndQuery::as_str);
    format!("{prefix}{target}").try_into().unwrap_or(PathAndQuery::from_static(STREAM))
}

/// The session that a message names.
pub(super) fn named(uri: &Uri) -> Option<&str> {
    uri.query()?.split('&').find_map(|it| it.strip_prefix(PARAMETER))
}

impl Exchanges {
    /// A client opens its stream.
    pub(super) async fn open_line(&self, headers: &HeaderMap, answer: Answer) -> Response<Reply> {
        let right = self.launcher.right(headers);
        let session = match Arc::clone(&self.launcher).open(true, right).await {
            Ok(opening) => opening.keep(),
            Err(why) => return self.unopened(&why, None, answer),
        };
        self.launcher.sessions.insert(Arc::clone(&session));
        let inbox = match session.listen() {
            Ok((inbox, _)) => inbox.tied(Leaving(Arc::clone(&session))),
            Err(unheard) => return self.refused(unheard, None, answer),
        };
        let at = format!("{}{MESSAGES}?{PARAMETER}{}", self.prefix, session.id);
        let begin = reply::endpoint(&at);
        let shutdown = self.shutdown.clone();
        let quiet = async move {
            shutdown.begun().await;
            session.owed.nothing().await;
        };
        Events::of_client(inbox, answer).until(quiet).begin_with(begin).response(None)
    }

    /// A client says something.
    pub(super) async fn say_on_line(
        &self,
        parts: &Parts,
        text: BytesMut,
        answer: Answer,
    ) -> Response<Reply> {
        let session = named(&parts.uri).and_then(|id| self.launcher.sessions.find(id));
        let Some(session) = session.filter(|session| session.is_line()) else {
            return self.stray(None, answer);
        };
        session.rights.set(self.launcher.right(&parts.headers));
        let said = match splice::read(text) {
            Ok(Body::One(said)) => vec![said],
            Ok(Body::Batch(batch)) => batch,
            Err(fault) => return faulty(&fault, answer),
        };
        for said in said {
            if let Err(unheard) = session.tell(said).await {
                return self.refused(unheard, None, answer);
            }
        }
        reply::aside(StatusCode::ACCEPTED, Bytes::new(), answer)
    }
}
