//! Answers for requests that the listener refuses before anything goes upstream.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;

use crate::mcp::code::{INTERNAL, INVALID_REQUEST};

/// How long a client should wait that is refused, where nobody knows how long that lasts: others
/// may leave at any time, and another process may be in the place of one that shuts down.
const RETRY: Duration = Duration::from_secs(2);

/// When a client that is refused may try again (`Retry-After`), where it `lasts` so long.
pub(in crate::relay) fn retry_after(lasts: Option<Duration>) -> HeaderValue {
    let seconds = (lasts.unwrap_or(RETRY) + Duration::from_millis(999)).as_secs();
    HeaderValue::from(seconds.max(1))
}

/// Why a request goes no further, and what its client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status of the answer.
    pub status: StatusCode,
    /// The value of a counter's label.
    pub reason: &'static str,
    /// For the person at the client: what was wrong and what to do.
    pub message: String,
    /// The value of `WWW-Authenticate`, of a 401.
    pub challenge: Option<&'static str>,
}

impl Refusal {
    /// A refusal without a challenge.
    pub fn new(status: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self { status, reason, message: message.into(), challenge: None }
    }

    /// The whole answer: a JSON-RPC error without an id, for the request was not read. The
    /// codes -32000 to -32099 are left alone, since clients tell protocol revisions by them.
    pub fn response(&self) -> Response<Full<Bytes>> {
        let code = if self.status.is_server_error() { INTERNAL } else { INVALID_REQUEST };
        let body = serde_json::json!({
            "jsonrpc": "2.0",
            "id": null,
            "error": {
                "code": code,
                "message": self.message,
                "data": { "source": "mcpulse-proxy" },
            },
        });
        let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, retry_after(None));
        }
        if let Some(challenge) = self.challenge {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}
