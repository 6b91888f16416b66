//! Real servers over HTTP, on a port of their own choice.

use std::{collections::HashSet, fs, net::SocketAddr, process::Stdio, time::Duration};

use tokio::process::{Child, Command};

use crate::{Server, Tools, client::Hearing, eventually, proxy::Said, tools};

/// Longest wait for a server to listen, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_mins(1);

/// A real server that is spoken to over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// npm `server-everything`, streamable HTTP.
    Everything,
    /// npm `server-everything`, legacy HTTP+SSE.
    EverythingSse,
    /// One written with PyPI `mcp`, second line, streamable HTTP.
    Mcp2,
    /// The same, legacy HTTP+SSE.
    Mcp2Sse,
    /// The conformance server of the Go SDK, which keeps sessions.
    GoConformance,
    /// The same without sessions, as the newest revision has it.
    GoStateless,
    /// The example server `everything` of the Go SDK.
    GoEverything,
}

/// A running server; dropping it kills it.
#[derive(Debug)]
pub struct Remote {
    kind: Kind,
    child: Child,
    address: SocketAddr,
    said: Said,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Everything,
        Self::EverythingSse,
        Self::Mcp2,
        Self::Mcp2Sse,
        Self::GoConformance,
        Self::GoStateless,
        Self::GoEverything,
    ];

    /// The server that it is on standard streams.
    pub fn server(self) -> Server {
        match self {
            Self::Everything | Self::EverythingSse => Server::Everything,
            Self::Mcp2 | Self::Mcp2Sse => Server::Mcp2,
            Self::GoConformance | Self::GoStateless => Server::GoConformance,
            Self::GoEverything => Server::GoEverything,
        }
    }

    /// What a client hears of its calls beside the answers.
    pub fn hearing(self) -> Hearing {
        match self {
            // It does not remember who asked for what.
            Self::GoStateless => Hearing { hears: &["progress"], resource: None },
            other => other.server().hearing(),
        }
    }

    /// The part of the tools that it needs.
    pub fn part(self) -> &'static str {
        match self {
            Self::Everything | Self::EverythingSse => "node",
            Self::Mcp2 | Self::Mcp2Sse => "mcp2",
            Self::GoConformance | Self::GoStateless | Self::GoEverything => "go",
        }
    }

    /// Whether it speaks the legacy transport.
    pub fn is_sse(self) -> bool {
        matches!(self, Self::EverythingSse | Self::Mcp2Sse)
    }

    /// The path of its endpoint.
    pub fn path(self) -> &'static str {
        if self.is_sse() { "/sse" } else { "/mcp" }
    }

    fn command(self, tools: &Tools) -> Command {
        let everything = |transport: &str| {
            let mut node = Command::new("node");
            node.env("PORT", "0").args(["--require", &tools::source("servers/loopback.cjs")]);
            node.args([
                &tools.npm("@modelcontextprotocol/server-everything/dist/index.js"),
                transport,
            ]);
            node
        };
        let mcp2 = |transport: &str| {
            let mut python = Command::new(tools.python("mcp2", "python"));
            python.args([&tools::source("servers/mcp2.py"), transport]);
            python
        };
        let go = |name: &str, flags: &[&str]| {
            let mut go = Command::new(tools.go(name));
            go.args(["-http", "127.0.0.1:0"]).args(flags);
            go
        };
        match self {
            Self::Everything => everything("streamableHttp"),
            Self::EverythingSse => everything("sse"),
            Self::Mcp2 => mcp2("streamable-http"),
            Self::Mcp2Sse => mcp2("sse"),
            Self::GoConformance => go("everything-server", &["-stateless=false"]),
            Self::GoStateless => go("everything-server", &["-stateless=true"]),
            Self::GoEverything => go("everything", &[]),
        }
    }
}

impl Remote {
    /// Starts a server and waits until it listens.
    pub async fn start(tools: &Tools, kind: Kind) -> Self {
        let mut command = kind.command(tools);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().expect("the server starts");
        let said = Said::listen(child.stderr.take().expect("standard error is piped"));
        let pid = child.id().expect("the server runs");
        let what = format!("{kind:?} listens");
        let address = eventually(&what, PATIENCE, async || listening(pid)).await;
        Self { kind, child, address, said }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its endpoint, when it is reached at `address`.
    pub fn url_at(&self, address: SocketAddr) -> String {
        format!("http://{address}{}", self.kind.path())
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        let _ = self.child.start_kill();
        if std::thread::panicking() {
            eprintln!("--- standard error of {:?}:\n{}---", self.kind, self.said.text());
        }
    }
}

/// The port on which a process listens: the socket among its open files that the kernel says
/// is listening. Servers do not all tell which port 0 became.
fn listening(pid: u32) -> Option<SocketAddr> {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
    let links = files.filter_map(|file| fs::read_link(file.path()).ok());
    let sockets: HashSet<String> = links
        .filter_map(|link| {
            Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        })
        .collect();
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).ok()?;
    let port = table.lines().skip(1).find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        let listens = *state == "0A" && sockets.contains(*inode);
        let (_, port) = local.split_once(':')?;
        listens.then(|| u16::from_str_radix(port, 16).ok())?
    })?;
    Some(([127, 0, 0, 1], port).into())
}
