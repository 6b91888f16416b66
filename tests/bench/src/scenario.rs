//! The scenarios, and the contenders that take turns in each.

use std::{
    env, fs,
    net::{SocketAddr, TcpListener},
    path::Path,
};

use anyhow::Context;

use crate::{
    Plan, http_load,
    process::Running,
    report::{Figures, Results, Scenario},
    stdio_load,
};

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contender {
    /// No proxy.
    Direct,
    /// The simplest program that moves the bytes.
    Limit,
    /// The proxy, with metrics on and calls reported to nobody.
    Proxy,
}

const CONTENDERS: [(Contender, &str); 3] = [
    (Contender::Direct, "direct"),
    (Contender::Limit, "limit"),
    (Contender::Proxy, "mcpulse-proxy"),
];

/// One row of the table.
struct Row {
    name: &'static str,
    transport: Transport,
    clients: usize,
    size: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Transport {
    Stdio,
    Http,
    HttpSse,
}

const ROWS: [Row; 8] = [
    row("stdio, 200 B, 1 outstanding", Transport::Stdio, 1, 200),
    row("stdio, 200 B, 16 outstanding", Transport::Stdio, 16, 200),
    row("stdio, 64 KiB, 16 outstanding", Transport::Stdio, 16, 64 << 10),
    row("http, 200 B, 1 client", Transport::Http, 1, 200),
    row("http, 200 B, 16 clients", Transport::Http, 16, 200),
    row("http, 200 B, 64 clients", Transport::Http, 64, 200),
    row("http, 64 KiB, 16 clients", Transport::Http, 16, 64 << 10),
    row("http sse, 200 B, 16 clients", Transport::HttpSse, 16, 200),
];

const fn row(name: &'static str, transport: Transport, clients: usize, size: usize) -> Row {
    Row { name, transport, clients, size }
}

/// Runs every scenario: rounds outside, contenders inside, so that drift hits all alike.
pub(crate) fn run(plan: &Plan) -> anyhow::Result<Results> {
    let mut scenarios = Vec::new();
    for row in ROWS.iter().filter(|row| row.name.contains(&plan.only)) {
        let mut figures: Vec<Vec<Figures>> = vec![Vec::new(); CONTENDERS.len()];
        for _ in 0..plan.rounds {
            for ((contender, name), figures) in CONTENDERS.iter().zip(&mut figures) {
                let measured = match row.transport {
                    Transport::Stdio => stdio(plan, row, *contender),
                    Transport::Http | Transport::HttpSse => http(plan, row, *contender),
                };
                figures.push(measured.with_context(|| format!("{}: {name}", row.name))?);
            }
        }
        let contenders = CONTENDERS
            .iter()
            .zip(figures)
            .map(|((_, name), figures)| (*name, Figures::median(&figures)))
            .collect();
        scenarios.push(Scenario { name: row.name, contenders });
    }
    Ok(Results { machine: machine(), rounds: plan.rounds, scenarios })
}

fn stdio(plan: &Plan, row: &Row, contender: Contender) -> anyhow::Result<Figures> {
    let server = [own()?, "echo-stdio".into(), row.size.to_string()];
    let command = match contender {
        Contender::Direct => server.to_vec(),
        Contender::Limit => [&[own()?, "relay-stdio".into()], &server[..]].concat(),
        Contender::Proxy => {
            let mut command = vec![plan.proxy.display().to_string()];
            command.extend(
                "stdio --server-id bench --mcpulse-url none --metrics-listen 127.0.0.1:0 --"
                    .split(' ')
                    .map(str::to_owned),
            );
            [command, server.to_vec()].concat()
        }
    };
    let mut running = Running::stdio(&command)?;
    stdio_load::drive(&mut running, row.clients, plan.length / 4)?;
    let before = running.usage()?;
    let load = stdio_load::drive(&mut running, row.clients, plan.length)?;
    Ok(Figures::new(&load, before, running.usage()?))
}

fn http(plan: &Plan, row: &Row, contender: Contender) -> anyhow::Result<Figures> {
    let mut server = vec![own()?, "echo-http".into(), row.size.to_string()];
    if row.transport == Transport::HttpSse {
        server.push("--sse".into());
    }
    let (server, upstream) = Running::server(&server)?;
    let (measured, address) = match contender {
        Contender::Direct => (server, upstream),
        Contender::Limit => {
            let command = [own()?, "relay-http".into(), upstream.to_string()];
            let (relay, address) = Running::server(&command)?;
            return measure_http(plan, row, &relay, address);
        }
        Contender::Proxy => {
            let address = free_port()?;
            let command = format!(
                "{} http --server-id bench --mcpulse-url none --metrics-listen 127.0.0.1:0 \
                 --remote-url http://{upstream}/mcp --listen {address}",
                plan.proxy.display()
            );
            let command: Vec<_> = command.split_whitespace().map(str::to_owned).collect();
            let proxy = Running::listening(&command, address)?;
            return measure_http(plan, row, &proxy, address);
        }
    };
    measure_http(plan, row, &measured, address)
}

fn measure_http(
    plan: &Plan,
    row: &Row,
    running: &Running,
    address: SocketAddr,
) -> anyhow::Result<Figures> {
    http_load::drive(address, row.clients, plan.length / 4)?;
    let before = running.usage()?;
    let load = http_load::drive(address, row.clients, plan.length)?;
    Ok(Figures::new(&load, before, running.usage()?))
}

fn own() -> anyhow::Result<String> {
    Ok(env::current_exe()?.display().to_string())
}

/// A port that was free a moment ago; a program that must be told its address needs one.
fn free_port() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// The processor and the kernel, as far as `/proc` tells.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(Path::new(path)).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, model)| model);
    let cores = info.lines().filter(|line| line.starts_with("processor")).count();
    format!("{cores} x {model}, Linux {}", read("/proc/sys/kernel/osrelease").trim())
}
