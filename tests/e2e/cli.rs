//! The command line of the real binary: what it says, where it says it, and how it ends.

use std::{
    process::{Output, Stdio},
    time::{Duration, Instant},
};

use mcpulse_tests::{
    Proxy, Receiver, Tools, eventually, program,
    remote::{Kind, Remote},
};
use tokio::{io::AsyncWriteExt as _, process::Command};

async fn output(mut command: Command) -> Output {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_mins(1), command.output()).await;
    output.expect("it ends by itself").expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// The exit code and standard error of a command line that is refused; standard output has
/// nothing, for it belongs to the protocol.
async fn refused(line: &[&str]) -> (i32, String) {
    let output = output(Proxy::command(line)).await;
    assert_eq!(text(&output.stdout), "");
    (output.status.code().expect("a code"), text(&output.stderr))
}

#[tokio::test]
async fn mistakes_are_said_at_once_with_their_remedy_and_a_code() {
    let (code, said) = refused(&["stdio"]).await;
    assert_eq!(code, 78);
    for part in [
        "2 problems:",
        "--server-id is missing; write --server-id NAME, or set MCPULSE_PROXY_SERVER_ID",
        "--command is missing; write --command \"python server.py\", or set MCPULSE_PROXY_COMMAND",
    ] {
        assert!(said.contains(part), "{said}");
    }
    let (code, said) = refused(&["stdio", "--server-id", "x", "--comand", "y", "--", "z"]).await;
    assert_eq!(
        (code, said.as_str()),
        (64, "mcpulse-proxy: there is no flag --comand; did you mean --command?\n")
    );
}

#[tokio::test]
async fn a_cause_is_said_once() {
    let line = ["stdio", "--server-id", "x", "--mcpulse-url", "none"];
    // 192.0.2.0/24 is for documentation: no machine has it.
    let metrics = ["--metrics-listen", "192.0.2.1:1", "--", "true"];
    let log = ["--call-log", "/no/such/directory/log", "--", "true"];
    for (rest, cause) in [(&metrics[..], "os error 99"), (&log, "os error 2")] {
        let (code, said) = refused(&[&line[..], rest].concat()).await;
        assert_eq!((code, said.matches(cause).count()), (1, 1), "{said}");
    }
}

#[tokio::test]
async fn files_that_start_each_other_are_found_when_the_circle_closes() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).to_str().expect("text").to_owned();
    let write = |name: &str, other: &str| {
        // Through a variable that only a shell expands: nothing in the file tells.
        let script = format!("f={other}; exec \"$PROXY\" stdio --config \"$f\" --mcpulse-url none");
        let entry = serde_json::json!({"command": "sh", "args": ["-c", script]});
        let file = serde_json::json!({"mcpServers": {"x": entry}});
        std::fs::write(path(name), file.to_string()).expect("written");
    };
    write("a.json", &path("b.json"));
    write("b.json", &path("a.json"));
    let mut proxy = Proxy::command(["stdio", "--config", &path("a.json"), "--mcpulse-url", "none"]);
    proxy.env("PROXY", program("mcpulse-proxy"));
    let ended = output(proxy).await;
    let said = text(&ended.stderr);
    assert_eq!(ended.status.code(), Some(78), "{said}");
    assert!(said.contains("this would start itself for ever: x in "), "{said}");
    assert_eq!(said.matches("x in ").count(), 3, "a, b and a again: {said}");
}

#[tokio::test]
async fn whoever_has_read_enough_is_no_error() {
    let line =
        [&["stdio", "--help"][..], &["stdio", "--server-id", "x", "--print-config", "--", "y"]];
    for words in line {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut proxy = Proxy::command(words);
        proxy.stdout(writer);
        let ended = output(proxy).await;
        assert_eq!((ended.status.code(), text(&ended.stderr).as_str()), (Some(0), ""));
    }
}

#[tokio::test]
async fn a_command_that_cannot_start_is_one_clear_line_and_soon() {
    let line = ["stdio", "--server-id", "x", "--mcpulse-url", "none", "--log-level", "error"];
    let begun = Instant::now();
    let (code, said) = refused(&[&line[..], &["--command", "no-such-program x"]].concat()).await;
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_eq!(code, 1);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("no-such-program"), "{said}");
}

#[tokio::test]
async fn help_version_and_the_configuration_go_to_standard_output() {
    for (line, part) in [
        (&["--help"][..], "stdio"),
        (&["--version"], env!("CARGO_PKG_VERSION")),
        (&["http", "--help"], "--remote-url"),
        (&["stdio", "--server-id", "x", "--print-config", "--", "y"], "serverId: x  # flag"),
    ] {
        let output = output(Proxy::command(line)).await;
        assert!(output.status.success());
        assert_eq!(text(&output.stderr), "");
        assert!(text(&output.stdout).contains(part), "{}", text(&output.stdout));
    }
}

#[tokio::test]
async fn logs_can_be_piped_through_tee() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("proxy.log");
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(r#""$0" stdio --server-id x --command "$1" 2>&1 | tee "$2""#);
    shell.arg(program("mcpulse-proxy")).arg(program("example_server")).arg(&log);
    shell.env_remove("RUST_LOG").stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut running = shell.spawn().expect("a shell");
    let mut stdin = running.stdin.take().expect("standard input is piped");
    let hello = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;
    let call = r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"echo","arguments":{"message":"hi"}}}"#;
    let said = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    stdin.write_all(format!("{hello}\n{said}\n{call}\n").as_bytes()).await.expect("it listens");
    let path = log.clone();
    eventually("the answer is in the log", Duration::from_secs(30), async || {
        let log = std::fs::read_to_string(&path).unwrap_or_default();
        log.contains(r#""id":2"#).then_some(())
    })
    .await;
    drop(stdin);
    let ended = tokio::time::timeout(Duration::from_secs(30), running.wait_with_output()).await;
    let ended = ended.expect("it ends with its input").expect("it ends");
    assert!(ended.status.success());
    let log = std::fs::read_to_string(log).expect("a log");
    assert_eq!(text(&ended.stdout), log);
    assert!(log.contains("50051"), "the log says that MCPulse is not there: {log}");
}

#[tokio::test]
async fn check_says_what_works() {
    let receiver = Receiver::start().await;
    let url = receiver.url();
    let server = program("example_server");
    let server = server.to_str().expect("a path that is text");
    let line = ["check", "stdio", "--server-id", "x", "--mcpulse-url", &url, "--", server];
    let works = output(Proxy::command(line)).await;
    let said = text(&works.stdout);
    assert!(works.status.success(), "{said}");
    for part in ["works  settings: the server id is x", "works  server:", "works  MCPulse:"] {
        assert!(said.contains(part), "{said}");
    }
    assert!(said.contains("protocol 2025-11-25"), "{said}");
}

#[tokio::test]
async fn check_says_what_does_not() {
    // Nobody listens on the port of a listener that is gone.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let gone = listener.local_addr().expect("its address").to_string();
    drop(listener);
    let line = ["check", "stdio", "--server-id", "x", "--mcpulse-url", &gone];
    let fails = output(Proxy::command([&line[..], &["--", "no-such-program"]].concat())).await;
    let said = text(&fails.stdout);
    assert_eq!(fails.status.code(), Some(1));
    assert!(said.contains("FAILS  server:") && said.contains("no-such-program"), "{said}");
    assert!(said.contains("FAILS  MCPulse:") && said.contains(&gone), "{said}");

    // A directory is no program, and no collector answers either.
    let line = ["check", "stdio", "--server-id", "x", "--mcpulse-url", "none"];
    let rest = ["--otel-endpoint", &gone, "--", "/tmp"];
    let said = text(&output(Proxy::command([&line[..], &rest].concat())).await.stdout);
    assert!(said.contains("it is a directory") && !said.contains("chmod"), "{said}");
    assert!(said.contains(&format!("FAILS  OpenTelemetry: http://{gone} takes none")), "{said}");

    let url = format!("http://{gone}/mcp");
    let line = ["check", "http", "--server-id", "x", "--remote-url", &url];
    let rest = ["--listen", "127.0.0.1:0", "--mcpulse-url", "none"];
    let fails = output(Proxy::command([&line[..], &rest].concat())).await;
    let said = text(&fails.stdout);
    assert_eq!(fails.status.code(), Some(1));
    assert!(said.contains("FAILS  server:") && said.contains("cannot be reached"), "{said}");
    assert!(said.contains("works  MCPulse: off"), "{said}");
}

#[tokio::test]
async fn check_asks_remote_servers_of_both_kinds() {
    let Some(tools) = Tools::with(&["node"]) else { return };
    for (kind, mode, part) in [
        (Kind::Everything, "http", "protocol 2025-11-25"),
        (Kind::EverythingSse, "sse", "messages go to /message?***"),
    ] {
        let server = Remote::start(tools, kind).await;
        let url = server.url_at(server.address());
        let line = ["check", mode, "--server-id", "x", "--remote-url", &url];
        let rest = ["--listen", "127.0.0.1:0", "--mcpulse-url", "none"];
        let works = output(Proxy::command([&line[..], &rest].concat())).await;
        let said = text(&works.stdout);
        assert!(works.status.success() && said.contains(part), "{said}");
    }
}
