//! What browsers want to hear about pages of other origins. Which of them may come is the
//! guard's matter; here they have passed it.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
        VARY,
    },
    request::Parts,
};

use super::reply::{Reply, unseen};
use crate::relay::http::guard;

const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, DELETE");
/// What a page needs to see of an answer.
const EXPOSED: HeaderValue =
    HeaderValue::from_static("Mcp-Session-Id, MCP-Protocol-Version, WWW-Authenticate, Retry-After");
/// How long a browser may remember, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("3600");

/// The answer to a browser that asks before it sends a request, without credentials.
pub(super) fn preflight(request: &Parts) -> Option<Response<Reply>> {
    if !guard::is_preflight(request) {
        return None;
    }
    let mut response = unseen(StatusCode::NO_CONTENT, Bytes::new());
    let allowed = response.headers_mut();
    allowed.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    allowed.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    // Any header: it is the token that protects, and new revisions bring new ones.
    if let Some(wanted) = request.headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        allowed.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    Some(response)
}

/// Lets the page that asked read the answer.
pub(super) fn allow(origin: HeaderValue, headers: &mut HeaderMap) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    headers.insert(VARY, HeaderValue::from_static("Origin"));
}
