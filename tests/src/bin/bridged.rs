//! `bridged CLIENT URL` runs a client of HTTP that reaches URL through both bridges: over HTTP to
//! a program, which is the proxy on standard streams, which goes over HTTP again.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::{
    env, fs,
    process::{ExitCode, Stdio},
    time::Duration,
};

use http::StatusCode;
use mcpulse_tests::{Proxy, eventually, program, scrape};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::process::Command;

/// Longest wait for the proxy, whose start and end are those of its programs.
const PATIENCE: Duration = Duration::from_secs(20);
/// The program of the outer proxy: what follows `$1` once the file `$0` is there, until then `$1`.
const EITHER: &str = r#"if test -e "$0"; then shift; exec "$@"; else exec "$1"; fi"#;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let [client, url] = &words[..] else {
        eprintln!("usage: bridged CLIENT URL");
        return ExitCode::from(64);
    };
    let directory = TempDir::new().expect("a directory");
    let tried = directory.path().join("tried");
    let paths = [&tried, &program("example_server"), &program("mcpulse-proxy")];
    let paths = paths.map(|path| path.display().to_string());
    let outer = ["stdio", "--server-id", "outer", "--mcpulse-url", "none"];
    let listeners = ["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"];
    let inner = ["http", "--server-id", "inner", "--mcpulse-url", "none", "--remote-url", url];
    let either = ["--", "sh", "-c", EITHER].into_iter().chain(paths.iter().map(String::as_str));
    let mut proxy = Proxy::start(outer.into_iter().chain(listeners).chain(either).chain(inner));
    // A proxy tries its program at the start. That would be one more client to whom judges this
    // one, so the program that is tried is another.
    let metrics = proxy.metrics_address().await;
    eventually("the program was tried", PATIENCE, async || {
        (scrape::get(metrics, "/readyz").await.0 == StatusCode::OK).then_some(())
    })
    .await;
    fs::write(&tried, "").expect("a file");

    let bridged = format!("http://{}/mcp", proxy.address().await);
    let status = Command::new(client).arg(bridged).stdin(Stdio::null()).status().await;
    // The end of the session is a part of what is judged.
    proxy.signal(Signal::TERM);
    proxy.wait(PATIENCE).await;
    eprintln!("{}", proxy.stderr());
    let code = status.expect("the client runs").code();
    code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, Into::into)
}
