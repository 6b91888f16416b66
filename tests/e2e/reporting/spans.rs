//! What a collector gets of a call, attribute by attribute, after the OpenTelemetry conventions
//! for MCP.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{SystemTime, UNIX_EPOCH},
};

use mcpulse_tests::collector::attribute;
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};

use super::PATIENCE;
use crate::faults::{
    pipe::Pipe,
    upstream::{Front, Upstream, answer},
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(now.as_nanos()).expect("before 2554")
}

/// Hexadecimal, as identifiers are written.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// A call of `tool` with what belongs in `_meta`.
fn call(id: &str, tool: &str, meta: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{{"secret":"hunter2"}},"_meta":{{{meta}}}}}}}"#
    )
}

/// Takes an attribute out whose value is a UUID of ours.
fn take_uuid(attributes: &mut BTreeMap<&str, String>, key: &str) -> String {
    let id = attributes.remove(key).unwrap_or_else(|| panic!("no {key}: {attributes:?}"));
    assert!(uuid::Uuid::parse_str(&id).is_ok(), "{key}: {id}");
    id
}

/// Every attribute but the id of the call.
fn attributes(span: &Span) -> BTreeMap<&str, String> {
    let keys = span.attributes.iter().map(|attribute| attribute.key.as_str());
    let mut all: BTreeMap<_, _> =
        keys.map(|key| (key, attribute(&span.attributes, key).expect("a value"))).collect();
    assert_eq!(all.len(), span.attributes.len(), "a key twice: {span:?}");
    take_uuid(&mut all, "mcpulse.call.id");
    all
}

fn texts<'a>(expected: &[(&'a str, &str)]) -> BTreeMap<&'a str, String> {
    expected.iter().map(|&(key, value)| (key, value.to_owned())).collect()
}

#[tokio::test]
async fn of_calls_over_a_pipe() {
    let mut pipe = Pipe::open().await;
    let hello = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"inspector","version":"1.2"}}}"#;
    pipe.client(format!("{hello}\n")).await;
    let hello = r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"s","version":"1"}}}"#;
    pipe.server(format!("{hello}\n")).await;

    let meta = format!(r#""traceparent":"00-{TRACE}-{PARENT}-01","tracestate":"vendor=1""#);
    let asked =
        [call("\"a-1\"", "read", &meta), call("7", "write", ""), call("\"7\"", "write", "")];
    let answers = [
        r#"{"jsonrpc":"2.0","id":"a-1","result":{"content":[{"type":"text","text":"hunter2"}]}}"#,
        r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"hunter2 is no argument"}}"#,
        r#"{"jsonrpc":"2.0","id":"7","result":{"content":[{"type":"text","text":"hunter2"}],"isError":true}}"#,
    ];
    let before = now();
    for (asked, answered) in asked.iter().zip(answers) {
        pipe.client(format!("{asked}\n")).await;
        pipe.server(format!("{answered}\n")).await;
    }
    let after = now();
    let mut spans = pipe.ends.collector.wait_for(3, PATIENCE).await;
    spans.sort_by_key(|span| span.start_time_unix_nano);
    let [read, refused, failed] = &spans[..] else { panic!("{spans:?}") };

    let mut last = before;
    for span in &spans {
        assert_eq!(span.kind, SpanKind::Server as i32);
        // In order and within what the test saw, give or take how clocks are read.
        assert!(last <= span.start_time_unix_nano, "{span:?}");
        assert!(span.start_time_unix_nano < span.end_time_unix_nano, "{span:?}");
        assert!(span.end_time_unix_nano <= after, "{span:?}");
        last = span.end_time_unix_nano;
        assert!(!format!("{span:?}").contains("hunter2"), "{span:?}");
    }
    assert_eq!(read.name, "tools/call read");
    assert_eq!((hex(&read.trace_id), hex(&read.parent_span_id)), (TRACE.into(), PARENT.into()));
    assert_eq!((read.trace_state.as_str(), hex(&read.span_id).len()), ("vendor=1", 16));
    assert_eq!(read.status.clone().unwrap_or_default().code, StatusCode::Unset as i32);
    for root in [refused, failed] {
        assert_eq!(root.name, "tools/call write");
        assert_eq!(hex(&root.parent_span_id), "");
        assert_ne!(hex(&root.trace_id), TRACE);
        assert_eq!(root.status.clone().unwrap_or_default().code, StatusCode::Error as i32);
    }

    let of_all = [
        ("mcp.method.name", "tools/call"),
        ("gen_ai.operation.name", "execute_tool"),
        ("mcp.protocol.version", "2025-11-25"),
        ("network.transport", "pipe"),
        ("mcp.client.name", "inspector"),
        ("mcp.client.version", "1.2"),
        ("mcpulse.server.id", "faulty"),
    ];
    let sizes = |index: usize| [asked[index].len().to_string(), answers[index].len().to_string()];
    let own = [
        (
            read,
            0,
            [("gen_ai.tool.name", "read"), ("jsonrpc.request.id", "a-1")],
            &[("mcpulse.outcome", "ok")][..],
        ),
        (
            refused,
            1,
            [("gen_ai.tool.name", "write"), ("jsonrpc.request.id", "7")],
            &[
                ("mcpulse.outcome", "rpc_error"),
                ("error.type", "-32602"),
                ("rpc.response.status_code", "-32602"),
            ],
        ),
        (
            failed,
            2,
            [("gen_ai.tool.name", "write"), ("jsonrpc.request.id", "7")],
            &[("mcpulse.outcome", "tool_error"), ("error.type", "tool_error")],
        ),
    ];
    let mut sessions = BTreeSet::new();
    for (span, index, names, rest) in own {
        let [request, response] = sizes(index);
        let sizes = [
            ("mcpulse.request.size", request.as_str()),
            ("mcpulse.response.size", response.as_str()),
        ];
        let mut found = attributes(span);
        sessions.insert(take_uuid(&mut found, "mcp.session.id"));
        assert_eq!(found, texts(&[&of_all[..], &names, &sizes, rest].concat()));
    }
    assert_eq!(sessions.len(), 1, "one session: {sessions:?}");
    pipe.close(3).await;
}

#[tokio::test]
async fn of_a_call_of_the_modern_era_names_no_session() {
    let body = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#;
    let upstream = Upstream::saying(answer("application/json", body)).await;
    let front = Front::of(upstream.address(), &[]).await;
    let meta = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"inspector","version":"2"}"#;
    let asked = call("1", "read", meta);
    let headers = "content-type: application/json\r\nmcp-session-id: hush\r\n\
                   mcp-protocol-version: 2026-07-28\r\n";
    assert_eq!(front.post(headers, &asked).await.status, 200);
    front.assert_settled(&[("ok", 1)], &[]).await;
    let spans = front.ends.collector.spans();
    let [span] = &spans[..] else { panic!("{spans:?}") };
    let expected = texts(&[
        ("mcp.method.name", "tools/call"),
        ("gen_ai.tool.name", "read"),
        ("gen_ai.operation.name", "execute_tool"),
        ("jsonrpc.request.id", "1"),
        ("mcp.protocol.version", "2026-07-28"),
        ("network.transport", "tcp"),
        ("network.protocol.name", "http"),
        ("mcp.client.name", "inspector"),
        ("mcp.client.version", "2"),
        ("mcpulse.server.id", "faulty"),
        ("mcpulse.outcome", "ok"),
        ("mcpulse.request.size", &asked.len().to_string()),
        ("mcpulse.response.size", &body.len().to_string()),
    ]);
    assert_eq!(attributes(span), expected);
}
