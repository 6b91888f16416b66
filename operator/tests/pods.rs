//! Pods of every shape and what becomes of them: `tests/pods/NAME.in.yaml` with the `McpServer`
//! that its first line names becomes `tests/pods/NAME.out.yaml`.
//!
//! `UPDATE_GOLDEN=1` writes the files anew; each is then to be read.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, env, fs};

use mcpulse_operator::splice::splice;

#[path = "pods/shape.rs"]
mod shape;

use shape::{Shape, golden, injection, names};

/// The pod as it comes out, or why it does not change.
fn outcome(Shape { mut pod, server }: Shape) -> String {
    match splice(&pod, &injection(&server)) {
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
    for name in names() {
        let path = golden(&name);
        let told = outcome(Shape::read(&name));
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
    let cases = names();
    assert!(cases.len() >= 60, "{} pods", cases.len());
    let reason = |name: &String| {
        let Shape { pod, server } = Shape::read(name);
        splice(&pod, &injection(&server)).err().map(|skip| skip.reason())
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
