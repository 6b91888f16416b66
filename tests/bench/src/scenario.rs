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
    HttpToStdio,
    StdioToHttp,
}

const ROWS: [Row; 10] = [
    row("stdio, 200 B, 1 outstanding", Transport::Stdio, 1, 200),
    row("stdio, 200 B, 16 outstanding", Transport::Stdio, 16, 200),
    row("stdio, 64 KiB, 16 outstanding", Transport::Stdio, 16, 64 << 10),
    row("http, 200 B, 1 client", Transport::Http, 1, 200),
    row("http, 200 B, 16 clients", Transport::Http, 16, 200),
    row("http, 200 B, 64 clients", Transport::Http, 64, 200),
    row("http, 64 KiB, 16 clients", Transport::Http, 16, 64 << 10),
    row("http sse, 200 B, 16 clients", Transport::HttpSse, 16, 200),
    row("http to stdio, 200 B, 16 sessions", Transport::HttpToStdio, 16, 200),
    row("stdio to http, 200 B, 16 outstanding", Transport::StdioToHttp, 16, 200),
];

const fn row(name: &'static str, transport: Transport, clients: usize, size: usize) -> Row {
    Row { name, transport, clients, size }
}

/// Runs every scenario: rounds outside, contenders inside, so that drift hits all alike.
pub(crate) fn run(plan: &Plan) -> anyhow::Result<Results> {
    let mut scenarios = Vec::new();
    for row in ROWS.iter().filter(|row| row.name.contains(&plan.only)) {
        // Between two transports there is always something.
        let bridged = matches!(row.transport, Transport::HttpToStdio | Transport::StdioToHttp);
        let contenders = &CONTENDERS[usize::from(bridged)..];
        let mut figures: Vec<Vec<Figures>> = vec![Vec::new(); contenders.len()];
        for _ in 0..plan.rounds {
            for ((contender, name), figures) in contenders.iter().zip(&mut figures) {
                let measured = match row.transport {
                    Transport::Stdio => stdio(plan, row, *contender),
                    Transport::Http | Transport::HttpSse => http(plan, row, *contender),
                    Transport::HttpToStdio => http_to_stdio(plan, row, *contender),
                    Transport::StdioToHttp => stdio_to_http(plan, row, *contender),
                };
                figures.push(measured.with_context(|| format!("{}: {name}", row.name))?);
            }
        }
        let contenders = contenders
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
        Contender::Proxy => [proxy(plan, "stdio", &["--"]), server.to_vec()].concat(),
    };
    measure_stdio(plan, row, &command)
}

fn measure_stdio(plan: &Plan, row: &Row, command: &[String]) -> anyhow::Result<Figures> {
    let mut running = Running::stdio(command)?;
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
            let (url, listen) = (format!("http://{upstream}/mcp"), address.to_string());
            let command = proxy(plan, "http", &["--remote-url", &url, "--listen", &listen]);
            let proxy = Running::listening(&command, address)?;
            return measure_http(plan, row, &proxy, address);
        }
    };
    measure_http(plan, row, &measured, address)
}

fn http_to_stdio(plan: &Plan, row: &Row, contender: Contender) -> anyhow::Result<Figures> {
    let server = [own()?, "echo-stdio".into(), row.size.to_string()];
    if contender == Contender::Limit {
        let command = [&[own()?, "bridge-to-stdio".into()], &server[..]].concat();
        let (bridge, address) = Running::server(&command)?;
        return measure_http(plan, row, &bridge, address);
    }
    let address = free_port()?;
    let listen = proxy(plan, "stdio", &["--listen", &address.to_string(), "--"]);
    let proxy = Running::listening(&[listen, server.to_vec()].concat(), address)?;
    measure_http(plan, row, &proxy, address)
}

fn stdio_to_http(plan: &Plan, row: &Row, contender: Contender) -> anyhow::Result<Figures> {
    let server = [own()?, "echo-http".into(), row.size.to_string()];
    let (_server, upstream) = Running::server(&server)?;
    let url = format!("http://{upstream}/mcp");
    let command = match contender {
        Contender::Direct | Contender::Limit => vec![own()?, "bridge-to-http".into(), url],
        Contender::Proxy => proxy(plan, "http", &["--remote-url", &url]),
    };
    measure_stdio(plan, row, &command)
}

/// The proxy with metrics on, reporting calls to nobody.
fn proxy(plan: &Plan, mode: &str, flags: &[&str]) -> Vec<String> {
    let program = plan.proxy.display().to_string();
    let common = "--server-id bench --mcpulse-url none --metrics-listen 127.0.0.1:0".split(' ');
    let words = [&*program, mode].into_iter().chain(common).chain(flags.iter().copied());
    words.map(str::to_owned).collect()
}

fn measure_http(
    plan: &Plan,
    row: &Row,
    running: &Running,
    address: SocketAddr,
) -> anyhow::Result<Figures> {
    let sessions = row.transport == Transport::HttpToStdio;
    let mut load = http_load::Clients::connect(address, row.clients, sessions)?;
    load.drive(plan.length / 4)?;
    let before = running.usage()?;
    let load = load.drive(plan.length)?;
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
