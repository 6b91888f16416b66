//! The same transport on both sides: what is more, every byte arrives as it was sent.

use std::path::Path;

use super::{PATIENCE, SERVER_ID, assert_reported, called, comparable, target, workplace};
use crate::{
    Client, Proxy, Receiver, Server, Tools,
    client::{Call, Target},
    eventually, program,
    proxy::{METRICS, announced},
    record::{self, Exchange, Forwarder, Recorder},
    remote::{Kind, Remote},
};

/// One session on standard streams without the proxy and one through it.
pub(super) async fn on_streams(
    tools: &Tools,
    client: Client,
    server: Server,
    calls_on: impl Fn(&Path) -> Vec<Call>,
) {
    let (_kept, directory) = workplace(server);
    let calls = calls_on(&directory);
    let target = Target::Command(server.command(tools, &directory));
    let session = client.hold_and_hear(tools, &target, &calls, server.hearing()).await;
    let direct = comparable(session.outcomes(), &directory);
    session.close().await;

    let (_kept, directory) = workplace(server);
    let calls = calls_on(&directory);
    let receiver = Receiver::start().await;
    let (before, behind) = (Recorder::default(), Recorder::default());
    let mut proxy: Vec<String> = vec![program("mcpulse-proxy").display().to_string()];
    let url = receiver.url();
    let flags = ["stdio", "--server-id", SERVER_ID, "--mcpulse-url", &url];
    let flags = flags.into_iter().chain(["--metrics-listen", "127.0.0.1:0", "--"]);
    proxy.extend(flags.map(str::to_owned));
    proxy.extend(behind.wrap(&server.command(tools, &directory)));
    let target = Target::Command(before.wrap(&proxy));
    let session = client.hold_and_hear(tools, &target, &calls, server.hearing()).await;
    assert_eq!(comparable(session.outcomes(), &directory), direct);

    // A client may start the command a second time, to try it; the calls are in one session.
    let streams = behind.streams();
    let to_server: Vec<_> = streams.iter().flat_map(|run| record::lines(&run.to_server)).collect();
    let to_client: Vec<_> = streams.iter().flat_map(|run| record::lines(&run.to_client)).collect();
    let expected = called(&to_server, &to_client, &calls);
    let metrics = eventually("the proxy says where its metrics are", PATIENCE, async || {
        announced(&before.stderr(), METRICS)
    });
    assert_reported(&receiver, metrics.await, client, &expected).await;

    session.close().await;
    assert_eq!(before.streams(), behind.streams(), "both sides of the proxy");
}

/// One session over HTTP, of either transport, without the proxy and one through it.
pub(super) async fn over_http(tools: &Tools, client: Client, kind: Kind) {
    let server = kind.server();
    let directory = Path::new("/nowhere");
    let calls = server.calls(directory);
    let remote = Remote::start(tools, kind).await;
    let session = client
        .hold_and_hear(
            tools,
            &target(kind, remote.url_at(remote.address())),
            &calls,
            kind.hearing(),
        )
        .await;
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
    let session = client
        .hold_and_hear(
            tools,
            &target(kind, remote.url_at(before.address())),
            &calls,
            kind.hearing(),
        )
        .await;
    assert_eq!(comparable(session.outcomes(), directory), direct);

    let passed = behind.exchanges();
    let to_server: Vec<_> = passed.iter().flat_map(Exchange::to_server).collect();
    let to_client: Vec<_> = passed.iter().flat_map(Exchange::to_client).collect();
    let expected = called(&to_server, &to_client, &calls);
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
