//! A server called weather, what is put into its pods, and a pod of it.

use mcpulse_operator::crd::{Injection, McpServer};
use serde_json::{Value, json};

use crate::{cluster::Cluster, shape};

pub(crate) fn server(name: &str) -> McpServer {
    let spec = "{selector: {matchLabels: {app: weather}}}";
    McpServer::new(name, serde_yaml::from_str(spec).expect("a spec"))
}

pub(crate) fn injection(name: &str) -> Injection {
    shape::injection(&server(name))
}

pub(crate) fn pod() -> Value {
    let ports = json!([{"name": "mcp", "containerPort": 8000}]);
    let container = json!({"name": "server", "image": "a", "ports": ports});
    let metadata = json!({"name": "weather", "labels": {"app": "weather"}});
    json!({"metadata": metadata, "spec": {"containers": [container]}})
}

/// Waits until the policy has seen every McpServer that was published before.
pub(crate) async fn known(cluster: &Cluster) {
    let namespace = cluster.plane.namespace("witness", &[]).await;
    let injection = injection("last");
    cluster.publish(&namespace, &server("last"), &json!(injection)).await;
    cluster.injects(&namespace, &pod(), &injection).await;
}
