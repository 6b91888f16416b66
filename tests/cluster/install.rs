//! What the cluster has before any test: the operator, and MCPulse.

use mcpulse_operator::{crd, policy, rbac, release::Release};

use crate::cluster::Cluster;

/// Where both are.
pub(crate) const NAMESPACE: &str = "mcpulse-system";

/// Installs the operator, in two replicas.
pub(crate) async fn operator(cluster: &Cluster) {
    for image in ["mcpulse-operator", "mcpulse-proxy"] {
        cluster.node.load(image);
    }
    let namespace = format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {NAMESPACE}}}}}");
    cluster.apply(NAMESPACE, &namespace).await;
    cluster.apply(NAMESPACE, &crd::yaml().expect("the definition")).await;
    let release = Release::default();
    cluster.apply(NAMESPACE, &rbac::yaml(&release)).await;
    cluster.apply(NAMESPACE, &policy::injection(&policy::FORMATS, &release)).await;
    cluster.apply(NAMESPACE, &policy::guard(&release)).await;
    cluster
        .apply(
            NAMESPACE,
            "
apiVersion: apps/v1
kind: Deployment
metadata: {name: mcpulse-operator}
spec:
  replicas: 2
  selector: {matchLabels: {app: mcpulse-operator}}
  template:
    metadata: {labels: {app: mcpulse-operator}}
    spec:
      serviceAccountName: mcpulse-operator
      containers:
      - name: operator
        image: localhost/mcpulse-operator:test
        args: [run, --proxy-image=localhost/mcpulse-proxy:test]
        env:
        - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: POD_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
        readinessProbe: {httpGet: {path: /readyz, port: 8080}, periodSeconds: 1}
",
        )
        .await;
    cluster.ready(NAMESPACE, "mcpulse-operator", 2, 0).await;
}

/// Starts a MCPulse in a namespace, which tells in its log what it is told.
pub(crate) async fn receiver(cluster: &Cluster, namespace: &str) {
    cluster.node.load("receiver");
    cluster
        .apply(
            namespace,
            "
apiVersion: apps/v1
kind: Deployment
metadata: {name: receiver}
spec:
  selector: {matchLabels: {app: receiver}}
  template:
    metadata: {labels: {app: receiver}}
    spec:
      terminationGracePeriodSeconds: 5
      containers:
      - name: receiver
        image: localhost/receiver:test
        args: ['0.0.0.0:50051']
        readinessProbe: {tcpSocket: {port: 50051}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: mcpulse}
spec:
  selector: {app: receiver}
  ports: [{port: 50051}]
",
        )
        .await;
    cluster.ready(namespace, "receiver", 1, 0).await;
}
