//! What is too much, and that it is counted.

use std::time::Duration;

use mcpulse_tests::{Proxy, Scrape, eventually};

use super::{Server, Wire, before, body, post};
use crate::faults::{
    call, result,
    upstream::{Front, answer},
};

/// A call whose id stands behind more than what is kept of a request.
fn long_call() -> String {
    let text = "x".repeat(300_000);
    format!(
        r#"{{"method":"tools/call","params":{{"name":"probe","arguments":{{"t":"{text}"}}}},"jsonrpc":"2.0","id":"last"}}"#
    )
}

/// An address where nobody listens any more.
async fn nowhere() -> std::net::SocketAddr {
    Server::start().await.address()
}

async fn posted(proxy: std::net::SocketAddr, message: &str) -> (String, serde_json::Value) {
    let mut client = Wire::to(proxy).await;
    client.say(post(message)).await;
    let answer = client.message().await;
    let json = serde_json::from_slice(body(&answer)).expect("JSON");
    (String::from_utf8_lossy(&answer[..12]).into_owned(), json)
}

#[tokio::test]
async fn the_id_is_echoed_wherever_it_stands() {
    let front = Front::of(nowhere().await, &[]).await;
    let (status, answer) = posted(front.address(), &long_call()).await;
    assert_eq!((&*status, &answer["id"]), ("HTTP/1.1 503", &"last".into()));
    front.assert_settled(&[("transport", 1)], &[]).await;
}

#[tokio::test]
async fn each_request_of_a_batch_gets_its_error() {
    let front = Front::of(nowhere().await, &[]).await;
    let note = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    let batch = format!("[{},{note},{}]", call("1"), long_call());
    let (status, answers) = posted(front.address(), &batch).await;
    let answers = answers.as_array().expect("an answer each");
    let ids: Vec<_> = answers.iter().map(|answer| answer["id"].to_string()).collect();
    assert_eq!((&*status, &*ids.join(" ")), ("HTTP/1.1 503", "1 \"last\""));
    assert!(answers.iter().all(|answer| answer["error"]["code"] == -32603), "{answers:?}");
    front.assert_settled(&[("transport", 2)], &[]).await;
}

#[tokio::test]
async fn a_listener_may_have_as_many_files_as_the_system_allows() {
    let limit = |proxy: &Proxy| {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", proxy.pid()));
        let limits = limits.expect("it runs");
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
        let line = line.expect("the limit").to_owned();
        let mut numbers = line.split_whitespace().map(str::to_owned);
        (numbers.next().expect("the soft one"), numbers.next().expect("the hard one"))
    };
    let lowered = |args: &[&str]| {
        let mut command = Proxy::command(args);
        lower_file_limits(&mut command, 300, 400);
        Proxy::run(command)
    };
    let none = ["--server-id", "x", "--mcpulse-url", "none"];
    let http = [&["http", "--remote-url", "http://127.0.0.1:9/"], &none[..]].concat();
    let proxy = lowered(&[&http[..], &["--listen", "127.0.0.1:0"]].concat());
    proxy.address().await;
    assert_eq!(limit(&proxy), ("400".to_owned(), "400".to_owned()));
    // A child would inherit it, and some programs close every file that they may have.
    let proxy = lowered(&[&["stdio"], &none[..], &["--", "sh", "-c", "echo up >&2; cat"]].concat());
    proxy.wait_for_stderr("up").await;
    assert_eq!(limit(&proxy), ("300".to_owned(), "400".to_owned()));
}

#[tokio::test]
async fn a_listener_without_files_goes_on_and_says_so_once() {
    let mut server = Server::start().await;
    let url = format!("http://{}/mcp", server.address());
    let mut command = before("http", &url);
    lower_file_limits(&mut command, 64, 64);
    let proxy = Proxy::run(command);
    let address = proxy.address().await;
    // So that scraping needs no file.
    let metrics = proxy.metrics_address().await;
    let mut waiting = Vec::new();
    for _ in 0..100 {
        waiting.push(Wire::to(address).await);
    }
    proxy.wait_for_stderr("accept a connection").await;
    drop(waiting);
    let refused = async || {
        let scrape = Scrape::of(metrics).await;
        let refused = [("reason", "not_accepted")];
        (scrape.sum("mcpulse_http_turned_away_total", &refused) > 0.5).then_some(())
    };
    eventually("it is counted", Duration::from_mins(1), refused).await;
    let mut client = Wire::to(address).await;
    client.say(post(&call("1"))).await;
    let mut served = server.accept().await;
    served.message().await;
    served.say(answer("application/json", &result("1"))).await;
    assert_eq!(body(&client.message().await), result("1").as_bytes());
    let said = proxy.stderr();
    assert_eq!(said.matches("accept a connection").count(), 1, "{said}");
}

#[tokio::test]
async fn who_takes_nothing_of_an_answer_is_given_up() {
    let mut server = Server::start().await;
    // Room for all of it, or the observer may rightly miss a part.
    let flags = ["--read-timeout", "500ms", "--tap-bytes", "100MiB"];
    let front = Front::of(server.address(), &flags).await;
    let mut client = Wire::to(front.address()).await;
    client.say(post(&call("1"))).await;
    let mut served = server.accept().await;
    served.message().await;
    // More than the buffers of all the sockets on the way.
    let text = "x".repeat(64 << 20);
    let long = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"content":["{text}"]}}}}"#);
    let long = answer("application/json", &long);
    let says = tokio::spawn(async move { served.say(long).await });
    // As for any client that leaves: nothing was cancelled, and half an answer was seen.
    front.assert_settled(&[("transport", 1)], &[("unparsed", 1)]).await;
    assert!(says.await.is_err(), "nobody takes it any more");
    drop(client);
}

/// Has the program run with these limits of open files.
fn lower_file_limits(command: &mut tokio::process::Command, soft: u64, hard: u64) {
    let inner = command.as_std();
    let words = std::iter::once(inner.get_program()).chain(inner.get_args());
    let mut limited = tokio::process::Command::new("prlimit");
    limited.arg(format!("--nofile={soft}:{hard}")).args(words);
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    *command = limited;
}
