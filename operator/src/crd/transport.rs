//! How a server speaks MCP, and how the sidecar comes between it and its clients.

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// How the server speaks MCP.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("self.type != 'Stdio' || !has(self.http)").message(
        "transport.http is for servers that listen: write transport.stdio for the type Stdio"
    ),
    validation = Rule::new("self.type == 'Stdio' || !has(self.stdio)").message(
        "transport.stdio is for the type Stdio: write transport.http, or transport.type: Stdio"
    ),
    validation = Rule::new("(self.type == 'Stdio') == (oldSelf.type == 'Stdio')").message(
        "transport.type cannot change between Stdio and the others, for the pods would differ in \
         kind: delete this McpServer and create another"
    )
)]
pub struct Transport {
    /// The transport: StreamableHTTP (2025-03-26 and later), SSE (HTTP with server-sent events,
    /// 2024-11-05), or Stdio (standard streams, of which the sidecar makes streamable HTTP).
    #[serde(rename = "type", default)]
    pub kind: TransportKind,
    /// Of a server that listens (StreamableHTTP, SSE): where, and how the sidecar takes over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
    /// Of a server that speaks on its standard streams (Stdio): how it is started and reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdio: Option<Stdio>,
}

/// The transports of MCP.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TransportKind {
    /// Streamable HTTP (2025-03-26 and later).
    #[default]
    #[serde(rename = "StreamableHTTP")]
    StreamableHttp,
    /// HTTP with server-sent events (2024-11-05).
    #[serde(rename = "SSE")]
    Sse,
    /// Standard input and output; the sidecar makes streamable HTTP of it.
    Stdio,
}

/// A transport with all that is said about it, and what holds where nothing is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// Over HTTP; legacy HTTP+SSE when the flag is set.
    Http(Http, bool),
    /// On standard streams.
    Stdio(Stdio),
}

impl Transport {
    /// What is said, with every default in its place.
    pub fn spoken(&self) -> Spoken {
        let http = |legacy: bool| {
            let mut http = self.http.clone().unwrap_or_default();
            let path = if legacy { "/sse" } else { "/mcp" };
            http.path.get_or_insert_with(|| path.to_owned());
            Spoken::Http(http, legacy)
        };
        match self.kind {
            TransportKind::StreamableHttp => http(false),
            TransportKind::Sse => http(true),
            TransportKind::Stdio => Spoken::Stdio(self.stdio.clone().unwrap_or_default()),
        }
    }
}

/// A server that listens.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.movePort) == (self.takeover == 'MovePort')").message(
    "with takeover: MovePort write movePort.env or movePort.arg, by which the server learns its \
     new port, and no movePort with the others"
))]
pub struct Http {
    /// The container port on which the server listens: its name, or its number (1 to 65535).
    #[serde(default)]
    #[schemars(schema_with = "port_schema")]
    #[x_kube(validation = Rule::new(
        "type(self) == int ? self >= 1 && self <= 65535 : \
         self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$') && self.matches('[a-z]') && \
         !self.contains('--') && size(self) <= 15"
    ).message(
        "write the name of a container port (at most 15 lower case letters, digits and single \
         dashes, one letter at least) or a number from 1 to 65535"
    ))]
    pub port: PortRef,
    /// The path of the MCP endpoint; /mcp unless given, /sse for the type SSE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = Rule::new(r"self.matches('^/[^?#\\s]*$')").message(
        "write a path that begins with / and has no query (?), fragment (#) or space in it"
    ))]
    pub path: Option<String>,
    /// How the sidecar comes between clients and the server. NamedPort: it gets the name of the
    /// port, and with it the traffic of every Service that targets the name (Kubernetes 1.33).
    /// MovePort: it gets the number too, and the server learns another by movePort. PodIP: the
    /// server listens on 127.0.0.1 only, the sidecar on the same number of the pod's address; of
    /// its first, where pods have addresses of both IP versions: Services then need that version
    /// as their only one (ipFamilyPolicy: SingleStack).
    /// None: clients dial the sidecar, at its port named mcpulse. Auto: NamedPort where every
    /// Service that leads to the port targets it by name; else nothing is injected, and a
    /// condition says what to do.
    #[serde(default)]
    pub takeover: Takeover,
    /// How the server learns its new port with takeover: MovePort.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub move_port: Option<MovePort>,
    /// The Host that the server sees. Rewrite: 127.0.0.1 and the port, on which servers that
    /// are bound to loopback insist. Preserve: what the client sent.
    #[serde(default)]
    pub host_header: HostHeader,
    /// Origins of web pages that may call, besides the server's own: scheme, host and port.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 256)))]
    pub allowed_origins: Vec<String>,
}

/// A port by its name or its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PortRef {
    /// Its number.
    Number(u16),
    /// Its name.
    Name(String),
}

impl Default for PortRef {
    fn default() -> Self {
        Self::Name("mcp".to_owned())
    }
}

impl std::fmt::Display for PortRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

fn port_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"x-kubernetes-int-or-string": true, "maxLength": 15})
}

/// How the sidecar comes between clients and a server that listens.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Takeover {
    /// NamedPort where every Service that leads to the port targets it by name; otherwise
    /// nothing is injected, and a condition says what to do.
    #[default]
    Auto,
    /// The sidecar gets the name of the port, and with it the traffic of every Service that
    /// targets the name. The server keeps its number. Needs Kubernetes 1.33.
    NamedPort,
    /// The sidecar gets the number and the name; the server is told another number.
    MovePort,
    /// The server listens on 127.0.0.1 only, and the sidecar on the same port of the pod's (first)
    /// address. A server that listens on all addresses fails to start with this.
    #[serde(rename = "PodIP")]
    PodIp,
    /// No traffic is moved: clients dial the sidecar, at its port named mcpulse.
    None,
}

/// How a server learns the port on which it is to listen.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("has(self.env) != has(self.arg)").message(
    "write either env (a variable) or arg (an option of the command), and only one of them"
))]
pub struct MovePort {
    /// A variable that holds the port, set to the new number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z_][A-Za-z0-9_]*$')").message(
        "write the name of a variable, such as PORT: letters, digits and underscores"
    ))]
    pub env: Option<String>,
    /// An option of the container's command or args, such as --port, whose value is the port's
    /// number there (--port 8000 or --port=8000) and becomes the new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 253))]
    #[x_kube(validation = Rule::new(r"self.matches('^-[^=\\s]+$')").message(
        "write the option alone, with its dashes and without a value, such as --port"
    ))]
    pub arg: Option<String>,
}

/// The Host that a server sees.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostHeader {
    /// 127.0.0.1 and the port: what servers that are bound to loopback insist on.
    #[default]
    Rewrite,
    /// What the client sent.
    Preserve,
}

/// A server that speaks on its standard streams.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stdio {
    /// The server's program and its arguments, where the container has no command: what
    /// `crane config IMAGE` shows as Entrypoint, and Cmd behind it unless the container has
    /// args.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 4096)))]
    pub command: Vec<String>,
    /// The number of the port on which the sidecar serves streamable HTTP, named mcp; 8080
    /// unless given.
    #[serde(default = "default_listen_port")]
    #[schemars(range(min = 1024, max = 65535))]
    pub listen_port: u16,
    /// Sessions at once, each a process of its own; the next gets 503.
    #[serde(default = "default_max_processes")]
    #[schemars(range(min = 1, max = Stdio::MOST_PROCESSES))]
    pub max_processes: u32,
    /// Processes that are started before a session wants one, besides those of sessions: a client
    /// then does not wait for the server's start. Each takes its memory in every pod.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100))]
    pub prestart: u32,
    /// How long a session may be unused before it ends, such as 10m or 1h30m.
    #[serde(default = "default_idle_timeout")]
    #[schemars(length(min = 2, max = 32))]
    #[x_kube(validation = Rule::new(
        "self.matches('^([0-9]+(ms|s|m|h))+$') && self.matches('[1-9]')"
    ).message("write a time above zero, such as 90s, 10m or 1h30m"))]
    pub idle_timeout: String,
}

impl Stdio {
    /// As many processes as may be asked for.
    pub const MOST_PROCESSES: u32 = 10_000;
}

impl Default for Stdio {
    fn default() -> Self {
        Self {
            command: Vec::new(),
            listen_port: default_listen_port(),
            max_processes: default_max_processes(),
            prestart: 0,
            idle_timeout: default_idle_timeout(),
        }
    }
}

fn default_listen_port() -> u16 {
    8080
}

fn default_max_processes() -> u32 {
    32
}

fn default_idle_timeout() -> String {
    "10m".to_owned()
}
