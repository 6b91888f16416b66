//! What clients are told whose message goes nowhere.

use http::{Response, StatusCode, header::RETRY_AFTER};

use super::{
    exchange::Exchanges,
    launcher::Behind,
    reply::{self, INTERNAL, Reply},
    session::Unheard,
    splice::Fault,
};
use crate::{
    jsonrpc::Id,
    mcp::code::{INVALID_REQUEST, METHOD_NOT_FOUND},
    relay::http::{download::Answer, refusal::retry_after},
    traffic::End,
};

/// The revisions that have sessions.
pub(super) const REVISIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

/// An error for the request with this id, or for something that is no request.
pub(super) fn error(
    status: StatusCode,
    id: Option<&Id>,
    code: i64,
    message: &str,
    answer: Answer,
) -> Response<Reply> {
    match id {
        Some(id) => {
            let body = reply::error(Some(&id.to_string()), code, message);
            reply::whole(status, body, None, answer)
        }
        None => reply::aside(status, reply::error(None, code, message), answer),
    }
}

/// The same in place of the program, to which the message does not get.
fn in_its_place(
    status: StatusCode,
    id: Option<&Id>,
    code: i64,
    message: &str,
    mut answer: Answer,
) -> Response<Reply> {
    answer.end(End::Refused);
    reply::unseen(status, reply::error(id.map(Id::to_string).as_deref(), code, message))
}

/// What to say to a body that does not cross.
pub(super) fn faulty(fault: &Fault, answer: Answer) -> Response<Reply> {
    let body = reply::error(None, fault.code(), &fault.to_string());
    reply::whole(StatusCode::BAD_REQUEST, body, None, answer)
}

/// The JSON-RPC code for a message that does not reach a program.
pub(super) fn code(unheard: Unheard) -> i64 {
    if unheard == Unheard::TooMany { INTERNAL } else { INVALID_REQUEST }
}

impl Exchanges {
    /// A message that did not reach the program of its session.
    pub(super) fn refused(
        &self,
        unheard: Unheard,
        id: Option<&Id>,
        answer: Answer,
    ) -> Response<Reply> {
        let status = match unheard {
            Unheard::Over => StatusCode::NOT_FOUND,
            Unheard::IdInUse | Unheard::LongId => StatusCode::BAD_REQUEST,
            Unheard::TooMany => StatusCode::SERVICE_UNAVAILABLE,
        };
        let (code, message) = (code(unheard), unheard.to_string());
        let mut response = match unheard {
            Unheard::Over | Unheard::TooMany => in_its_place(status, id, code, &message, answer),
            Unheard::IdInUse | Unheard::LongId => error(status, id, code, &message, answer),
        };
        if unheard == Unheard::TooMany {
            self.counters.count_refused("waiting");
            response.headers_mut().insert(RETRY_AFTER, retry_after(None));
        }
        response
    }

    /// A message that names a session which is not, or no more, as far as is known.
    pub(super) fn stray(&self, id: Option<&Id>, answer: Answer) -> Response<Reply> {
        if let Behind::Shim(shim) = &self.launcher.behind
            && !shim.is_acquainted()
        {
            return self.away(id, answer);
        }
        let message = "there is no such session; initialize a new one";
        in_its_place(StatusCode::NOT_FOUND, id, INVALID_REQUEST, message, answer)
    }
}

/// What to say to a client that asks for the era without sessions. Clients of both eras tell by
/// this answer to which one the server belongs.
pub(super) fn not_of_this_era(id: &Id, answer: Answer) -> Response<Reply> {
    let message = "the server behind this proxy has sessions; send initialize";
    error(StatusCode::NOT_FOUND, Some(id), METHOD_NOT_FOUND, message, answer)
}

/// What to say to a request that should name a session and does not.
pub(super) fn missing(id: Option<&Id>, answer: Answer) -> Response<Reply> {
    let message = "Mcp-Session-Id is missing; initialize a session and send its id";
    error(StatusCode::BAD_REQUEST, id, INVALID_REQUEST, message, answer)
}
