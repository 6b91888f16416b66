//! The operator on a real Kubernetes API server.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::process::ExitStatus;

use mcpulse_tests::ControlPlane;
use tokio::process::Command;

mod bench;
mod busy;
mod certificate;
mod chart;
mod cluster;
mod crowd;
mod definition;
mod engine;
mod faults;
mod formats;
mod gate;
mod guard;
mod hook;
mod kubelet;
mod limits;
mod mesh;
mod operator;
mod outage;
mod parity;
mod process;
#[path = "../../operator/src/splice/tests/random.rs"]
mod random;
mod readme;
mod refusal;
mod rollout;
mod scene;
#[path = "../../operator/tests/pods/shape.rs"]
mod shape;
mod weather;
mod webhook;
mod wire;
mod workloads;

/// The harness itself: what a control plane is there for.
#[tokio::test]
async fn pods_are_made_and_the_pod_security_of_a_namespace_holds() {
    let plane = ControlPlane::start().await;
    let lax = plane.namespace("lax", &[]).await;
    let strict = [("pod-security.kubernetes.io/enforce", "restricted")];
    let strict = plane.namespace("strict", &strict).await;
    let run = async |namespace: &str| -> ExitStatus {
        let mut kubectl = Command::new(plane.kubectl());
        kubectl.arg("--kubeconfig").arg(plane.kubeconfig()).args(["-n", namespace]);
        kubectl.args(["run", "pod", "--image=none.invalid/none:1"]);
        kubectl.kill_on_drop(true).status().await.expect("kubectl runs")
    };
    assert!(run(&lax).await.success());
    assert!(!run(&strict).await.success());
}
