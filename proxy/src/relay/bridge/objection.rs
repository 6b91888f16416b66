//! What clients are told whose message goes nowhere.

use http::{HeaderValue, Response, StatusCode, header::RETRY_AFTER};
use serde_json::json;

use super::{
    reply::{self, INTERNAL, Reply},
    session::Unheard,
    splice::Said,
};
use crate::{jsonrpc::Id, relay::http::download::Answer};

/// The revisions that have sessions.
pub(super) const REVISIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];
/// When a client may try again for which there was no room.
pub(super) const RETRY: HeaderValue = HeaderValue::from_static("10");

/// "Invalid Request", "Method not found" (JSON-RPC) and `UnsupportedProtocolVersion` (2026-07-28).
const INVALID: i64 = -32600;
const NOT_FOUND: i64 = -32601;
const UNSUPPORTED_VERSION: i64 = -32022;

/// Why the session that a request names cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stray {
    #[error("there is no such session; initialize a new one")]
    NoSuchSession,
    #[error("MCP-Protocol-Version names no revision with sessions; send what was negotiated")]
    OtherRevision,
}

impl Stray {
    pub(super) fn response(self, id: Option<&Id>, answer: Answer) -> Response<Reply> {
        let status = match self {
            Self::NoSuchSession => StatusCode::NOT_FOUND,
            Self::OtherRevision => StatusCode::BAD_REQUEST,
        };
        error(status, id, INVALID, &self.to_string(), answer)
    }
}

/// An error for the request with this id, or for something that is no request.
fn error(
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

/// A message that did not reach the program of its session.
pub(super) fn refused(unheard: Unheard, id: Option<&Id>, answer: Answer) -> Response<Reply> {
    let (status, code) = match unheard {
        Unheard::Over => (StatusCode::NOT_FOUND, INVALID),
        Unheard::IdInUse => (StatusCode::BAD_REQUEST, INVALID),
        Unheard::TooMany => (StatusCode::SERVICE_UNAVAILABLE, INTERNAL),
    };
    let mut response = error(status, id, code, &unheard.to_string(), answer);
    if unheard == Unheard::TooMany {
        response.headers_mut().insert(RETRY_AFTER, RETRY);
    }
    response
}

/// What to say to a message that names no session and begins none. Clients of two eras tell by
/// this answer to which one the server belongs.
pub(super) fn without_session(said: &Said, id: Option<&Id>, answer: Answer) -> Response<Reply> {
    if said.gist.is("server/discover") {
        let message = "servers behind this proxy have sessions; send initialize";
        return error(StatusCode::NOT_FOUND, id, NOT_FOUND, message, answer);
    }
    if said.modern {
        let id = id.map(Id::to_string);
        let message = "this protocol revision is not served here";
        let data = json!({ "supported": REVISIONS });
        let body = reply::error_with(id.as_deref(), UNSUPPORTED_VERSION, message, &data);
        return reply::whole(StatusCode::BAD_REQUEST, body, None, answer);
    }
    missing(id, answer)
}

/// What to say to a request that should name a session and does not.
pub(super) fn missing(id: Option<&Id>, answer: Answer) -> Response<Reply> {
    let message = "Mcp-Session-Id is missing; initialize a session and send its id";
    error(StatusCode::BAD_REQUEST, id, INVALID, message, answer)
}
