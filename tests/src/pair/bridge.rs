//! A program for clients over HTTP.

use std::{fs, net::SocketAddr};

use serde_json::Value;

use super::{PATIENCE, SERVER_ID, assert_reported, called, comparable, workplace};
use crate::{
    Client, Proxy, Receiver, Server, Tools,
    client::Target,
    eventually,
    record::{self, Recorder},
};

/// One session without the proxy and one over HTTP.
pub(super) async fn check(
    tools: &Tools,
    client: Client,
    server: Server,
    target: fn(SocketAddr) -> Target,
) {
    let (_kept, directory) = workplace(server);
    let calls = server.calls(&directory);
    let command = server.command(tools, &directory);
    let session =
        client.hold_and_hear(tools, &Target::Command(command), &calls, server.hearing()).await;
    let direct = comparable(&without_token(server, session.outcomes()), &directory);
    session.close().await;

    let (_kept, directory) = workplace(server);
    let calls = server.calls(&directory);
    let (receiver, behind) = (Receiver::start().await, Recorder::default());
    let url = receiver.url();
    let flags = ["stdio", "--server-id", SERVER_ID, "--mcpulse-url", &url];
    // Not every client says that it leaves.
    let flags = flags.into_iter().chain(["--session-timeout", "30s"]);
    let listeners = ["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--"];
    let command = behind.wrap(&server.command(tools, &directory));
    let args = flags.chain(listeners).map(str::to_owned).chain(command.clone());
    let proxy = Proxy::start(args);
    let target = target(proxy.address().await);
    let session = client.hold_and_hear(tools, &target, &calls, server.hearing()).await;
    assert_eq!(comparable(&without_token(server, session.outcomes()), &directory), direct);

    let streams = behind.streams();
    let to_server: Vec<_> = streams.iter().flat_map(|run| record::lines(&run.to_server)).collect();
    let to_client: Vec<_> = streams.iter().flat_map(|run| record::lines(&run.to_client)).collect();
    let expected = called(&to_server, &to_client, &calls);
    assert_reported(&receiver, proxy.metrics_address().await, client, &expected).await;
    session.close().await;
    // The recorder has a directory of its own, which no other process names but the proxy.
    let mark = &command[1];
    eventually("its session has ended", PATIENCE, async || (running(mark) == 1).then_some(()))
        .await;
}

/// The outcomes without the progress token that one tool gives for an answer: programs that are
/// shared see another than the client chose.
fn without_token(server: Server, outcomes: &Value) -> Value {
    let mut outcomes = outcomes.clone();
    let calls = outcomes["calls"].as_array_mut().filter(|_| server == Server::GoConformance);
    for text in calls.into_iter().flatten().filter_map(|call| call.pointer_mut("/ok/0/text")) {
        if text.as_str().is_some_and(|text| text.parse::<f64>().is_ok()) {
            *text = "TOKEN".into();
        }
    }
    outcomes
}

/// Processes that have this text in their command line.
fn running(text: &str) -> usize {
    let processes = fs::read_dir("/proc").expect("processes").flatten();
    let lines = processes.filter_map(|it| fs::read(it.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(text)).count()
}
