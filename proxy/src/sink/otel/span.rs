//! Makes the span of a call, after the OpenTelemetry conventions for MCP
//! (open-telemetry/semantic-conventions-genai, docs/gen-ai/mcp.md, status Development).

use std::borrow::Cow;

use opentelemetry::{
    Context, InstrumentationScope, KeyValue,
    propagation::{Extractor, TextMapPropagator},
    trace::{
        Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt, Tracer as _,
        TracerProvider as _,
    },
};
use opentelemetry_sdk::{
    propagation::TraceContextPropagator,
    trace::{Sampler, SdkTracer, SdkTracerProvider, SpanData},
};

use crate::{
    config,
    record::{Call, Outcome, TraceContext, Transport},
    sink::foreign::cut,
};

/// Longest value of an attribute that a peer chose, in bytes.
const VALUE_LIMIT: usize = 256;
/// From this protocol version on a span must not name a session.
const WITHOUT_SESSIONS: &str = "2026-07-28";

/// Makes spans of calls, and chooses which calls get one.
#[derive(Debug)]
pub(super) struct Spans {
    tracer: SdkTracer,
    share: f64,
    follow_parent: bool,
    keep_failed: bool,
}

impl Spans {
    pub(super) fn new(config: &config::Otel) -> Self {
        let scope = InstrumentationScope::builder("mcpulse-proxy")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build();
        // No processor: a span is taken from the tracer as it is made.
        let provider = SdkTracerProvider::builder().with_sampler(Sampler::AlwaysOn).build();
        Self {
            tracer: provider.tracer_with_scope(scope),
            share: config.sample,
            follow_parent: config.follow_parent,
            keep_failed: config.keep_failed,
        }
    }

    /// The span of the call; none when the call is not in the sample.
    pub(super) fn span(&self, call: &Call) -> Option<SpanData> {
        let parent = call.trace.as_deref().map(parent).unwrap_or_default();
        if !self.is_sampled(call, &parent) {
            return None;
        }
        let error = call.outcome.error_type();
        let name = match &call.tool {
            Some(tool) => format!("{} {}", call.method, short(tool)),
            None => call.method.to_string(),
        };
        let builder = SpanBuilder::from_name(name)
            .with_kind(SpanKind::Server)
            .with_start_time(call.started)
            .with_attributes(attributes(call, error.as_deref()));
        let mut span = self.tracer.build_with_context(builder, &parent);
        if error.is_some() {
            // What the error said is the user's data; the type says what happened.
            span.set_status(Status::error(""));
        }
        let mut data = span.exported_data()?;
        data.end_time = call.started + call.duration;
        Some(data)
    }

    /// What failed is kept, and else the parent decides; a root is kept by chance.
    fn is_sampled(&self, call: &Call, parent: &Context) -> bool {
        let parent = parent.span().span_context().clone();
        if self.keep_failed && call.outcome.error_type().is_some() {
            true
        } else if self.follow_parent && parent.is_valid() {
            parent.is_sampled()
        } else {
            chance(call, &parent) < self.share
        }
    }
}

/// A number from 0 up to 1 that stays the same for a call: that of its trace, which all who
/// sample by ratio take from these bits, or else of the call, for the last 32 bits of a
/// version 4 UUID are random.
fn chance(call: &Call, parent: &SpanContext) -> f64 {
    let bits = if parent.is_valid() {
        let [.., a, b, c, d, _, _, _, _] = parent.trace_id().to_bytes();
        u32::from_be_bytes([a, b, c, d])
    } else {
        let (_, low) = call.id.as_u64_pair();
        u32::try_from(low & u64::from(u32::MAX)).unwrap_or_default()
    };
    f64::from(bits) / (f64::from(u32::MAX) + 1.0)
}

fn attributes(call: &Call, error: Option<&str>) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("mcp.method.name", call.method.to_string()),
        KeyValue::new("jsonrpc.request.id", request_id(&call.request_id)),
        KeyValue::new("mcpulse.server.id", call.server_id.to_string()),
        KeyValue::new("mcpulse.call.id", call.id.to_string()),
        KeyValue::new("mcpulse.outcome", call.outcome.label()),
        KeyValue::new("mcpulse.request.size", integer(call.request_size)),
        KeyValue::new("mcpulse.response.size", integer(call.response_size)),
    ];
    let mut text = |key: &'static str, value: Option<&str>| {
        attributes.extend(value.map(|value| KeyValue::new(key, short(value).to_owned())));
    };
    text("gen_ai.tool.name", call.tool.as_deref());
    text("gen_ai.operation.name", call.is_tool_call().then_some("execute_tool"));
    text("mcp.protocol.version", call.protocol_version.as_deref());
    if call.protocol_version.as_deref().is_none_or(|version| version < WITHOUT_SESSIONS) {
        text("mcp.session.id", call.session.as_deref());
    }
    // No convention names the client (2026-11); these two are MCPulse's own.
    text("mcp.client.name", call.client.as_ref().map(|client| &*client.name));
    text("mcp.client.version", call.client.as_ref().map(|client| &*client.version));
    text("error.type", error);
    if let Outcome::RpcError(code) = call.outcome {
        text("rpc.response.status_code", Some(&code.to_string()));
    }
    match call.transport {
        Transport::Pipe => text("network.transport", Some("pipe")),
        Transport::Http => {
            text("network.transport", Some("tcp"));
            text("network.protocol.name", Some("http"));
        }
    }
    attributes
}

/// The id as text, whichever of the two types it has.
fn request_id(json: &str) -> String {
    let text = serde_json::from_str::<Cow<'_, str>>(json);
    short(text.as_deref().unwrap_or(json)).to_owned()
}

fn short(text: &str) -> &str {
    cut(text, VALUE_LIMIT)
}

fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The caller's span, as `params._meta` carries it; an empty context when it is malformed.
fn parent(trace: &TraceContext) -> Context {
    TraceContextPropagator::new().extract_with_context(&Context::new(), &Carrier(trace))
}

struct Carrier<'a>(&'a TraceContext);

impl Extractor for Carrier<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            "traceparent" => Some(&self.0.parent),
            "tracestate" => self.0.state.as_deref(),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

#[cfg(test)]
mod tests;
