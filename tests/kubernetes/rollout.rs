//! What the operator does about pods that run, and what it says of them.

use serde_json::Value;

use crate::{
    cluster::{Cluster, carries_sidecar},
    kubelet::Kubelet,
    operator::{IMAGE, Operator, condition, deployment, manifest, server, workload},
};

const SELECTS: &str = "{selector: {matchLabels: {app: weather}}}";

/// The pods of a Deployment that are not on their way out.
async fn pods(cluster: &Cluster, namespace: &str) -> Vec<Value> {
    let path = format!("/api/v1/namespaces/{namespace}/pods?labelSelector=app%3Dweather");
    let pods = cluster.get(&path).await.expect("pods");
    let pods = pods["items"].as_array().expect("a list").iter();
    pods.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).cloned().collect()
}

fn is(server: &Value, type_: &str, status: &str) -> bool {
    condition(server, type_)["status"] == status
}

#[tokio::test]
async fn new_pods_are_injected_and_counted() {
    let cluster = Cluster::with_workloads().await;
    let mut operator = Operator::start(&cluster, "one");
    let namespace = cluster.plane.namespace("new", &[]).await;
    let _kubelet = Kubelet::of(cluster.client(), &namespace);
    cluster.apply(&manifest(&namespace, "weather", SELECTS)).await;
    let path = server(&namespace, "weather");
    let published =
        |server: &Value| Some(server["status"]["injection"]["revision"].as_str()?.to_owned());
    let revision = cluster.until("an injection is published", &path, published).await;
    let ready = |server: &Value| is(server, "Ready", "True").then(|| server.clone());
    let server = cluster.until("all is well", &path, ready).await;
    assert_eq!(server["status"]["injected"], "0/0");
    assert_eq!(condition(&server, "Injected")["reason"], "NoPods");

    cluster.apply(&workload(&namespace, "weather", 2).to_string()).await;
    let counted = |server: &Value| {
        (server["status"]["pods"]["ready"] == 2 && is(server, "Ready", "True"))
            .then(|| server.clone())
    };
    let server = cluster.until("two pods carry a ready sidecar", &path, counted).await;
    let status = &server["status"];
    assert_eq!(status["injected"], "2/2", "{status:#}");
    assert_eq!(status["pods"]["upToDate"], 2, "{status:#}");
    assert_eq!(status["workloads"][0]["name"], "weather", "{status:#}");
    assert_eq!(status["observedGeneration"], 1);
    assert_eq!(status["target"], "app=weather");
    for pod in pods(&cluster, &namespace).await {
        assert!(carries_sidecar(&pod), "{pod:#}");
        assert_eq!(pod["metadata"]["annotations"]["mcpulse.io/revision"], revision.as_str());
        assert_eq!(pod["spec"]["initContainers"][0]["image"], IMAGE);
    }
    operator.stop().await;
    let lease = "/apis/coordination.k8s.io/v1/namespaces/mcpulse-system/leases/mcpulse-operator";
    let lease = cluster.get(lease).await.expect("the lease");
    assert_eq!(lease["spec"]["holderIdentity"], Value::Null, "it was given back");
}

#[tokio::test]
async fn a_workload_that_runs_is_restarted_once() {
    let cluster = Cluster::with_workloads().await;
    let operator = Operator::start(&cluster, "one");
    let namespace = cluster.plane.namespace("old", &[]).await;
    let _kubelet = Kubelet::of(cluster.client(), &namespace);
    cluster.apply(&workload(&namespace, "weather", 3).to_string()).await;
    let available = |deployment: &Value| {
        (deployment["status"]["availableReplicas"] == 3)
            .then(|| deployment["metadata"]["generation"].clone())
    };
    let path = deployment(&namespace, "weather");
    assert_eq!(cluster.until("three pods run", &path, available).await, 1);

    cluster.apply(&manifest(&namespace, "weather", SELECTS)).await;
    let ready = |server: &Value| {
        (server["status"]["injected"] == "3/3" && is(server, "Ready", "True"))
            .then(|| server.clone())
    };
    let server = cluster.until("three pods carry it", &server(&namespace, "weather"), ready).await;
    let status = &server["status"];
    assert_eq!(status["workloads"][0]["rollout"], "Idle", "{status:#}");
    let deployment = cluster.get(&path).await.expect("the Deployment");
    assert_eq!(deployment["metadata"]["generation"], 2, "one restart: {}", operator.said());
    let said = deployment["metadata"]["annotations"]["mcpulse.io/restarted-for"].as_str();
    let revision = status["injection"]["revision"].as_str().expect("a revision");
    assert!(said.is_some_and(|said| said.starts_with(revision)), "{said:?}");
    let scrape = operator.scrape().await;
    let restarts = [("action", "restart"), ("result", "ok")];
    assert!((scrape.sum("mcpulse_rollout_actions_total", &restarts) - 1.0).abs() < 0.5);
}
