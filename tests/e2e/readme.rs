//! README.md, done as it says: what it tells people to type works, and its tables are true.

use std::{
    env, ffi::OsString, fs, os::unix::fs::symlink, path::Path, process::Stdio, time::Duration,
};

use mcpulse_tests::{
    Client, Receiver, Tools,
    client::{Call, Target},
    program,
    proxy::unconfigured,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{process::Command, time::timeout};

mod tables;

/// Longest wait for `npx`, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_mins(1);

fn readme() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    fs::read_to_string(path).expect("README.md")
}

/// What is below the heading that begins so.
fn section(heading: &str) -> String {
    let readme = readme();
    let (_, section) = readme.split_once(&format!("\n## {heading}")).expect("the heading");
    section.split("\n## ").next().unwrap_or_default().to_owned()
}

/// The code blocks of this language below the heading that begins so.
fn blocks(heading: &str, language: &str) -> Vec<String> {
    let section = section(heading);
    let open = format!("```{language}\n");
    let blocks = section.split(&open).skip(1);
    blocks.map(|block| block.split("\n```").next().unwrap_or_default().to_owned()).collect()
}

/// The directory of a person who has the proxy on the `PATH`, and the server as a package of
/// that directory: `npx` takes it from there.
struct Desk {
    tools: &'static Tools,
    directory: TempDir,
    path: OsString,
}

impl Desk {
    fn new() -> Option<Self> {
        let tools = Tools::with(&["node"])?;
        let directory = TempDir::new().expect("a directory");
        symlink(tools.npm(""), directory.path().join("node_modules")).expect("a link");
        let mut path = vec![program::directory()];
        path.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
        let path = env::join_paths(path).expect("directories without colons");
        Some(Self { tools, directory, path })
    }
}

#[tokio::test]
async fn the_first_try_works_as_written() {
    let Some(desk) = Desk::new() else { return };
    let [script] = &blocks("Try it", "sh")[..] else { panic!("one block to type") };
    let mut shell = unconfigured(Command::new("sh"));
    shell.args(["-ec", script]).env("PATH", &desk.path).env("npm_config_offline", "true");
    shell.current_dir(desk.directory.path()).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(PATIENCE, shell.output()).await.expect("it ends").expect("a shell");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", output.status);
    let answers = String::from_utf8_lossy(&output.stdout);
    let answers: Vec<Value> = answers
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}")))
        .collect();
    let answer = |id: u64| {
        let found = answers.iter().find(|answer| answer["id"] == id);
        found.unwrap_or_else(|| panic!("no answer to {id} in {answers:?}; {said}"))
    };
    assert!(answer(0)["result"]["serverInfo"].is_object(), "{answers:?}");
    assert_eq!(answer(1)["result"]["content"][0]["text"], "Echo: hello");
    let calls: Vec<Value> =
        said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let [call] = &calls[..] else { panic!("one line of the call log in {said}") };
    assert_eq!((&call["tool"], &call["outcome"]), (&json!("echo"), &json!("ok")), "{call}");
}

#[tokio::test]
async fn the_entry_for_claude_desktop_works_as_written() {
    let Some(desk) = Desk::new() else { return };
    let entries = blocks("Claude Desktop", "json");
    let entries = entries.iter().map(|text| serde_json::from_str(text).expect("JSON"));
    let entries: Vec<Value> =
        entries.map(|entry: Value| entry["mcpServers"]["everything"].clone()).collect();
    let [before, after] = &entries[..] else { panic!("an entry before and one after") };
    let words = |entry: &Value| {
        let args = entry["args"].as_array().expect("arguments").iter();
        let words = std::iter::once(&entry["command"]).chain(args);
        words.map(|word| word.as_str().expect("a word").to_owned()).collect::<Vec<_>>()
    };
    let (before, args) = (words(before), words(after));
    assert_eq!(args.last(), Some(&before.join(" ")), "the proxy goes before the command");

    let receiver = Receiver::start().await;
    let mut command = vec!["env".to_owned(), "-C".to_owned()];
    command.push(desk.directory.path().display().to_string());
    command.push(format!("PATH={}", desk.path.display()));
    command.push("npm_config_offline=true".to_owned());
    let variables = after["env"].as_object().expect("variables");
    assert!(variables.contains_key("MCPULSE_URL"), "{variables:?}");
    for (name, value) in variables {
        let own = receiver.url();
        let value = if name == "MCPULSE_URL" { &own } else { value.as_str().expect("text") };
        command.push(format!("{name}={value}"));
    }
    command.extend(args);
    let call = Call::new("echo", json!({ "message": "hello" }));
    // It brings no tools of its own, so that only the server's must be installed.
    let client = Client::Rmcp.hold(desk.tools, &Target::Command(command), &[call]).await;
    assert_eq!(client.outcomes()["calls"][0]["ok"][0]["text"], "Echo: hello");
    let calls = receiver.wait_for(1, PATIENCE).await;
    client.close().await;
    let [call] = &calls[..] else { panic!("one call in {calls:?}") };
    assert_eq!((&*call.server_id, &*call.tool_name), ("everything", "echo"));
    let key = receiver.batches()[0].api_key.clone();
    assert_eq!(key.as_deref(), variables["MCPULSE_API_KEY"].as_str());
}
