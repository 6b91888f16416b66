//! The tables of README.md, against the running proxy.

use std::collections::{BTreeMap, BTreeSet};

use mcpulse_proxy::config::{Mode, setting::ALL};
use mcpulse_tests::{Proxy, scrape};
use serde_yaml::Value;

use super::section;
use crate::faults::{
    call,
    pipe::Pipe,
    upstream::{Front, Upstream, answer},
};

/// Calls that leave a trace in every family: one that wants input, and a method nobody knows.
const INPUT_REQUIRED: &str =
    r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"input_required","inputRequests":{}}}"#;
const UNKNOWN: &str = r#"{"jsonrpc":"2.0","id":2,"method":"made/up"}"#;
const ANSWERED: &str = r#"{"jsonrpc":"2.0","id":2,"result":{}}"#;

/// One metric: its type, its labels and what it means.
type Metrics = BTreeMap<String, (String, BTreeSet<String>, String)>;

/// The rows of the table below this heading, cell by cell.
fn rows(heading: &str) -> Vec<Vec<String>> {
    let section = section(heading);
    let lines = section.lines().filter(|line| line.starts_with('|')).skip(2);
    let cells = |line: &str| {
        let line = line.trim_matches('|');
        line.split(" |").map(|cell| cell.trim().to_owned()).collect()
    };
    lines.map(cells).collect()
}

/// The words in backticks.
fn code(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn documented() -> Metrics {
    let row = |row: Vec<String>| {
        let [name, kind, labels, meaning] = &row[..] else { panic!("four columns: {row:?}") };
        let labels = code(labels).into_iter().collect();
        (name.trim_matches('`').to_owned(), (kind.clone(), labels, meaning.clone()))
    };
    rows("Metrics").into_iter().map(row).collect()
}

/// What `/metrics` of this proxy says about itself.
async fn shown(proxy: &Proxy) -> Metrics {
    let (_, text) = scrape::get(proxy.metrics_address().await, "/metrics").await;
    let about = |what: &str| {
        let lines = text.lines().filter_map(|line| line.strip_prefix(what)?.split_once(' '));
        lines.map(|(name, rest)| (name.to_owned(), rest.to_owned())).collect::<BTreeMap<_, _>>()
    };
    let (kinds, helps) = (about("# TYPE "), about("# HELP "));
    let samples = scrape::Scrape::parse(&text);
    let labels = |name: &str| {
        let of_family = |sample: &&scrape::Sample| {
            let rest = sample.name.strip_prefix(name);
            rest.is_some_and(|rest| matches!(rest, "" | "_bucket" | "_sum" | "_count"))
        };
        let names =
            samples.samples().iter().filter(of_family).flat_map(|sample| sample.labels.keys());
        names.filter(|label| *label != "le").cloned().collect()
    };
    kinds
        .into_iter()
        .map(|(name, kind)| {
            let labels = labels(&name);
            let help = helps[&name].clone();
            (name, (kind, labels, help))
        })
        .collect()
}

/// The key of this flag in what `--print-config` shows.
fn of_flag(flag: &str) -> String {
    let setting = ALL.iter().find(|setting| setting.flag == flag);
    setting.unwrap_or_else(|| panic!("--{flag} is no flag")).path(Mode::Http)
}

/// What is there in pods alone.
const IN_PODS: &str = "target_info";

#[tokio::test]
async fn the_metrics_of_stdio_mode() {
    let mut pipe = Pipe::open().await;
    pipe.client(call("1") + "\n" + UNKNOWN + "\n").await;
    pipe.server(format!("{INPUT_REQUIRED}\n{ANSWERED}\n")).await;
    pipe.assert_settled(&[("input_required", 1)], &[]).await;
    let mut documented = documented();
    documented.retain(|name, _| {
        let others = ["mcpulse_http_", "mcpulse_bridge_", "mcpulse_config_", IN_PODS];
        !others.iter().any(|other| name.starts_with(other))
    });
    assert_eq!(shown(&pipe.proxy).await, documented, "left: /metrics; right: README.md");
}

#[tokio::test]
async fn the_metrics_of_http_mode() {
    let batch = format!("[{INPUT_REQUIRED},{ANSWERED}]");
    let upstream = Upstream::saying(answer("application/json", &batch)).await;
    let front = Front::of(upstream.address(), &[]).await;
    let asked = front.post("", &format!("[{},{UNKNOWN}]", call("1"))).await;
    assert_eq!((asked.status, asked.body), (200, batch));
    front.assert_settled(&[("input_required", 1)], &[]).await;
    let mut documented = documented();
    documented.retain(|name, _| !name.starts_with("mcpulse_config_") && name != IN_PODS);
    assert_eq!(shown(&front.proxy).await, documented, "left: /metrics; right: README.md");
}

#[tokio::test]
async fn the_defaults_of_the_limits() {
    let flags = ["http", "--server-id", "x", "--remote-url", "http://127.0.0.1:1/mcp"];
    let flags = flags.into_iter().chain(["--listen", "127.0.0.1:0", "--print-config"]);
    let output = Proxy::command(flags).output().await.expect("the proxy runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed: Value = serde_yaml::from_str(&text).expect("YAML");

    let mut checked = 0;
    for row in rows("Limits") {
        let [_, defaults, settings, _] = &row[..] else { panic!("four columns: {row:?}") };
        let settings = code(settings);
        if settings.is_empty() {
            assert_eq!(defaults, "none", "{row:?}");
            continue;
        }
        let defaults = defaults.replace(" or ", " for ");
        let defaults: Vec<_> = defaults.split(" for ").collect();
        assert_eq!(defaults.len(), settings.len(), "{row:?}");
        for (default, setting) in defaults.into_iter().zip(&settings) {
            let key = match setting.strip_prefix("--") {
                Some(flag) => of_flag(flag),
                None => setting.clone(),
            };
            let value = key.split('.').fold(&printed, |value, key| &value[key]);
            let value = match value {
                Value::String(text) => text.clone(),
                other => serde_yaml::to_string(other).expect("a scalar").trim().to_owned(),
            };
            assert_eq!(default.replace([' ', ','], ""), value, "{setting}");
            checked += 1;
        }
    }
    assert!(checked > 10, "{checked} defaults");
}
