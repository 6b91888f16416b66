//! The real servers over standard input and output, and the calls that suit each: some that succeed, some that fail, and one
//! to a tool that is not there.

use std::{fs, path::Path, process::Command};

use serde_json::json;

use crate::{
    Tools,
    client::{Call, Hearing},
    program, tools,
};

/// A real server, spoken to over standard input and output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// npm `server-everything`.
    Everything,
    /// npm `server-filesystem`.
    Filesystem,
    /// npm `server-memory`.
    Memory,
    /// PyPI `mcp-server-time`.
    Time,
    /// PyPI `mcp-server-git`.
    Git,
    /// One written with PyPI `mcp`, second line.
    Mcp2,
    /// The conformance server of the Go SDK.
    GoConformance,
    /// The example server `everything` of the Go SDK.
    GoEverything,
    /// One written with the official Rust SDK.
    Rmcp,
}

impl Server {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Everything,
        Self::Filesystem,
        Self::Memory,
        Self::Time,
        Self::Git,
        Self::Mcp2,
        Self::GoConformance,
        Self::GoEverything,
        Self::Rmcp,
    ];

    /// The part of the tools that it needs.
    pub fn part(self) -> Option<&'static str> {
        match self {
            Self::Everything | Self::Filesystem | Self::Memory => Some("node"),
            Self::Time | Self::Git | Self::Mcp2 => Some("mcp2"),
            Self::GoConformance | Self::GoEverything => Some("go"),
            Self::Rmcp => None,
        }
    }

    /// Fills a fresh directory with what the server works on, always the same.
    pub fn prepare(self, directory: &Path) {
        if self == Self::Filesystem {
            fs::write(directory.join("file.txt"), "line one\nline two\n").expect("a file");
        }
        if self == Self::Git {
            let script = "git init --quiet --initial-branch main . && echo text > file.txt && \
                 git add . && git -c user.name=t -c user.email=t@localhost \
                 commit --quiet --date '2026-01-01T00:00:00Z' --message first";
            let mut git = Command::new("sh");
            git.args(["-c", script]).env("GIT_COMMITTER_DATE", "2026-01-01T00:00:00Z");
            assert!(git.current_dir(directory).status().expect("git runs").success());
        }
    }

    /// The command that serves on standard input and output, working on `directory`.
    pub fn command(self, tools: &Tools, directory: &Path) -> Vec<String> {
        let directory = directory.to_str().expect("a path that is text");
        let node = |package: &str, rest: &[&str]| {
            let script = tools.npm(&format!("@modelcontextprotocol/{package}/dist/index.js"));
            words(&["node", &script], rest)
        };
        match self {
            Self::Everything => node("server-everything", &["stdio"]),
            Self::Filesystem => node("server-filesystem", &[directory]),
            Self::Memory => {
                let file = format!("MEMORY_FILE_PATH={directory}/memory.jsonl");
                words(&["env", &file], &node("server-memory", &[]))
            }
            Self::Time => {
                words(&[tools.python("mcp2", "mcp-server-time")], &["--local-timezone", "UTC"])
            }
            Self::Git => {
                words(&[tools.python("mcp2", "mcp-server-git")], &["--repository", directory])
            }
            Self::Mcp2 => {
                let python = tools.python("mcp2", "python");
                words(&[python, tools::source("servers/mcp2.py")], &["stdio"])
            }
            Self::GoConformance => words(&[tools.go("everything-server")], &[""; 0]),
            Self::GoEverything => words(&[tools.go("everything")], &[""; 0]),
            Self::Rmcp => {
                let path = program("example_server");
                words(&[path.to_str().expect("a path that is text")], &[""; 0])
            }
        }
    }

    /// What a client hears of those calls beside the answers.
    pub fn hearing(self) -> Hearing {
        match self {
            Self::Everything => Hearing {
                hears: &["progress", "log", "updated"],
                resource: Some("demo://resource/dynamic/text/1"),
            },
            Self::GoConformance => {
                Hearing { hears: &["progress", "log"], resource: Some("test://watched-resource") }
            }
            Self::GoEverything => Hearing { hears: &["log"], resource: None },
            // What Mcp2 says of its progress comes with the answer, and the npm clients then
            // hear the answer alone.
            _ => Hearing::default(),
        }
    }

    /// Calls to make, on what [`Server::prepare`] made of `directory`.
    pub fn calls(self, directory: &Path) -> Vec<Call> {
        let at =
            |name: &str| directory.join(name).to_str().expect("a path that is text").to_owned();
        let call = Call::new;
        let mut calls = match self {
            Self::Everything => vec![
                call("echo", json!({ "message": "grüße \u{1f980} \"\\\n" })),
                call("get-sum", json!({ "a": 1, "b": 2.5 })),
                call("get-tiny-image", json!({})),
                call("get-structured-content", json!({ "location": "Chicago" })),
                call("trigger-long-running-operation", json!({ "duration": 0.2, "steps": 3 })),
                call("trigger-sampling-request", json!({ "prompt": "say" })),
                call("trigger-elicitation-request", json!({})),
                // From now on it says both every 5 s, however late a client listens.
                call("toggle-simulated-logging", json!({})),
                call("toggle-subscriber-updates", json!({})),
                call("echo", json!({})),
            ],
            Self::Filesystem => vec![
                call("read_text_file", json!({ "path": at("file.txt") })),
                call(
                    "write_file",
                    json!({ "path": at("new.txt"), "content": "x".repeat(100_000) }),
                ),
                call("read_text_file", json!({ "path": at("new.txt") })),
                call("list_directory", json!({ "path": at("") })),
                call("read_text_file", json!({ "path": at("absent.txt") })),
                call("read_text_file", json!({ "path": "/etc/hostname" })),
            ],
            Self::Memory => {
                let entity = json!({ "name": "a", "entityType": "b", "observations": ["c"] });
                let absent = json!({ "entityName": "z", "contents": ["c"] });
                vec![
                    call("create_entities", json!({ "entities": [entity] })),
                    call("read_graph", json!({})),
                    call("search_nodes", json!({ "query": "a" })),
                    call("add_observations", json!({ "observations": [absent] })),
                ]
            }
            Self::Time => {
                let convert = |from: &str| {
                    let time = "12:00";
                    json!({ "source_timezone": from, "time": time, "target_timezone": "Asia/Tokyo" })
                };
                vec![call("convert_time", convert("UTC")), call("convert_time", convert("Nowhere"))]
            }
            Self::Git => vec![
                call("git_status", json!({ "repo_path": at("") })),
                call("git_log", json!({ "repo_path": at("") })),
                call("git_show", json!({ "repo_path": at(""), "revision": "nothing" })),
            ],
            Self::Mcp2 => vec![
                call("add", json!({ "a": 1, "b": 2 })),
                call("repeat", json!({ "text": "grüße ", "count": 20_000 })),
                call("count", json!({ "to": 5 })),
                call("fail", json!({ "reason": "as asked" })),
                call("add", json!({ "a": "not a number" })),
            ],
            Self::GoConformance => vec![
                call("test_simple_text", json!({})),
                call("test_image_content", json!({})),
                call("test_tool_with_logging", json!({})),
                call("test_tool_with_progress", json!({})),
                call("test_sampling", json!({ "prompt": "say" })),
                call("test_elicitation", json!({ "message": "ask" })),
                call("test_input_required_result_sampling", json!({})),
                call("test_error_handling", json!({})),
            ],
            Self::GoEverything => vec![
                call("greet", json!({ "name": "a" })),
                call("greet (structured)", json!({ "name": "a" })),
                call("ping", json!({})),
                call("log", json!({})),
                call("sample", json!({})),
                call("roots", json!({})),
                call("greet", json!({})),
            ],
            Self::Rmcp => vec![
                call("echo", json!({ "message": "hello" })),
                call("slow", json!({ "milliseconds": 20 })),
                call("fail", json!({})),
                call("break_down", json!({})),
            ],
        };
        calls.push(call("no_such_tool", json!({})));
        calls
    }
}

fn words<A: AsRef<str>, B: AsRef<str>>(first: &[A], rest: &[B]) -> Vec<String> {
    let first = first.iter().map(|word| word.as_ref().to_owned());
    first.chain(rest.iter().map(|word| word.as_ref().to_owned())).collect()
}
