//! A real client and a real server, unchanged, and the proxy between them on any two transports:
//! every call ends as it does without the proxy, and every tool call is reported once.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use mcpulse_proto::v1::MetricStatus;
use serde_json::Value;
use tempfile::TempDir;
use uuid::Uuid;

use crate::{
    Client, Receiver, Scrape, Server, Tools,
    client::{Call, Target},
    eventually,
    record::{self, ToolCall},
    remote::Kind,
};

mod bridge;
mod crossing;
mod relay;
mod remote;

/// Longest wait for reports, on a machine that has much else to do.
pub const PATIENCE: Duration = Duration::from_mins(1);
/// The MCPulse server id.
pub const SERVER_ID: &str = "real";

/// How a client reaches a server through the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The proxy is before the server's command.
    Stdio(Server),
    /// The proxy serves the server's command over HTTP.
    HttpToStdio(Server),
    /// The same for clients of HTTP+SSE.
    SseToStdio(Server),
    /// The proxy is before a server over HTTP, of the transport that it speaks.
    Http(Kind),
    /// The same for clients of the HTTP transport that it does not speak.
    Crossing(Kind),
    /// The proxy is the command that the client starts, of a server over HTTP.
    StdioToHttp(Kind),
    /// The same, and the proxy is not told that the server speaks HTTP+SSE.
    StdioToSseUnsaid(Kind),
}

/// A client and a way to a server.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    /// Who.
    pub client: Client,
    /// To whom.
    pub way: Way,
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let client = self.client.name();
        let sse = |kind: Kind| if kind.is_sse() { "HTTP+SSE" } else { "HTTP" };
        match self.way {
            Way::Stdio(server) => write!(f, "stdio to stdio: {client} and {server:?}"),
            Way::HttpToStdio(server) => write!(f, "HTTP to stdio: {client} and {server:?}"),
            Way::SseToStdio(server) => write!(f, "HTTP+SSE to stdio: {client} and {server:?}"),
            Way::Http(kind) => write!(f, "{0} to {0}: {client} and {kind:?}", sse(kind)),
            Way::Crossing(kind) => {
                let from = if kind.is_sse() { "HTTP" } else { "HTTP+SSE" };
                write!(f, "{from} to {}: {client} and {kind:?}", sse(kind))
            }
            Way::StdioToHttp(kind) => write!(f, "stdio to {}: {client} and {kind:?}", sse(kind)),
            Way::StdioToSseUnsaid(kind) => {
                write!(f, "stdio to HTTP+SSE, unsaid: {client} and {kind:?}")
            }
        }
    }
}

impl Pair {
    /// All that there are. The Rust SDK has no HTTP+SSE, and of a server that keeps no sessions
    /// only clients that want none say in each request who they are.
    pub fn all() -> Vec<Self> {
        let on_streams =
            |server| [Way::Stdio, Way::HttpToStdio, Way::SseToStdio].map(|way| way(server));
        let remote = |kind| [Way::Http, Way::Crossing, Way::StdioToHttp].map(|way| way(kind));
        let ways = Server::ALL.into_iter().flat_map(on_streams);
        let ways = ways.chain(Kind::ALL.into_iter().flat_map(remote));
        let unsaid = Kind::ALL.into_iter().filter(|kind| kind.is_sse()).map(Way::StdioToSseUnsaid);
        let ways: Vec<_> = ways.chain(unsaid).collect();
        let pairs = ways
            .iter()
            .flat_map(|&way| Client::ALL.into_iter().map(move |client| Self { client, way }));
        let meets = |pair: &Self| match pair.client {
            Client::Mcp2 => true,
            Client::Rmcp if pair.way.is_sse() => false,
            _ => !matches!(
                pair.way,
                Way::Http(Kind::GoStateless) | Way::StdioToHttp(Kind::GoStateless)
            ),
        };
        pairs.filter(meets).collect()
    }

    /// The tools that it needs, or none and a word why.
    pub fn tools(self) -> Option<&'static Tools> {
        let server = match self.way {
            Way::Stdio(server) | Way::HttpToStdio(server) | Way::SseToStdio(server) => {
                server.part()
            }
            Way::Http(kind)
            | Way::Crossing(kind)
            | Way::StdioToHttp(kind)
            | Way::StdioToSseUnsaid(kind) => Some(kind.part()),
        };
        Tools::with(&[self.client.part(), server].into_iter().flatten().collect::<Vec<_>>())
    }

    /// One session without the proxy and one through it.
    ///
    /// # Panics
    /// When anything is not as it should.
    pub async fn check(self) {
        let Some(tools) = self.tools() else { return };
        match self.way {
            Way::Stdio(server) => {
                relay::on_streams(tools, self.client, server, |directory| server.calls(directory))
                    .await;
            }
            Way::HttpToStdio(server) => {
                let target = |address| Target::Http(format!("http://{address}/mcp"));
                bridge::check(tools, self.client, server, target).await;
            }
            Way::SseToStdio(server) => {
                let target = |address| Target::Sse(format!("http://{address}/sse"));
                bridge::check(tools, self.client, server, target).await;
            }
            Way::Http(kind) => relay::over_http(tools, self.client, kind).await,
            Way::Crossing(kind) => crossing::check(tools, self.client, kind).await,
            Way::StdioToHttp(kind) => {
                let mode = if kind.is_sse() { "sse" } else { "http" };
                remote::check(tools, self.client, kind, mode).await;
            }
            Way::StdioToSseUnsaid(kind) => remote::check(tools, self.client, kind, "http").await,
        }
    }

    /// The same on streams, with other calls than those that suit the server.
    ///
    /// # Panics
    /// When anything is not as it should.
    pub async fn check_calls(client: Client, server: Server, calls: fn(&Path) -> Vec<Call>) {
        let Some(tools) = (Self { client, way: Way::Stdio(server) }).tools() else { return };
        relay::on_streams(tools, client, server, calls).await;
    }
}

impl Way {
    /// Whether the client has to speak HTTP+SSE: with the proxy or without it.
    fn is_sse(self) -> bool {
        match self {
            // One of the two sessions that are compared is over HTTP+SSE.
            Self::SseToStdio(_) | Self::StdioToSseUnsaid(_) | Self::Crossing(_) => true,
            Self::Http(kind) | Self::StdioToHttp(kind) => kind.is_sse(),
            Self::Stdio(_) | Self::HttpToStdio(_) => false,
        }
    }
}

/// The target of a client that reaches a server of this kind without the proxy.
fn target(kind: Kind, url: String) -> Target {
    if kind.is_sse() { Target::Sse(url) } else { Target::Http(url) }
}

/// What a server works on.
fn workplace(server: Server) -> (TempDir, PathBuf) {
    let directory = TempDir::new().expect("a directory");
    server.prepare(directory.path());
    let path = directory.path().to_owned();
    (directory, path)
}

/// What a session came to, without the names that it has for itself: the directory, and ids.
fn comparable(outcomes: &Value, directory: &Path) -> String {
    let directory = directory.to_str().expect("a path that is text");
    let text = outcomes.to_string().replace(directory, "DIRECTORY");
    let ids = text.split(|c: char| !(c.is_ascii_hexdigit() || c == '-'));
    let ids: Vec<_> = ids.filter(|word| Uuid::try_parse(word).is_ok()).collect();
    ids.into_iter().fold(text.clone(), |text, id| text.replace(id, "ID"))
}

/// The tool calls in these messages; a server that asks back has a call made again.
fn called(to_server: &[Value], to_client: &[Value], calls: &[Call]) -> Vec<ToolCall> {
    let expected = record::tool_calls(to_server, to_client);
    assert!(expected.len() >= calls.len(), "{expected:#?}");
    expected
}

/// Checks that exactly these calls of this client arrive at the receiver, each once, and that
/// the books of the proxy then balance.
async fn assert_reported(
    receiver: &Receiver,
    metrics: SocketAddr,
    client: Client,
    expected: &[ToolCall],
) {
    let settled = async || {
        let scrape = Scrape::of(metrics).await;
        let delivered = [("sink", "mcpulse"), ("result", "delivered")];
        let delivered = scrape.sum("mcpulse_reports_total", &delivered);
        (delivered.round() >= expected.len().to_string().parse().expect("a number"))
            .then_some(scrape)
    };
    let scrape = eventually("every call is delivered", PATIENCE, settled).await;
    let sinks = scrape.assert_balanced();
    assert!(sinks.iter().any(|sink| sink == "mcpulse"), "{sinks:?}");

    let reported = receiver.metrics();
    let call = |tool: &String, error_type: &String| ToolCall {
        tool: tool.clone(),
        error_type: error_type.clone(),
    };
    let mut calls: Vec<_> =
        reported.iter().map(|metric| call(&metric.tool_name, &metric.error_type)).collect();
    calls.sort();
    assert_eq!(calls, expected, "left: reported; right: read from the recording");
    for metric in &reported {
        let wanted = (SERVER_ID, client.name(), client.version());
        let found = (&*metric.server_id, &*metric.client_name, &*metric.client_version);
        assert_eq!(found, wanted, "{metric:?}");
        assert!(metric.protocol_version.starts_with("202"), "{metric:?}");
        let failed = metric.status() != MetricStatus::Success;
        assert_eq!(failed, !metric.error_type.is_empty(), "{metric:?}");
    }
}
