//! What the cluster has before any test: the operator, and MCPulse.

use crate::{cluster::Cluster, helm};

/// Where both are.
pub(crate) const NAMESPACE: &str = "mcpulse-system";

/// Installs the operator, as its users do.
pub(crate) async fn operator(cluster: &Cluster) {
    for image in ["mcpulse-operator", "mcpulse-proxy"] {
        cluster.node.load(image);
    }
    helm::apply(cluster, 4, &[]).await;
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
