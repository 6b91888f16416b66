//! Helm, by which the operator comes, is tried, changed and goes.

use std::process::Output;

use mcpulse_tests::{Client, client::Call, program, tools};
use serde_json::json;
use tokio::process::Command;

use crate::{
    cluster::{Cluster, on_cluster_alone, server_path},
    install,
    workload::{SERVICE, Workload, mcp_server},
};

/// What the images of the tests are called, for the values of the chart.
const VALUES: [&str; 4] = [
    "--set=global.imageRegistry=localhost",
    "--set=image.tag=test",
    "--set=proxy.image.tag=test",
    "--set=log.format=text",
];

/// What `helm COMMAND mcpulse WORDS…` says, of this version of Helm.
pub(crate) async fn helm(cluster: &Cluster, major: u8, words: &[&str]) -> String {
    let told = run(cluster, major, words).await;
    let why = String::from_utf8_lossy(&told.stderr);
    assert!(told.status.success(), "helm {words:?}: {why}");
    String::from_utf8(told.stdout).expect("text")
}

async fn run(cluster: &Cluster, major: u8, words: &[&str]) -> Output {
    let target = program::directory().parent().map(|target| target.join("helm"));
    let program = target.expect("cargo's layout").join(format!("helm{major}"));
    assert!(program.exists(), "there is no {}; run tests/helm/build", program.display());
    let mut helm = Command::new(program);
    helm.env("KUBECONFIG", cluster.node.plane().kubeconfig()).kill_on_drop(true);
    helm.args(words).args(["--namespace", install::NAMESPACE]).output().await.expect("Helm runs")
}

/// Installs the release `mcpulse`, or upgrades it to these values.
pub(crate) async fn apply(cluster: &Cluster, major: u8, values: &[&str]) {
    let chart = tools::source("../charts/mcpulse");
    let words = ["upgrade", "mcpulse", &chart, "--install", "--create-namespace", "--wait"];
    helm(cluster, major, &[&words, &VALUES[..], values].concat()).await;
}

#[test]
fn a_release_is_tried_changed_taken_back_and_uninstalled() {
    on_cluster_alone(async |cluster: &Cluster| {
        let namespace = cluster.namespace("released", &[]).await;
        cluster.apply(&namespace, &mcp_server("")).await;
        cluster.rendered(&namespace, "server").await;
        let workload = Workload::new("go", "['-http', '0.0.0.0:8000']", 8000);
        cluster.apply(&namespace, &format!("{workload}---{SERVICE}")).await;
        let before = cluster.ready(&namespace, "server", 1, 1).await;

        helm(cluster, 4, &["test", "mcpulse"]).await;
        apply(cluster, 4, &["--set=rollout.max=1"]).await;
        helm(cluster, 4, &["rollback", "mcpulse", "1", "--wait"]).await;
        helm(cluster, 4, &["test", "mcpulse"]).await;
        let after = cluster.ready(&namespace, "server", 1, 1).await;
        assert_eq!(before[0]["metadata"]["uid"], after[0]["metadata"]["uid"]);

        helm(cluster, 4, &["uninstall", "mcpulse", "--wait"]).await;
        let left = cluster
            .told(install::NAMESPACE, &["get", "deployment,lease,secret,service", "-o", "name"])
            .await;
        let left: Vec<_> = left.lines().filter(|line| line.contains("operator")).collect();
        assert!(left.is_empty(), "{left:?}");
        // What runs lives on, what is new has its own shape, and McpServers are kept.
        assert!(cluster.get(&server_path(&namespace, "server")).await.is_some());
        let call = Call::new("greet", json!({"name": "you"}));
        let url = cluster.url(&namespace, "/mcp").await;
        assert_eq!(cluster.call(Client::Rmcp, &url, &call).await, "Hi you");
        cluster.told(&namespace, &["rollout", "restart", "deployment/server"]).await;
        cluster.ready(&namespace, "server", 1, 0).await;

        apply(cluster, 3, &[]).await;
        cluster.ready(&namespace, "server", 1, 1).await;
        assert_eq!(cluster.call(Client::Rmcp, &url, &call).await, "Hi you");
        helm(cluster, 3, &["test", "mcpulse"]).await;
    });
}
