//! Turns a [`Call`] into the `ToolCallMetric` that MCPulse takes, encoded once and for all.
//!
//! What is encoded has been redacted: nothing after this module sees a secret.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use mcpulse_proto::v1::{MetricStatus, ToolCallMetric};
use prost::Message;

use self::parameters::Parameters;
use crate::{
    config::Capture,
    record::{Call, Outcome},
    sink::{foreign::cut, redact::Redactor},
};

mod parameters;

/// Most bytes of an error text on the wire.
const ERROR_TEXT: usize = 1024;
/// Most bytes of a name: the tool's, the client's, a version, a session.
const NAME: usize = 1024;

/// Converts calls, leaving out what must not leave the process.
#[derive(Debug)]
pub(super) struct Convert {
    capture: Capture,
    redactor: Redactor,
}

impl Convert {
    pub(super) fn new(capture: Capture) -> Self {
        Self { capture, redactor: Redactor::new() }
    }

    /// The call as an encoded `ToolCallMetric`.
    pub(super) fn encode(&self, call: &Call) -> Bytes {
        Bytes::from(self.metric(call).encode_to_vec())
    }

    fn metric(&self, call: &Call) -> ToolCallMetric {
        let client = call.client.as_deref();
        ToolCallMetric {
            id: call.id.to_string(),
            timestamp: Some((call.started + call.duration).into()),
            server_id: call.server_id.to_string(),
            session_id: name(call.session.as_deref()),
            tool_name: name(call.tool.as_deref()),
            parameters: call.arguments.as_deref().and_then(|json| self.parameters(json)),
            duration_ms: whole_milliseconds(call.duration),
            status: status(call.outcome).into(),
            error_message: self.error_text(call.error_message.as_deref()),
            error_type: error_type(call.outcome).into_owned(),
            result_size: i32::try_from(call.response_size).unwrap_or(i32::MAX),
            protocol_version: name(call.protocol_version.as_deref()),
            client_name: name(client.map(|client| &*client.name)),
            client_version: name(client.map(|client| &*client.version)),
        }
    }

    fn parameters(&self, json: &[u8]) -> Option<prost_types::Struct> {
        let redactor = match self.capture {
            Capture::None => return None,
            Capture::Redacted => Some(&self.redactor),
            Capture::Full => None,
        };
        Parameters { redactor }.read(json)
    }

    fn error_text(&self, text: Option<&str>) -> String {
        let Some(text) = text else { return String::new() };
        match self.capture {
            Capture::None => String::new(),
            Capture::Redacted => cut(&self.redactor.error_text(text), ERROR_TEXT).to_owned(),
            Capture::Full => cut(text, ERROR_TEXT).to_owned(),
        }
    }
}

fn name(name: Option<&str>) -> String {
    name.map_or_else(String::new, |name| cut(name, NAME).to_owned())
}

/// A faster call than a millisecond reports 0; exact times are in the other sinks.
fn whole_milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// One of the three that MCPulse takes: an unspecified status may be refused. What is not
/// known to be an error is a success; of an answer that nobody saw, the type says so.
fn status(outcome: Outcome) -> MetricStatus {
    match outcome {
        Outcome::Ok
        | Outcome::InputRequired
        | Outcome::Task
        | Outcome::Other
        | Outcome::Unobserved => MetricStatus::Success,
        Outcome::ToolError
        | Outcome::RpcError(_)
        | Outcome::Cancelled
        | Outcome::HttpError(_)
        | Outcome::Transport => MetricStatus::Error,
        Outcome::Timeout => MetricStatus::Timeout,
    }
}

fn error_type(outcome: Outcome) -> Cow<'static, str> {
    match outcome {
        Outcome::Unobserved => outcome.label().into(),
        seen => seen.error_type().unwrap_or_default(),
    }
}

#[cfg(test)]
pub(super) mod tests;
