//! The table of results in README.md. Each test of the suite demands that its row says what it
//! measured; with `MCPULSE_CONFORMANCE=write`, as `make conformance` has it, it writes the row.

use std::{
    env, fs,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use mcpulse_tests::tools;
use serde_json::Value;

use super::{Results, clients, servers::Way};

const BEGIN: &str = "<!-- make conformance writes this -->\n";
const END: &str = "<!-- until here -->\n";
const REVISIONS: [&str; 2] = ["2025-11-25", "2026-07-28"];

/// One test reads or writes at a time.
static README: Mutex<()> = Mutex::new(());

fn path() -> PathBuf {
    tools::source("../README.md").into()
}

/// README.md before, in and behind the table.
fn parts() -> [String; 3] {
    let readme = fs::read_to_string(path()).expect("README.md");
    let (before, rest) = readme.split_once(BEGIN).expect("the beginning of the table");
    let (table, behind) = rest.split_once(END).expect("the end of the table");
    [before, table, behind].map(str::to_owned)
}

/// How a row begins.
fn key(title: &str, revision: &str) -> String {
    format!("| {title} | {revision} |")
}

/// How every row begins, in order.
fn keys() -> Vec<String> {
    let titles = Way::ALL.map(Way::title).into_iter().chain([clients::TITLE]);
    titles.flat_map(|title| REVISIONS.map(|revision| key(title, revision))).collect()
}

/// Which suite judged whose programs, and the head of the table.
fn head() -> String {
    let package = fs::read(tools::source("tools/package.json")).expect("package.json");
    let package: Value = serde_json::from_slice(&package).expect("JSON");
    let suite = package["dependencies"]["@modelcontextprotocol/conformance"].as_str();
    let modules = fs::read_to_string(tools::source("tools/go.mod")).expect("go.mod");
    let sdk = modules.lines().find_map(|line| {
        line.trim().strip_prefix("github.com/modelcontextprotocol/go-sdk ")?.split(' ').next()
    });
    format!(
        "`@modelcontextprotocol/conformance` {}, `everything-server` and `everything-client` of \
         the Go SDK {}:\n\n| judged, and through what | revision | direct | through the proxy |\n\
         |---|---|---|---|\n",
        suite.expect("the version of the suite"),
        sdk.expect("the version of the Go SDK"),
    )
}

/// Results in a few words.
pub(super) fn score(results: &Results) -> String {
    format!("{} passed, {} failed", results.count("SUCCESS"), results.count("FAILURE"))
}

/// Checks the row of what was measured without the proxy and with it, or writes it.
pub(super) fn settle(title: &str, revision: &str, [direct, through]: [String; 2]) {
    let key = key(title, revision);
    let measured = format!("{key} {direct} | {through} |");
    let _alone = README.lock().unwrap_or_else(PoisonError::into_inner);
    let [before, table, behind] = parts();
    if env::var("MCPULSE_CONFORMANCE").as_deref() != Ok("write") {
        let found = table.lines().find(|line| line.starts_with(&key));
        assert_eq!(found, Some(&*measured), "left: README.md; right: measured");
        return;
    }
    let row = |wanted: String| {
        let known = table.lines().find(|line| line.starts_with(&wanted)).map(str::to_owned);
        if wanted == key { Some(measured.clone()) } else { known }
    };
    let rows: String = keys().into_iter().filter_map(row).map(|row| row + "\n").collect();
    let readme = [&before, BEGIN, &head(), &rows, END, &behind].concat();
    fs::write(path(), readme).expect("README.md can be written");
}

#[test]
fn every_way_has_its_row() {
    let _alone = README.lock().unwrap_or_else(PoisonError::into_inner);
    if env::var("MCPULSE_CONFORMANCE").as_deref() == Ok("write") {
        return;
    }
    let [_, table, _] = parts();
    let rows = table.strip_prefix(&head()).unwrap_or_else(|| panic!("not {} but {table}", head()));
    let keys = keys();
    assert_eq!(rows.lines().count(), keys.len(), "{rows}");
    for (row, key) in rows.lines().zip(keys) {
        assert!(row.starts_with(&key), "{row} is not for {key}");
    }
}
