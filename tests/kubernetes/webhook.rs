//! The webhook on a real API server: which pods it is asked about, what it says, and that no pod
//! waits for it when it is gone.

use mcpulse_operator::engine::Engine;
use mcpulse_tests::eventually;
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, PATIENCE, carries_sidecar, feed},
    hook::{CONFIGURATION, Hook},
    weather::{injection, pod, server},
};

/// The names of the webhooks; none where there is no configuration.
async fn webhooks(cluster: &Cluster) -> Option<Vec<String>> {
    let path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
    let found = cluster.get(&format!("{path}/{CONFIGURATION}")).await.ok()?;
    let webhooks = found["webhooks"].as_array().into_iter().flatten();
    Some(webhooks.filter_map(|one| one["name"].as_str().map(str::to_owned)).collect())
}

#[tokio::test]
async fn each_server_has_its_webhook_and_without_one_there_is_none() {
    let cluster = Cluster::start().await;
    let hook = Hook::start(&cluster).await;
    hook.trusted().await;
    assert_eq!(webhooks(&cluster).await, None, "a configuration for nothing");

    let namespace = cluster.plane.namespace("a", &[]).await;
    let injection = injection("weather");
    cluster.publish(&namespace, &server("weather"), &json!(injection)).await;
    cluster.injects(&namespace, &pod(), &injection).await;
    let own = format!("weather.{namespace}.mcpulse.io");
    assert_eq!(webhooks(&cluster).await, Some(vec![own]));

    // Others are not asked about.
    let asked = |hook: &Hook| hook.counted("injected") + hook.counted("skipped");
    let before = asked(&hook);
    let mut another = pod();
    another["metadata"]["labels"]["app"] = "another".into();
    cluster.dry_run(&namespace, &another).await.expect("a pod");
    let elsewhere = cluster.plane.namespace("b", &[]).await;
    cluster.dry_run(&elsewhere, &pod()).await.expect("a pod");
    let mut out = pod();
    out["metadata"]["labels"]["mcpulse.io/inject"] = "disabled".into();
    cluster.dry_run(&namespace, &out).await.expect("a pod");
    assert_eq!(asked(&hook), before, "it was asked about pods that are not meant");

    hook.engine.send_replace(Engine::Policy);
    let gone = async || webhooks(&cluster).await.filter(Vec::is_empty);
    eventually("the policy injects alone", PATIENCE, gone).await;
    hook.engine.send_replace(Engine::Webhook);
    cluster.injects(&namespace, &pod(), &injection).await;

    let path = format!("/apis/mcpulse.io/v1alpha1/namespaces/{namespace}/mcpservers/weather");
    cluster.request("DELETE", &path, &Value::Null).await.expect("it is deleted");
    eventually("its webhook is gone", PATIENCE, gone).await;
}

#[tokio::test]
async fn a_pod_that_cannot_have_it_starts_and_an_event_says_why() {
    let cluster = Cluster::start().await;
    let _hook = Hook::start(&cluster).await;
    let namespace = cluster.plane.namespace("a", &[]).await;
    let injection = injection("weather");
    cluster.publish(&namespace, &server("weather"), &json!(injection)).await;
    cluster.injects(&namespace, &pod(), &injection).await;

    let mut taken = pod();
    taken["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "weather", "uid": "1",
        "controller": true,
    }]);
    taken["spec"]["hostNetwork"] = true.into();
    let events = async || {
        let found = cluster.get(&format!("/api/v1/namespaces/{namespace}/events")).await;
        found.expect("events")["items"].as_array().cloned().unwrap_or_default()
    };
    cluster.dry_run(&namespace, &taken).await.expect("a pod");
    let pods = format!("/api/v1/namespaces/{namespace}/pods");
    let made = cluster.post(&pods, &taken).await.expect("a pod");
    assert!(!carries_sidecar(&made));
    let found = eventually("an event", PATIENCE, async || {
        Some(events().await).filter(|events| !events.is_empty())
    })
    .await;
    assert_eq!(found.len(), 1, "one for a dry run as well: {found:#?}");
    let event = &found[0];
    assert_eq!(event["involvedObject"]["kind"], "ReplicaSet");
    assert_eq!(event["related"]["kind"], "McpServer");
    assert_eq!((&event["reason"], &event["type"]), (&json!("HostNetwork"), &json!("Warning")));

    taken["metadata"]["name"] = "told".into();
    (taken["apiVersion"], taken["kind"]) = ("v1".into(), "Pod".into());
    let mut kubectl = cluster.kubectl();
    kubectl.args(["create", "-n", &namespace, "-f", "-"]);
    let told = feed(kubectl, &taken.to_string()).await;
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(told.starts_with("Warning: mcpulse: no sidecar (HostNetwork): "), "{told}");
}

#[tokio::test]
async fn a_webhook_that_is_gone_is_in_nobodys_way() {
    let cluster = Cluster::start().await;
    let hook = Hook::start(&cluster).await;
    let namespace = cluster.plane.namespace("a", &[]).await;
    let injection = injection("weather");
    cluster.publish(&namespace, &server("weather"), &json!(injection)).await;
    cluster.injects(&namespace, &pod(), &injection).await;
    drop(hook);
    let plain =
        async || cluster.dry_run(&namespace, &pod()).await.map(|pod| !carries_sidecar(&pod));
    eventually("the webhook ends", PATIENCE, async || plain().await.expect("a pod").then_some(()))
        .await;
    assert_eq!(plain().await, Ok(true));
}
