//! The suite as a server of the conformance client of the Go SDK, with and without the bridge
//! from standard streams to HTTP between them. The client speaks HTTP alone, so the bridge from
//! HTTP to standard streams is before that (`tests/src/bin/bridged.rs`).

use std::fs;

use mcpulse_tests::{Tools, program};
use serde_yaml::Value;

use super::{Results, judge, table};

/// How README.md calls it.
pub(super) const TITLE: &str = "client: HTTP to stdio to HTTP";

/// What the revision requires of clients, but what is about OAuth: that is between a client and
/// the server that it dials, and no stdio client has it.
fn scenarios(tools: &Tools, revision: &str) -> Vec<String> {
    let file =
        tools.npm(&format!("@modelcontextprotocol/conformance/requirements/{revision}.yaml"));
    let required = fs::read(file).expect("the requirements");
    let required: Value = serde_yaml::from_slice(&required).expect("YAML");
    let names = required["client"].as_sequence().expect("scenarios of clients").iter();
    let names = names.map(|name| name.as_str().expect("a name").to_owned());
    names.filter(|name| !name.starts_with("auth/")).collect()
}

/// Each scenario once, with this command for a client.
async fn judge_client(tools: &Tools, command: &str, revision: &str) -> Results {
    let mut all = Results::default();
    for scenario in scenarios(tools, revision) {
        let scenario = ["--scenario", &scenario, "--spec-version", revision, "--timeout", "90000"];
        let args = [&["client", "--command", command], &scenario[..]].concat();
        all.extend(judge(tools, &args).await);
    }
    all
}

async fn check(revision: &str) {
    let Some(tools) = Tools::with(&["node", "mcp2", "go"]) else { return };
    let client = tools.go("everything-client");
    let bridged = format!("{} {client}", program("bridged").display());
    let direct = judge_client(tools, &client, revision).await;
    let through = judge_client(tools, &bridged, revision).await;
    assert!(direct.count("SUCCESS") > 10, "{direct:#?}");
    assert_eq!(through, direct, "left: through the proxy; right: direct");
    table::settle(TITLE, revision, [&direct, &through].map(table::score));
}

#[tokio::test]
async fn revision_2025_11_25() {
    check("2025-11-25").await;
}

#[tokio::test]
async fn revision_2026_07_28() {
    check("2026-07-28").await;
}
