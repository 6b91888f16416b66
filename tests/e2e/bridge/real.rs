//! Real clients over HTTP with real servers that know nothing but standard input and output.

use std::{net::SocketAddr, path::Path};

use mcpulse_tests::{
    Client, Proxy, Receiver, Server,
    client::Target,
    eventually,
    record::{self, Exchange, Forwarder, Recorder},
    remote::{Kind, Remote},
};
use tempfile::TempDir;

use super::running;
use crate::real::{PATIENCE, SERVER_ID, assert_reported, comparable, tools};

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

/// One session over the server's own HTTP transport without the proxy, and one over the other.
async fn check_crossing(client: Client, kind: Kind) {
    let Some(tools) = tools([client.part(), Some(kind.part())]) else { return };
    let server = match kind {
        Kind::Everything | Kind::EverythingSse => Server::Everything,
        Kind::Mcp2 | Kind::Mcp2Sse => Server::Mcp2,
        Kind::GoConformance | Kind::GoStateless => Server::GoConformance,
        Kind::GoEverything => Server::GoEverything,
    };
    let directory = Path::new("/nowhere");
    let calls = server.calls(directory);
    let remote = Remote::start(tools, kind).await;
    let url = remote.url_at(remote.address());
    let target = if kind.is_sse() { Target::Sse(url) } else { Target::Http(url) };
    let session = client.hold(tools, &target, &calls).await;
    let direct = comparable(session.outcomes(), directory);
    session.close().await;

    let receiver = Receiver::start().await;
    let behind = Forwarder::to(remote.address()).await;
    let (mode, url) = (if kind.is_sse() { "sse" } else { "http" }, remote.url_at(behind.address()));
    let flags =
        [mode, "--server-id", SERVER_ID, "--mcpulse-url", &receiver.url()].map(String::from);
    let listeners = ["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--remote-url"];
    let args = flags.into_iter().chain(listeners.map(String::from)).chain([url]);
    let proxy = Proxy::start(args);
    let address = proxy.address().await;
    let target = if kind.is_sse() {
        Target::Http(format!("http://{address}/mcp"))
    } else {
        Target::Sse(format!("http://{address}/sse"))
    };
    let session = client.hold(tools, &target, &calls).await;
    assert_eq!(comparable(session.outcomes(), directory), direct);

    let passed = behind.exchanges();
    let to_server: Vec<_> = passed.iter().flat_map(Exchange::to_server).collect();
    let to_client: Vec<_> = passed.iter().flat_map(Exchange::to_client).collect();
    let expected = record::tool_calls(&to_server, &to_client);
    assert!(expected.len() >= calls.len(), "{expected:#?}");
    assert_reported(&receiver, proxy.metrics_address().await, client, &expected).await;
    session.close().await;
}

macro_rules! sessions {
    ($check:ident, $kind:ident: $($name:ident: $client:ident, $server:ident;)*) => {$(
        #[tokio::test]
        async fn $name() {
            $check(Client::$client, $kind::$server).await;
        }
    )*};
}

sessions! { check_line, Server:
    line_of_mcp1_and_everything: Mcp1, Everything;
    line_of_mcp2_and_time: Mcp2, Time;
    line_of_sdk1_and_go_conformance: Sdk1, GoConformance;
    line_of_client2_and_mcp2: Client2, Mcp2;
}

sessions! { check, Server:
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

sessions! { check_crossing, Kind:
    sdk1_over_http_and_everything_sse: Sdk1, EverythingSse;
    mcp1_over_http_and_everything_sse: Mcp1, EverythingSse;
    mcp2_over_http_and_mcp2_sse: Mcp2, Mcp2Sse;
    client2_over_http_and_mcp2_sse: Client2, Mcp2Sse;
    sdk1_over_sse_and_everything: Sdk1, Everything;
    mcp1_over_sse_and_go_conformance: Mcp1, GoConformance;
    mcp2_over_sse_and_mcp2: Mcp2, Mcp2;
    client2_over_sse_and_go_everything: Client2, GoEverything;
}
