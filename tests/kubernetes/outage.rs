//! What fails around the operator: its replicas, the API server, etcd's history. Nothing restarts
//! twice, and all is well in the end.

use std::time::Duration;

use mcpulse_tests::{eventually, scrape};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, PATIENCE},
    operator::{IMAGE, Operator, deployment},
    scene::{SELECTS, Scene},
};

/// An API server that starts takes half a minute to know the resource that its policy reads, and
/// creates pods without it meanwhile. Pods are tried at growing intervals until then.
const RECOVERY: Duration = Duration::from_secs(150);

#[tokio::test]
async fn replicas_and_api_servers_may_go_at_any_time() {
    let cluster = Cluster::with_workloads().await;
    let rights = Operator::rights(&cluster, None).await;
    let mut first = Operator::with(&cluster, &rights, "first", &[]).await;
    first.leads().await;
    let mut second = Operator::with(&cluster, &rights, "second", &[]).await;
    let stuck = {
        // Nobody has the pods run: the restart is under way for as long as that.
        let mut scene = Scene::new(&cluster, "leader").await;
        scene.deployed(3).await;
        scene.rest();
        scene.apply(SELECTS).await;
        let rolls = |server: &Value| server["status"]["workloads"][0]["rollout"] == "InProgress";
        scene.until("the restart is under way", rolls).await;
        assert_eq!(scene.templates().await, 2);
        // The replica that leads is gone, without a word.
        first.kill().await;
        second.leads().await;
        scene.until("the restart is known", rolls).await;
        scene.work();
        scene.well(3).await;
        assert_eq!(scene.templates().await, 2, "one restart: {}", second.said());
        let restarts = [("action", "restart")];
        let restarts = second.scrape().await.sum("mcpulse_rollout_actions_total", &restarts);
        assert!(restarts < 0.5, "{restarts}");
        scene
    };

    // Another version of the operator, with another sidecar.
    second.stop().await;
    let image = "example.com/mcpulse-proxy:2";
    let image = if cluster.upgrades_in_place().await { image } else { IMAGE };
    let third = Operator::with(&cluster, &rights, "third", &["--proxy-image", image]).await;
    let uids = stuck.uids().await;
    stuck
        .until("the sidecars have the image", |server| {
            server["status"]["injection"]["sidecar"]["image"] == image
                && server["status"]["pods"]["upToDate"] == 3
                && server["status"]["pods"]["ready"] == 3
        })
        .await;
    assert_eq!((stuck.uids().await, stuck.templates().await), (uids, 2), "no pod was made anew");
    let namespace = stuck.namespace.clone();
    drop(stuck);

    // The API server is away, and what the watches saw last is not to be had any more.
    let (pid, address) = (third.pid(), third.address().await);
    cluster.plane.compact().await;
    cluster.plane.restart_api();
    assert_eq!(scrape::get(address, "/healthz").await.0, 200);
    assert!(cluster.plane.ready().await, "a port was taken");
    let scene = Scene::of(&cluster, &namespace);
    let more = json!({"spec": {"replicas": 5}});
    eventually("there are more pods", PATIENCE, async || {
        cluster.merge(&deployment(&namespace, "weather"), &more).await.ok()
    })
    .await;
    scene.well_within(RECOVERY, 5).await;
    assert_eq!(third.pid(), pid, "it did not end");
    third.leads().await;
}
