//! `mcpulse-proxy check` against everything that can be wrong: a plain sentence with a remedy, a
//! code, and an end.

use std::{fs, process::Stdio, time::Duration};

use mcpulse_tests::{Collector, Mood, Proxy, Receiver, program};
use tonic::Code;

use crate::faults::upstream::{Upstream, answer};

/// Runs it in this mode with these flags: the code and what it said.
async fn check(mode: &str, flags: &[&str]) -> (Option<i32>, String) {
    let mut command = Proxy::command(["check", mode, "--server-id", "x"]);
    command.args(flags).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_mins(1), command.output()).await;
    let output = output.expect("it ends by itself").expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout) + &text(output.stderr))
}

/// Checks that it failed, and said this in a line about `subject`.
fn assert_fails((code, said): &(Option<i32>, String), subject: &str, part: &str) {
    let line = said.lines().find(|line| line.starts_with(&format!("FAILS  {subject}: ")));
    assert_eq!(*code, Some(1), "{said}");
    assert!(line.is_some_and(|line| line.contains(part)), "{subject}: {part:?} in:\n{said}");
}

async fn stdio(mcpulse: &str, server: &[&str]) -> (Option<i32>, String) {
    check(
        "stdio",
        &[&["--mcpulse-url", mcpulse, "--mcpulse-timeout", "500ms", "--"], server].concat(),
    )
    .await
}

async fn http(url: &str) -> (Option<i32>, String) {
    let flags = ["--mcpulse-url", "none", "--listen", "127.0.0.1:0", "--response-timeout", "500ms"];
    check("http", &[&flags[..], &["--remote-url", url]].concat()).await
}

#[tokio::test]
async fn an_mcpulse_that_takes_no_reports() {
    let server = program("example_server");
    let server = [server.to_str().expect("a path that is text")];
    for (mood, part) in [
        (Mood::Fail(Code::Unauthenticated), "check MCPULSE_API_KEY"),
        (Mood::Fail(Code::Unavailable), "see its log"),
        (Mood::Hang, "is it overloaded?"),
    ] {
        let receiver = Receiver::start().await;
        receiver.set_mood(mood);
        assert_fails(&stdio(&receiver.url(), &server).await, "MCPulse", part);
    }
    let receiver = Receiver::start().await;
    let url = format!("https://localhost:{}", receiver.address().port());
    assert_fails(&stdio(&url, &server).await, "MCPulse", "--mcpulse-tls false");
    let upstream = Upstream::saying(answer("text/html", "hello")).await;
    let url = upstream.address().to_string();
    assert_fails(&stdio(&url, &server).await, "MCPulse", "is it MCPulse");
}

#[tokio::test]
async fn a_program_that_is_no_server() {
    for (script, part) in [
        ("exit 3", "gave no answer; start it by itself to see why"),
        ("echo hello", "it said \"hello\", which is not MCP"),
        ("cat /dev/zero", "gave no answer"),
    ] {
        assert_fails(&stdio("none", &["sh", "-c", script]).await, "server", part);
    }
}

#[tokio::test]
async fn an_upstream_that_is_no_server() {
    let status = |status: &str| format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
    for (piece, part) in [
        (status("401 Unauthorized"), "set --bearer-token"),
        (status("404 Not Found"), "check the path of --remote-url"),
        (status("500 Oops"), "answers 500 Internal Server Error; see its log"),
        (answer("text/html", "<p>hello</p>"), "not with MCP; check its path"),
    ] {
        let upstream = Upstream::saying(piece).await;
        let said = http(&format!("http://{}/mcp", upstream.address())).await;
        assert_fails(&said, "server", part);
    }
    let upstream = Upstream::silent().await;
    let said = http(&format!("http://{}/mcp", upstream.address())).await;
    assert_fails(&said, "server", "cannot be reached");
    let said = http(&format!("https://{}/mcp", upstream.address())).await;
    assert_fails(&said, "server", "cannot be reached");
    let said = http("http://no-such-host.invalid/mcp").await;
    assert_fails(&said, "server", "check the remote URL");
    assert!(!said.1.contains("WARN"), "all is said once:\n{}", said.1);
}

#[tokio::test]
async fn an_upstream_with_a_certificate_of_a_stranger() {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let server = Receiver::start_tls(&cert.pem(), &signing_key.serialize_pem()).await;
    let said = http(&format!("https://localhost:{}/mcp", server.address().port())).await;
    assert_fails(&said, "server", "name the authority of its certificate: --ca-file");
}

#[tokio::test]
async fn the_other_sinks() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    fs::write(path("file"), "").expect("write a file");
    let (log, spool) = (path("log"), path("spool"));
    let (bad_log, bad_spool) = (path("file/log"), path("file/spool"));
    let collector = Collector::start().await;
    let server = program("example_server");
    let server = server.to_str().expect("a path that is text");
    let flags = |log: &str, spool: &str, collector: &str| {
        ["--mcpulse-url", "none", "--call-log", log, "--spool-dir", spool]
            .into_iter()
            .chain(["--otel-endpoint", collector, "--", server])
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let run = async |flags: Vec<String>| {
        check("stdio", &flags.iter().map(String::as_str).collect::<Vec<_>>()).await
    };
    let (code, said) = run(flags(&log, &spool, &collector.url())).await;
    assert_eq!(code, Some(0), "{said}");
    for subject in ["spool", "OpenTelemetry", "call log"] {
        assert!(said.contains(&format!("works  {subject}: ")), "{said}");
    }
    assert_eq!(fs::read_dir(directory.path()).expect("list it").count(), 1, "all is as it was");

    collector.set_mood(Mood::Fail(Code::Unauthenticated));
    let said = run(flags(&bad_log, &bad_spool, &collector.url())).await;
    assert_fails(&said, "spool", "name another --spool-dir");
    assert_fails(&said, "OpenTelemetry", "check OTEL_EXPORTER_OTLP_HEADERS");
    assert_fails(&said, "call log", "name a file that can be written");
}
