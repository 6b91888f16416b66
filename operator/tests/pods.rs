//! Pods of every shape and what becomes of them: `tests/pods/NAME.in.yaml` with the `McpServer`
//! that its first line names becomes `tests/pods/NAME.out.yaml`.
//!
//! `UPDATE_GOLDEN=1` writes the files anew; each is then to be read.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
};

use mcpulse_operator::{
    crd::{Injection, McpServer},
    render::{self, Defaults, Order},
    splice::splice,
    target,
};
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}

fn injection(server: &str) -> Injection {
    let path = root().join("servers").join(format!("{server}.yaml"));
    let server: McpServer = serde_yaml::from_str(&read(&path)).unwrap();
    let target = target::resolve(&server, None).unwrap();
    let defaults =
        Defaults { image: "example.com/mcpulse-proxy:1".to_owned(), ..Defaults::default() };
    let order =
        Order { server: &server, target: &target, older: &[], services: &[], defaults: &defaults };
    render::render(order).unwrap()
}

/// The names of the pods.
fn cases() -> Vec<String> {
    let entries = fs::read_dir(root().join("pods")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: BTreeSet<String> =
        names.filter_map(|name| Some(name.strip_suffix(".in.yaml")?.to_owned())).collect();
    names.into_iter().collect()
}

struct Case {
    pod: Value,
    injection: Injection,
}

fn case(name: &str) -> Case {
    let text = read(&root().join("pods").join(format!("{name}.in.yaml")));
    let server = text.lines().next().and_then(|line| line.strip_prefix("# with: "));
    let server = server.unwrap_or_else(|| panic!("{name} does not begin with `# with: SERVER`"));
    Case { pod: serde_yaml::from_str(&text).unwrap(), injection: injection(server) }
}

/// The pod as it comes out, or why it does not change.
fn outcome(Case { mut pod, injection }: Case) -> String {
    match splice(&pod, &injection) {
        Ok(patch) => {
            json_patch::patch(&mut pod, &patch).unwrap();
            serde_yaml::to_string(&pod).unwrap()
        }
        Err(skip) => format!("# {}: {skip}\n", skip.reason()),
    }
}

#[test]
fn every_pod_comes_out_as_it_should() {
    let mut other = Vec::new();
    for name in cases() {
        let path = root().join("pods").join(format!("{name}.out.yaml"));
        let told = outcome(case(&name));
        if env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &told).unwrap();
        }
        if fs::read_to_string(&path).unwrap_or_default() != told {
            other.push(format!("{name} comes out as\n{told}"));
        }
    }
    assert!(other.is_empty(), "{}", other.join("\n"));
}

#[test]
fn there_are_pods_enough_and_every_reason_to_skip_one_is_among_them() {
    let cases = cases();
    assert!(cases.len() >= 60, "{} pods", cases.len());
    let reason = |name: &String| {
        let Case { pod, injection } = case(name);
        splice(&pod, &injection).err().map(|skip| skip.reason())
    };
    let seen: BTreeSet<&str> = cases.iter().filter_map(reason).collect();
    let all = [
        "AlreadyInjected",
        "CommandUnknown",
        "HostNetwork",
        "MirrorPod",
        "MountTaken",
        "NameTaken",
        "NoMatchingContainer",
        "OptedOut",
        "PodResources",
        "PortCollision",
        "PortNotFound",
        "Windows",
    ];
    assert_eq!(seen, BTreeSet::from(all));
}
