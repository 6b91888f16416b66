//! Workloads as their owners write them, who know nothing of MCPulse.

use std::fmt;

/// A Deployment named and labelled `server`, of one server whose port is named `mcp`.
#[derive(Clone, Copy)]
pub(crate) struct Workload {
    pub(crate) image: &'static str,
    pub(crate) args: &'static str,
    pub(crate) port: u16,
    pub(crate) replicas: u32,
    /// The member that tells when it is ready.
    pub(crate) probe: &'static str,
    /// A further member of the container.
    pub(crate) container: &'static str,
    /// A further member of the pod's spec.
    pub(crate) pod: &'static str,
}

impl Workload {
    pub(crate) const fn new(image: &'static str, args: &'static str, port: u16) -> Self {
        Self::with(image, args, port, "")
    }

    /// One whose container has a further member.
    pub(crate) const fn with(
        image: &'static str,
        args: &'static str,
        port: u16,
        container: &'static str,
    ) -> Self {
        let probe = "readinessProbe: {tcpSocket: {port: mcp}, periodSeconds: 1}";
        Self { image, args, port, replicas: 1, probe, container, pod: "" }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { image, args, port, replicas, probe, container, pod } = self;
        write!(
            f,
            "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: server}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: server}}}}
  template:
    metadata: {{labels: {{app: server}}}}
    spec:
      terminationGracePeriodSeconds: 10
      {pod}
      containers:
      - name: server
        image: localhost/{image}:test
        args: {args}
        ports: [{{name: mcp, containerPort: {port}}}]
        {probe}
        {container}
"
        )
    }
}

/// The Service before it.
pub(crate) const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: server}
spec:
  selector: {app: server}
  ports: [{port: 80, targetPort: mcp}]
";

/// The McpServer `server` for pods with that label; `spec` has further members of its spec, each
/// on a line of its own.
pub(crate) fn mcp_server(spec: &str) -> String {
    format!(
        "
apiVersion: mcpulse.io/v1alpha1
kind: McpServer
metadata: {{name: server}}
spec:
  selector: {{matchLabels: {{app: server}}}}
  {spec}
"
    )
}
