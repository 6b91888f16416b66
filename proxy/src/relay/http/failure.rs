//! Answers for an upstream that failed, in the words of JSON-RPC and under the request's id.
//! Never 4xx, which makes clients change the protocol or end the session.

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use http_body_util::Full;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    asked::{Asked, Beginning},
    counters::Failed,
    refusal::retry_after,
    upstream::SendError,
};
use crate::{config::ErrorStatus, traffic::End};

/// "Internal error": no code of the range that MCP keeps for itself.
const CODE: i64 = crate::mcp::code::INTERNAL;

/// What a client is told that still waits when a drain is over, be it that of the proxy or of a
/// server that its configuration no longer has.
pub(in crate::relay) const GIVEN_UP: &str =
    "this server is being shut down or replaced, and the proxy could wait no longer";

/// What the body says of an answer in place of an upstream that took too long, when the body of
/// the request came in these chunks.
pub fn timed_out(chunks: impl IntoIterator<Item = Bytes>) -> Vec<u8> {
    let mut beginning = Beginning::default();
    chunks.into_iter().for_each(|chunk| beginning.push(&chunk));
    Failure::timed_out().body(&beginning.asked())
}

/// Why the proxy answers in place of the upstream.
#[derive(Debug)]
pub(in crate::relay) struct Failure {
    status: StatusCode,
    message: String,
    /// How to count it.
    pub(in crate::relay) kind: Option<Failed>,
    /// What the tap is told.
    pub(in crate::relay) end: End,
}

impl Failure {
    pub(in crate::relay) fn of(error: &SendError) -> Self {
        let (kind, end) = match error {
            SendError::Dial(_) => (Failed::Connect, End::Unreachable),
            SendError::Broken(_) => (Failed::Broken, End::ServerGone),
        };
        let status = StatusCode::BAD_GATEWAY;
        Self { status, message: error.to_string(), kind: Some(kind), end }
    }

    /// Nobody has listened there yet: a server that starts.
    pub(super) fn not_up(error: &SendError) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, ..Self::of(error) }
    }

    pub(in crate::relay) fn timed_out() -> Self {
        Self {
            status: StatusCode::GATEWAY_TIMEOUT,
            message: "the upstream did not answer in time".to_owned(),
            kind: Some(Failed::TimedOut),
            end: End::TimedOut,
        }
    }

    pub(super) fn shutting_down() -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            message: GIVEN_UP.to_owned(),
            kind: None,
            end: End::Refused,
        }
    }

    /// Metadata that must be rewritten could not be read.
    pub(super) fn metadata(limit: usize) -> Self {
        Self {
            status: StatusCode::BAD_GATEWAY,
            message: format!("the upstream's metadata broke off or is larger than {limit} bytes"),
            kind: Some(Failed::Broken),
            end: End::ServerGone,
        }
    }

    /// In words, for whoever waits for an answer.
    pub(in crate::relay) fn message(&self) -> &str {
        &self.message
    }

    /// The answer to `asked`.
    pub(super) fn response(&self, asked: &Asked, mode: ErrorStatus) -> Response<Full<Bytes>> {
        let status = match (mode, asked) {
            (ErrorStatus::Ok, Asked::Request(_) | Asked::Batch(_)) => StatusCode::OK,
            _ => self.status,
        };
        let mut response = Response::new(Full::from(self.body(asked)));
        *response.status_mut() = status;
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, retry_after(None));
        }
        response
    }

    fn body(&self, asked: &Asked) -> Vec<u8> {
        match asked {
            Asked::Request(id) => json(&self.error(Some(id))),
            Asked::Batch(ids) => {
                json(&ids.iter().map(|id| self.error(Some(id))).collect::<Vec<_>>())
            }
            Asked::Unclear => json(&self.error(Some(RawValue::NULL))),
            Asked::Nothing => json(&self.error(None)),
        }
    }

    fn error<'a>(&'a self, id: Option<&'a RawValue>) -> Answer<'a> {
        let data = Data { source: "mcpulse-proxy" };
        Answer { jsonrpc: "2.0", id, error: Error { code: CODE, message: &self.message, data } }
    }
}

/// The id goes back byte for byte. It is never read: not every id that JSON can write has a
/// value (`1e999`, half a surrogate pair).
#[derive(Serialize)]
struct Answer<'a> {
    jsonrpc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a RawValue>,
    error: Error<'a>,
}

#[derive(Serialize)]
struct Error<'a> {
    code: i64,
    message: &'a str,
    data: Data,
}

#[derive(Serialize)]
struct Data {
    source: &'static str,
}

fn json(answer: &impl Serialize) -> Vec<u8> {
    // Text, numbers and JSON that is written already: it cannot fail.
    serde_json::to_vec(answer).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use serde_json::{Value, json};

    use super::*;

    async fn answer(asked: Asked, mode: ErrorStatus) -> (u16, Value) {
        let response = Failure::timed_out().response(&asked, mode);
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    fn id(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    #[tokio::test]
    async fn a_request_gets_its_id_back() {
        let (status, body) = answer(Asked::Request(id("\"a\"")), ErrorStatus::Gateway).await;
        assert_eq!((status, &body["id"], &body["error"]["code"]), (504, &json!("a"), &json!(CODE)));
        assert_eq!(answer(Asked::Request(id("1")), ErrorStatus::Ok).await.0, 200);
    }

    #[tokio::test]
    async fn a_batch_gets_an_answer_each() {
        let asked = || Asked::Batch(vec![id("1"), id("\"a\"")]);
        let (status, body) = answer(asked(), ErrorStatus::Gateway).await;
        let ids: Vec<_> = body.as_array().unwrap().iter().map(|error| &error["id"]).collect();
        assert_eq!((status, ids), (504, vec![&json!(1), &json!("a")]));
        assert_eq!(answer(asked(), ErrorStatus::Ok).await.0, 200);
    }

    #[tokio::test]
    async fn an_id_comes_back_byte_for_byte() {
        let long = "7".repeat(400);
        for text in [
            r#""\ud800""#,
            r#""\u0061\/""#,
            "1e999",
            "-0",
            "1.0",
            "123456789012345678901234567890",
            &long,
        ] {
            let answered = async |asked| {
                let response = Failure::timed_out().response(&asked, ErrorStatus::Gateway);
                let body = response.into_body().collect().await.unwrap().to_bytes();
                String::from_utf8(body.to_vec()).unwrap()
            };
            let wanted = format!(r#""id":{text},"#);
            let single = answered(Asked::Request(id(text))).await;
            assert!(single.contains(&wanted), "{single}");
            let batch = answered(Asked::Batch(vec![id("1"), id(text)])).await;
            assert!(batch.starts_with('[') && batch.contains(&wanted), "{batch}");
        }
    }

    #[tokio::test]
    async fn nothing_else_gets_an_id_or_200() {
        let (status, body) = answer(Asked::Nothing, ErrorStatus::Ok).await;
        assert_eq!((status, body.get("id")), (504, None));
        let (status, body) = answer(Asked::Unclear, ErrorStatus::Ok).await;
        assert_eq!((status, body.get("id")), (504, Some(&json!(null))));
    }
}
