//! Answers for an upstream that failed, in the words of JSON-RPC and under the request's id.
//! Never 4xx, which makes clients change the protocol or end the session.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use serde_json::{json, value::RawValue};

use super::{counters::Failed, upstream::SendError};
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

    /// The answer to a request whose body begins with `beginning`.
    pub(super) fn response(&self, beginning: &[u8], mode: ErrorStatus) -> Response<Full<Bytes>> {
        let asked = Asked::read(beginning);
        let status = match (mode, &asked) {
            (ErrorStatus::Ok, Asked::Request(_)) => StatusCode::OK,
            _ => self.status,
        };
        let mut body = json!({
            "jsonrpc": "2.0",
            "error": {
                "code": CODE,
                "message": self.message,
                "data": { "source": "mcpulse-proxy" },
            },
        });
        match asked {
            Asked::Request(id) => body["id"] = json!(id),
            Asked::Unclear => body["id"] = json!(null),
            Asked::Nothing => {}
        }
        let mut response = Response::new(Full::from(body.to_string()));
        *response.status_mut() = status;
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        response
    }
}

/// What a message, perhaps cut off, wants to hear.
#[derive(Debug)]
enum Asked<'a> {
    /// A response under this id.
    Request(&'a RawValue),
    /// Nothing: it is empty, a notification or itself a response.
    Nothing,
    /// It cannot be told: cut off too early, a batch, or no JSON-RPC.
    Unclear,
}

impl<'a> Asked<'a> {
    fn read(text: &'a [u8]) -> Self {
        if text.trim_ascii().is_empty() {
            return Self::Nothing;
        }
        let (mut id, mut method) = (None, false);
        let mut members = Members::of(text);
        for (name, value) in &mut members {
            match name {
                b"id" => id = Some(scalar(value)),
                b"method" => method = true,
                _ => {}
            }
        }
        match id {
            Some(Some(id)) if method || !members.complete => Self::Request(id),
            Some(Some(_)) => Self::Nothing,
            None if method && members.complete => Self::Nothing,
            _ => Self::Unclear,
        }
    }
}

/// A string or a number, the only ids there are.
fn scalar(value: &[u8]) -> Option<&RawValue> {
    let first = value.first()?;
    let raw = serde_json::from_slice(value).ok()?;
    (*first == b'"' || *first == b'-' || first.is_ascii_digit()).then_some(raw)
}

/// The members of a JSON object that are there in full, however the text goes on.
struct Members<'a> {
    text: &'a [u8],
    at: usize,
    /// The object was read to its end.
    complete: bool,
}

impl<'a> Members<'a> {
    fn of(text: &'a [u8]) -> Self {
        let mut members = Self { text, at: 0, complete: false };
        if members.space() == Some(b'{') {
            members.at += 1;
        } else {
            members.at = text.len();
        }
        members
    }

    /// Skips white space; the byte behind it.
    fn space(&mut self) -> Option<u8> {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    /// Skips a string; what stands between its quotes.
    fn string(&mut self) -> Option<&'a [u8]> {
        let start = self.at + 1;
        let mut end = start;
        loop {
            end += memchr::memchr2(b'"', b'\\', self.text.get(end..)?)?;
            if self.text[end] == b'"' {
                self.at = end + 1;
                return Some(&self.text[start..end]);
            }
            end += 2;
        }
    }

    /// Skips a value of any kind.
    fn value(&mut self) -> Option<&'a [u8]> {
        self.space()?;
        let start = self.at;
        let mut depth = 0_usize;
        loop {
            match *self.text.get(self.at)? {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' if depth > 0 => {
                    depth -= 1;
                    self.at += 1;
                }
                b',' | b'}' => return None,
                _ => self.scalar()?,
            }
            if depth == 0 {
                return Some(&self.text[start..self.at]);
            }
            while let Some(b',' | b':') = self.space() {
                self.at += 1;
            }
        }
    }

    /// Skips a number or a word, which is only over when something follows.
    fn scalar(&mut self) -> Option<()> {
        let rest = &self.text[self.at..];
        let length = rest.iter().position(|byte| {
            byte.is_ascii_whitespace() || matches!(byte, b',' | b':' | b'}' | b']')
        })?;
        self.at += length.max(1);
        Some(())
    }

    fn member(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        if self.space()? == b',' {
            self.at += 1;
        }
        match self.space()? {
            b'"' => {}
            other => {
                self.complete = other == b'}';
                return None;
            }
        }
        let name = self.string()?;
        if self.space()? != b':' {
            return None;
        }
        self.at += 1;
        Some((name, self.value()?))
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let member = self.member();
        if member.is_none() {
            self.at = self.text.len();
        }
        member
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use proptest::prelude::*;

    use super::*;

    async fn answer(beginning: &[u8], mode: ErrorStatus) -> (u16, serde_json::Value) {
        let response = Failure::timed_out().response(beginning, mode);
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn a_request_gets_its_id_back_as_it_wrote_it() {
        for (text, id) in [
            (r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#, json!(7)),
            (r#" { "id" : "7" , "method":"ping"}"#, json!("7")),
            (
                r#"{"method":"tools/call","params":{"id":1,"a":["}",{}]},"id":"a\"b"}"#,
                json!("a\"b"),
            ),
            (r#"{"id":3,"method":"tools/call","params":{"text":"cut o"#, json!(3)),
        ] {
            let (status, body) = answer(text.as_bytes(), ErrorStatus::Gateway).await;
            assert_eq!((status, &body["id"]), (504, &id), "{text}");
            assert_eq!(body["error"]["code"], -32603, "{text}");
            assert_eq!(answer(text.as_bytes(), ErrorStatus::Ok).await.0, 200, "{text}");
        }
    }

    #[tokio::test]
    async fn what_waits_for_no_response_gets_no_id() {
        for text in
            ["", r#"{"method":"notifications/initialized"}"#, r#"{"id":1,"result":{"method":1}}"#]
        {
            let (status, body) = answer(text.as_bytes(), ErrorStatus::Ok).await;
            assert_eq!(status, 504, "{text}");
            assert!(body.get("id").is_none(), "{text}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_told_gets_a_null_id() {
        for text in [
            r#"{"method":"tools/call","params":{"text":"cut o"#,
            r#"{"method":"tools/call","id":1"#,
            r#"{"method":"x","id":null}garbage"#,
            "[{\"id\":1,\"method\":\"ping\"}]",
            "no json",
        ] {
            let (_, body) = answer(text.as_bytes(), ErrorStatus::Gateway).await;
            assert_eq!(body.get("id"), Some(&json!(null)), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text: Vec<u8>, json in "[\\[\\]{}\",:\\\\a-d0-9 ]{0,40}") {
            let _ = Asked::read(&text);
            let _ = Asked::read(json.as_bytes());
        }

        #[test]
        fn a_prefix_never_yields_another_id(cut in 0_usize..80) {
            let text = br#"{"params":{"id":1,"x":[{"id":2}]},"id":12345,"jsonrpc":"2.0","method":"m"}"#;
            let cut = cut.min(text.len());
            if let Asked::Request(id) = Asked::read(&text[..cut]) {
                prop_assert_eq!(id.get(), "12345");
            }
        }
    }
}
