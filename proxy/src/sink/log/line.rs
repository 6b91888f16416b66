//! One call as a line of JSON.

use serde::Serialize;

use crate::{
    config::Capture,
    record::{Call, Transport},
    sink::{foreign::cut, redact::Redactor},
};

/// Longest text that a peer chose, in bytes; error texts may be longer.
const TEXT_LIMIT: usize = 256;
const ERROR_LIMIT: usize = 1024;

/// The members of a line, in this order; what is not known is left out.
#[derive(Debug, Serialize)]
struct Line<'a> {
    /// When the call passed the proxy, RFC 3339, UTC.
    time: String,
    /// Identifies the call; the same in MCPulse and in spans (`mcpulse.call.id`).
    id: String,
    server_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool: Option<&'a str>,
    /// As the label of `mcpulse_calls_total`.
    outcome: &'static str,
    /// As the label of the operation histogram.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_type: Option<&'a str>,
    /// What the server said went wrong, redacted.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<&'a str>,
    duration_us: u64,
    request_bytes: u64,
    response_bytes: u64,
    /// The JSON-RPC id in its JSON form.
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol_version: Option<&'a str>,
    /// `pipe` or `http`.
    transport: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
}

/// Writes calls as lines.
#[derive(Debug)]
pub(super) struct Lines {
    /// None where error texts must not leave the process at all.
    redactor: Option<Redactor>,
}

impl Lines {
    pub(super) fn new(capture: Capture) -> Self {
        let redactor = match capture {
            Capture::None => None,
            Capture::Redacted | Capture::Full => Some(Redactor::new()),
        };
        Self { redactor }
    }

    /// The call's line, with its end.
    pub(super) fn line(&self, call: &Call) -> Vec<u8> {
        let error_type = call.outcome.error_type();
        let error = call.error_message.as_deref();
        let error =
            self.redactor.as_ref().zip(error).map(|(redactor, text)| redactor.error_text(text));
        let short = |text| cut(text, TEXT_LIMIT);
        let line = Line {
            time: humantime::format_rfc3339_micros(call.started).to_string(),
            id: call.id.to_string(),
            server_id: &call.server_id,
            tool: call.tool.as_deref().map(short),
            outcome: call.outcome.label(),
            error_type: error_type.as_deref(),
            error_message: error.as_deref().map(|text| cut(text, ERROR_LIMIT)),
            duration_us: u64::try_from(call.duration.as_micros()).unwrap_or(u64::MAX),
            request_bytes: call.request_size,
            response_bytes: call.response_size,
            request_id: short(&call.request_id),
            session: call.session.as_deref().map(short),
            client_name: call.client.as_deref().map(|client| short(&client.name)),
            client_version: call.client.as_deref().map(|client| short(&client.version)),
            protocol_version: call.protocol_version.as_deref().map(short),
            transport: match call.transport {
                Transport::Pipe => "pipe",
                Transport::Http => "http",
            },
            traceparent: call.trace.as_deref().map(|trace| short(&trace.parent)),
        };
        // Strings and numbers under string keys cannot fail to serialize.
        let mut line = serde_json::to_vec(&line).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::Arc,
        time::{Duration, UNIX_EPOCH},
    };

    use uuid::Uuid;

    use super::*;
    use crate::record::{Client, ERROR_TEXT_LIMIT, Outcome, TraceContext};

    fn written(capture: Capture, call: &Call) -> String {
        String::from_utf8(Lines::new(capture).line(call)).unwrap()
    }

    #[test]
    fn a_line_has_every_member_in_its_order() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let call = Call {
            id: Uuid::nil(),
            started: UNIX_EPOCH + Duration::from_micros(1_800_000_000_123_456),
            error_message: Some("token=hunter2 refused\n".into()),
            session: Some("5e55".into()),
            client: Some(Arc::new(Client { name: "inspector".into(), version: "2".into() })),
            trace: Some(Arc::new(TraceContext { parent: parent.into(), state: None })),
            arguments: Some("{\"path\":\"/home/anna\"}".into()),
            ..Call::of_tool("read_\"file\"", Outcome::RpcError(-32602))
        };
        assert_eq!(
            written(Capture::Redacted, &call),
            concat!(
                r#"{"time":"2027-01-15T08:00:00.123456Z","#,
                r#""id":"00000000-0000-0000-0000-000000000000","server_id":"files","#,
                r#""tool":"read_\"file\"","outcome":"rpc_error","error_type":"-32602","#,
                r#""error_message":"token=[REDACTED] refused\n","duration_us":3000,"#,
                r#""request_bytes":100,"response_bytes":1000,"request_id":"1","session":"5e55","#,
                r#""client_name":"inspector","client_version":"2","#,
                r#""protocol_version":"2025-06-18","transport":"pipe","#,
                r#""traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn error_texts_are_redacted_even_where_all_is_captured_and_left_out_where_nothing_is() {
        let mut call = Call::of_tool("read", Outcome::ToolError);
        call.error_message = Some("password: hunter2".into());
        assert!(!written(Capture::Full, &call).contains("hunter2"));
        assert!(!written(Capture::None, &call).contains("error_message"));
    }

    #[test]
    fn a_secret_that_was_cut_in_half_is_not_shown() {
        let mut call = Call::of_tool("read", Outcome::ToolError);
        let mut text =
            format!("token={} see https://user:{}@host/", "z".repeat(3900), "pw".repeat(99));
        text.truncate(ERROR_TEXT_LIMIT);
        call.error_message = Some(text.into());
        let line = written(Capture::Redacted, &call);
        assert!(line.contains("token=[REDACTED] see"), "{line}");
        assert!(!line.contains("pwpw"), "{line}");
    }

    #[test]
    fn endless_names_are_cut() {
        let call = Call::of_tool(&"\u{e4}".repeat(1 << 20), Outcome::Ok);
        assert!(written(Capture::None, &call).len() < 1000);
    }
}
