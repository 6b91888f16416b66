//! README.md, done as it says: what people type in a cluster, and what they see then.

use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

use mcpulse_tests::eventually;
use serde_json::Value;

use crate::{
    cluster::{Cluster, PATIENCE, feed},
    operator::Operator,
    scene::Scene,
};

/// Stands for lines that are left out.
const MORE: &str = "...";

/// The code block of this language below "In Kubernetes".
fn block(language: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = fs::read_to_string(path).expect("README.md");
    let (_, section) = readme.split_once("\n## In Kubernetes\n").expect("the section");
    let section = section.split("\n## ").next().expect("its text");
    let (_, block) = section.split_once(&format!("\n```{language}\n")).expect("a block");
    block.split_once("\n```").expect("its end").0.to_owned()
}

/// What is typed, and what is seen then.
fn commands(transcript: &str) -> Vec<(&str, Vec<&str>)> {
    let blocks = transcript.split("\n$ ").map(|block| block.trim_start_matches("$ "));
    blocks
        .map(|block| {
            let mut lines = block.lines();
            (lines.next().expect("a command"), lines.collect())
        })
        .collect()
}

/// A line without what differs each time: ages, times and widths.
fn settled(line: &str) -> String {
    let age = |word: &str| {
        word.ends_with(['s', 'm', 'h'])
            && word.starts_with(|c: char| c.is_ascii_digit())
            && word.chars().all(|c| c.is_ascii_digit() || "smh".contains(c))
    };
    let time = |word: &str| word.len() == 20 && word.ends_with('Z') && word.contains('T');
    let words = line.split_whitespace().map(|word| match word {
        word if age(word) => "<age>",
        word if time(word) => "<time>",
        word => word,
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Compares what is seen with what README shows. Events of one second come in any order, and
/// there may be more of them.
fn compare(command: &str, shown: &[&str], seen: &str) {
    let mut seen_lines = seen.lines().map(settled).filter(|line| !line.is_empty());
    let mut events: Option<Vec<String>> = None;
    let mut leaves_out = false;
    for line in shown.iter().map(|line| settled(line)).filter(|line| !line.is_empty()) {
        if line == MORE {
            leaves_out = true;
            continue;
        }
        let found = match &events {
            Some(events) => events.contains(&line),
            None if leaves_out => seen_lines.any(|there| there == line),
            None => seen_lines.next().as_ref() == Some(&line),
        };
        assert!(found, "{command}: README has {line:?} here, and there is:\n{seen}");
        leaves_out = false;
        if line == "Events:" {
            events = Some(seen_lines.by_ref().collect());
        }
    }
    let rest: Vec<_> = seen_lines.collect();
    assert!(leaves_out || rest.is_empty(), "{command}: README lacks {rest:#?} of\n{seen}");
}

#[tokio::test]
async fn what_people_type_shows_what_readme_says() {
    let cluster = Cluster::with_workloads().await;
    if !cluster.kubernetes.finds_sidecars() {
        let why =
            "has Services that find no sidecar by name, as those of README's example do (1.33)";
        return cluster.plane.pass_over("", why).await;
    }
    let rights = Operator::rights(&cluster, None).await;
    let operator = Operator::with(&cluster, &rights, "one", &[]).await;
    let scene = Scene::of(&cluster, "default");
    scene.deployed(2).await;
    // Times of pods are in whole seconds: what comes next comes in a later one.
    let created = SystemTime::now();
    let later = async || (created.elapsed().ok()? > Duration::from_secs(1)).then_some(());
    eventually("a second has passed", PATIENCE, later).await;
    let manifest = block("yaml");
    let transcript = block("console");
    for (command, shown) in commands(&transcript) {
        let mut words = command.split(' ');
        assert_eq!(words.next(), Some("kubectl"), "{command}");
        let mut kubectl = cluster.kubectl();
        // The file is what README shows before.
        kubectl.args(words.map(|word| if word == "weather.yaml" { "-" } else { word }));
        let told = feed(kubectl, &manifest).await;
        let seen = String::from_utf8(told.stdout).expect("text");
        assert!(told.status.success(), "{command}: {}", String::from_utf8_lossy(&told.stderr));
        compare(command, &shown, &seen);
        if command.starts_with("kubectl apply") {
            let over = |server: &Value| server["status"]["workloads"][0]["rollout"] == "Idle";
            scene.well(2).await;
            scene.until("the rollout is over", over).await;
            scene.told("McpServer", "Restarted").await;
            scene.told("McpServer", "Ready").await;
        }
    }
    operator.assert_allowed().await;
}
