//! The official conformance suite, with and without the proxy: every check ends the same way,
//! for what the last two revisions require of servers and of clients.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Output, Stdio},
};

use mcpulse_tests::Tools;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

mod clients;
mod servers;
mod table;

/// What follows the name of a scenario in the name of its directory.
const STAMP: &str = "-2026-11-23T18-36-30-192Z";

/// How often each check of each scenario ended in each way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Results(BTreeMap<String, usize>);

impl Results {
    /// What is in a directory of the suite.
    fn read(directory: &Path) -> Self {
        let mut found = Self::default();
        for scenario in fs::read_dir(directory).expect("results").flatten() {
            let name = scenario.file_name().to_string_lossy().into_owned();
            let name = name.get(..name.len() - STAMP.len()).expect("a name and a time");
            for check in checks(&scenario.path()) {
                let check =
                    format!("{name}: {} {} {}", check["id"], check["name"], check["status"]);
                *found.0.entry(check).or_default() += 1;
            }
        }
        found
    }

    /// How many checks ended so: `SUCCESS`, `FAILURE`.
    fn count(&self, how: &str) -> usize {
        let ending = format!("\"{how}\"");
        self.0.iter().filter(|(check, _)| check.ends_with(&ending)).map(|(_, count)| count).sum()
    }

    /// Those of other scenarios as well.
    fn extend(&mut self, other: Self) {
        for (check, count) in other.0 {
            *self.0.entry(check).or_default() += count;
        }
    }
}

fn checks(scenario: &Path) -> Vec<Value> {
    let text = fs::read(scenario.join("checks.json")).expect("the checks of a scenario");
    serde_json::from_slice(&text).expect("a list of checks")
}

/// Runs the suite and returns what each check came to.
///
/// # Panics
/// When something that is required fails.
async fn judge(tools: &Tools, args: &[&str]) -> Results {
    let results = TempDir::new().expect("a directory");
    let mut suite = Command::new(tools.node22());
    suite.arg(tools.npm("@modelcontextprotocol/conformance/dist/index.js"));
    suite.args(args).arg("-o").arg(results.path());
    let Output { status, stdout, stderr } =
        suite.stdin(Stdio::null()).kill_on_drop(true).output().await.expect("the suite runs");
    let said = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
    assert!(status.success(), "{args:?}: {said}");
    Results::read(results.path())
}
