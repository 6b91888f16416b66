//! Records of what happened: the only types that sinks see.

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use uuid::Uuid;

use crate::traffic::Direction;

/// One finished request: a tool call, or any other MCP method.
#[derive(Clone, Debug)]
pub struct Call {
    /// Identifies this record for ever, also across retries and restarts.
    pub id: Uuid,
    /// The server under which it is reported.
    pub server_id: Arc<str>,
    /// The JSON-RPC method, as sent.
    pub method: Arc<str>,
    /// Which way the request went; a tool call always goes to the server.
    pub direction: Direction,
    /// `params.name` of a `tools/call`; [`UNNAMED_TOOL`] where it says none.
    pub tool: Option<Arc<str>>,
    /// The JSON-RPC id in its JSON form, so that `1` and `"1"` differ.
    pub request_id: Arc<str>,
    /// When the request passed the proxy.
    pub started: SystemTime,
    /// From the request to its outcome, as the proxy saw them pass.
    pub duration: Duration,
    /// How it ended.
    pub outcome: Outcome,
    /// The text of the error, unredacted, cut to [`ERROR_TEXT_LIMIT`] bytes.
    pub error_message: Option<Box<str>>,
    /// The session: a hash wherever the session id is a secret; none in the modern era.
    pub session: Option<Arc<str>>,
    /// Who called.
    pub client: Option<Arc<Client>>,
    /// The negotiated (legacy) or stated (modern) protocol version.
    pub protocol_version: Option<Arc<str>>,
    /// Bytes of the request message.
    pub request_size: u64,
    /// Bytes of the response message; 0 without one.
    pub response_size: u64,
    /// The raw JSON of `params.arguments`, unredacted; none when it was not captured.
    pub arguments: Option<Bytes>,
    /// W3C trace context of `params._meta`.
    pub trace: Option<Arc<TraceContext>>,
    /// How the client and the proxy talk.
    pub transport: Transport,
}

/// The tool of a call that names none: `params.name` is missing, empty or no string. No sink
/// has to deal with an empty name then.
pub const UNNAMED_TOOL: &str = "_OTHER";

/// Longest error text that a record carries, in bytes.
pub const ERROR_TEXT_LIMIT: usize = 4096;

impl Call {
    /// Whether this is a `tools/call`, the unit of all reporting.
    pub fn is_tool_call(&self) -> bool {
        self.tool.is_some()
    }

    /// Bytes that keeping this record costs, roughly; bounds the queues of the sinks.
    pub fn weight(&self) -> usize {
        size_of::<Self>()
            + self.arguments.as_ref().map_or(0, Bytes::len)
            + self.error_message.as_ref().map_or(0, |text| text.len())
    }
}

#[cfg(test)]
impl Call {
    /// A tool call of 3 ms in the present, for tests.
    pub(crate) fn of_tool(tool: &str, outcome: Outcome) -> Self {
        Self {
            id: Uuid::new_v4(),
            server_id: "files".into(),
            method: "tools/call".into(),
            direction: Direction::ToServer,
            tool: Some(tool.into()),
            request_id: "1".into(),
            started: SystemTime::now(),
            duration: Duration::from_millis(3),
            outcome,
            error_message: None,
            session: None,
            client: None,
            protocol_version: Some("2025-06-18".into()),
            request_size: 100,
            response_size: 1000,
            arguments: None,
            trace: None,
            transport: Transport::Pipe,
        }
    }
}

/// `clientInfo` of the handshake or of the request's `_meta`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// `clientInfo.name`.
    pub name: Box<str>,
    /// `clientInfo.version`.
    pub version: Box<str>,
}

/// W3C trace context carried in `params._meta` (SEP-414).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// `traceparent`.
    pub parent: Box<str>,
    /// `tracestate`.
    pub state: Option<Box<str>>,
}

/// How the client reaches the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Standard input and output.
    Pipe,
    /// HTTP, of either kind.
    Http,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A result, and no error in it.
    Ok,
    /// `result.isError` is true.
    ToolError,
    /// A JSON-RPC error with this code, whatever the HTTP status.
    RpcError(i64),
    /// The client withdrew the request.
    Cancelled,
    /// No answer came: the upstream timed out, or the request expired.
    Timeout,
    /// The server asks for more input; the client retries under a new id.
    InputRequired,
    /// The server made a task of it whose end was not seen.
    Task,
    /// An HTTP status of 300 or above without a JSON-RPC body.
    HttpError(u16),
    /// The connection or the server broke before the answer.
    Transport,
    /// An answer of a kind that this version does not know.
    Other,
    /// The answer passed, or may have, while the observer was blind, or in a body that it cannot
    /// read.
    Unobserved,
}

impl Outcome {
    /// Every value of the `outcome` label.
    pub const LABELS: [&'static str; 11] = [
        "ok",
        "tool_error",
        "rpc_error",
        "cancelled",
        "timeout",
        "input_required",
        "task",
        "http_error",
        "transport",
        "other",
        "unobserved",
    ];

    /// The value of the `outcome` label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ToolError => "tool_error",
            Self::RpcError(_) => "rpc_error",
            Self::Cancelled => "cancelled",
            Self::Timeout => "timeout",
            Self::InputRequired => "input_required",
            Self::Task => "task",
            Self::HttpError(_) => "http_error",
            Self::Transport => "transport",
            Self::Other => "other",
            Self::Unobserved => "unobserved",
        }
    }

    /// `error.type` of the OpenTelemetry conventions; none where nothing failed.
    pub fn error_type(self) -> Option<Cow<'static, str>> {
        match self {
            Self::Ok | Self::InputRequired | Self::Task | Self::Other | Self::Unobserved => None,
            Self::RpcError(code) => Some(Cow::Owned(code.to_string())),
            Self::HttpError(status) => Some(Cow::Owned(format!("http_{status}"))),
            failed => Some(Cow::Borrowed(failed.label())),
        }
    }
}
