//! `make run`: the proxy around a real server, with a small MCPulse beside it; makes calls of
//! several kinds and prints what was seen of them.
#![expect(clippy::print_stdout, reason = "a demonstration prints")]

use std::{env, fs, process::Stdio, time::Duration};

use anyhow::Context as _;
use mcpulse_tests::{
    Proxy, Receiver, Scrape, eventually, program,
    proxy::{METRICS, Said},
};
use rmcp::{
    ServiceExt,
    model::{ClientCapabilities, ClientConfig, Implementation},
    transport::TokioChildProcess,
};

mod calls;
mod table;

/// Longest wait for the reports of all calls.
const PATIENCE: Duration = Duration::from_secs(15);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let server = env::var("SERVER").ok().filter(|server| !server.is_empty());
    let receiver = Receiver::start().await;
    let directory = tempfile::tempdir()?;
    let log = directory.path().join("calls.jsonl");

    let mut proxy = Proxy::command(["stdio", "--server-id", "demo"]);
    proxy.args(["--mcpulse-url", &receiver.url(), "--metrics-listen", "127.0.0.1:0"]);
    proxy.arg("--call-log").arg(&log);
    match &server {
        Some(command) => proxy.args(["--command", command]),
        None => proxy.arg("--").arg(program("example_server")),
    };
    let builder = TokioChildProcess::builder(proxy).stderr(Stdio::piped());
    let (transport, stderr) = builder.spawn().context("starting the proxy")?;
    let said = Said::listen(stderr.context("standard error is piped")?);
    let info = Implementation::new("mcpulse-demo", env!("CARGO_PKG_VERSION"));
    let client = ClientConfig::new(ClientCapabilities::default(), info);
    let session = client.serve(transport).await.with_context(|| said.text())?;

    println!(
        "A client calls {} through mcpulse-proxy.",
        server.as_deref().unwrap_or("a small example server")
    );
    let tools = session.list_all_tools().await?;
    let plan = if server.is_some() { calls::generic(&tools) } else { calls::example() };
    let made = calls::make(&session, plan).await;

    let metrics = said.address(METRICS).await;
    let reported = eventually("every call is reported", PATIENCE, async || {
        let scrape = Scrape::of(metrics).await;
        // Seen to its end, the one that the client gave up as well, and then reported.
        let observed = scrape.sum("mcpulse_calls_total", &[]);
        let queued = scrape.sum("mcpulse_report_queue_length", &[]);
        (observed + 0.5 > f64::from(made) && queued < 0.5).then(|| receiver.metrics())
    })
    .await;
    println!("\nWhat MCPulse received:\n{}", table::of(&reported, &fs::read_to_string(&log)?));
    println!("Prometheus scrapes http://{metrics}/metrics, for example:");
    let (_, text) = mcpulse_tests::scrape::get(metrics, "/metrics").await;
    for line in text.lines().filter(|line| line.starts_with("mcpulse_calls_total")) {
        println!("  {line}");
    }
    if env::var_os("KEEP").is_some_and(|keep| !keep.is_empty()) {
        println!("\nUp until Ctrl-C.");
        tokio::signal::ctrl_c().await?;
    } else {
        println!("\n`make run KEEP=1` keeps it up.");
    }
    session.cancel().await?;
    Ok(())
}
