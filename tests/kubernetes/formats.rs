//! Upgrade and rollback between versions with another format of what is put into pods, while pods
//! are made all the time: none comes without the sidecar.

use mcpulse_operator::{
    crd,
    policy::{self, FORMATS, Format},
    release::Release,
};
use mcpulse_tests::eventually;
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, PATIENCE, carries_sidecar, plain_while},
    weather::{injection, pod, server},
};

/// The format of an earlier version, in which the sidecar was called otherwise.
const BEFORE: u32 = FORMATS[0].number - 1;

fn before(injection: &Value) -> Value {
    let mut before = injection.clone();
    before["format"] = BEFORE.into();
    before["proxy"] = before["sidecar"].take();
    before.as_object_mut().expect("an injection").remove("sidecar");
    before
}

/// What the earlier version tells API servers, and this one.
fn versions() -> (Vec<Format>, Vec<Format>) {
    let [ours] = FORMATS;
    let policy = ours.policy.replace("injection.sidecar", "injection.proxy").into();
    let earlier = Format { number: BEFORE, policy };
    (vec![earlier.clone()], vec![ours, earlier])
}

/// Writes the status of a McpServer, as its operator does.
async fn write(cluster: &Cluster, namespace: &str, status: Value) {
    let path = format!("/apis/mcpulse.io/v1alpha1/namespaces/{namespace}/mcpservers/weather");
    let mut server = cluster.get(&path).await.expect("the McpServer");
    server["status"] = status;
    let status = format!("{path}/status");
    cluster.request("PUT", &status, &server).await.expect("its status");
}

/// A namespace with a McpServer of this status.
async fn serving(cluster: &Cluster, status: Value) -> String {
    let namespace = cluster.plane.namespace("a", &[]).await;
    let path = format!("/apis/mcpulse.io/v1alpha1/namespaces/{namespace}/mcpservers");
    cluster.post(&path, &json!(server("weather"))).await.expect("a McpServer");
    write(cluster, &namespace, status).await;
    namespace
}

async fn injects(cluster: &Cluster, namespace: &str) {
    let what = format!("pods of {namespace} are injected");
    eventually(&what, PATIENCE, async || {
        let told = cluster.dry_run(namespace, &pod()).await.expect("a pod");
        carries_sidecar(&told).then_some(())
    })
    .await;
}

#[tokio::test]
async fn no_pod_misses_an_upgrade_or_a_rollback() {
    let Some(cluster) = Cluster::start().await.if_policies().await else { return };
    // The definition of either version lets the other's format through.
    let definition: Value =
        serde_yaml::from_str(&crd::yaml().expect("a definition")).expect("YAML");
    let mut definition = definition;
    let schema = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    schema["properties"]["status"]["properties"]["injection"] =
        json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    cluster.apply(&definition.to_string()).await;
    let ours = json!(injection("weather"));
    let theirs = before(&ours);
    let kept = async || {
        let namespace = serving(&cluster, json!({"injection": theirs, "previous": theirs})).await;
        let path = format!("/apis/mcpulse.io/v1alpha1/namespaces/{namespace}/mcpservers/weather");
        let found = cluster.get(&path).await.expect("it");
        (found["status"]["injection"]["proxy"] == theirs["proxy"]).then_some(())
    };
    eventually("the definition is in use", PATIENCE, kept).await;

    let (earlier, current) = versions();
    cluster.apply(&policy::injection(&earlier, &Release::default())).await;
    let namespace = serving(&cluster, json!({"injection": theirs})).await;
    injects(&cluster, &namespace).await;

    let changing = async {
        // Up: the chart comes first, then the operator writes both formats.
        cluster.apply(&policy::injection(&current, &Release::default())).await;
        let witness = serving(&cluster, json!({"injection": ours})).await;
        injects(&cluster, &witness).await;
        write(&cluster, &namespace, json!({"injection": ours, "previous": theirs})).await;

        // Down: the chart brings back the earlier policy and takes this version's away, then the
        // earlier operator writes what it knows.
        cluster.apply(&policy::injection(&earlier, &Release::default())).await;
        let unknown = json!({"format": 99, "selector": {"matchLabels": {"app": "weather"}}});
        let witness = serving(&cluster, json!({"injection": unknown, "previous": theirs})).await;
        injects(&cluster, &witness).await;
        for kind in ["mutatingadmissionpolicybindings", "mutatingadmissionpolicies"] {
            let name = Release::default().policy(FORMATS[0].number);
            let path = format!("/apis/admissionregistration.k8s.io/v1/{kind}/{name}");
            cluster.request("DELETE", &path, &Value::Null).await.expect("it was there");
        }
        let stranger = serving(&cluster, json!({"injection": ours})).await;
        eventually("this version's policy is gone", PATIENCE, async || {
            let told = cluster.dry_run(&stranger, &pod()).await.expect("a pod");
            (!carries_sidecar(&told)).then_some(())
        })
        .await;
        write(&cluster, &namespace, json!({"injection": theirs})).await;
    };
    let plain = plain_while(&cluster, &namespace, &pod(), changing).await;
    assert_eq!(plain, 0, "pods came without the sidecar");
}
