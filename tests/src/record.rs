//! Keeps both sides of a session, and reads from the recording what was called: an account
//! that owes nothing to the proxy's own reading.

use std::{
    collections::HashMap,
    fmt, fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::program;

pub mod forwarder;

pub use forwarder::{Exchange, Forwarder};

/// Records standard input and output of a program, by starting it through `recorder`.
#[derive(Debug)]
pub struct Recorder {
    directory: TempDir,
}

/// What passed one start of a program.
#[derive(PartialEq, Eq)]
pub struct Streams {
    /// What it read.
    pub to_server: Vec<u8>,
    /// What it wrote.
    pub to_client: Vec<u8>,
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        writeln!(f, "to server: {}", text(&self.to_server))?;
        writeln!(f, "to client: {}", text(&self.to_client))
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self { directory: TempDir::new().expect("a directory") }
    }
}

impl Recorder {
    /// The command that runs `command` and records it.
    pub fn wrap(&self, command: &[String]) -> Vec<String> {
        let own = [program("recorder"), self.directory.path().to_owned()];
        let own = own.iter().map(|path| path.to_str().expect("a path that is text").to_owned());
        own.chain(command.iter().cloned()).collect()
    }

    /// What passed, one for each time that the program was started, in that order.
    pub fn streams(&self) -> Vec<Streams> {
        let read = |path: PathBuf| fs::read(&path).expect("the recorder writes all files");
        let each = |run: &PathBuf| Streams {
            to_server: read(run.join("to-server")),
            to_client: read(run.join("to-client")),
        };
        self.runs().iter().map(each).collect()
    }

    /// What the program has said on standard error so far, all its runs together.
    pub fn stderr(&self) -> String {
        let runs = self.runs();
        let said = runs.iter().filter_map(|run| fs::read(run.join("stderr")).ok());
        said.map(|said| String::from_utf8_lossy(&said).into_owned()).collect()
    }

    fn runs(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.directory.path()).expect("the directory is there");
        let mut runs: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
        runs.sort_by_key(|run| created(run));
        runs
    }
}

fn created(run: &Path) -> std::time::SystemTime {
    // The directory itself changes when the first file is made in it, and never again.
    fs::metadata(run).and_then(|metadata| metadata.modified()).expect("the time of a directory")
}

/// A tool call and what came of it, in the words of the reports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ToolCall {
    /// The name of the tool.
    pub tool: String,
    /// Empty, `tool_error`, a JSON-RPC code, `cancelled`, or `unanswered`.
    pub error_type: String,
}

/// The tool calls of one session, sorted, from its messages to the server and to the client.
pub fn tool_calls(to_server: &[Value], to_client: &[Value]) -> Vec<ToolCall> {
    let answers = to_client.iter().filter(|message| message.get("method").is_none());
    let answers: HashMap<_, _> = answers.map(|answer| (answer["id"].to_string(), answer)).collect();
    let cancelled = |id: &Value| {
        let method = "notifications/cancelled";
        to_server.iter().any(|told| told["method"] == method && &told["params"]["requestId"] == id)
    };
    let outcome = |id: &Value| match answers.get(&id.to_string()) {
        _ if cancelled(id) => "cancelled".to_owned(),
        None => "unanswered".to_owned(),
        Some(answer) if !answer["error"].is_null() => answer["error"]["code"].to_string(),
        Some(answer) if answer["result"]["isError"] == true => "tool_error".to_owned(),
        Some(_) => String::new(),
    };
    let requests = to_server.iter().filter(|message| message["method"] == "tools/call");
    let mut calls: Vec<_> = requests
        .map(|request| ToolCall {
            tool: request["params"]["name"].as_str().expect("tools have names").to_owned(),
            error_type: outcome(&request["id"]),
        })
        .collect();
    calls.sort();
    calls
}

/// The messages of a stream of lines.
pub fn lines(bytes: &[u8]) -> Vec<Value> {
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).expect("a line of JSON")).collect()
}
