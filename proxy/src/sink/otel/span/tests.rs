use std::sync::Arc;

use opentelemetry::{
    Value,
    trace::{SpanId, TraceId},
};
use proptest::prelude::*;

use super::*;
use crate::record::Client;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn traced(flags: &str) -> Arc<TraceContext> {
    let parent = format!("00-{TRACE}-b7ad6b7169203331-{flags}");
    Arc::new(TraceContext { parent: parent.into(), state: Some("vendor=1".into()) })
}

fn spans(sample: f64) -> Spans {
    Spans::new(&config::Otel { sample, ..config::Otel::default() })
}

fn attribute(span: &SpanData, key: &str) -> Option<String> {
    let mut found = span.attributes.iter().filter(|attribute| attribute.key.as_str() == key);
    let value = found.next()?.value.to_string();
    assert!(found.next().is_none(), "{key} twice");
    Some(value)
}

#[test]
fn a_span_has_what_the_conventions_ask_for() {
    let call = Call {
        request_id: "\"a\\u0062\"".into(),
        session: Some("5e55".into()),
        client: Some(Arc::new(Client { name: "inspector".into(), version: "2".into() })),
        transport: Transport::Http,
        ..Call::of_tool("read_file", Outcome::Ok)
    };
    let span = spans(1.0).span(&call).unwrap();
    assert_eq!(span.name, "tools/call read_file");
    assert_eq!(span.span_kind, SpanKind::Server);
    assert_eq!((span.start_time, span.end_time), (call.started, call.started + call.duration));
    assert_eq!(span.status, Status::Unset);
    assert_eq!(span.parent_span_id, SpanId::INVALID);
    assert_eq!(span.instrumentation_scope.name(), "mcpulse-proxy");
    let expected = [
        ("mcp.method.name", "tools/call"),
        ("gen_ai.tool.name", "read_file"),
        ("gen_ai.operation.name", "execute_tool"),
        ("mcp.protocol.version", "2025-06-18"),
        ("mcp.session.id", "5e55"),
        ("jsonrpc.request.id", "ab"),
        ("network.transport", "tcp"),
        ("network.protocol.name", "http"),
        ("mcp.client.name", "inspector"),
        ("mcp.client.version", "2"),
        ("mcpulse.outcome", "ok"),
        ("mcpulse.server.id", "files"),
        ("mcpulse.request.size", "100"),
        ("mcpulse.response.size", "1000"),
    ];
    for (key, value) in expected {
        assert_eq!(attribute(&span, key).as_deref(), Some(value), "{key}");
    }
    assert_eq!(attribute(&span, "error.type"), None);
}

#[test]
fn a_failed_call_has_its_error_and_not_its_text() {
    let mut call = Call::of_tool("read_file", Outcome::RpcError(-32602));
    call.error_message = Some("no such file: /home/anna/salary".into());
    let span = spans(1.0).span(&call).unwrap();
    assert_eq!(span.status, Status::error(""));
    assert_eq!(attribute(&span, "error.type").as_deref(), Some("-32602"));
    assert_eq!(attribute(&span, "rpc.response.status_code").as_deref(), Some("-32602"));
    assert!(!format!("{span:?}").contains("anna"));
    let span = spans(1.0).span(&Call::of_tool("read_file", Outcome::ToolError)).unwrap();
    assert_eq!(attribute(&span, "error.type").as_deref(), Some("tool_error"));
    assert_eq!(attribute(&span, "rpc.response.status_code"), None);
}

#[test]
fn from_2026_07_28_on_there_is_no_session() {
    let call = Call {
        protocol_version: Some("2026-07-28".into()),
        session: Some("5e55".into()),
        ..Call::of_tool("read_file", Outcome::Ok)
    };
    let span = spans(1.0).span(&call).unwrap();
    assert_eq!(attribute(&span, "mcp.session.id"), None);
}

#[test]
fn the_callers_span_is_the_parent() {
    let call = Call { trace: Some(traced("01")), ..Call::of_tool("read_file", Outcome::Ok) };
    let span = spans(0.0).span(&call).unwrap();
    assert_eq!(span.span_context.trace_id(), TraceId::from_hex(TRACE).unwrap());
    assert_eq!(span.parent_span_id, SpanId::from_hex("b7ad6b7169203331").unwrap());
    assert!(span.parent_span_is_remote);
    assert_eq!(span.span_context.trace_state().header(), "vendor=1");
}

#[test]
fn a_malformed_parent_is_none() {
    let trace = TraceContext { parent: "00-xyz".into(), state: None };
    let call = Call { trace: Some(Arc::new(trace)), ..Call::of_tool("read_file", Outcome::Ok) };
    assert_eq!(spans(1.0).span(&call).unwrap().parent_span_id, SpanId::INVALID);
}

#[test]
fn the_parent_decides_over_chance_and_failure_over_both() {
    let (ok, failed) = (Outcome::Ok, Outcome::ToolError);
    for (share, trace, outcome, kept) in [
        (0.0, None, ok, false),
        (1.0, None, ok, true),
        (0.0, None, failed, true),
        (0.0, Some(traced("01")), ok, true),
        (1.0, Some(traced("00")), ok, false),
        (1.0, Some(traced("00")), failed, true),
    ] {
        let call = Call { trace: trace.clone(), ..Call::of_tool("read_file", outcome) };
        let span = spans(share).span(&call);
        assert_eq!(span.is_some(), kept, "{share} {trace:?} {outcome:?}");
    }
}

#[test]
fn without_followed_parents_the_trace_decides_as_for_others_and_off_is_off() {
    // The lower half of the trace's id begins with 8448, just above a half.
    for (sample, follow_parent, keep_failed, outcome, kept) in [
        (0.51, false, true, Outcome::Ok, false),
        (0.52, false, true, Outcome::Ok, true),
        (0.0, false, true, Outcome::ToolError, true),
        (0.0, false, false, Outcome::ToolError, false),
        (1.0, true, false, Outcome::ToolError, false),
    ] {
        let config = config::Otel { sample, follow_parent, keep_failed, ..Default::default() };
        let call = Call { trace: Some(traced("00")), ..Call::of_tool("read_file", outcome) };
        let span = Spans::new(&config).span(&call);
        assert_eq!(span.is_some(), kept, "{config:?} {outcome:?}");
    }
}

#[test]
fn chance_keeps_about_the_share_asked_for() {
    let spans = spans(0.25);
    let kept = |_: &i32| spans.span(&Call::of_tool("read_file", Outcome::Ok)).is_some();
    let kept = (0..4000).filter(kept).count();
    // More than six standard deviations around 1000.
    assert!((800..1200).contains(&kept), "{kept} of 4000");
}

proptest! {
    #[test]
    fn no_text_of_a_peer_breaks_or_blows_up_a_span(tool in ".{0,400}", id in ".{0,400}", parent in ".{0,80}") {
        let call = Call {
            request_id: id.into(),
            trace: Some(Arc::new(TraceContext { parent: parent.into(), state: None })),
            ..Call::of_tool(&tool, Outcome::Ok)
        };
        let span = spans(1.0).span(&call).unwrap();
        for attribute in &span.attributes {
            if let Value::String(text) = &attribute.value {
                prop_assert!(text.as_str().len() <= VALUE_LIMIT);
            }
        }
    }
}
