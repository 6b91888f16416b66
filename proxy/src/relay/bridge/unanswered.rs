//! What clients are told whose program, or server, gives no answer.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode, header::WWW_AUTHENTICATE};
use tokio::time::Instant;

use super::{
    exchange::Exchanges,
    limits::Full,
    opening::Unopened,
    reply::{self, GIVEN_UP, INTERNAL, LOST, Reply},
};
use crate::{
    config::ErrorStatus,
    jsonrpc::Id,
    relay::{
        child::StartError,
        http::{counters::Failed, download::Answer, health::Health},
        remote::problem::{Problem, Refused},
    },
    traffic::{BodyKind, End, ResponseHead},
};

/// How long a client waits at least who may know of its program what we do not: to look costs no
/// more than a program that is tried.
const DOUBTFUL: Duration = Duration::from_secs(2);

/// The wait for the first answer of a program. A client that gives up on it late knows as much
/// of the program as we would.
pub(super) struct Hope<'a> {
    pub(super) health: &'a Health,
    pub(super) since: Instant,
}

impl Hope<'_> {
    /// The program has answered.
    pub(super) fn come_true(mut self) {
        self.since = Instant::now();
        self.health.rise();
    }
}

impl Drop for Hope<'_> {
    fn drop(&mut self) {
        if self.since.elapsed() >= DOUBTFUL {
            self.health.doubt();
        }
    }
}

impl Exchanges {
    /// There is no session for a client that wants one.
    pub(super) fn unopened(
        &self,
        why: &Unopened,
        id: Option<&Id>,
        answer: Answer,
    ) -> Response<Reply> {
        match why {
            Unopened::Full(full) => self.full(*full, id, answer),
            Unopened::Unstarted(error) => self.unstarted(error, id, answer),
        }
    }

    /// There is no room for another session or program now.
    pub(super) fn full(&self, full: Full, id: Option<&Id>, mut answer: Answer) -> Response<Reply> {
        answer.end(End::Refused);
        self.counters.count_refused(full.reason());
        let message = "this proxy starts no more programs at present; try again later";
        let body = reply::error(id.map(Id::to_string).as_deref(), INTERNAL, message);
        reply::later(full.lasts(), body)
    }

    /// There is no program to ask.
    pub(super) fn unstarted(
        &self,
        error: &StartError,
        id: Option<&Id>,
        mut answer: Answer,
    ) -> Response<Reply> {
        match error {
            StartError::Away { .. } => {
                self.health.fall(error);
                return self.away(id, answer);
            }
            // The next client may fare better: whether the shim is of use, only it can say.
            StartError::Refused(_) => {
                tracing::warn!("{error}");
                self.health.doubt();
            }
            _ => self.health.fall(error),
        }
        self.counters.count_failed(Failed::Connect);
        answer.end(End::Unreachable);
        let message = "the server cannot be started; the proxy's log says why";
        let body = reply::error(id.map(Id::to_string).as_deref(), INTERNAL, message);
        reply::unseen(StatusCode::BAD_GATEWAY, body)
    }

    /// There is no shim, and it may be back soon.
    pub(super) fn away(&self, id: Option<&Id>, mut answer: Answer) -> Response<Reply> {
        self.counters.count_failed(Failed::Connect);
        answer.end(End::Unreachable);
        let message = "the server's container is not up; try again later";
        let body = reply::error(id.map(Id::to_string).as_deref(), INTERNAL, message);
        reply::later(None, body)
    }

    /// The program ended before it answered the first request.
    pub(super) fn died(&self, id: &Id, answer: Answer) -> Response<Reply> {
        self.health.doubt();
        self.lost(id, answer)
    }

    /// The program has not answered the first request for so long that it is ended.
    pub(super) fn silent(&self, id: &Id, mut answer: Answer) -> Response<Reply> {
        answer.end(End::TimedOut);
        self.counters.count_failed(Failed::TimedOut);
        let message = "the server did not answer initialize in time; the proxy has ended it";
        let body = reply::error(Some(&id.to_string()), INTERNAL, message);
        reply::unseen(StatusCode::GATEWAY_TIMEOUT, body)
    }

    /// The drain is over, and the program has not answered.
    pub(super) fn shutting_down(&self, id: &Id, mut answer: Answer) -> Response<Reply> {
        answer.end(End::Refused);
        self.counters.count_refused("shutdown");
        let body = reply::error(Some(&id.to_string()), INTERNAL, GIVEN_UP);
        reply::later(None, body)
    }

    /// The client has cancelled the request, and the program has rightly not answered it.
    pub(super) fn withdrawn(id: &Id, mut answer: Answer) -> Response<Reply> {
        answer.end(End::Refused);
        let message = "the client has cancelled this request";
        let body = reply::error(Some(&id.to_string()), INTERNAL, message);
        reply::unseen(StatusCode::OK, body)
    }

    /// The program ended before it answered.
    pub(super) fn lost(&self, id: &Id, mut answer: Answer) -> Response<Reply> {
        // It is because the drain is over that its program ended.
        if self.abandoned.is_cancelled() {
            return self.shutting_down(id, answer);
        }
        answer.end(End::ServerGone);
        self.counters.count_failed(Failed::Broken);
        let body = reply::error(Some(&id.to_string()), INTERNAL, LOST);
        reply::unseen(StatusCode::BAD_GATEWAY, body)
    }

    /// No answer came from the remote server; `text` is what to say in its place.
    pub(super) fn failed(&self, why: &Problem, text: Bytes, mut answer: Answer) -> Response<Reply> {
        // As whoever is not let in has to hear it, and nothing else: clients take 404 for the end
        // of their session, and other statuses for a matter of protocols.
        let kept = |refused: &&Refused| {
            matches!(refused.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
        };
        let refused = why.refused.as_ref().filter(kept);
        let status = match (refused, self.error_status, why.end) {
            (Some(refused), ..) => refused.status,
            (None, ErrorStatus::Ok, _) => StatusCode::OK,
            (None, _, End::TimedOut) => StatusCode::GATEWAY_TIMEOUT,
            (None, _, End::Refused) => StatusCode::SERVICE_UNAVAILABLE,
            (None, ..) => StatusCode::BAD_GATEWAY,
        };
        if let Some(Refused { status, .. }) = why.refused {
            answer.head(|| ResponseHead { status, body: BodyKind::Opaque, session: None });
        }
        answer.end(why.end);
        let mut response = reply::unseen(status, text);
        for challenge in refused.iter().flat_map(|refused| &refused.challenges) {
            response.headers_mut().append(WWW_AUTHENTICATE, challenge.clone());
        }
        response
    }
}
