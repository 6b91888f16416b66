//! What the client is told when a response is no answer to it.

use bytes::{Bytes, BytesMut};
use http::{StatusCode, header::WWW_AUTHENTICATE};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    events::one_line,
    problem::{Problem, Refused, Told},
    said::Asked,
    server::Refusal,
};
use crate::{
    jsonrpc,
    mcp::code::{
        HEADER_MISMATCH, INTERNAL, INVALID_PARAMS, METHOD_NOT_FOUND, MISSING_CAPABILITY,
        UNSUPPORTED_VERSION,
    },
};

/// Most characters of a body that says in its own words what is wrong.
const LONGEST_WORDS: usize = 300;

/// An answer with nothing in it but an error.
#[derive(Deserialize)]
struct Failed<'a> {
    #[serde(borrow)]
    error: &'a RawValue,
    jsonrpc: Option<&'a RawValue>,
}

/// What answers `asked`, given this reason why no answer came.
pub(super) fn failed(asked: &Asked, why: &Problem) -> Told {
    let text = jsonrpc::error(Some(&asked.written), INTERNAL, &why.told());
    Told { text, why: Some(why.clone()) }
}

/// An error of the server's that names no request, as the answer to the one that it is about, on
/// one line: what stands on a line of its own is a message of its own for the client.
pub(super) fn under_id(text: &[u8], asked: &Asked) -> Option<Bytes> {
    let Failed { error, jsonrpc } = serde_json::from_slice(text).ok()?;
    jsonrpc?;
    let (id, error) = (&asked.written, error.get());
    let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#);
    Some(one_line(BytesMut::from(&*answer)))
}

/// The code of an error in a body.
pub(super) fn code(body: &[u8]) -> Option<i64> {
    #[derive(Deserialize)]
    struct Body {
        error: Coded,
    }
    #[derive(Deserialize)]
    struct Coded {
        code: i64,
    }
    serde_json::from_slice(body).ok().map(|body: Body| body.error.code)
}

/// Whether a server that refuses `initialize` in this way may be one of HTTP+SSE (2024-11-05);
/// not so one of the era that has no sessions, which says so by an error of its own
/// (2026-07-28, backward compatibility).
pub(super) fn may_be_of_http_sse(refusal: &Refusal) -> bool {
    let status = matches!(
        refusal.status,
        StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED
    );
    let is_modern = matches!(
        code(&refusal.body),
        Some(
            METHOD_NOT_FOUND
                | INVALID_PARAMS
                | HEADER_MISMATCH
                | MISSING_CAPABILITY
                | UNSUPPORTED_VERSION
        )
    );
    status && !is_modern
}

/// What it means that the server refused.
pub(super) fn refused(refusal: &Refusal, url: &str) -> Problem {
    let challenges = refusal.headers.get_all(WWW_AUTHENTICATE).iter().cloned().collect();
    let refused = Refused { status: refusal.status, challenges };
    let (message, words) = in_words(refusal, url);
    Problem::refused(message, words, refused)
}

/// A refusal in words, with a way out where there is one; and in those of the server.
fn in_words(refusal: &Refusal, url: &str) -> (String, Option<String>) {
    let status = refusal.status;
    let challenged = refusal.headers.contains_key(WWW_AUTHENTICATE);
    if status == StatusCode::UNAUTHORIZED || (status == StatusCode::FORBIDDEN && challenged) {
        let message = format!(
            "the server wants to know who you are ({status}): give the proxy a token for it with \
             --bearer-token, or let a browser log you in with 'mcpulse-proxy stdio -- npx \
             mcp-remote {url}'"
        );
        return (message, None);
    }
    let body = String::from_utf8_lossy(&refusal.body);
    let words: String = body.split_whitespace().collect::<Vec<_>>().join(" ");
    let words: String = words.chars().take(LONGEST_WORDS).collect();
    let tells = !words.is_empty() && !words.starts_with('<');
    (format!("the server answered {status}"), tells.then_some(words))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jsonrpc::Id;

    #[test]
    fn an_error_comes_under_the_id_as_it_was_written() {
        let asked = Asked { id: Id::Number(1), written: "1.0".into() };
        let nameless = br#"{"jsonrpc":"2.0","error":{"code": -1, "message":"\u0061"},"id":null}"#;
        let answer = under_id(nameless, &asked).unwrap();
        assert_eq!(
            answer,
            r#"{"jsonrpc":"2.0","id":1.0,"error":{"code": -1, "message":"\u0061"}}"#
        );
        assert_eq!(code(nameless), Some(-1));
        let forged = b"{\"error\":{\"code\":-1,\"data\":[0,\r\n{\"id\":2,\"result\":1}\n]},\"jsonrpc\":\"2.0\"}";
        assert_eq!(
            under_id(forged, &asked).unwrap(),
            r#"{"jsonrpc":"2.0","id":1.0,"error":{"code":-1,"data":[0,  {"id":2,"result":1} ]}}"#
        );
        for other in [&b"<html>"[..], br#"{"error":"invalid_token"}"#, br#"{"jsonrpc":"2.0"}"#] {
            assert_eq!((under_id(other, &asked), code(other)), (None, None));
        }
        assert!(
            failed(&asked, &Problem::strange("x"))
                .text
                .starts_with(br#"{"jsonrpc":"2.0","id":1.0,"error":{"#)
        );
    }
}
