//! Remote servers for clients on standard input and output: real clients, real servers, and what
//! a real server does too seldom.

use std::path::Path;

use mcpulse_tests::{
    Client, Receiver,
    client::Target,
    eventually, program,
    proxy::{METRICS, announced},
    record::{self, Exchange, Forwarder, Recorder},
    remote::{Kind, Remote},
};

use crate::real::{PATIENCE, SERVER_ID, assert_reported, comparable, tools};

mod fallback;
mod faults;
mod http2;
pub(crate) mod legacy;
mod proxies;
mod rules;
pub(crate) mod script;

/// One session over HTTP without the proxy, and one over standard input and output with it.
async fn check(client: Client, kind: Kind) {
    check_in(if kind.is_sse() { "sse" } else { "http" }, client, kind).await;
}

/// The same with the proxy in this mode.
async fn check_in(mode: &str, client: Client, kind: Kind) {
    let Some(tools) = tools([client.part(), Some(kind.part())]) else { return };
    let directory = Path::new("/nowhere");
    let calls = kind.server().calls(directory);
    let remote = Remote::start(tools, kind).await;
    let url = remote.url_at(remote.address());
    let target = if kind.is_sse() { Target::Sse(url) } else { Target::Http(url) };
    let session = client.hold(tools, &target, &calls).await;
    let direct = comparable(session.outcomes(), directory);
    session.close().await;

    let receiver = Receiver::start().await;
    let behind = Forwarder::to(remote.address()).await;
    let before = Recorder::default();
    let url = receiver.url();
    let flags = [mode, "--server-id", SERVER_ID, "--mcpulse-url", &url];
    let upstream = remote.url_at(behind.address());
    let further = ["--remote-url", &upstream, "--metrics-listen", "127.0.0.1:0"];
    let mut proxy: Vec<String> = vec![program("mcpulse-proxy").display().to_string()];
    proxy.extend(flags.into_iter().chain(further).map(str::to_owned));
    let target = Target::Command(before.wrap(&proxy));
    let session = client.hold(tools, &target, &calls).await;
    assert_eq!(comparable(session.outcomes(), directory), direct);

    let passed = behind.exchanges();
    let to_server: Vec<_> = passed.iter().flat_map(Exchange::to_server).collect();
    let to_client: Vec<_> = passed.iter().flat_map(Exchange::to_client).collect();
    let expected = record::tool_calls(&to_server, &to_client);
    assert!(expected.len() >= calls.len(), "{expected:#?}");
    let metrics = eventually("the proxy says where its metrics are", PATIENCE, async || {
        announced(&before.stderr(), METRICS)
    });
    assert_reported(&receiver, metrics.await, client, &expected).await;
    session.close().await;
}

macro_rules! sessions {
    ($($name:ident: $client:ident, $kind:ident;)*) => {$(
        #[tokio::test]
        async fn $name() {
            check(Client::$client, Kind::$kind).await;
        }
    )*};
}

sessions! {
    mcp1_and_everything: Mcp1, Everything;
    mcp1_and_go_conformance: Mcp1, GoConformance;
    mcp1_and_everything_sse: Mcp1, EverythingSse;
    mcp1_and_mcp2_sse: Mcp1, Mcp2Sse;
    mcp2_and_mcp2: Mcp2, Mcp2;
    mcp2_and_mcp2_sse: Mcp2, Mcp2Sse;
    sdk1_and_everything_sse: Sdk1, EverythingSse;
    client2_and_everything_sse: Client2, EverythingSse;
    client2_and_mcp2_sse: Client2, Mcp2Sse;
    mcp2_and_go_stateless: Mcp2, GoStateless;
    sdk1_and_everything: Sdk1, Everything;
    client2_and_mcp2: Client2, Mcp2;
    client2_and_go_everything: Client2, GoEverything;
    rmcp_and_mcp2: Rmcp, Mcp2;
    rmcp_and_go_everything: Rmcp, GoEverything;
}
