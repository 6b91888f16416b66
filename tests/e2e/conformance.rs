//! The official conformance suite, against the same server with and without the proxy: every
//! check ends the same way, for the requirements of the last two revisions.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Output, Stdio},
};

use mcpulse_tests::{
    Proxy, Tools,
    remote::{Kind, Remote},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

/// What follows the name of a scenario in the name of its directory.
const STAMP: &str = "-2026-11-23T18-36-30-192Z";

/// How often each check of each scenario ended in each way.
pub(crate) type Results = BTreeMap<String, usize>;

/// Runs the suite on a server and returns what each check came to.
pub(crate) async fn judge(tools: &Tools, url: &str, requirements: &str) -> Results {
    let results = TempDir::new().expect("a directory");
    let mut suite = Command::new(tools.node22());
    suite.arg(tools.npm("@modelcontextprotocol/conformance/dist/index.js"));
    suite.args(["server", "--url", url, "--requirements", requirements, "-o"]).arg(results.path());
    let Output { status, stdout, .. } =
        suite.stdin(Stdio::null()).kill_on_drop(true).output().await.expect("the suite runs");
    let said = String::from_utf8_lossy(&stdout);
    assert!(status.success(), "{url} fails what {requirements} requires: {said}");
    let mut found = Results::new();
    for scenario in fs::read_dir(results.path()).expect("results").flatten() {
        let name = scenario.file_name().to_string_lossy().into_owned();
        let scenario_name = name.get(..name.len() - STAMP.len()).expect("a name and a time");
        for check in checks(&scenario.path()) {
            let check =
                format!("{scenario_name}: {} {} {}", check["id"], check["name"], check["status"]);
            *found.entry(check).or_default() += 1;
        }
    }
    found
}

fn checks(scenario: &Path) -> Vec<Value> {
    let text = fs::read(scenario.join("checks.json")).expect("the checks of a scenario");
    serde_json::from_slice(&text).expect("a list of checks")
}

async fn same_as_direct(kind: Kind, requirements: &str) {
    let Some(tools) = Tools::with(&["node", "mcp2", kind.part()]) else { return };
    let remote = Remote::start(tools, kind).await;
    let direct = remote.url_at(remote.address());
    let proxy = Proxy::start(
        [
            &["http", "--server-id", "conformance", "--mcpulse-url", "none"][..],
            &["--remote-url", &direct, "--listen", "127.0.0.1:0"],
        ]
        .concat(),
    );
    let proxied = remote.url_at(proxy.address().await);
    let direct = judge(tools, &direct, requirements).await;
    let proxied = judge(tools, &proxied, requirements).await;
    assert!(direct.values().sum::<usize>() > 80, "{direct:#?}");
    assert_eq!(proxied, direct, "left: through the proxy; right: direct");
}

#[tokio::test]
async fn revision_2025_11_25() {
    same_as_direct(Kind::GoConformance, "2025-11-25").await;
}

#[tokio::test]
async fn revision_2026_07_28() {
    same_as_direct(Kind::GoStateless, "2026-07-28").await;
}
