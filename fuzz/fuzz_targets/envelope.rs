//! Any bytes in any chunking: no panic, the same messages, and what serde_json reads is read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mcpulse_proxy::{
    jsonrpc::{Id, Kind},
    mcp::Field,
    scan::{Bounds, Frame, Scanner},
};
use serde_json::Value;

fuzz_target!(|input: (u8, u16, &[u8])| {
    let (chunk, inspect, frame) = input;
    let bounds = Bounds { inspect: u64::from(inspect), id: 1 << 10, arguments: 100, text: 30 };
    let whole = scan(frame, frame.len().max(1), bounds);
    let chunked = scan(frame, usize::from(chunk).max(1), bounds);
    assert_eq!(whole, chunked);
    if let Ok(Value::Object(object)) = serde_json::from_slice(frame) {
        let (messages, verdict) = &whole;
        assert_eq!((messages.len(), *verdict), (1, Frame::Whole));
        if let Some(id) = object.get("id").and_then(Value::as_i64) {
            assert_eq!(messages[0].id, Some(Id::Number(id)));
        }
        if let Some(method) = object.get("method").and_then(Value::as_str)
            && method.len() < 40
        {
            assert_eq!(messages[0].method.as_deref(), Some(method));
        }
    }
});

#[derive(Debug, PartialEq)]
struct Summary {
    kind: Kind,
    id: Option<Id>,
    method: Option<String>,
    arguments: Vec<u8>,
    text: Option<String>,
    code: Option<Id>,
    is_error: bool,
    tools: Vec<String>,
    size: u64,
}

fn scan(frame: &[u8], chunk: usize, bounds: Bounds) -> (Vec<Summary>, Frame) {
    let mut scanner = Scanner::new(bounds);
    let mut messages = Vec::new();
    for mut rest in frame.chunks(chunk) {
        while let Some(read) = scanner.feed(rest) {
            let message = scanner.message();
            let text = |field| message.text(field).map(|text| text.into_owned());
            messages.push(Summary {
                kind: Kind::of(message),
                id: Id::of(message, Field::Id),
                method: text(Field::Method),
                arguments: message.raw(Field::Arguments).0.to_vec(),
                text: text(Field::Text),
                code: Id::of(message, Field::Code),
                is_error: message.is_true(Field::IsError),
                tools: message.tools().map(|name| name.into_owned()).collect(),
                size: message.size(),
            });
            rest = &rest[read..];
        }
    }
    assert!(scanner.held() < 1 << 20);
    (messages, scanner.end())
}
