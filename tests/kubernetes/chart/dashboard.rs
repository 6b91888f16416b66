//! The dashboard: each of its queries gives something on a real Prometheus that scraped a real proxy
//! and a real operator.

use std::{fmt::Write as _, fs, net::SocketAddr, path::Path, time::Duration};

use mcpulse_tests::{Proxy, eventually, program, scrape};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{ChildStdin, ChildStdout, Command},
};

use super::{alerts::prometheus, helm::Helm, named, text};
use crate::{
    cluster::{Cluster, PATIENCE},
    operator::Operator,
    scene::{SELECTS, Scene},
    wire::Wire,
};

/// How often is scraped; rates are over several of that.
const INTERVAL: &str = "1s";
const RATE: &str = "10s";

/// Every query with the title of its panel, in which nothing of Grafana is left.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    let targets = panels.flat_map(|panel| {
        let title = panel["title"].as_str().expect("a title");
        let targets = panel["targets"].as_array().into_iter().flatten();
        targets.map(move |target| (title, target["expr"].as_str().expect("a query")))
    });
    let filled = targets.map(|(title, query)| {
        let query = query.replace("$server", ".*").replace("$__rate_interval", RATE);
        assert!(!query.contains('$'), "{title}: {query}");
        (title.to_owned(), query)
    });
    filled.collect()
}

/// A query as a part of a URL.
fn encoded(query: &str) -> String {
    query.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

/// What a query gives now.
async fn results(prometheus: SocketAddr, query: &str) -> Vec<Value> {
    let path = format!("/api/v1/query?query={}", encoded(query));
    let (status, told) = scrape::get(prometheus, &path).await;
    assert!(status.is_success(), "{query}: {told}");
    let told: Value = serde_json::from_str(&told).expect("JSON");
    told["data"]["result"].as_array().cloned().unwrap_or_default()
}

/// A Prometheus that scrapes these.
async fn scraping(
    prometheus: &Path,
    directory: &TempDir,
    targets: &[(&str, SocketAddr)],
) -> (Proxy, SocketAddr) {
    let jobs = targets.iter().map(|(job, address)| {
        json!({
            "job_name": job, "honor_labels": true,
            "static_configs": [{"targets": [address.to_string()]}],
        })
    });
    let config = json!({
        "global": {"scrape_interval": INTERVAL, "scrape_timeout": INTERVAL},
        "scrape_configs": jobs.collect::<Vec<_>>(),
    });
    let path = directory.path().join("prometheus.yml");
    fs::write(&path, config.to_string()).expect("a configuration");
    let mut command = Command::new(program("bound"));
    command.arg(prometheus).current_dir(directory.path());
    command.args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"]);
    command.arg("--web.listen-address=127.0.0.1:0");
    let running = Proxy::run(command);
    let address = eventually("Prometheus listens", PATIENCE, async || {
        let said = running.stderr();
        let (_, address) = said.split_once("msg=\"Listening on\" address=")?;
        address.split_whitespace().next()?.parse::<SocketAddr>().ok()
    })
    .await;
    let ready = async || scrape::get(address, "/-/ready").await.0.is_success().then_some(());
    eventually("Prometheus is ready", PATIENCE, ready).await;
    (running, address)
}

/// A client of the proxy that calls tools for as long as it is asked to.
struct Client {
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    id: u64,
}

impl Client {
    async fn ask(&mut self, method: &str, params: Value) {
        self.id += 1;
        let request = json!({"jsonrpc": "2.0", "id": self.id, "method": method, "params": params});
        self.say(&request).await;
        let mut line = String::new();
        self.stdout.read_line(&mut line).await.expect("an answer");
        let answer: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(answer["id"], self.id, "{line}");
    }

    async fn say(&mut self, message: &Value) {
        let line = format!("{message}\n");
        self.stdin.write_all(line.as_bytes()).await.expect("the proxy reads");
    }

    async fn begin(&mut self) {
        let client = json!({"name": "test", "version": "1"});
        let params = json!({
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client,
        });
        self.ask("initialize", params).await;
        let begun = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        self.say(&begun).await;
    }

    /// One call that succeeds, and two that do not.
    async fn work(&mut self) {
        self.ask("tools/list", json!({})).await;
        let echo = json!({"name": "echo", "arguments": {"message": "hello"}});
        self.ask("tools/call", echo).await;
        self.ask("tools/call", json!({"name": "fail", "arguments": {}})).await;
        self.ask("tools/call", json!({"name": "break_down", "arguments": {}})).await;
    }
}

#[tokio::test]
async fn every_query_gives_something() {
    let rendered = Helm::alone(4).template(("mcpulse", "mcpulse-system"), &[]).await;
    let map = named(&rendered, "ConfigMap", "mcpulse-dashboard");
    assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
    let told = map["data"]["mcpulse.json"].as_str().expect("a dashboard");
    let dashboard: Value = serde_json::from_str(told).expect("JSON");
    let committed: Value = serde_json::from_str(&text("files/dashboard.json")).expect("JSON");
    assert_eq!(dashboard, committed);
    let queries = queries(&dashboard);
    assert!(queries.len() > 20, "{}", queries.len());

    let Some(server) = prometheus("prometheus") else { return };

    // The operator does everything that it counts: it injects by its webhook, and restarts.
    let cluster = Cluster::with_controllers().await;
    let (rights, wire) = (Operator::rights(&cluster, None).await, Wire::new().await);
    let url = wire.url();
    let arguments = ["--injection", "webhook", "--webhook-url", &url];
    let operator = Operator::with(&cluster, &rights, "one", &arguments).await;
    wire.lead_to(operator.webhook_port().await);
    let scene = Scene::new(&cluster, "dashboard").await;
    scene.deployed(2).await;

    let directory = TempDir::new().expect("a directory");
    let calls = directory.path().join("calls");
    let words = ["stdio", "--server-id", "team/weather", "--mcpulse-url", "none"];
    let mut command = Proxy::command(words);
    command.args(["--metrics-listen", "127.0.0.1:0", "--call-log"]).arg(&calls);
    command.arg("--").arg(program("example_server"));
    let mut proxy = Proxy::run(command);
    let (stdin, stdout) = (proxy.stdin(), BufReader::new(proxy.stdout()));
    let mut client = Client { stdin, stdout, id: 0 };
    client.begin().await;
    client.work().await;

    let targets = [
        ("mcpulse-sidecars", proxy.metrics_address().await),
        ("mcpulse-operator", operator.address().await),
    ];
    let (_running, prometheus) = scraping(&server, &directory, &targets).await;
    let up = async || (results(prometheus, "sum(up) == 2").await.len() == 1).then_some(());
    eventually("both are scraped", PATIENCE, up).await;
    scene.apply(SELECTS).await;
    scene.well(2).await;

    let mut missing = queries;
    let begun = std::time::Instant::now();
    while !missing.is_empty() {
        assert!(begun.elapsed() < PATIENCE, "nothing comes of {missing:#?}");
        client.work().await;
        let mut still = Vec::new();
        for (title, query) in missing {
            if results(prometheus, &query).await.is_empty() {
                still.push((title, query));
            }
        }
        missing = still;
        // Between two scrapes nothing else comes.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[test]
fn panels_are_beside_each_other_and_say_what_they_show() {
    let dashboard: Value = serde_json::from_str(&text("files/dashboard.json")).expect("JSON");
    let mut taken = std::collections::BTreeSet::new();
    let number = |value: &Value| value.as_u64().expect("a number");
    for panel in dashboard["panels"].as_array().expect("panels") {
        let title = panel["title"].as_str().expect("a title");
        let at = &panel["gridPos"];
        let (x, y) = (number(&at["x"]), number(&at["y"]));
        for column in x..x + number(&at["w"]) {
            assert!(column < 24, "{title} is too wide");
            for line in y..y + number(&at["h"]) {
                assert!(taken.insert((column, line)), "{title} is above another");
            }
        }
        if panel["type"] != "row" {
            assert!(!panel["description"].as_str().unwrap_or_default().is_empty(), "{title}");
        }
    }
}
