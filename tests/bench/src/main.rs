//! Measures the proxy beside the simplest programs that move the same bytes: everything in
//! one run, in turns, as separate processes, so that only ratios need to be believed.

#![expect(clippy::print_stdout, reason = "a command that reports on standard output")]

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Parser, Subcommand};

mod bridge;
mod echo;
mod http_load;
mod limit;
mod process;
mod report;
mod scenario;
mod stdio_load;

#[derive(Parser)]
#[command(about = "Measures the proxy beside the least that any proxy would cost")]
struct Arguments {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Runs the scenarios and prints the table.
    Run(Plan),
    /// The fixed-cost MCP server on standard input and output.
    EchoStdio {
        /// Bytes of each result.
        size: usize,
    },
    /// The fixed-cost MCP server on HTTP; prints its address.
    EchoHttp {
        /// Bytes of each result.
        size: usize,
        /// Answer as an event stream instead of JSON.
        #[arg(long)]
        sse: bool,
    },
    /// The limit for stdio: two threads that copy bytes.
    RelayStdio {
        /// The program to relay to.
        #[arg(trailing_var_arg = true, required = true)]
        command: Vec<String>,
    },
    /// The limit for HTTP: a bare pass-through; prints its address.
    RelayHttp {
        /// Where to forward.
        upstream: SocketAddr,
    },
    /// The limit for HTTP to stdio: a program for each session, one request at a time; prints its
    /// address.
    BridgeToStdio {
        /// The program to serve.
        #[arg(trailing_var_arg = true, required = true)]
        command: Vec<String>,
    },
    /// The limit for stdio to HTTP: a request for each line.
    BridgeToHttp {
        /// Where to send.
        url: String,
    },
}

/// What to measure and for how long.
#[derive(Parser)]
struct Plan {
    /// The proxy's binary, built for release.
    #[arg(long)]
    proxy: PathBuf,
    /// Turns of every contender in every scenario.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Length of one measurement in seconds.
    #[arg(long, default_value = "2", value_parser = seconds)]
    length: Duration,
    /// Only the scenarios whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Where the figures go as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|error| format!("{error}"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().role {
        Role::Run(plan) => {
            let results = scenario::run(&plan)?;
            print!("{}", report::table(&results));
            if let Some(path) = &plan.json {
                std::fs::write(path, serde_json::to_vec_pretty(&results)?)?;
            }
            Ok(())
        }
        Role::EchoStdio { size } => echo::stdio(size),
        Role::EchoHttp { size, sse } => runtime()?.block_on(echo::http(size, sse)),
        Role::RelayStdio { command } => limit::stdio(&command),
        Role::RelayHttp { upstream } => runtime()?.block_on(limit::http(upstream)),
        Role::BridgeToStdio { command } => runtime()?.block_on(bridge::to_stdio(command)),
        Role::BridgeToHttp { url } => bridge::to_http(&url),
    }
}

/// Two workers, as the proxy has.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}
