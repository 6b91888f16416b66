//! What people do to a `McpServer` and to its pods while these run.

use mcpulse_tests::{Client, client::Call};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, is_ready, on_cluster, server_path, sidecars_of, text},
    install,
    workload::{SERVICE, Workload, mcp_server},
};

const GREETER: &str = "['-http', '0.0.0.0:8000']";

fn greeter() -> String {
    format!("{}---{SERVICE}", Workload::new("go", GREETER, 8000))
}

/// Which processes of a pod run: the container's id, by its name.
fn running(pod: &Value, name: &str) -> String {
    let of = |kind: &str| pod["status"][kind].as_array().cloned().unwrap_or_default();
    let mut all = of("containerStatuses").into_iter().chain(of("initContainerStatuses"));
    let found = all.find(|status| status["name"] == name).expect("a container");
    text(&found["containerID"]).to_owned()
}

#[test]
fn pods_that_opt_out_and_pods_that_two_want() {
    on_cluster(async |cluster: &Cluster| {
        let namespace = cluster.namespace("two", &[]).await;
        cluster.apply(&namespace, &mcp_server("")).await;
        cluster.rendered(&namespace, "server").await;
        let younger = mcp_server("").replace("name: server", "name: younger");
        cluster.apply(&namespace, &younger).await;
        cluster.rendered(&namespace, "younger").await;
        let out = "metadata: {labels: {app: server}, annotations: {mcpulse.io/inject: disabled}}";
        let opted_out = greeter()
            .replace("metadata: {labels: {app: server}}", out)
            .replace("metadata: {name: server}", "metadata: {name: out}");
        cluster.apply(&namespace, &opted_out).await;
        cluster.ready(&namespace, "server", 1, 0).await;
        cluster.told(&namespace, &["delete", "deployment,service", "out"]).await;

        cluster.apply(&namespace, &greeter()).await;
        let pods = cluster.ready(&namespace, "server", 1, 1).await;
        assert_eq!(pods[0]["metadata"]["labels"]["mcpulse.io/server"], "server", "the older one");
        let call = Call::new("greet", json!({"name": "you"}));
        let said = cluster.call(Client::Rmcp, &cluster.url(&namespace, "/mcp").await, &call).await;
        assert_eq!(said, "Hi you");
        cluster.reported(install::NAMESPACE, &format!("{namespace}/server"), 1).await;
    });
}

#[test]
fn an_edit_reaches_sidecars_that_run() {
    on_cluster(async |cluster: &Cluster| {
        let namespace = cluster.namespace("edited", &[]).await;
        install::receiver(cluster, &namespace).await;
        cluster.apply(&namespace, &mcp_server("telemetry: {mcpulse: {enabled: false}}")).await;
        cluster.rendered(&namespace, "server").await;
        cluster.apply(&namespace, &greeter()).await;
        let before = cluster.ready(&namespace, "server", 1, 1).await;
        let is_valid = cluster.scrape(&before[0]).await;
        let applied = |scrape: &mcpulse_tests::Scrape| {
            scrape.sum("mcpulse_config_reloads_total", &[("result", "applied")])
        };
        let reloads = applied(&is_valid);
        cluster
            .apply(
                &namespace,
                &mcp_server(
                    "proxy: {terminationDrainSeconds: 7}\n  telemetry: {mcpulse: {enabled: false}}",
                ),
            )
            .await;
        let what = "the sidecar has read its configuration again";
        mcpulse_tests::eventually(what, crate::cluster::PATIENCE, async || {
            (applied(&cluster.scrape(&before[0]).await) > reloads).then_some(())
        })
        .await;
        let after = cluster.ready(&namespace, "server", 1, 1).await;
        for container in ["server", "mcpulse-proxy"] {
            assert_eq!(running(&after[0], container), running(&before[0], container));
        }
    });
}

#[test]
fn the_sidecar_is_upgraded_beside_a_server_that_goes_on() {
    on_cluster(async |cluster: &Cluster| {
        let namespace = cluster.namespace("upgraded", &[]).await;
        cluster.node.tag("mcpulse-proxy", "localhost/mcpulse-proxy:next");
        cluster.apply(&namespace, &mcp_server("")).await;
        cluster.rendered(&namespace, "server").await;
        cluster.apply(&namespace, &greeter()).await;
        let before = cluster.ready(&namespace, "server", 1, 1).await;
        let image = "proxy: {image: 'localhost/mcpulse-proxy:next'}";
        cluster.apply(&namespace, &mcp_server(image)).await;
        let uid = &before[0]["metadata"]["uid"];
        let path = crate::cluster::pods_path(&namespace, "server");
        let after = cluster
            .until("the sidecar runs the other image", &path, |list| {
                let pod = &list["items"][0];
                let next = running(pod, "mcpulse-proxy") != running(&before[0], "mcpulse-proxy");
                (next && is_ready(pod)).then(|| pod.clone())
            })
            .await;
        assert_eq!(after["metadata"]["uid"], *uid);
        assert_eq!(running(&after, "server"), running(&before[0], "server"));
        let call = Call::new("greet", json!({"name": "you"}));
        let said = cluster.call(Client::Rmcp, &cluster.url(&namespace, "/mcp").await, &call).await;
        assert_eq!(said, "Hi you");
        cluster.reported(install::NAMESPACE, &format!("{namespace}/server"), 1).await;
    });
}

#[test]
fn without_its_mcp_server_a_workload_has_its_own_shape_again() {
    on_cluster(async |cluster: &Cluster| {
        let namespace = cluster.namespace("deleted", &[]).await;
        cluster.apply(&namespace, &mcp_server("")).await;
        cluster.rendered(&namespace, "server").await;
        cluster.apply(&namespace, &greeter()).await;
        cluster.ready(&namespace, "server", 1, 1).await;
        cluster.told(&namespace, &["delete", "mcpserver", "server"]).await;
        assert!(cluster.get(&server_path(&namespace, "server")).await.is_none());
        let pods = cluster.pods(&namespace, "server").await;
        assert_eq!(pods.iter().map(sidecars_of).sum::<usize>(), 1, "pods live on");
        cluster.told(&namespace, &["rollout", "restart", "deployment/server"]).await;
        cluster.ready(&namespace, "server", 1, 0).await;
        let call = Call::new("greet", json!({"name": "you"}));
        let said = cluster.call(Client::Rmcp, &cluster.url(&namespace, "/mcp").await, &call).await;
        assert_eq!(said, "Hi you");
    });
}
