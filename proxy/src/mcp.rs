//! The names of MCP that decide what a message means: methods, and the members worth keeping.

/// Methods and notifications that the observer tells apart.
pub mod method {
    /// Calls a tool.
    pub const TOOLS_CALL: &str = "tools/call";
    /// Lists the tools, in pages.
    pub const TOOLS_LIST: &str = "tools/list";
    /// Opens a legacy session.
    pub const INITIALIZE: &str = "initialize";
    /// Asks what the server is and can (2026-07-28).
    pub const DISCOVER: &str = "server/discover";
    /// Says that the client is ready.
    pub const INITIALIZED: &str = "notifications/initialized";
    /// Withdraws a request of the sender.
    pub const CANCELLED: &str = "notifications/cancelled";
    /// Says that a request is still being worked on.
    pub const PROGRESS: &str = "notifications/progress";
    /// Is a line of the server's log.
    pub const LOG: &str = "notifications/message";
    /// Opens a stream of notifications that lasts until one side ends it (2026-07-28).
    pub const LISTEN: &str = "subscriptions/listen";
    /// Waits for the result of a task (2025-11-25).
    pub const TASKS_RESULT: &str = "tasks/result";
    /// What all requests about tasks begin with.
    pub const TASKS: &str = "tasks/";
    /// What all notifications begin with.
    pub const NOTIFICATIONS: &str = "notifications/";
    /// What all notifications about tasks begin with.
    pub const TASK_NOTIFICATIONS: &str = "notifications/tasks";
}

/// Headers, over HTTP.
pub mod header {
    use http::HeaderName;

    /// The revision that both sides speak (2025-06-18).
    pub const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
    /// The session: a secret.
    pub const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
    /// The last event of a stream that is gone on with.
    pub const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
    /// The method, as the body says (2026-07-28).
    pub const METHOD: HeaderName = HeaderName::from_static("mcp-method");
    /// What the request is about, as the body says (2026-07-28).
    pub const NAME: HeaderName = HeaderName::from_static("mcp-name");
}

/// Codes of errors.
pub mod code {
    /// "Parse error" of JSON-RPC.
    pub const PARSE_ERROR: i64 = -32700;
    /// "Invalid request" of JSON-RPC.
    pub const INVALID_REQUEST: i64 = -32600;
    /// "Internal error" of JSON-RPC: no code of the range that MCP keeps for itself.
    pub const INTERNAL: i64 = -32603;
    /// "Method not found" of JSON-RPC.
    pub const METHOD_NOT_FOUND: i64 = -32601;
    /// The session is unknown, as the TypeScript SDK says it; the protocol names no code.
    pub const SESSION_NOT_FOUND: i64 = -32001;
    /// "Invalid params" of JSON-RPC; also for a request that states no version (2026-07-28).
    pub const INVALID_PARAMS: i64 = -32602;
    /// Headers do not say what the body does (2026-07-28).
    pub const HEADER_MISMATCH: i64 = -32020;
    /// The client has not what the request takes (2026-07-28).
    pub const MISSING_CAPABILITY: i64 = -32021;
    /// The server does not speak the version that is stated (2026-07-28).
    pub const UNSUPPORTED_VERSION: i64 = -32022;
}

/// A member of a message whose value is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Field {
    /// `jsonrpc`: its version.
    JsonRpc,
    /// `id`.
    Id,
    /// `method`.
    Method,
    /// `result`, only that it is there.
    Result,
    /// `error`, only that it is there.
    Error,
    /// `params.name`.
    Name,
    /// `params.arguments`.
    Arguments,
    /// `params.requestId` of a cancellation.
    RequestId,
    /// `params._meta.progressToken` of a request, `params.progressToken` of a notification.
    ProgressToken,
    /// `params._meta["io.modelcontextprotocol/protocolVersion"]`: the mark of the modern era.
    StatedVersion,
    /// `protocolVersion` of `initialize`, in `params` or in `result`.
    NegotiatedVersion,
    /// `_meta["io.modelcontextprotocol/subscriptionId"]`, of a notification or of a result.
    SubscriptionId,
    /// `params._meta["io.modelcontextprotocol/logLevel"]`: the request wants to hear of its log.
    LogLevel,
    /// `clientInfo.name`, of `initialize` or of the request's `_meta`.
    ClientName,
    /// `clientInfo.version`, likewise.
    ClientVersion,
    /// `params._meta.traceparent`.
    TraceParent,
    /// `params._meta.tracestate`.
    TraceState,
    /// `error.code`, of the answer or of the task that it tells about.
    Code,
    /// `error.message`, likewise.
    Message,
    /// `result.isError`.
    IsError,
    /// `result.resultType`.
    ResultType,
    /// The first `text` of `result.content`.
    Text,
    /// `result.task` (2025-11-25), only that it is there.
    Task,
    /// `taskId`, wherever an answer or a request names a task.
    TaskId,
    /// `status` of a task.
    TaskStatus,
    /// `result.result` or `params.result`: the result of a task, only that it is there.
    TaskResult,
    /// `isError` in the result of a task.
    TaskIsError,
    /// `result.tools[].name`; there may be many.
    ToolName,
}

impl Field {
    /// How many there are.
    pub const COUNT: usize = Self::ToolName as usize + 1;

    /// Whether it only adds detail; what happened can be told without it.
    pub fn is_detail(self) -> bool {
        matches!(self, Self::Arguments | Self::Text | Self::Message | Self::ToolName)
    }
}

/// An object or array of a message with members worth keeping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The message itself.
    Message,
    /// `params`.
    Params,
    /// `params._meta`.
    Meta,
    /// `clientInfo`.
    ClientInfo,
    /// `result`.
    Result,
    /// `result._meta`.
    ResultMeta,
    /// The result of a task, told by `tasks/get` or a notification.
    TaskResult,
    /// `error`.
    Error,
    /// `result.task`.
    Task,
    /// The array `content`.
    Content,
    /// One of its items.
    ContentItem,
    /// The array `result.tools`.
    Tools,
    /// One of its items.
    Tool,
}

/// What to do with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Nothing in it decides anything.
    Nothing,
    /// Keep it.
    Keep(Field),
    /// Look into it; the field, if any, notes that it is there.
    Enter(Place, Option<Field>),
}

impl Place {
    /// Whether this is an array, whose items are looked into, and not an object.
    pub fn is_array(self) -> bool {
        matches!(self, Self::Content | Self::Tools)
    }

    /// What to do with the items of an array.
    pub fn item(self) -> Want {
        match self {
            Self::Content => Want::Enter(Self::ContentItem, None),
            Self::Tools => Want::Enter(Self::Tool, None),
            _ => Want::Nothing,
        }
    }

    /// What to do with the member `key` of an object.
    pub fn member(self, key: &[u8]) -> Want {
        use Want::{Enter, Keep};
        match (self, key) {
            (Self::Message, b"jsonrpc") => Keep(Field::JsonRpc),
            (Self::Message, b"id") => Keep(Field::Id),
            (Self::Message, b"method") => Keep(Field::Method),
            (Self::Message, b"params") => Enter(Self::Params, None),
            (Self::Message, b"result") => Enter(Self::Result, Some(Field::Result)),
            (Self::Message, b"error") => Enter(Self::Error, Some(Field::Error)),
            (Self::Params, b"name") => Keep(Field::Name),
            (Self::Params, b"arguments") => Keep(Field::Arguments),
            (Self::Params, b"_meta") => Enter(Self::Meta, None),
            (Self::Params, b"requestId") => Keep(Field::RequestId),
            (Self::Params | Self::Meta, b"progressToken") => Keep(Field::ProgressToken),
            (Self::Params, b"clientInfo") | (Self::Meta, b"io.modelcontextprotocol/clientInfo") => {
                Enter(Self::ClientInfo, None)
            }
            (Self::Meta, b"io.modelcontextprotocol/protocolVersion") => Keep(Field::StatedVersion),
            (Self::Meta, b"io.modelcontextprotocol/logLevel") => Keep(Field::LogLevel),
            (Self::Meta | Self::ResultMeta, b"io.modelcontextprotocol/subscriptionId") => {
                Keep(Field::SubscriptionId)
            }
            (Self::Result, b"_meta") => Enter(Self::ResultMeta, None),
            (Self::Params | Self::Result, b"protocolVersion") => Keep(Field::NegotiatedVersion),
            (Self::Meta, b"traceparent") => Keep(Field::TraceParent),
            (Self::Meta, b"tracestate") => Keep(Field::TraceState),
            (Self::ClientInfo, b"name") => Keep(Field::ClientName),
            (Self::ClientInfo, b"version") => Keep(Field::ClientVersion),
            (Self::Result, b"isError") => Keep(Field::IsError),
            (Self::Result, b"resultType") => Keep(Field::ResultType),
            (Self::Result | Self::TaskResult, b"content") => Enter(Self::Content, None),
            (Self::Result, b"tools") => Enter(Self::Tools, None),
            (Self::Result, b"task") => Enter(Self::Task, Some(Field::Task)),
            (Self::Params | Self::Result | Self::Task, b"taskId") => Keep(Field::TaskId),
            (Self::Params | Self::Result | Self::Task, b"status") => Keep(Field::TaskStatus),
            (Self::Params | Self::Result, b"result") => {
                Enter(Self::TaskResult, Some(Field::TaskResult))
            }
            (Self::Params | Self::Result, b"error") => Enter(Self::Error, None),
            (Self::TaskResult, b"isError") => Keep(Field::TaskIsError),
            (Self::Error, b"code") => Keep(Field::Code),
            (Self::Error, b"message") => Keep(Field::Message),
            (Self::ContentItem, b"text") => Keep(Field::Text),
            (Self::Tool, b"name") => Keep(Field::ToolName),
            _ => Want::Nothing,
        }
    }
}
