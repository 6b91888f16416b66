//! What the client is told when a response is no answer to it.

use bytes::{Bytes, BytesMut};
use http::{StatusCode, header::WWW_AUTHENTICATE};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    events::one_line,
    problem::{Problem, Refused, Told},
    said::{Asked, messages},
    server::Refusal,
};
use crate::{
    jsonrpc::{self, Kind},
    mcp::code::{
        HEADER_MISMATCH, INTERNAL, INVALID_PARAMS, METHOD_NOT_FOUND, MISSING_CAPABILITY,
        UNSUPPORTED_VERSION,
    },
    scan::Frame,
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

/// An error of the server's as the answer to the request that it is about, on one line: what
/// stands on a line of its own is a message of its own for the client. One that names the request
/// stays as it is.
pub(super) fn under_id(text: &[u8], asked: &Asked) -> Option<Bytes> {
    let (mut is_error, mut names_it) = (false, false);
    let frame = messages(text, |message| {
        is_error = !message.in_batch() && jsonrpc::is_error(message);
        names_it = Kind::of(message) == Kind::Answer(asked.id.clone());
    });
    if frame != Frame::Whole || !is_error {
        return None;
    }
    if names_it {
        return Some(one_line(text.into()));
    }
    let Failed { error, jsonrpc } = serde_json::from_slice(text).ok()?;
    jsonrpc?;
    let (id, error) = (&asked.written, error.get());
    let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#);
    Some(one_line(BytesMut::from(&*answer)))
}

/// What a refusal answers to each of `left`; none if it is no answer, or not to all of them.
pub(super) fn answers(refusal: &Refusal, left: &[Asked]) -> Option<Vec<Bytes>> {
    let told: Option<Vec<_>> = left.iter().map(|asked| under_id(&refusal.body, asked)).collect();
    told.filter(|told| !told.is_empty() && !wants_login(refusal))
}

/// Several answers as one body.
pub(super) fn together(answers: &[Bytes]) -> Bytes {
    match answers {
        [answer] => answer.clone(),
        _ => [b"[", &answers.join(&b","[..])[..], b"]"].concat().into(),
    }
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

/// Whether the server wants to know who asks, or wants somebody else to.
pub(super) fn wants_login(refusal: &Refusal) -> bool {
    match refusal.status {
        StatusCode::UNAUTHORIZED => true,
        StatusCode::FORBIDDEN => refusal.headers.contains_key(WWW_AUTHENTICATE),
        _ => false,
    }
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
    if wants_login(refusal) {
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
        let named = b"{ \"id\":1, \"error\":{\"code\":-1},\n\"more\":1e0}";
        assert_eq!(
            under_id(named, &asked).unwrap(),
            r#"{ "id":1, "error":{"code":-1}, "more":1e0}"#
        );
        let forged = b"{\"error\":{\"code\":-1,\"data\":[0,\r\n{\"id\":2,\"result\":1}\n]},\"jsonrpc\":\"2.0\"}";
        assert_eq!(
            under_id(forged, &asked).unwrap(),
            r#"{"jsonrpc":"2.0","id":1.0,"error":{"code":-1,"data":[0,  {"id":2,"result":1} ]}}"#
        );
        let batch = br#"[{"jsonrpc":"2.0","id":1,"error":{"code":-1}},1]"#;
        for other in
            [&b"<html>"[..], batch, br#"{"error":"invalid_token"}"#, br#"{"jsonrpc":"2.0"}"#]
        {
            assert_eq!((under_id(other, &asked), code(other)), (None, None));
        }
        assert!(
            failed(&asked, &Problem::strange("x"))
                .text
                .starts_with(br#"{"jsonrpc":"2.0","id":1.0,"error":{"#)
        );
    }
}
