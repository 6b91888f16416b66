//! One HTTP transport for the client, and the other for the server.

use std::path::Path;

use super::{SERVER_ID, assert_reported, called, comparable, target};
use crate::{
    Client, Proxy, Receiver, Tools,
    client::Target,
    record::{Exchange, Forwarder},
    remote::{Kind, Remote},
};

/// One session over the server's own transport without the proxy, and one over the other.
pub(super) async fn check(tools: &Tools, client: Client, kind: Kind) {
    let directory = Path::new("/nowhere");
    let calls = kind.server().calls(directory);
    let remote = Remote::start(tools, kind).await;
    let direct = target(kind, remote.url_at(remote.address()));
    let session = client.hold_and_hear(tools, &direct, &calls, kind.hearing()).await;
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
    let address = proxy.address().await;
    let target = if kind.is_sse() {
        Target::Http(format!("http://{address}/mcp"))
    } else {
        Target::Sse(format!("http://{address}/sse"))
    };
    let session = client.hold_and_hear(tools, &target, &calls, kind.hearing()).await;
    assert_eq!(comparable(session.outcomes(), directory), direct);

    let passed = behind.exchanges();
    let to_server: Vec<_> = passed.iter().flat_map(Exchange::to_server).collect();
    let to_client: Vec<_> = passed.iter().flat_map(Exchange::to_client).collect();
    let expected = called(&to_server, &to_client, &calls);
    assert_reported(&receiver, proxy.metrics_address().await, client, &expected).await;
    session.close().await;
}
