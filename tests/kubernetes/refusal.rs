//! `failurePolicy: Fail`: pods that cannot get the sidecar are refused, whichever engine injects,
//! unless they opt out or their McpServer takes it back.

use mcpulse_operator::{crd::McpServer, policy, release::Release};
use mcpulse_tests::eventually;
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, PATIENCE, carries_sidecar},
    hook::Hook,
    weather::{injection, pod, server},
};

/// A server that refuses pods without the sidecar.
fn strict() -> McpServer {
    let mut server = json!(server("weather"));
    server["spec"]["injection"]["failurePolicy"] = "Fail".into();
    serde_json::from_value(server).expect("a McpServer")
}

/// A pod that cannot have it.
fn taken() -> Value {
    let mut pod = pod();
    pod["spec"]["hostNetwork"] = true.into();
    pod
}

/// What becomes of pods where one like `taken` is refused.
async fn refuses(cluster: &Cluster, namespace: &str) {
    let why = eventually("it is refused", PATIENCE, async || {
        cluster.dry_run(namespace, &taken()).await.err()
    })
    .await;
    for part in ["McpServer weather refuses pods", "mcpulse.io/inject: disabled", "Ignore"] {
        assert!(why.contains(part), "{why}");
    }
    for kind in ["labels", "annotations"] {
        let mut out = taken();
        out["metadata"][kind]["mcpulse.io/inject"] = "disabled".into();
        cluster.dry_run(namespace, &out).await.expect("a pod that opts out");
    }
    let mut another = taken();
    another["metadata"]["labels"]["app"] = "another".into();
    cluster.dry_run(namespace, &another).await.expect("a pod that nobody means");
}

#[tokio::test]
async fn what_a_server_refuses_is_refused_with_the_policy() {
    let Some(cluster) = Cluster::with_policy().await else { return };
    cluster.apply(&policy::refusal(&Release::default())).await;
    let injection = injection("weather");
    let namespace = cluster.plane.namespace("strict", &[]).await;
    let opted_out = cluster.plane.namespace("out", &[("mcpulse.io/injection", "disabled")]).await;
    let lenient = cluster.plane.namespace("lenient", &[]).await;
    let pending = cluster.plane.namespace("pending", &[]).await;
    cluster.publish(&opted_out, &strict(), &json!(injection)).await;
    cluster.publish(&lenient, &server("weather"), &json!(injection)).await;
    let path =
        |namespace: &str| format!("/apis/mcpulse.io/v1alpha1/namespaces/{namespace}/mcpservers");
    cluster.post(&path(&pending), &json!(strict())).await.expect("a McpServer");
    cluster.publish(&namespace, &strict(), &json!(injection)).await;
    cluster.injects(&namespace, &pod(), &injection).await;
    refuses(&cluster, &namespace).await;
    for namespace in [&opted_out, &lenient, &pending] {
        cluster.dry_run(namespace, &taken()).await.expect("a pod");
    }

    // Pods that an older server means are that one's.
    let mut newer = injection.clone();
    newer.except = vec![injection.selector.clone()];
    let shared = cluster.plane.namespace("shared", &[]).await;
    cluster.publish(&shared, &strict(), &json!(newer)).await;

    // Taken back, with no operator to be seen.
    let of_weather = format!("{}/weather", path(&namespace));
    let mut found = cluster.get(&of_weather).await.expect("the McpServer");
    found["spec"]["injection"]["failurePolicy"] = "Ignore".into();
    cluster.request("PUT", &of_weather, &found).await.expect("it is changed");
    let accepted = async || cluster.dry_run(&namespace, &taken()).await.ok();
    eventually("it is accepted", PATIENCE, accepted).await;
    cluster.dry_run(&shared, &taken()).await.expect("a pod of the older server");
}

#[tokio::test]
async fn what_a_server_refuses_is_refused_with_the_webhook_also_when_it_is_gone() {
    let cluster = Cluster::start().await;
    cluster.apply(&policy::refusal(&Release::default())).await;
    let hook = Hook::start(&cluster).await;
    let injection = injection("weather");
    let namespace = cluster.plane.namespace("strict", &[]).await;
    cluster.publish(&namespace, &strict(), &json!(injection)).await;
    cluster.injects(&namespace, &pod(), &injection).await;
    refuses(&cluster, &namespace).await;
    drop(hook);
    let refused = async || cluster.dry_run(&namespace, &pod()).await.err();
    let why = eventually("nobody injects", PATIENCE, refused).await;
    assert!(why.contains("McpServer weather refuses pods"), "{why}");
    let mut out = pod();
    out["metadata"]["labels"]["mcpulse.io/inject"] = "disabled".into();
    let told = cluster.dry_run(&namespace, &out).await.expect("a pod that opts out");
    assert!(!carries_sidecar(&told));
}
