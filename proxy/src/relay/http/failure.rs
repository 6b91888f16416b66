//! Answers for an upstream that failed, in the words of JSON-RPC and under the request's id.
//! Never 4xx, which makes clients change the protocol or end the session.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use serde_json::{Value, json, value::RawValue};

use super::{asked::Asked, counters::Failed, upstream::SendError};
use crate::{config::ErrorStatus, traffic::End};

/// "Internal error": no code of the range that MCP keeps for itself.
const CODE: i64 = -32603;

/// Why the proxy answers in place of the upstream.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    message: String,
    /// How to count it.
    pub(super) kind: Option<Failed>,
    /// What the tap is told.
    pub(super) end: End,
}

impl Failure {
    pub(super) fn of(error: &SendError) -> Self {
        let (kind, end) = match error {
            SendError::Dial(_) => (Failed::Connect, End::Unreachable),
            SendError::Broken(_) => (Failed::Broken, End::ServerGone),
        };
        let status = StatusCode::BAD_GATEWAY;
        Self { status, message: error.to_string(), kind: Some(kind), end }
    }

    pub(super) fn timed_out() -> Self {
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
            message: "the proxy is shutting down and could wait no longer".to_owned(),
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

    /// The answer to `asked`.
    pub(super) fn response(&self, asked: &Asked, mode: ErrorStatus) -> Response<Full<Bytes>> {
        let status = match (mode, asked) {
            (ErrorStatus::Ok, Asked::Request(_) | Asked::Batch(_)) => StatusCode::OK,
            _ => self.status,
        };
        let body = match asked {
            Asked::Request(id) => self.error(Some(id)),
            Asked::Batch(ids) => ids.iter().map(|id| self.error(Some(id))).collect(),
            Asked::Unclear => self.error(Some(RawValue::NULL)),
            Asked::Nothing => self.error(None),
        };
        let mut response = Response::new(Full::from(body.to_string()));
        *response.status_mut() = status;
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        response
    }

    fn error(&self, id: Option<&RawValue>) -> Value {
        let mut error = json!({
            "jsonrpc": "2.0",
            "error": {
                "code": CODE,
                "message": self.message,
                "data": { "source": "mcpulse-proxy" },
            },
        });
        if let Some(id) = id {
            error["id"] = json!(id);
        }
        error
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

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
    async fn nothing_else_gets_an_id_or_200() {
        let (status, body) = answer(Asked::Nothing, ErrorStatus::Ok).await;
        assert_eq!((status, body.get("id")), (504, None));
        let (status, body) = answer(Asked::Unclear, ErrorStatus::Ok).await;
        assert_eq!((status, body.get("id")), (504, Some(&json!(null))));
    }
}
