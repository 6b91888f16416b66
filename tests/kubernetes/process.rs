//! The operator as a process whose own webhook injects: because it is told to, because there is
//! no policy, or because the one that is there does nothing.

use std::path::Path;

use mcpulse_operator::{policy, release::Release};
use mcpulse_tests::eventually;
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, PATIENCE, carries_sidecar},
    operator::{Operator, condition, deployment},
    scene::{SELECTS, Scene},
    weather::pod,
    wire::Wire,
};

/// Starts one whose webhook is at the end of the wire.
async fn injecting(
    cluster: &Cluster,
    (wire, rights): (&Wire, &Path),
    identity: &str,
    injection: &str,
) -> Operator {
    let url = wire.url();
    let arguments = ["--injection", injection, "--webhook-url", &url];
    let operator = Operator::with(cluster, rights, identity, &arguments).await;
    wire.lead_to(operator.webhook_port().await);
    operator
}

async fn injects(cluster: &Cluster, namespace: &str, operator: &Operator) {
    let counted = async || {
        let injected = [("result", "injected")];
        operator.scrape().await.sum("mcpulse_injections_total", &injected)
    };
    let before = counted().await;
    eventually("a pod is injected", PATIENCE, async || {
        let told = cluster.dry_run(namespace, &pod()).await.expect("a pod");
        carries_sidecar(&told).then_some(())
    })
    .await;
    assert!(counted().await > before, "by another: {}", operator.said());
}

async fn a_webhook_out_of_reach_costs_the_sidecar_and_it_comes_back(
    cluster: &Cluster,
    wire: &Wire,
) {
    let mut scene = Scene::new(cluster, "cut").await;
    scene.deployed(3).await;
    // Nobody has the pods run: the restart is under way for as long as that.
    scene.rest();
    scene.apply(SELECTS).await;
    let rolls = |server: &Value| server["status"]["workloads"][0]["rollout"] == "InProgress";
    scene.until("the restart is under way", rolls).await;
    wire.cut();
    scene.work();
    let missed = |server: &Value| {
        let status = &server["status"];
        status["pods"]["matched"] == 3
            && status["skipped"][0]["reason"] == "Missed"
            && condition(server, "Injected")["reason"] == "NotInjecting"
    };
    let server = scene.until("pods come without it", missed).await;
    let pods = scene.pods().await;
    let ready = |pod: &&Value| pod["status"]["phase"] == "Running";
    assert_eq!((pods.len(), pods.iter().filter(ready).count()), (3, 3), "{server:#}");
    assert!(pods.iter().any(|pod| !carries_sidecar(pod)));
    assert_eq!(scene.templates().await, 2, "nothing is restarted in vain");
    wire.mend();
    scene.well(3).await;
    assert_eq!(scene.templates().await, 3, "they are healed once");
}

#[tokio::test]
async fn the_operators_own_webhook_injects_where_policies_do_not() {
    let cluster = Cluster::with_controllers().await;
    let rights = Operator::rights(&cluster, None).await;
    let wire = Wire::new().await;
    let ends = (&wire, &*rights);
    let mut operator = injecting(&cluster, ends, "told", "webhook").await;
    let scene = Scene::new(&cluster, "webhook").await;
    scene.deployed(2).await;
    scene.apply(SELECTS).await;
    scene.well(2).await;
    assert_eq!(scene.templates().await, 2, "one restart");
    injects(&cluster, &scene.namespace, &operator).await;
    a_webhook_out_of_reach_costs_the_sidecar_and_it_comes_back(&cluster, &wire).await;
    operator.assert_allowed().await;
    operator.stop().await;

    // While it is gone, pods are made without the sidecar.
    let more = json!({"spec": {"replicas": 3}});
    let path = deployment(&scene.namespace, "weather");
    cluster.merge(&path, &more).await.expect("more pods");
    let third = async || Some(scene.pods().await).filter(|pods| pods.len() == 3);
    let pods = eventually("a third pod", PATIENCE, third).await;
    assert_eq!(pods.iter().filter(|pod| carries_sidecar(pod)).count(), 2);

    // Another finds no policy.
    let operator = injecting(&cluster, ends, "none", "auto").await;
    scene.well(3).await;
    injects(&cluster, &scene.namespace, &operator).await;
    assert_eq!(scene.templates().await, 3, "one restart more");
    operator.assert_allowed().await;
}

#[tokio::test]
async fn the_webhook_comes_in_where_a_policy_that_is_bound_does_nothing() {
    let Some(cluster) = Cluster::with_controllers().await.if_policies().await else { return };
    let text = policy::injection(&policy::FORMATS, &Release::default());
    let idle = text.replace("resources: [pods]", "resources: [podtemplates]");
    assert_ne!(idle, text);
    cluster.apply(&idle).await;
    let rights = Operator::rights(&cluster, None).await;
    let wire = Wire::new().await;
    let scene = Scene::new(&cluster, "idle").await;
    scene.apply(SELECTS).await;
    let operator = injecting(&cluster, (&wire, &rights), "idle", "auto").await;
    injects(&cluster, &scene.namespace, &operator).await;
    scene.deploy(2).await;
    scene.well(2).await;
    assert_eq!(scene.templates().await, 1, "nothing is restarted");
    operator.assert_allowed().await;
}
