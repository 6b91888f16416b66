//! Over standard input and output.

use std::path::Path;

use mcpulse_tests::{
    Client, Receiver, Server,
    client::{Call, Target},
    eventually, program,
    proxy::{METRICS, announced},
    record::{self, Recorder},
};
use serde_json::json;
use tempfile::TempDir;

use super::{PATIENCE, SERVER_ID, assert_reported, comparable, tools};

/// One session without the proxy and one through it, with calls that suit the server.
async fn check(client: Client, server: Server) {
    check_calls(client, server, |directory| server.calls(directory)).await;
}

async fn check_calls(client: Client, server: Server, calls_on: impl Fn(&Path) -> Vec<Call>) {
    let Some(tools) = tools([client.part(), server.part()]) else { return };

    let directory = TempDir::new().expect("a directory");
    server.prepare(directory.path());
    let calls = calls_on(directory.path());
    let target = Target::Command(server.command(tools, directory.path()));
    let session = client.hold(tools, &target, &calls).await;
    let direct = comparable(session.outcomes(), directory.path());
    session.close().await;

    let directory = TempDir::new().expect("a directory");
    server.prepare(directory.path());
    let calls = calls_on(directory.path());
    let receiver = Receiver::start().await;
    let (before, behind) = (Recorder::default(), Recorder::default());
    let mut proxy: Vec<String> = vec![program("mcpulse-proxy").display().to_string()];
    let url = receiver.url();
    let flags = ["stdio", "--server-id", SERVER_ID, "--mcpulse-url", &url];
    let flags = flags.into_iter().chain(["--metrics-listen", "127.0.0.1:0", "--"]);
    proxy.extend(flags.map(str::to_owned));
    proxy.extend(behind.wrap(&server.command(tools, directory.path())));
    let target = Target::Command(before.wrap(&proxy));
    let session = client.hold(tools, &target, &calls).await;
    assert_eq!(comparable(session.outcomes(), directory.path()), direct);

    // A client may start the command a second time, to try it; the calls are in one session.
    let streams = behind.streams();
    let to_server: Vec<_> = streams.iter().flat_map(|run| record::lines(&run.to_server)).collect();
    let to_client: Vec<_> = streams.iter().flat_map(|run| record::lines(&run.to_client)).collect();
    let expected = record::tool_calls(&to_server, &to_client);
    // A server that asks back has the call made again.
    assert!(expected.len() >= calls.len(), "{expected:#?}");
    let metrics = eventually("the proxy says where its metrics are", PATIENCE, async || {
        announced(&before.stderr(), METRICS)
    });
    assert_reported(&receiver, metrics.await, client, &expected).await;

    session.close().await;
    assert_eq!(before.streams(), behind.streams(), "both sides of the proxy");
}

/// A call that the client gives up, and one after it.
async fn check_cancelling(client: Client) {
    check_calls(client, Server::Rmcp, |_| {
        let slow = Call::cancelled("slow", json!({ "milliseconds": 60_000 }));
        vec![slow, Call::new("echo", json!({ "message": "still there" }))]
    })
    .await;
}

#[tokio::test]
async fn sdk1_cancels() {
    check_cancelling(Client::Sdk1).await;
}

#[tokio::test]
async fn client2_cancels() {
    check_cancelling(Client::Client2).await;
}

#[tokio::test]
async fn rmcp_cancels() {
    check_cancelling(Client::Rmcp).await;
}

macro_rules! sessions {
    ($($name:ident: $client:ident, $server:ident;)*) => {$(
        #[tokio::test]
        async fn $name() {
            check(Client::$client, Server::$server).await;
        }
    )*};
}

// Every client and every server three times or more.
sessions! {
    mcp1_and_everything: Mcp1, Everything;
    mcp1_and_memory: Mcp1, Memory;
    mcp1_and_git: Mcp1, Git;
    mcp1_and_go_conformance: Mcp1, GoConformance;
    mcp2_and_filesystem: Mcp2, Filesystem;
    mcp2_and_time: Mcp2, Time;
    mcp2_and_mcp2: Mcp2, Mcp2;
    mcp2_and_go_everything: Mcp2, GoEverything;
    mcp2_and_rmcp: Mcp2, Rmcp;
    sdk1_and_everything: Sdk1, Everything;
    sdk1_and_filesystem: Sdk1, Filesystem;
    sdk1_and_time: Sdk1, Time;
    sdk1_and_go_conformance: Sdk1, GoConformance;
    client2_and_memory: Client2, Memory;
    client2_and_git: Client2, Git;
    client2_and_mcp2: Client2, Mcp2;
    client2_and_go_everything: Client2, GoEverything;
    client2_and_rmcp: Client2, Rmcp;
    rmcp_and_everything: Rmcp, Everything;
    rmcp_and_filesystem: Rmcp, Filesystem;
    rmcp_and_memory: Rmcp, Memory;
    rmcp_and_time: Rmcp, Time;
    rmcp_and_git: Rmcp, Git;
    rmcp_and_mcp2: Rmcp, Mcp2;
    rmcp_and_go_conformance: Rmcp, GoConformance;
    rmcp_and_go_everything: Rmcp, GoEverything;
    rmcp_and_rmcp: Rmcp, Rmcp;
}
