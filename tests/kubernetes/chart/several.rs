//! Several releases in one cluster, each of a namespace of its own.

use mcpulse_tests::eventually;
use serde_json::json;

use super::{
    helm::{Helm, chart},
    installed::cluster,
    tester::Pods,
};
use crate::{
    cluster::{Cluster, PATIENCE, carries_sidecar},
    operator::{manifest, server},
    scene::SELECTS,
    weather::pod,
};

/// Whether a pod of a namespace comes with the sidecar.
async fn injected(cluster: &Cluster, namespace: &str) -> bool {
    carries_sidecar(&cluster.dry_run(namespace, &pod()).await.expect("a pod"))
}

#[tokio::test]
async fn releases_of_different_namespaces_leave_each_other_alone() {
    let cluster = cluster().await;
    let (chart, helm) = (chart(), Helm::with(4, &cluster.plane.kubeconfig()));
    for namespace in ["one", "two", "left", "right", "neither"] {
        cluster.make_namespace(namespace).await;
    }
    let common = ["--set", "log.format=text,log.level=info"];
    let install = |name: &'static str, namespace: &'static str, set: &'static str| {
        [&["install", name, chart.as_str(), "--namespace", namespace, "--set", set], &common[..]]
            .concat()
    };
    helm.says(&install("one", "one", "watchNamespace=left")).await;
    cluster.serves_servers().await;

    // What would go wrong is said before anything is done.
    let whole = "release one/one watches namespace left already";
    for (words, says) in [
        (install("two", "two", "watchNamespace=right"), "set crd.install=false"),
        (install("two", "two", "watchNamespace=left,crd.install=false"), whole),
        (install("two", "two", "crd.install=false"), whole),
    ] {
        let why = helm.refuses(&words).await;
        assert!(why.contains(says), "{why}");
    }
    helm.says(&install("two", "two", "watchNamespace=right,crd.install=false")).await;

    if !cluster.has_policies {
        // One wire leads to all operators, and each has a certificate of its own.
        return cluster.plane.pass_over(", injection", "has a webhook each").await;
    }
    let (one, two) =
        (Pods::of(&cluster, "one", "one-mcpulse"), Pods::of(&cluster, "two", "two-mcpulse"));
    let (first, second) = (one.operator().await, two.operator().await);
    for namespace in ["left", "right", "neither"] {
        cluster.apply(&manifest(namespace, "weather", SELECTS).to_string()).await;
    }
    for namespace in ["left", "right"] {
        let what = format!("pods of {namespace} come with the sidecar");
        eventually(&what, PATIENCE, async || injected(&cluster, namespace).await.then_some(()))
            .await;
    }
    let neither = cluster.get(&server("neither", "weather")).await.expect("the McpServer");
    assert!(neither.get("status").is_none(), "{neither:#}");
    assert!(!injected(&cluster, "neither").await);

    first.assert_allowed().await;
    second.assert_allowed().await;
    helm.says(&["uninstall", "one", "--namespace", "one"]).await;
    eventually("the policy of the release is gone", PATIENCE, async || {
        (!injected(&cluster, "left").await).then_some(())
    })
    .await;
    assert!(injected(&cluster, "right").await);
    // Nobody but the operator of the other writes what pods there are given.
    let status = json!({"status": {"target": "x"}});
    let path = format!("{}/status", server("right", "weather"));
    let refused = cluster.merge(&path, &status).await.expect_err("it is the operator's");
    assert!(refused.contains("only the operator writes the status"), "{refused}");
}
