//! What the policy leaves alone: namespaces, pods of others, and everything when something is
//! wrong.

use mcpulse_operator::crd::Selector;
use mcpulse_tests::eventually;
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, PATIENCE, carries_sidecar},
    weather::{injection, known, pod, server},
};

#[tokio::test]
async fn the_policy_leaves_alone_what_it_must() {
    let Some(cluster) = Cluster::with_policy().await else { return };
    let opted_out = cluster.plane.namespace("out", &[("mcpulse.io/injection", "disabled")]).await;
    let namespaces = ["kube-system", "kube-node-lease", "mcpulse-system", opted_out.as_str()];
    for namespace in namespaces {
        cluster.make_namespace(namespace).await;
        cluster.publish(namespace, &server("weather"), &json!(injection("weather"))).await;
    }

    // An error wherever it comes: the first is one of CEL before anything was changed, the others
    // come when half of the patch was there.
    let mut broken = Vec::new();
    for part in ["ports", "env", "securityContext"] {
        let namespace = cluster.plane.namespace("broken", &[]).await;
        let mut injection = json!(injection("weather"));
        injection["sidecar"].as_object_mut().expect("a container").remove(part);
        cluster.publish(&namespace, &server("weather"), &injection).await;
        broken.push(namespace);
    }
    let mut of_another_format = json!(injection("weather"));
    of_another_format["format"] = 2.into();
    let newer = cluster.plane.namespace("newer", &[]).await;
    cluster.publish(&newer, &server("weather"), &of_another_format).await;
    let pending = cluster.plane.namespace("pending", &[]).await;
    let path = format!("/apis/mcpulse.io/v1alpha1/namespaces/{pending}/mcpservers");
    cluster.post(&path, &json!(server("weather"))).await.expect("a McpServer");
    known(&cluster).await;

    let mut root = pod();
    root["spec"]["securityContext"] = json!({"runAsUser": 0});
    let all = namespaces.iter().copied().chain(broken.iter().map(String::as_str));
    for namespace in all.chain([newer.as_str(), pending.as_str()]) {
        let told = cluster.dry_run(namespace, &root).await.expect("a pod");
        assert!(!carries_sidecar(&told), "{namespace}: {told:#}");
        assert_eq!(told["metadata"]["annotations"], Value::Null, "{namespace}");
        assert_eq!(told["spec"]["containers"][0]["ports"][0]["name"], "mcp", "{namespace}");
    }
    let client = cluster.plane.client();
    let request = http::Request::get("/metrics").body(Vec::new()).expect("a request");
    let metrics = client.request_text(request).await.expect("metrics");
    let failed = |line: &&str| {
        line.starts_with("apiserver_mutating_admission_policy_check_total")
            && !line.contains("no_error")
    };
    let counts = metrics.lines().filter(failed).filter_map(|line| line.rsplit(' ').next());
    let errors: usize = counts.filter_map(|count| count.parse::<usize>().ok()).sum();
    assert!(errors >= broken.len(), "{errors} errors were forced");
}

#[tokio::test]
async fn a_pod_of_two_servers_is_the_older_ones_and_without_a_binding_nobodys() {
    let Some(cluster) = Cluster::with_policy().await else { return };
    let namespace = cluster.plane.namespace("shared", &[]).await;
    let older = injection("older");
    let mut newer = injection("newer");
    newer.selector = Selector::labels([("track".to_owned(), "stable".to_owned())].into());
    newer.except = vec![older.selector.clone()];
    cluster.publish(&namespace, &server("newer"), &json!(newer)).await;
    cluster.publish(&namespace, &server("older"), &json!(older)).await;
    known(&cluster).await;
    let mut both = pod();
    both["metadata"]["labels"]["track"] = "stable".into();
    let told = cluster.dry_run(&namespace, &both).await.expect("a pod");
    assert_eq!(told["metadata"]["labels"]["mcpulse.io/server"], "older");
    both["metadata"]["labels"]["app"] = "another".into();
    let told = cluster.dry_run(&namespace, &both).await.expect("a pod");
    assert_eq!(told["metadata"]["labels"]["mcpulse.io/server"], "newer");

    // Sixteen containers with a hundred ports are within what an expression may cost.
    let mut large = pod();
    let container = |number: u64| {
        let ports = (0..6).map(|at| json!({"containerPort": 20000 + number * 10 + at}));
        let probe = json!({"httpGet": {"port": 20000 + number * 10}});
        let ports: Vec<Value> = ports.collect();
        let limits = json!({"cpu": "10m", "memory": "10Mi"});
        json!({"name": format!("c{number}"), "image": "a", "ports": ports,
               "readinessProbe": probe, "resources": {"limits": limits}})
    };
    let containers = large["spec"]["containers"].as_array_mut().expect("containers");
    let more = (0..9).map(|at| json!({"containerPort": 30000 + at}));
    containers[0]["ports"].as_array_mut().expect("ports").extend(more);
    containers.extend((1..16).map(container));
    assert_eq!(containers.iter().filter_map(|one| one["ports"].as_array()).flatten().count(), 100);
    assert_eq!(containers.len(), 16);
    let told = cluster.dry_run(&namespace, &large).await.expect("a pod");
    assert!(carries_sidecar(&told), "{told:#}");

    let binding = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings/\
                   injection-1.mcpulse.io";
    cluster.request("DELETE", binding, &Value::Null).await.expect("the binding is gone");
    eventually("nothing is injected", PATIENCE, async || {
        let told = cluster.dry_run(&namespace, &pod()).await.expect("a pod");
        (!carries_sidecar(&told)).then_some(())
    })
    .await;
}
