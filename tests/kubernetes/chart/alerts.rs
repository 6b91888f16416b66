//! The alerts, tried by Prometheus' own promtool: that they can be read, and that each comes when
//! it should and not when it should not.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use mcpulse_tests::program;
use serde_json::Value;
use tempfile::TempDir;

use super::{
    file,
    helm::{Helm, MONITORS},
    named, text,
};

/// Series and the alerts that they are to make.
const CASES: &str = include_str!("alerts.yaml");

/// A program of Prometheus; without it a test is passed over, or fails where all tools have to be
/// there.
pub(super) fn prometheus(name: &str) -> Option<PathBuf> {
    let target = program::directory().parent().map(|target| target.join("prometheus"));
    let directory = target.expect("cargo's layout");
    let path = directory.join(name);
    if path.exists() {
        return Some(path);
    }
    let problem = format!("there is no {name}; run tests/tools/prometheus {}", directory.display());
    assert!(env::var("MCPULSE_TOOLS").as_deref() != Ok("required"), "{problem}");
    eprintln!("passed over: {problem}");
    None
}

fn promtool(promtool: &Path, words: &[&str], within: &Path) {
    let mut promtool = Command::new(promtool);
    let told = promtool.args(words).current_dir(within).output().expect("promtool runs");
    let said = String::from_utf8_lossy(&[told.stdout, told.stderr].concat()).into_owned();
    assert!(told.status.success(), "promtool {words:?}: {said}");
}

/// The names of all alerts of a file of rules.
fn alerts(rules: &Value) -> BTreeSet<String> {
    let groups = rules["groups"].as_array().expect("groups").iter();
    let rules = groups.flat_map(|group| group["rules"].as_array().expect("rules"));
    rules.map(|rule| rule["alert"].as_str().expect("an alert").to_owned()).collect()
}

#[test]
fn each_alert_comes_when_it_should() {
    let cases: Value = serde_yaml::from_str(CASES).expect("cases");
    let rules: Value = serde_yaml::from_str(&text("files/alerts.yaml")).expect("rules");
    let alerts = alerts(&rules);
    let (mut fire, mut rest) = (BTreeSet::new(), BTreeSet::new());
    for case in cases["tests"].as_array().expect("tests") {
        for one in case["alert_rule_test"].as_array().expect("alerts") {
            let name = one["alertname"].as_str().expect("a name").to_owned();
            let comes = one["exp_alerts"].as_array().is_some_and(|list| !list.is_empty());
            if comes {
                fire.insert(name)
            } else {
                rest.insert(name)
            };
        }
    }
    assert_eq!((&fire, &rest), (&alerts, &alerts), "each in a case of either kind");

    let directory = TempDir::new().expect("a directory");
    fs::copy(file("files/alerts.yaml"), directory.path().join("rules.yaml")).expect("rules");
    fs::write(directory.path().join("cases.yaml"), CASES).expect("cases");
    let Some(program) = prometheus("promtool") else { return };
    promtool(&program, &["check", "rules", "rules.yaml"], directory.path());
    promtool(&program, &["test", "rules", "cases.yaml"], directory.path());
}

#[tokio::test]
async fn the_prometheus_rule_has_the_rules_of_the_file() {
    let release = ("mcpulse", "mcpulse-system");
    let rendered = Helm::alone(4).template(release, &["--api-versions", MONITORS]).await;
    let rule = named(&rendered, "PrometheusRule", "mcpulse");
    let rules: Value = serde_yaml::from_str(&text("files/alerts.yaml")).expect("rules");
    assert_eq!(rule["spec"], rules);
}
