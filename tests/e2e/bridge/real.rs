//! Real clients over HTTP with real servers that know nothing but standard input and output,
//! and the official suite.

use std::net::SocketAddr;

use mcpulse_tests::{
    Client, Proxy, Receiver, Server, Tools,
    client::Target,
    eventually, record,
    record::Recorder,
    remote::{Kind, Remote},
};
use tempfile::TempDir;

use super::running;
use crate::{
    conformance::{Results, judge},
    real::{PATIENCE, SERVER_ID, assert_reported, comparable, tools},
};

/// One session without the proxy and one over HTTP.
async fn check(client: Client, server: Server) {
    check_at(client, server, |address| Target::Http(format!("http://{address}/mcp"))).await;
}

/// The same over the first HTTP transport.
async fn check_line(client: Client, server: Server) {
    check_at(client, server, |address| Target::Sse(format!("http://{address}/sse"))).await;
}

async fn check_at(client: Client, server: Server, target: fn(SocketAddr) -> Target) {
    let Some(tools) = tools([client.part(), server.part()]) else { return };
    let directory = TempDir::new().expect("a directory");
    server.prepare(directory.path());
    let calls = server.calls(directory.path());
    let command = server.command(tools, directory.path());
    let session = client.hold(tools, &Target::Command(command), &calls).await;
    let direct = comparable(session.outcomes(), directory.path());
    session.close().await;

    let directory = TempDir::new().expect("a directory");
    server.prepare(directory.path());
    let calls = server.calls(directory.path());
    let (receiver, behind) = (Receiver::start().await, Recorder::default());
    let url = receiver.url();
    let flags = ["stdio", "--server-id", SERVER_ID, "--mcpulse-url", &url];
    // Not every client says that it leaves.
    let flags = flags.into_iter().chain(["--session-timeout", "10s"]);
    let listeners = ["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--"];
    let command = behind.wrap(&server.command(tools, directory.path()));
    let args = flags.chain(listeners).map(str::to_owned).chain(command.clone());
    let proxy = Proxy::start(args);
    let target = target(proxy.address().await);
    let session = client.hold(tools, &target, &calls).await;
    assert_eq!(comparable(session.outcomes(), directory.path()), direct);

    let streams = behind.streams();
    let to_server: Vec<_> = streams.iter().flat_map(|run| record::lines(&run.to_server)).collect();
    let to_client: Vec<_> = streams.iter().flat_map(|run| record::lines(&run.to_client)).collect();
    let expected = record::tool_calls(&to_server, &to_client);
    assert!(expected.len() >= calls.len(), "{expected:#?}");
    assert_reported(&receiver, proxy.metrics_address().await, client, &expected).await;
    session.close().await;
    // The recorder has a directory of its own, which no other process names but the proxy.
    let mark = command[1].clone();
    eventually("its session has ended", PATIENCE, async || (running(&mark) == 1).then_some(()))
        .await;
}

macro_rules! sessions {
    ($check:ident: $($name:ident: $client:ident, $server:ident;)*) => {$(
        #[tokio::test]
        async fn $name() {
            $check(Client::$client, Server::$server).await;
        }
    )*};
}

sessions! { check_line:
    line_of_mcp1_and_everything: Mcp1, Everything;
    line_of_mcp2_and_time: Mcp2, Time;
    line_of_sdk1_and_go_conformance: Sdk1, GoConformance;
    line_of_client2_and_mcp2: Client2, Mcp2;
}

sessions! { check:
    mcp1_and_everything: Mcp1, Everything;
    mcp1_and_go_everything: Mcp1, GoEverything;
    mcp2_and_memory: Mcp2, Memory;
    sdk1_and_go_conformance: Sdk1, GoConformance;
    sdk1_and_filesystem: Sdk1, Filesystem;
    client2_and_everything: Client2, Everything;
    rmcp_and_go_everything: Rmcp, GoEverything;
    rmcp_and_rmcp: Rmcp, Rmcp;
    mcp2_and_time: Mcp2, Time;
    mcp2_and_mcp2: Mcp2, Mcp2;
    mcp2_and_go_conformance: Mcp2, GoConformance;
}

/// The official suite on a server that reads standard input.
async fn judge_bridged(tools: &Tools, requirements: &str) -> Results {
    let server = tools.go("everything-server");
    let flags = ["stdio", "--server-id", "suite", "--mcpulse-url", "none"];
    let proxy = Proxy::start(flags.into_iter().chain(["--listen", "127.0.0.1:0", "--", &server]));
    let url = format!("http://{}/mcp", proxy.address().await);
    judge(tools, &url, requirements).await
}

#[tokio::test]
async fn the_official_suite_for_2026_07_28() {
    let Some(tools) = Tools::with(&["node", "mcp2", "go"]) else { return };
    let remote = Remote::start(tools, Kind::GoStateless).await;
    let mut direct = judge(tools, &remote.url_at(remote.address()), "2026-07-28").await;
    let mut bridged = judge_bridged(tools, "2026-07-28").await;
    // Whether streams of events work is not seen where answers come as JSON, and not counted.
    for results in [&mut direct, &mut bridged] {
        results.retain(|check, _| !check.contains("server-sse-streams-functional"));
    }
    assert_eq!(bridged, direct, "left: through the proxy; right: direct over HTTP");
}

#[tokio::test]
async fn the_official_suite_for_2025_11_25() {
    let Some(tools) = Tools::with(&["node", "mcp2", "go"]) else { return };
    let checks = judge_bridged(tools, "2025-11-25").await;
    let ended = |how: &str| {
        let of = checks.iter().filter(|(check, _)| check.ends_with(&format!("\"{how}\"")));
        of.map(|(_, count)| count).sum::<usize>()
    };
    assert_eq!(ended("FAILURE"), 0, "{checks:#?}");
    assert!(ended("SUCCESS") >= 80, "{checks:#?}");
}
