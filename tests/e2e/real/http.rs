//! Over streamable HTTP and over legacy HTTP+SSE.

use std::path::Path;

use mcpulse_tests::{
    Client, Proxy, Receiver,
    client::Target,
    record::{self, Exchange, Forwarder},
    remote::{Kind, Remote},
};

use super::{SERVER_ID, assert_reported, comparable, tools};

/// One session without the proxy and one through it.
async fn check(client: Client, kind: Kind) {
    let Some(tools) = tools([client.part(), Some(kind.part())]) else { return };
    let directory = Path::new("/nowhere");
    let calls = kind.server().calls(directory);
    let remote = Remote::start(tools, kind).await;
    let target = |url| if kind.is_sse() { Target::Sse(url) } else { Target::Http(url) };

    let session = client.hold(tools, &target(remote.url_at(remote.address())), &calls).await;
    let direct = comparable(session.outcomes(), directory);
    session.close().await;

    let receiver = Receiver::start().await;
    let behind = Forwarder::to(remote.address()).await;
    let mode = if kind.is_sse() { "sse" } else { "http" };
    let url = remote.url_at(behind.address());
    let proxy = Proxy::start(
        [
            &[mode, "--server-id", SERVER_ID, "--mcpulse-url", &receiver.url()][..],
            &["--remote-url", &url, "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"],
        ]
        .concat(),
    );
    let before = Forwarder::to(proxy.address().await).await;
    let session = client.hold(tools, &target(remote.url_at(before.address())), &calls).await;
    assert_eq!(comparable(session.outcomes(), directory), direct);

    let passed = behind.exchanges();
    let to_server: Vec<_> = passed.iter().flat_map(Exchange::to_server).collect();
    let to_client: Vec<_> = passed.iter().flat_map(Exchange::to_client).collect();
    let expected = record::tool_calls(&to_server, &to_client);
    // A server that asks back has the call made again.
    assert!(expected.len() >= calls.len(), "{expected:#?}");
    assert_reported(&receiver, proxy.metrics_address().await, client, &expected).await;
    session.close().await;
    assert_same(&before.exchanges(), &behind.exchanges());
}

/// Checks that both recordings hold the same exchanges. What came after one side went away
/// may have been seen on one side only.
fn assert_same(before: &[Exchange], behind: &[Exchange]) {
    assert_eq!(before.len(), behind.len(), "{before:#?}\n{behind:#?}");
    for (before, behind) in before.iter().zip(behind) {
        let mut cut = behind.clone();
        if !before.complete {
            let seen = before.response.len().min(behind.response.len());
            cut.response.truncate(seen);
            cut.complete = before.complete;
        }
        let mut before = before.clone();
        before.response.truncate(if before.complete {
            before.response.len()
        } else {
            cut.response.len()
        });
        assert_eq!(before, cut, "left: before the proxy; right: behind it");
    }
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
    mcp1_and_mcp2: Mcp1, Mcp2;
    mcp1_and_everything_sse: Mcp1, EverythingSse;
    mcp2_and_mcp2: Mcp2, Mcp2;
    mcp2_and_go_stateless: Mcp2, GoStateless;
    mcp2_and_mcp2_sse: Mcp2, Mcp2Sse;
    sdk1_and_everything: Sdk1, Everything;
    sdk1_and_go_conformance: Sdk1, GoConformance;
    sdk1_and_everything_sse: Sdk1, EverythingSse;
    client2_and_mcp2: Client2, Mcp2;
    client2_and_go_everything: Client2, GoEverything;
    client2_and_mcp2_sse: Client2, Mcp2Sse;
    rmcp_and_everything: Rmcp, Everything;
    rmcp_and_mcp2: Rmcp, Mcp2;
    rmcp_and_go_conformance: Rmcp, GoConformance;
    rmcp_and_go_everything: Rmcp, GoEverything;
}
