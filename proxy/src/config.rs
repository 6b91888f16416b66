//! The whole configuration of a process and the servers behind it, as `--config FILE.yaml` spells it and as
//! `--print-config` shows it. Every other way to configure (flags, variables, `mcp.json`)
//! ends in this struct; the operator renders it.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

pub mod fresh;
pub mod header;
pub mod kind;
pub(crate) mod nearest;
pub mod problem;
pub mod proxy;
pub mod report;
pub mod secret;
pub mod served;
pub mod setting;
pub mod shown;
pub mod units;

pub use fresh::Fresh;
pub use header::{Header, HeaderError};
pub use problem::Problem;
pub use proxy::Proxy;
pub use report::{Capture, Mcpulse, Otel};
pub use secret::Secret;
pub use served::{Served, Server};

/// A process and the servers behind it. A key that is none is found where files are read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// The servers that are observed: `serverId` and `upstream`, or a list of these as `servers`.
    #[serde(flatten)]
    pub served: Served,
    /// Where clients connect; standard input and output when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<Listen>,
    /// Reporting to MCPulse over gRPC.
    #[serde(default)]
    pub mcpulse: Mcpulse,
    /// Reporting to an OpenTelemetry collector; off without an endpoint.
    #[serde(default)]
    pub otel: Otel,
    /// Address of `/metrics`, `/healthz` and `/readyz`; off when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics_listen: Option<String>,
    /// File for one JSON object a call, `-` for standard error; off when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_log: Option<String>,
    /// Bounds of what observing may cost.
    #[serde(default)]
    pub limits: Limits,
    /// What the proxy says about itself, on standard error.
    #[serde(default)]
    pub log: Log,
    /// Where to put `mcpulse-shim`, which lies beside this program, before anything else; nowhere
    /// when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub install_shim: Option<PathBuf>,
    /// Worker threads of the runtime.
    #[serde(default = "default_workers")]
    pub workers: usize,
}

impl Config {
    /// One server, with every setting at its default.
    pub fn new(server_id: impl Into<String>, upstream: Upstream) -> Self {
        Self::of(Served::One(Server { server_id: server_id.into(), upstream }))
    }

    /// These servers, with every setting at its default.
    pub fn of(served: Served) -> Self {
        Self {
            served,
            listen: None,
            mcpulse: Mcpulse::default(),
            otel: Otel::default(),
            metrics_listen: None,
            call_log: None,
            limits: Limits::default(),
            log: Log::default(),
            install_shim: None,
            workers: default_workers(),
        }
    }
}

fn default_workers() -> usize {
    2
}

/// The server behind the proxy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Upstream {
    /// A program that speaks MCP on standard input and output.
    Stdio(Command),
    /// A streamable HTTP endpoint.
    Http(Remote),
    /// A legacy HTTP+SSE endpoint (2024-11-05).
    Sse(Remote),
}

/// The kind of server behind the proxy: the sub-commands of these names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// See [`Upstream::Stdio`].
    Stdio,
    /// See [`Upstream::Http`].
    Http,
    /// See [`Upstream::Sse`].
    Sse,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 3] = [Self::Stdio, Self::Http, Self::Sse];

    /// Its name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdio => "stdio",
            Self::Http => "http",
            Self::Sse => "sse",
        }
    }

    /// The mode of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }
}

/// A program to start, or to have started. No shell takes part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Command {
    /// The program, looked up in `PATH` unless it has a slash; none where `socket` is given.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub program: String,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Variables that it gets besides the inherited ones (all but `MCPULSE_PROXY_*`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Secret>,
    /// Its working directory; the proxy's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<PathBuf>,
    /// The socket of `mcpulse-shim`, which starts the program where the proxy cannot: in another
    /// container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<PathBuf>,
    /// Demanded from clients of the listener; the program does not get it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer_token: Option<Secret>,
    /// Bounds of what clients of the listener may start.
    #[serde(default)]
    pub sessions: Sessions,
}

/// Bounds of the sessions of a bridge, each of which is a running program, or a conversation with
/// a remote server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Sessions {
    /// Sessions at once; beyond it 503.
    pub limit: usize,
    /// Programs that may start in a second, after `limit` at once; beyond it 503.
    pub rate: u32,
    /// Programs at once, those of sessions included; as many as sessions, `shared` and `warm`
    /// together may have when absent. Beyond it 503.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub programs: Option<usize>,
    /// Programs that are started before a session wants one.
    pub warm: usize,
    /// Programs at most that clients without sessions (2026-07-28) share.
    pub shared: usize,
    /// How long a session may be unused; one with an open stream or a call in flight is used.
    #[serde(with = "units::duration")]
    pub idle_timeout: Duration,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            limit: 100,
            rate: 10,
            programs: None,
            warm: 0,
            shared: 1,
            idle_timeout: Duration::from_mins(30),
        }
    }
}

impl Sessions {
    /// Programs at once.
    pub fn most_programs(&self) -> usize {
        let together = self.limit.saturating_add(self.shared).saturating_add(self.warm);
        self.programs.unwrap_or(together)
    }
}

/// A server to dial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Remote {
    /// Its URL: scheme `http` or `https`, with the MCP (or SSE) path.
    pub url: String,
    /// Sent as `Authorization: Bearer …` upstream, and demanded from clients of the listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer_token: Option<Secret>,
    /// Headers added to every request on the MCP path, replacing the client's of that name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<Header>,
    /// PEM file of certificate authorities to trust besides the built-in ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The way to it.
    #[serde(default)]
    pub proxy: Proxy,
    /// What the upstream sees as `Host`.
    #[serde(default)]
    pub host_header: HostHeader,
    /// What the upstream sees as `Accept-Encoding`.
    #[serde(default)]
    pub accept_encoding: AcceptEncoding,
    /// Longest wait for a connection, TLS included.
    #[serde(default = "default_connect_timeout", with = "units::duration")]
    pub connect_timeout: Duration,
    /// Longest wait for the head of a response to a POST; none means for ever.
    #[serde(default, with = "units::optional_duration", skip_serializing_if = "Option::is_none")]
    pub response_timeout: Option<Duration>,
    /// How long an unused connection is kept; below the 5 s after which Node closes its own.
    #[serde(default = "default_idle_timeout", with = "units::duration")]
    pub idle_timeout: Duration,
    /// The status of answers for an upstream that is down: 502 and 504 as HTTP has it, or 200
    /// for clients that give up a session on any 5xx.
    #[serde(default)]
    pub error_status: ErrorStatus,
    /// Bounds of the sessions of clients that do not speak its transport.
    #[serde(default)]
    pub sessions: Sessions,
}

impl Remote {
    /// A remote server with every setting at its default.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            bearer_token: None,
            headers: Vec::new(),
            ca_file: None,
            proxy: Proxy::None,
            host_header: HostHeader::default(),
            accept_encoding: AcceptEncoding::default(),
            connect_timeout: default_connect_timeout(),
            response_timeout: None,
            idle_timeout: default_idle_timeout(),
            error_status: ErrorStatus::default(),
            sessions: Sessions::default(),
        }
    }
}

fn default_connect_timeout() -> Duration {
    Duration::from_secs(10)
}

fn default_idle_timeout() -> Duration {
    Duration::from_secs(4)
}

/// What the upstream sees as `Host`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HostHeader {
    /// Its own authority.
    #[default]
    Upstream,
    /// What the client sent.
    Preserve,
}

/// What the upstream sees as `Accept-Encoding`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AcceptEncoding {
    /// `identity`, so that answers can be read.
    #[default]
    Identity,
    /// What the client sent; compressed answers are forwarded unread.
    Preserve,
}

/// The HTTP status of answers that the proxy gives for an upstream that is down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ErrorStatus {
    /// 502, 503 or 504.
    #[default]
    Gateway,
    /// 200 with a JSON-RPC error, for requests.
    #[serde(rename = "200")]
    Ok,
}

/// The listener for clients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Listen {
    /// `HOST:PORT`, or `:PORT` for every interface.
    pub address: String,
    /// Values of `Host` that pass, besides loopback names on a loopback listener.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_hosts: Vec<String>,
    /// Values of `Origin` that pass, besides the listener's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_origins: Vec<String>,
    /// Serve TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ServerTls>,
    /// The URL that clients use, scheme and authority; set, it rewrites OAuth metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_url: Option<String>,
    /// Largest request body in bytes; beyond it 413.
    #[serde(default = "default_max_body", with = "units::size")]
    pub max_body: u64,
    /// Largest request head in bytes; beyond it 431.
    #[serde(default = "default_max_header", with = "units::size")]
    pub max_header: u64,
    /// Longest wait for the whole request head, between two reads of a request body, and until a
    /// client takes more of what is written to it.
    #[serde(default = "default_read_timeout", with = "units::duration")]
    pub read_timeout: Duration,
    /// Longest wait at the end for calls in flight.
    #[serde(default = "default_drain_timeout", with = "units::duration")]
    pub drain_timeout: Duration,
}

impl Listen {
    /// A listener with every setting at its default.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            tls: None,
            public_url: None,
            max_body: default_max_body(),
            max_header: default_max_header(),
            read_timeout: default_read_timeout(),
            drain_timeout: default_drain_timeout(),
        }
    }
}

fn default_max_body() -> u64 {
    64 << 20
}

fn default_max_header() -> u64 {
    64 << 10
}

fn default_read_timeout() -> Duration {
    Duration::from_secs(30)
}

fn default_drain_timeout() -> Duration {
    Duration::from_secs(25)
}

/// Certificate and key of a listener, re-read when the files change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServerTls {
    /// PEM file with the certificate chain.
    pub cert: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
}

/// Bounds of what observing may cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes that wait to be observed; beyond it they are forwarded unobserved.
    #[serde(with = "units::size")]
    pub tap_bytes: u64,
    /// Bytes up to which a message is read whole; beyond it only its top-level members.
    #[serde(with = "units::size")]
    pub inspect: u64,
    /// Bytes of `params.arguments` kept for reporting; larger arguments are left out.
    #[serde(with = "units::size")]
    pub arguments: u64,
    /// Requests without an answer, over all sessions.
    pub pending: usize,
    /// How long a request waits for its answer before it counts as timed out.
    #[serde(with = "units::duration")]
    pub pending_for: Duration,
    /// Sessions remembered for their client and protocol version.
    pub sessions: usize,
    /// Tools with series of their own; the others share `__other__`.
    pub tools: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tap_bytes: 4 << 20,
            inspect: 1 << 20,
            arguments: 16 << 10,
            pending: 10_000,
            pending_for: Duration::from_hours(1),
            sessions: 10_000,
            tools: 200,
        }
    }
}

/// What the proxy says about itself, on standard error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug` or `trace`, or directives as `RUST_LOG` takes them.
    pub level: String,
    /// How a line looks.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::default() }
    }
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}
