//! Any request body in any chunking: what is said for an upstream that failed is JSON-RPC, and
//! gives back the id of each request byte for byte.
#![no_main]

use std::collections::BTreeMap;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use mcpulse_proxy::relay::http::failure;
use serde_json::{Value, value::RawValue};

/// More than is kept of a body before it is read.
const LONG: usize = (64 << 10) + 1;
/// Most requests of a batch that are answered each.
const MOST: usize = 100;

type Members<'a> = BTreeMap<String, &'a RawValue>;

fuzz_target!(|input: (u8, bool, &[u8])| {
    let (chunk, long, body) = input;
    let chunk = usize::from(chunk).max(1);
    let blank = long.then(|| Bytes::from(vec![b' '; LONG]));
    let chunks = body.chunks(chunk).map(Bytes::copy_from_slice);
    let answer = failure::timed_out(blank.into_iter().chain(chunks));
    assert_eq!(answer, failure::timed_out([Bytes::copy_from_slice(body)]));

    let answer = String::from_utf8(answer).expect("text");
    let answers: Vec<Members> = match serde_json::from_str(&answer) {
        Ok(batch) => batch,
        Err(_) => vec![serde_json::from_str(&answer).expect("one answer or a batch of them")],
    };
    assert!((1..=MOST).contains(&answers.len()));
    for answer in &answers {
        assert_eq!(answer["jsonrpc"].get(), "\"2.0\"");
        let error: Value = serde_json::from_str(answer["error"].get()).expect("an object");
        assert!(error["code"].is_i64() && error["message"].is_string());
    }

    let Ok(body) = str::from_utf8(body) else { return };
    let found = |answer: &Members| answer.get("id").map(|id| id.get().to_owned());
    if let Ok(request) = serde_json::from_str::<Members>(body) {
        assert!(!answer.starts_with('['));
        if let Some(id) = asked(&request) {
            assert_eq!(found(&answers[0]).as_deref(), Some(id));
        }
    } else if let Ok(requests) = serde_json::from_str::<Vec<Members>>(body) {
        let found: Vec<_> = answers.iter().filter_map(found).collect();
        let mut left = found.iter();
        for id in requests.iter().filter_map(asked) {
            let echoed = left.any(|found| found == id);
            assert!(echoed || found.len() == MOST, "{id} is missing in {found:?}");
        }
    }
});

/// The id of what waits for an answer.
fn asked<'a>(request: &Members<'a>) -> Option<&'a str> {
    let id = request.get("id")?.get();
    let valid = id.starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit());
    let answers = ["result", "error"].iter().any(|member| request.contains_key(*member));
    let asks = request.get("method").is_some_and(|method| method.get().starts_with('"'));
    (valid && asks && !answers).then_some(id)
}
