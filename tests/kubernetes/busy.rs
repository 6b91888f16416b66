//! An API server that takes its time, says no now and then and forgets; and one that does not let
//! the leader renew its lease. It costs time, and nothing is done twice.

use mcpulse_tests::eventually;
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, PATIENCE},
    gate::Gate,
    operator::Operator,
    scene::{SELECTS, Scene, is},
};

/// Renewals of the lease during which somebody who rests asks for nothing else.
const RENEWALS: usize = 4;

async fn restarts(operator: &Operator, result: &str) -> usize {
    let done = [("action", "restart"), ("result", result)];
    let done = operator.scrape().await.sum("mcpulse_rollout_actions_total", &done);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    let done = done as usize;
    done
}

#[tokio::test]
async fn an_api_server_that_is_slow_and_busy_costs_time_and_nothing_else() {
    let cluster = Cluster::with_workloads().await;
    let rights = Operator::rights(&cluster, None).await;
    let gate = Gate::before(&cluster, &rights).await;
    let operator =
        Operator::with(&cluster, &gate.kubeconfig(), "one", &["--max-rollouts", "20"]).await;
    let restarted = async {
        let scene = Scene::new(&cluster, "restarted").await;
        scene.deployed(3).await;
        scene.apply(SELECTS).await;
        scene.well(3).await;
        assert_eq!(scene.templates().await, 2, "one restart");
        if !cluster.upgrades_in_place().await {
            return;
        }
        scene.edit(&json!({"proxy": {"image": "example.com/mcpulse-proxy:2"}})).await;
        let upgraded = |server: &Value| {
            server["status"]["pods"]["upToDate"] == 3
                && server["status"]["observedGeneration"] == 2
                && is(server, "Ready", "True")
        };
        scene.until("they have the image", upgraded).await;
        for pod in scene.pods().await {
            let statuses = &pod["status"]["initContainerStatuses"];
            assert_eq!(statuses[0]["restartCount"], 1, "it was changed once");
        }
        assert_eq!(scene.templates().await, 2);
    };
    let evicted = async {
        let scene = Scene::new(&cluster, "evicted").await;
        scene.deployed(2).await;
        let spec = "{selector: {matchLabels: {app: weather}}, rollout: {strategy: EvictPods}}";
        scene.apply(spec).await;
        scene.well(2).await;
        assert_eq!(scene.templates().await, 1);
    };
    tokio::join!(restarted, evicted);
    let troubles = gate.troubles();
    eprintln!("troubles: {troubles:?}, requests: {:?}", gate.asked());
    assert!(troubles.iter().all(|count| *count > 0), "{troubles:?}");

    // Then it rests: all that it asks for is its lease.
    gate.calm();
    let (mut all, mut leases) = gate.asked();
    eventually("it rests", PATIENCE, async || {
        let now = gate.asked();
        let others = (now.0 - all) - (now.1 - leases);
        if others > 0 {
            (all, leases) = now;
        }
        (now.1 - leases >= RENEWALS).then_some(())
    })
    .await;
    operator.assert_allowed().await;
}

#[tokio::test]
async fn a_leader_that_cannot_renew_its_lease_stops_by_itself() {
    let cluster = Cluster::with_workloads().await;
    let rights = Operator::rights(&cluster, None).await;
    let gate = Gate::before(&cluster, &rights).await;
    gate.calm();
    let first = Operator::with(&cluster, &gate.kubeconfig(), "first", &[]).await;
    first.leads().await;
    let mut second = Operator::with(&cluster, &rights, "second", &[]).await;
    // Nobody has the pods run: the restart is under way for as long as that.
    let mut scene = Scene::new(&cluster, "lost").await;
    scene.deployed(3).await;
    scene.rest();
    scene.apply(SELECTS).await;
    let rolls = |server: &Value| server["status"]["workloads"][0]["rollout"] == "InProgress";
    scene.until("the restart is under way", rolls).await;
    let pid = first.pid();
    gate.keep_leases(true);
    eventually("the first has stopped", PATIENCE, async || {
        let leading = first.scrape().await.sum("mcpulse_operator_leading", &[]);
        (leading < 0.5).then_some(())
    })
    .await;
    second.leads().await;
    scene.work();
    scene.well(3).await;
    assert_eq!(scene.templates().await, 2, "one restart");
    assert_eq!((restarts(&first, "ok").await, restarts(&second, "ok").await), (1, 0));

    // It is the same process, and takes up where the other ends.
    gate.keep_leases(false);
    second.stop().await;
    first.leads().await;
    assert_eq!(first.pid(), pid);
    scene.edit(&json!({"transport": {"http": {"path": "/other"}}})).await;
    let again = |server: &Value| {
        server["status"]["pods"]["upToDate"] == 3
            && server["status"]["observedGeneration"] == 2
            && is(server, "Ready", "True")
    };
    scene.until("it goes on", again).await;
    assert_eq!(scene.templates().await, 3);
    first.assert_allowed().await;
}
