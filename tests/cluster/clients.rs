//! The main thing: an unmodified client calls through an unchanged Service, and each call is told.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
};

use mcpulse_tests::{Client, client::Call};
use serde_json::json;

use crate::{
    cluster::{Cluster, is_ready, on_cluster, pods_path, text},
    install,
    workload::{SERVICE, Workload, mcp_server},
};

/// What each client does.
fn calls() -> [Call; 2] {
    [Call::new("greet", json!({"name": "you"})), Call::new("ping", json!({}))]
}

/// The example server of the Go SDK, which keeps sessions: those of a client come to one pod.
fn greeter(replicas: u32) -> String {
    let workload = Workload { replicas, ..Workload::new("go", "['-http', '0.0.0.0:8000']", 8000) };
    format!("{workload}---{}", SERVICE.replace("spec:", "spec:\n  sessionAffinity: ClientIP"))
}

#[test]
fn every_client_calls_through_the_service_and_each_call_is_told_once() {
    on_cluster(async |cluster: &Cluster| {
        let namespace = cluster.namespace("clients", &[]).await;
        cluster.apply(&namespace, &mcp_server("")).await;
        cluster.rendered(&namespace, "server").await;
        cluster.apply(&namespace, &greeter(2)).await;
        let pods = cluster.ready(&namespace, "server", 2, 1).await;
        let url = cluster.url(&namespace, "/mcp").await;
        for client in Client::ALL {
            let outcomes = cluster.hold(client, &url, &calls()).await;
            assert_eq!(outcomes[0]["ok"][0]["text"], "Hi you", "{client:?}: {outcomes}");
        }
        let expected = Client::ALL.len() * calls().len();
        let server = format!("{namespace}/server");
        let reported = cluster.reported(install::NAMESPACE, &server, expected).await;
        let mut by_client = BTreeMap::<_, Vec<_>>::new();
        for call in &reported {
            by_client.entry(text(&call["client"])).or_default().push(text(&call["tool"]));
        }
        for client in Client::ALL {
            let tools = by_client.get_mut(client.name()).expect("it is told of");
            tools.sort_unstable();
            assert_eq!(*tools, ["greet", "ping"], "{client:?}");
        }
        let (mut observed, mut delivered) = (0.0, 0.0);
        for pod in &pods {
            let scrape = cluster.scrape(pod).await;
            assert_eq!(scrape.assert_balanced(), ["mcpulse"]);
            let name = text(&pod["metadata"]["name"]);
            let who = [
                ("k8s_namespace_name", namespace.as_str()),
                ("k8s_pod_name", name),
                ("k8s_node_name", "node"),
                ("k8s_deployment_name", "server"),
            ];
            assert_eq!(scrape.find("target_info", &who).count(), 1, "{scrape:#?}");
            let labels = [("mcpulse_server_id", server.as_str())];
            observed += scrape.sum("mcpulse_calls_total", &labels);
            delivered += scrape.sum("mcpulse_reports_total", &[("result", "delivered")]);
        }
        assert_eq!((observed, delivered), (10.0, 10.0));
        cluster.condition(&namespace, "server", ("Ready", "True", "Ready")).await;
    });
}

#[test]
fn pods_that_run_are_rolled_and_never_too_few() {
    on_cluster(async |cluster: &Cluster| {
        let namespace = cluster.namespace("rolled", &[]).await;
        cluster.apply(&namespace, &greeter(2)).await;
        let before = cluster.ready(&namespace, "server", 2, 0).await;
        let over = AtomicBool::new(false);
        let watching = async {
            let mut fewest = usize::MAX;
            while !over.load(Ordering::Relaxed) {
                if let Some(list) = cluster.get(&pods_path(&namespace, "server")).await {
                    let pods = list["items"].as_array().expect("a list");
                    fewest = fewest.min(pods.iter().filter(|pod| is_ready(pod)).count());
                }
            }
            fewest
        };
        let rolling = async {
            cluster.apply(&namespace, &mcp_server("")).await;
            let after = cluster.ready(&namespace, "server", 2, 1).await;
            over.store(true, Ordering::Relaxed);
            after
        };
        let (fewest, after) = tokio::join!(watching, rolling);
        assert!(fewest >= 2, "{fewest} pods were ready");
        for pod in &before {
            let uid = &pod["metadata"]["uid"];
            assert!(after.iter().all(|pod| pod["metadata"]["uid"] != *uid));
        }
        let url = cluster.url(&namespace, "/mcp").await;
        let said = cluster.call(Client::Rmcp, &url, &calls()[0]).await;
        assert_eq!(said, "Hi you");
        cluster.reported(install::NAMESPACE, &format!("{namespace}/server"), 1).await;
        cluster.condition(&namespace, "server", ("Ready", "True", "Ready")).await;
    });
}
