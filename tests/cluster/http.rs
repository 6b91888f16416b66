//! Servers over HTTP as they come: other SDKs, addresses, ports, kinds of Services and workloads.

use mcpulse_tests::{Client, client::Call};
use serde_json::json;

use crate::{
    cluster::{Cluster, on_cluster},
    install,
    workload::{SERVICE, Workload, mcp_server},
};

/// Has the sidecar put into a server that nobody changes, and a client call it through its
/// Service; what the tool says.
async fn called(
    cluster: &Cluster,
    name: &str,
    (workload, spec, path): (Workload, &str, &str),
    (client, call): (Client, Call),
) -> String {
    let namespace = cluster.namespace(name, &[]).await;
    cluster.apply(&namespace, &mcp_server(spec)).await;
    cluster.rendered(&namespace, "server").await;
    cluster.apply(&namespace, &format!("{workload}---{SERVICE}")).await;
    let pods = cluster.ready(&namespace, "server", 1, 1).await;
    let said = cluster.call(client, &cluster.url(&namespace, path).await, &call).await;
    let server = format!("{namespace}/server");
    let reported = cluster.reported(install::NAMESPACE, &server, 1).await;
    assert_eq!(reported[0]["tool"], call.name);
    cluster.scrape(&pods[0]).await.assert_balanced();
    said
}

#[test]
fn the_go_sdk_without_sessions() {
    on_cluster(async |cluster: &Cluster| {
        let workload = Workload {
            container: "command: [/everything-server]",
            ..Workload::new("go", "['-http', '0.0.0.0:8000', '-stateless=true']", 8000)
        };
        let how = (Client::Client2, Call::new("test_simple_text", json!({})));
        let said = called(cluster, "go", (workload, "", "/mcp"), how).await;
        assert_eq!(said, "This is a simple text response for testing.");
    });
}

#[test]
fn the_python_sdk_on_loopback() {
    on_cluster(async |cluster: &Cluster| {
        // It takes requests for localhost alone. Its own probe finds nobody at the pod's address.
        let mut workload = Workload::new("python", "[streamable-http, 127.0.0.1, '8000']", 8000);
        workload.probe = "";
        let how = (Client::Mcp1, Call::new("add", json!({"a": 1, "b": 2})));
        assert_eq!(called(cluster, "loopback", (workload, "", "/mcp"), how).await, "3");
    });
}

#[test]
fn the_python_sdk_on_all_addresses() {
    on_cluster(async |cluster: &Cluster| {
        let workload = Workload::new("python", "[streamable-http, 0.0.0.0, '8000']", 8000);
        let how = (Client::Mcp2, Call::new("add", json!({"a": 1, "b": 2})));
        assert_eq!(called(cluster, "addresses", (workload, "", "/mcp"), how).await, "3");
    });
}

#[test]
fn server_everything_behind_a_number_after_its_remedy() {
    on_cluster(async |cluster: &Cluster| {
        let namespace = cluster.namespace("number", &[]).await;
        let workload = Workload {
            container: "env: [{name: PORT, value: '3001'}]",
            ..Workload::new("node", "[streamableHttp]", 3001)
        };
        let service = SERVICE.replace("targetPort: mcp", "targetPort: 3001");
        cluster.apply(&namespace, &mcp_server("")).await;
        cluster.apply(&namespace, &format!("{workload}---{service}")).await;
        let condition = ("TargetsResolved", "False", "NumericTargetPort");
        let remedy = cluster.condition(&namespace, "server", condition).await;
        assert!(remedy.contains("takeover: MovePort with movePort.env"), "{remedy}");
        cluster.ready(&namespace, "server", 1, 0).await;
        let url = cluster.url(&namespace, "/mcp").await;
        let call = Call::new("echo", json!({"message": "hello"}));
        assert_eq!(cluster.call(Client::Sdk1, &url, &call).await, "Echo: hello");

        let moved = "transport: {http: {takeover: MovePort, movePort: {env: PORT}}}";
        cluster.apply(&namespace, &mcp_server(moved)).await;
        cluster.ready(&namespace, "server", 1, 1).await;
        assert_eq!(cluster.call(Client::Sdk1, &url, &call).await, "Echo: hello");
        cluster.reported(install::NAMESPACE, &format!("{namespace}/server"), 1).await;
    });
}

#[test]
fn a_stateful_set_of_two_containers_behind_a_headless_service() {
    on_cluster(async |cluster: &Cluster| {
        let namespace = cluster.namespace("headless", &[]).await;
        // Its clients dial the pods and their port, which the sidecar takes at their addresses.
        let spec = "container: server\n  transport: {http: {port: 8000, takeover: PodIP}}";
        cluster.apply(&namespace, &mcp_server(spec)).await;
        cluster.rendered(&namespace, "server").await;
        let set = "
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: server}
spec:
  serviceName: server
  replicas: 2
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: server}}
  template:
    metadata: {labels: {app: server}}
    spec:
      containers:
      - {name: other, image: 'localhost/pause:test'}
      - name: server
        image: localhost/go:test
        args: ['-http', '127.0.0.1:8000']
        ports: [{containerPort: 8000}]
---
apiVersion: v1
kind: Service
metadata: {name: server}
spec:
  clusterIP: None
  selector: {app: server}
  ports: [{port: 8000}]
";
        cluster.apply(&namespace, set).await;
        cluster.ready(&namespace, "server", 2, 1).await;
        let call = Call::new("greet", json!({"name": "you"}));
        for pod in ["server-0", "server-1"] {
            let url = format!("http://{pod}.server.{namespace}.svc.cluster.local:8000/mcp");
            assert_eq!(cluster.call(Client::Rmcp, &url, &call).await, "Hi you");
        }
        cluster.reported(install::NAMESPACE, &format!("{namespace}/server"), 2).await;
    });
}
