//! The HTTP side of the era without sessions (2026-07-28): each POST says all that it needs to
//! say, in its body and again in its headers, and closing it withdraws it.

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};

use super::{
    accepts::Accepts,
    exchange::{Exchanges, given},
    mirrored,
    objection::{REVISIONS, error, not_of_this_era},
    pool::Unavailable,
    reply::{self, First, INTERNAL, PATIENCE, Reply},
    splice::{Fault, Said},
};
use crate::{
    jsonrpc::{Id, Kind},
    mcp::{
        code::{
            HEADER_MISMATCH, INVALID_PARAMS, METHOD_NOT_FOUND, MISSING_CAPABILITY,
            UNSUPPORTED_VERSION,
        },
        header::PROTOCOL_VERSION,
        method,
    },
    relay::http::{counters::Failed, download::Answer},
    traffic::End,
};

/// What acts upon a session, or on what another client asked: it has no place in a program that
/// many share.
const OF_SESSIONS: [&str; 9] = [
    method::INITIALIZE,
    "ping",
    "logging/setLevel",
    "resources/subscribe",
    "resources/unsubscribe",
    "notifications/initialized",
    "notifications/roots/list_changed",
    method::CANCELLED,
    method::PROGRESS,
];

/// Whether the headers name a revision that has no sessions.
pub(super) fn is_modern(headers: &HeaderMap) -> bool {
    let version = headers.get(PROTOCOL_VERSION);
    version.is_some_and(|it| REVISIONS.iter().all(|known| it != known))
}

impl Exchanges {
    /// A POST of this era.
    pub(super) async fn stateless(
        &self,
        headers: &HeaderMap,
        said: Said,
        answer: Answer,
    ) -> Response<Reply> {
        let id = match &said.gist.kind {
            Kind::Request(id) => Some(id.clone()),
            Kind::Notification => None,
            Kind::Answer(_) | Kind::Refusal | Kind::Unknown => {
                let fault = Fault::NotAMessage;
                return error(StatusCode::BAD_REQUEST, None, fault.code(), UNASKED, answer);
            }
        };
        if id.is_some() && said.version.is_none() {
            let message = "params._meta[\"io.modelcontextprotocol/protocolVersion\"] is missing";
            return error(StatusCode::BAD_REQUEST, id.as_ref(), INVALID_PARAMS, message, answer);
        }
        if let Err(mismatch) = mirrored::check(headers, &said, &self.pools.mirrors) {
            let message = mismatch.to_string();
            return error(StatusCode::BAD_REQUEST, id.as_ref(), HEADER_MISMATCH, &message, answer);
        }
        let is_of_sessions = OF_SESSIONS.iter().any(|method| said.gist.is(method));
        match id {
            Some(id) if is_of_sessions => {
                let message = "there is no such method without sessions";
                error(StatusCode::NOT_FOUND, Some(&id), METHOD_NOT_FOUND, message, answer)
            }
            Some(id) => self.request(said, id, headers, answer).await,
            None => {
                if !is_of_sessions {
                    self.pools.of(self.launcher.right(headers)).tell(&said).await;
                }
                reply::aside(StatusCode::ACCEPTED, Bytes::new(), answer)
            }
        }
    }

    async fn request(
        &self,
        said: Said,
        id: Id,
        headers: &HeaderMap,
        answer: Answer,
    ) -> Response<Reply> {
        let (accepts, right) = (Accepts::of(headers), self.launcher.right(headers));
        let (program, mut inbox) = match self.pools.of(right).ask(&said, accepts.events).await {
            Ok(asked) => asked,
            Err(why) => return self.unavailable(why, &said, &id, answer),
        };
        let patience = accepts.events.then_some(PATIENCE);
        match self.first(&mut inbox, patience).await {
            Some(First::Answer(text, error)) => given(status(error), text, accepts, None, answer),
            Some(First::Failed(text, why)) => self.failed(&why, text, answer),
            Some(First::Other(piece)) => {
                let events = self.events(piece, inbox, id, answer);
                // Nobody knows when a subscription is answered.
                let listens = said.gist.is(method::LISTEN);
                let shutdown = self.shutdown.clone();
                let begun = async move { shutdown.begun().await };
                let events = if listens { events.until(begun) } else { events };
                events.response(None)
            }
            // A server of the other era may end instead of saying that it does not know this.
            Some(First::Nothing) if said.gist.is(method::DISCOVER) && !program.has_answered() => {
                not_of_this_era(&id, answer)
            }
            Some(First::Nothing | First::Withdrawn) => self.lost(&id, answer),
            None => self.shutting_down(&id, answer),
        }
    }

    fn unavailable(
        &self,
        why: Unavailable,
        said: &Said,
        id: &Id,
        mut answer: Answer,
    ) -> Response<Reply> {
        match why {
            Unavailable::Unopened(why) => self.unopened(&why, Some(id), answer),
            Unavailable::Paused { mute: true, .. } if said.gist.is(method::DISCOVER) => {
                not_of_this_era(id, answer)
            }
            Unavailable::Paused { for_, .. } => {
                answer.end(End::Unreachable);
                self.counters.count_failed(Failed::Connect);
                let message = "the server has ended several times; it is started again in a while";
                let body = reply::error(Some(&id.to_string()), INTERNAL, message);
                reply::later(Some(for_), body)
            }
            Unavailable::Unheard(unheard) => self.refused(unheard, Some(id), answer),
        }
    }
}

/// What a client is told that answers where nobody asks.
const UNASKED: &str = "send a request or a notification; nothing is asked of clients here";

/// The status of an answer, by the code of its error.
fn status(error: Option<i64>) -> StatusCode {
    match error {
        Some(METHOD_NOT_FOUND) => StatusCode::NOT_FOUND,
        Some(INVALID_PARAMS | HEADER_MISMATCH | MISSING_CAPABILITY | UNSUPPORTED_VERSION) => {
            StatusCode::BAD_REQUEST
        }
        _ => StatusCode::OK,
    }
}
