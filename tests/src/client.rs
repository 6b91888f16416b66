//! The real clients, each of which holds one session as a test demands.

use std::{process::Stdio, time::Duration};

use serde::Serialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, ChildStdin, Command},
    time::timeout,
};

use crate::{Tools, program, proxy::Said, tools};

/// Longest wait for a session, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_mins(2);

/// A real client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// PyPI `mcp`, first line.
    Mcp1,
    /// PyPI `mcp`, second line.
    Mcp2,
    /// npm `@modelcontextprotocol/sdk`.
    Sdk1,
    /// npm `@modelcontextprotocol/client`.
    Client2,
    /// The official Rust SDK.
    Rmcp,
}

/// What a client connects to.
#[derive(Clone, Debug)]
pub enum Target {
    /// A program that it starts.
    Command(Vec<String>),
    /// A streamable HTTP endpoint.
    Http(String),
    /// A legacy HTTP+SSE endpoint.
    Sse(String),
}

/// One tool call for it to make.
#[derive(Clone, Debug, Serialize)]
pub struct Call {
    /// The tool.
    pub name: &'static str,
    /// Its arguments, an object.
    pub arguments: Value,
    /// Cancel it after so many milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel_after: Option<u64>,
}

impl Call {
    /// A call that is waited for.
    pub fn new(name: &'static str, arguments: Value) -> Self {
        Self { name, arguments, cancel_after: None }
    }

    /// A call that the client gives up.
    pub fn cancelled(name: &'static str, arguments: Value) -> Self {
        Self { cancel_after: Some(300), ..Self::new(name, arguments) }
    }
}

/// What a client is to hear beside answers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hearing {
    /// `progress`, `log`, `updated`: it waits for one of each.
    pub hears: &'static [&'static str],
    /// It subscribes to this.
    pub resource: Option<&'static str>,
}

/// A session that a client holds open; all its calls are done.
#[derive(Debug)]
pub struct Session {
    client: Client,
    child: Child,
    stdin: Option<ChildStdin>,
    said: Said,
    outcomes: Value,
}

impl Client {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Mcp1, Self::Mcp2, Self::Sdk1, Self::Client2, Self::Rmcp];

    /// The name that it gives itself.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mcp1 => "mcp1",
            Self::Mcp2 => "mcp2",
            Self::Sdk1 => "sdk1",
            Self::Client2 => "client2",
            Self::Rmcp => "rmcp",
        }
    }

    /// The version that it gives itself.
    pub fn version(self) -> &'static str {
        match self {
            Self::Mcp1 => "1.30.0",
            Self::Mcp2 => "2.3.0",
            Self::Sdk1 => "1.32.2",
            Self::Client2 => "2.4.0",
            Self::Rmcp => "3.11.0",
        }
    }

    /// The part of the tools that it needs.
    pub fn part(self) -> Option<&'static str> {
        match self {
            Self::Mcp1 => Some("mcp1"),
            Self::Mcp2 => Some("mcp2"),
            Self::Sdk1 | Self::Client2 => Some("node"),
            Self::Rmcp => None,
        }
    }

    fn command(self, tools: &Tools) -> Command {
        let python = |name: &str| {
            let mut command = Command::new(tools.python(name, "python"));
            command.arg(tools::source(&format!("clients/{name}.py")));
            command
        };
        let node = |script: &str| {
            let mut command = Command::new("node");
            // The packages are found from where the script is reached, not from where it is.
            command.args(["--preserve-symlinks", "--preserve-symlinks-main"]);
            command.arg(tools.node_client(script));
            command
        };
        match self {
            Self::Mcp1 | Self::Mcp2 => python(self.name()),
            Self::Sdk1 | Self::Client2 => node(&format!("{}.mjs", self.name())),
            Self::Rmcp => Command::new(program("rmcp_client")),
        }
    }

    /// Opens a session, lists the tools, makes the calls one after the other, and keeps the
    /// session open.
    pub async fn hold(self, tools: &Tools, target: &Target, calls: &[Call]) -> Session {
        self.hold_and_hear(tools, target, calls, Hearing::default()).await
    }

    /// The same, by a client that other words start, such as those that take it elsewhere.
    pub async fn hold_in(
        self,
        words: &[String],
        tools: &Tools,
        target: &Target,
        calls: &[Call],
    ) -> Session {
        let client = self.command(tools);
        let client = client.as_std();
        let (first, rest) = words.split_first().expect("a word at least");
        let mut command = Command::new(first);
        command.args(rest).arg(client.get_program()).args(client.get_args());
        self.begin(command, target, calls, Hearing::default()).await
    }

    /// Opens a session as well, and waits for what is to be heard.
    pub async fn hold_and_hear(
        self,
        tools: &Tools,
        target: &Target,
        calls: &[Call],
        hearing: Hearing,
    ) -> Session {
        self.begin(self.command(tools), target, calls, hearing).await
    }

    async fn begin(
        self,
        mut command: Command,
        target: &Target,
        calls: &[Call],
        Hearing { hears, resource }: Hearing,
    ) -> Session {
        let (key, place) = match target {
            Target::Command(command) => ("command", json!(command)),
            Target::Http(url) => ("http", json!(url)),
            Target::Sse(url) => ("sse", json!(url)),
        };
        let plan = json!({ key: place, "calls": calls, "hears": hears, "resource": resource });
        let mut child = command
            .arg(plan.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|e| panic!("starting {self:?}: {e}"));
        let stdin = child.stdin.take();
        let said = Said::listen(child.stderr.take().expect("standard error is piped"));
        let stdout = BufReader::new(child.stdout.take().expect("standard output is piped"));
        let line = timeout(PATIENCE, stdout.lines().next_line()).await;
        let Ok(Ok(Some(line))) = line else {
            panic!("{self:?} to {target:?}: {line:?}: {}", said.text());
        };
        let outcomes = serde_json::from_str(&line)
            .unwrap_or_else(|e| panic!("{self:?} said {line}, which is not JSON: {e}"));
        Session { client: self, child, stdin, said, outcomes }
    }
}

impl Session {
    /// `tools`: their names; `calls`: for each call `ok` or `tool_error` with the content, or
    /// `rpc_error` with the code and `text`, or `cancelled`.
    pub fn outcomes(&self) -> &Value {
        &self.outcomes
    }

    /// Lets the client close the session and waits for its end.
    pub async fn close(mut self) {
        drop(self.stdin.take());
        let ended = timeout(PATIENCE, self.child.wait()).await;
        let status = ended.expect("a client ends when told to").expect("wait");
        assert!(status.success(), "{:?} ended with {status}: {}", self.client, self.said.text());
    }
}
