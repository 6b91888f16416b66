//! A server over HTTP for clients on standard streams.

use std::path::Path;

use super::{PATIENCE, SERVER_ID, assert_reported, called, comparable, target};
use crate::{
    Client, Receiver, Tools,
    client::Target,
    eventually, program,
    proxy::{METRICS, announced},
    record::{Exchange, Forwarder, Recorder},
    remote::{Kind, Remote},
};

/// One session over HTTP without the proxy, and one over standard input and output with it, in
/// this mode.
pub(super) async fn check(tools: &Tools, client: Client, kind: Kind, mode: &str) {
    let server = kind.server();
    let directory = Path::new("/nowhere");
    let calls = server.calls(directory);
    let remote = Remote::start(tools, kind).await;
    let target = target(kind, remote.url_at(remote.address()));
    let session = client.hold_and_hear(tools, &target, &calls, kind.hearing()).await;
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
    let session = client.hold_and_hear(tools, &target, &calls, kind.hearing()).await;
    assert_eq!(comparable(session.outcomes(), directory), direct);

    let passed = behind.exchanges();
    let to_server: Vec<_> = passed.iter().flat_map(Exchange::to_server).collect();
    let to_client: Vec<_> = passed.iter().flat_map(Exchange::to_client).collect();
    let expected = called(&to_server, &to_client, &calls);
    let metrics = eventually("the proxy says where its metrics are", PATIENCE, async || {
        announced(&before.stderr(), METRICS)
    });
    assert_reported(&receiver, metrics.await, client, &expected).await;
    session.close().await;
}
