use proptest::prelude::*;

use super::*;

const BOUNDS: Bounds = Bounds { inspect: 1 << 20, id: 1 << 10, arguments: 64, text: 16 };

/// What a scanner hands out, in words.
fn scan(frame: &[u8], chunk: usize, bounds: Bounds) -> (Vec<String>, Frame) {
    let mut scanner = Scanner::new(bounds);
    let mut messages = Vec::new();
    for mut rest in frame.chunks(chunk.max(1)) {
        while let Some(read) = scanner.feed(rest) {
            messages.push(describe(scanner.message()));
            rest = &rest[read..];
        }
    }
    (messages, scanner.end())
}

fn describe(message: &Message) -> String {
    use std::fmt::Write;
    let mut text = format!("{}:", message.size());
    for (name, field) in [
        ("id", Field::Id),
        ("method", Field::Method),
        ("result", Field::Result),
        ("error", Field::Error),
        ("name", Field::Name),
        ("arguments", Field::Arguments),
        ("code", Field::Code),
        ("isError", Field::IsError),
        ("resultType", Field::ResultType),
        ("text", Field::Text),
        ("stated", Field::StatedVersion),
        ("client", Field::ClientName),
        ("taskId", Field::TaskId),
    ] {
        if message.has(field) {
            let (raw, whole) = message.raw(field);
            let raw = String::from_utf8_lossy(raw);
            let more = if whole { "" } else { "..." };
            write!(text, " {name}={raw}{more}").unwrap();
        }
    }
    for tool in message.tools() {
        write!(text, " tool={tool}").unwrap();
    }
    text
}

fn one(message: &str) -> String {
    let (messages, frame) = scan(message.as_bytes(), usize::MAX, BOUNDS);
    assert_eq!((messages.len(), frame), (1, Frame::Whole), "{message}");
    let (size, fields) = messages[0].split_once(':').unwrap();
    assert_eq!(size, message.trim().len().to_string());
    fields.trim().to_owned()
}

#[test]
fn keeps_what_decides() {
    assert_eq!(
        one(
            r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"add","arguments":{"a":[1,"}"]}}}"#
        ),
        r#"id=7 method=tools/call name=add arguments={"a":[1,"}"]}"#
    );
    assert_eq!(
        one(
            r#"{"params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"c"}}},"id":"x"}"#
        ),
        "id=x stated=2026-07-28 client=c"
    );
    assert_eq!(
        one(
            r#" { "result" : { "content" : [ { "type":"image" }, {"text":"boom"}, {"text":"no"} ] , "isError" : true } , "id" : null } "#
        ),
        "id=null result= isError=true text=boom"
    );
    assert_eq!(
        one(r#"{"error":{"code":-32601,"message":"m","data":{"code":1}},"id":1}"#),
        "id=1 error= code=-32601"
    );
    assert_eq!(
        one(
            r#"{"id":1,"result":{"tools":[{"name":"a","inputSchema":{"name":"x"}},{"name":"b"}]}}"#
        ),
        "id=1 result= tool=a tool=b"
    );
}

#[test]
fn tells_where_a_value_stands() {
    let frame =
        r#" {"id": "a\"b" ,"result":{"_meta":{"io.modelcontextprotocol/subscriptionId":-12}}}"#;
    for chunk in [1, 7, usize::MAX] {
        let mut scanner = Scanner::new(BOUNDS);
        for part in frame.as_bytes().chunks(chunk.min(frame.len())) {
            scanner.feed(part);
        }
        let message = scanner.message();
        let stands = |field| message.span(field).map(|span| &frame[1..][span]);
        assert_eq!(stands(Field::Id), Some(r#""a\"b""#), "{chunk}");
        assert_eq!(stands(Field::SubscriptionId), Some("-12"), "{chunk}");
        assert_eq!((stands(Field::Result), stands(Field::Method)), (None, None));
    }
    let long = format!(r#"{{"id":"{}"}}"#, "x".repeat(5000));
    let mut scanner = Scanner::new(BOUNDS);
    scanner.feed(long.as_bytes());
    assert_eq!(scanner.message().span(Field::Id), None);
}

#[test]
fn looks_only_where_it_counts() {
    assert_eq!(one(r#"{"x":{"id":1,"method":"m"},"result":"id"}"#), "result=");
    assert_eq!(one(r#"{"params":[{"name":"a"}],"result":{"content":{"text":"a"}}}"#), "result=");
}

#[test]
fn reads_what_peers_accept() {
    assert_eq!(one(r#"{"result":{"x":NaN,"isError":true},"id":1}"#), "id=1 result= isError=true");
    assert_eq!(one(r#"{"\u0069d":1,"id":2}"#), "id=2");
    assert_eq!(one("\u{feff}{\"id\":1}".trim_start_matches('\u{feff}')), "id=1");
    let marked = scan("\u{feff}{\"id\":1}".as_bytes(), 1, BOUNDS);
    assert_eq!(marked, (vec!["8: id=1".to_owned()], Frame::Whole));
    let raw = b"{\"id\":1,\"result\":{\"x\":\"\xff\x01\"}}";
    assert_eq!(scan(raw, 3, BOUNDS).1, Frame::Whole);
}

#[test]
fn hands_out_the_items_of_a_batch() {
    let (messages, frame) = scan(br#"[{"id":1},{"id":2}]"#, usize::MAX, BOUNDS);
    assert_eq!(messages, ["8: id=1", "8: id=2"]);
    assert_eq!(frame, Frame::Whole);
    let (messages, frame) = scan(br#"[1,[{"id":3}],{"id":2}]"#, usize::MAX, BOUNDS);
    assert_eq!(messages, ["8: id=2"]);
    assert_eq!(frame, Frame::Broken);
}

#[test]
fn tells_garbage_from_nothing() {
    for blank in ["", " \r\n"] {
        assert_eq!(scan(blank.as_bytes(), 1, BOUNDS), (vec![], Frame::Blank));
    }
    for broken in [
        "x",
        "1",
        "\"a\"",
        "{",
        "{]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "{\"a\":1",
        "[]",
        "[",
        "[{}",
        "nul",
        "{\"params\":{]}",
        "{\"result\":{\"content\":[}}}",
        "{\"a\" 1}",
        "{1:2}",
    ] {
        let (messages, frame) = scan(broken.as_bytes(), 1, BOUNDS);
        assert_eq!(frame, Frame::Broken, "{broken}");
        assert!(messages.len() <= 1, "{broken}");
    }
    assert_eq!(scan(b"{} {}", 1, BOUNDS).1, Frame::Broken);
}

#[test]
fn cuts_what_is_too_long() {
    let long = "x".repeat(100);
    let call = format!(r#"{{"id":1,"params":{{"name":"n","arguments":{{"a":"{long}"}}}}}}"#);
    assert!(one(&call).contains("..."), "{}", one(&call));
    let fits = Bounds { arguments: 200, ..BOUNDS };
    assert!(!scan(call.as_bytes(), 7, fits).0[0].contains("..."));
    let beyond = Bounds { inspect: 10, ..BOUNDS };
    let (messages, _) = scan(call.as_bytes(), 7, beyond);
    assert_eq!(messages, [format!("{}: id=1 name=n", call.len())]);
}

#[test]
fn nesting_has_no_bottom() {
    let deep = format!(
        r#"{{"result":{{"x":{}{},"isError":true}},"id":1}}"#,
        "[{\"a\":".repeat(100_000),
        "}]".repeat(100_000)
    );
    assert_eq!(one(&deep), "id=1 result= isError=true");
}

#[test]
fn memory_stays_bounded() {
    let mut scanner = Scanner::new(BOUNDS);
    scanner.feed(br#"{"params":{"#);
    for _ in 0..100_000 {
        scanner.feed(br#""arguments":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15],"name":"abcdefgh","#);
    }
    scanner.feed(br#""x":1},"result":{"tools":["#);
    for _ in 0..100_000 {
        scanner.feed(br#"{"name":"abcdefgh"},"#);
    }
    assert!(scanner.held() < 512 << 10, "{}", scanner.held());
}

#[test]
fn the_next_frame_knows_nothing_of_the_last() {
    let mut scanner = Scanner::new(BOUNDS);
    for broken in ["{\"id\":\"a\\", "[{\"id\":1},", "{\"x\":[[\"", "{\"params\":{\"arguments\":[1"]
    {
        scanner.feed(broken.as_bytes());
        assert_eq!(scanner.end(), Frame::Broken);
        assert_eq!(scanner.feed(b"{\"method\":\"m\"}"), Some(14));
        assert_eq!(describe(scanner.message()), "14: method=m");
        assert_eq!(scanner.end(), Frame::Whole);
    }
}

/// JSON-like text: mostly well-formed messages, with arbitrary damage.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":{"a":"\u00e9\"]"}}}"#
        ),
        Just(
            r#"[{"id":"a","result":{"content":[{"type":"text","text":"boom \\\" bang"}],"isError":true}},"#
        ),
        Just(r#"{"error":{"code":-1,"message":"m"},"id":null}"#),
        Just(r#""params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"v"}}"#),
        Just("{"),
        Just("}"),
        Just("["),
        Just("]"),
        Just(","),
        Just("\""),
        Just("\\"),
        Just(r#""result":"#),
        Just(r#""\u0069d":"#),
        Just(" 12 "),
        Just("\n"),
    ];
    prop_oneof![
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat().into_bytes()),
        prop::collection::vec(any::<u8>(), 0..200),
    ]
}

proptest! {
    #[test]
    fn chunking_changes_nothing(frame in frames(), chunk in 1_usize..40, inspect in 0_u64..200) {
        let bounds = Bounds { inspect, ..BOUNDS };
        prop_assert_eq!(scan(&frame, chunk, bounds), scan(&frame, usize::MAX, bounds));
    }

    #[test]
    fn every_json_object_is_whole(value in json(), pretty in any::<bool>()) {
        let object = serde_json::json!({ "id": 1, "result": value });
        let text = if pretty { serde_json::to_string_pretty(&object) } else { serde_json::to_string(&object) };
        let (messages, frame) = scan(text.unwrap().as_bytes(), 5, BOUNDS);
        prop_assert_eq!((messages.len(), frame), (1, Frame::Whole));
    }
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 6, |inner| {
        let key = prop_oneof![
            Just("content".to_owned()),
            Just("tools".to_owned()),
            Just("task".to_owned()),
            Just("name".to_owned()),
            any::<String>(),
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(key, inner, 0..6)
                .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}
