//! The container of the sidecar, but for what only the pod knows: it runs where namespaces
//! enforce restricted Pod Security, and sees nothing of the server's identity.

use serde_json::{Value, json};

use super::{Defaults, places};
use crate::crd::{
    McpServer,
    injection::{CONTAINER, PortMode, PortRule},
    transport::Spoken,
};

/// The program of the sidecar, in its image.
const PROXY: &str = "/mcpulse-proxy";
/// The name of the port with `/metrics`, `/healthz` and `/readyz`.
const METRICS: &str = "mcpulse-metrics";
/// The name of the port of a server on standard streams.
const MCP: &str = "mcp";

/// The container. It always has `env` and `ports`, which engines add to.
pub(super) fn container(
    server: &McpServer,
    spoken: &Spoken,
    rule: Option<&PortRule>,
    defaults: &Defaults,
) -> Value {
    let spec = &server.spec;
    let admin = spec.telemetry.prometheus.port;
    let mut ports = vec![json!({"name": METRICS, "containerPort": admin, "protocol": "TCP"})];
    if let Spoken::Stdio(stdio) = spoken {
        ports.push(json!({"name": MCP, "containerPort": stdio.listen_port, "protocol": "TCP"}));
    }
    let mut container = json!({
        "name": CONTAINER,
        "image": spec.proxy.image.as_ref().unwrap_or(&defaults.image),
        "imagePullPolicy": "IfNotPresent",
        // What makes it a native sidecar: it starts before the server and ends after it.
        "restartPolicy": "Always",
        "args": ["run", "--config", places::CONFIG_FILE],
        "env": env(spoken, rule),
        "ports": ports,
        "startupProbe": probe("/healthz", admin, 1, 60),
        "readinessProbe": probe("/readyz", admin, 5, 3),
        "livenessProbe": probe("/healthz", admin, 10, 6),
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": mounts(server, spoken, defaults),
    });
    if let Spoken::Http(..) = spoken {
        // It runs when the end of the pod begins, long before the sidecar is asked to end. Where
        // there is a shim, that one says so.
        let drain =
            json!({"exec": {"command": [PROXY, "drain", "run", "--config", places::CONFIG_FILE]}});
        container["lifecycle"] = json!({"preStop": drain});
    }
    container
}

fn probe(path: &str, port: u16, period: u32, failures: u32) -> Value {
    json!({
        "httpGet": {"path": path, "port": port},
        "periodSeconds": period,
        "failureThreshold": failures,
        "timeoutSeconds": 5,
    })
}

fn env(spoken: &Spoken, rule: Option<&PortRule>) -> Vec<Value> {
    let of_pod = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}});
    let text = |name: &str, value: String| json!({"name": name, "value": value});
    let mut env = vec![
        of_pod("POD_NAMESPACE", "metadata.namespace"),
        of_pod("POD_NAME", "metadata.name"),
        of_pod("NODE_NAME", "spec.nodeName"),
    ];
    // By what the controllers of Kubernetes write there, the proxy tells the workload.
    for (name, label) in [
        ("POD_TEMPLATE_HASH", "pod-template-hash"),
        ("POD_INDEX", "apps.kubernetes.io/pod-index"),
        ("POD_REVISION_HASH", "controller-revision-hash"),
        ("POD_JOB_NAME", "batch.kubernetes.io/job-name"),
    ] {
        env.push(of_pod(name, &format!("metadata.labels['{label}']")));
    }
    let attributes = "k8s.namespace.name=$(POD_NAMESPACE),k8s.pod.name=$(POD_NAME),\
                      k8s.node.name=$(NODE_NAME)";
    env.push(text("OTEL_RESOURCE_ATTRIBUTES", attributes.to_owned()));
    // An arena for each thread costs a megabyte, and what it saves nobody notices here.
    env.push(text("MALLOC_ARENA_MAX", "1".to_owned()));
    if let Spoken::Http(http, _) = spoken {
        let host = if rule.is_some_and(|rule| rule.mode == PortMode::PodIp) {
            env.push(of_pod("POD_IP", "status.podIP"));
            // In brackets, for it may be one of IPv6; the proxy takes both so.
            "[$(POD_IP)]"
        } else {
            ""
        };
        let path = http.path.as_deref().unwrap_or("/");
        let url = format!("http://127.0.0.1:$(MCPULSE_APP_PORT){}", escaped(path));
        env.push(text("MCPULSE_PROXY_REMOTE_URL", url));
        env.push(text("MCPULSE_PROXY_LISTEN", format!("{host}:$(MCPULSE_LISTEN_PORT)")));
    }
    env
}

/// A text in which Kubernetes expands nothing.
fn escaped(text: &str) -> String {
    text.replace('$', "$$")
}

fn mounts(server: &McpServer, spoken: &Spoken, defaults: &Defaults) -> Vec<Value> {
    let read = |name: &str, path: &str| json!({"name": name, "mountPath": path, "readOnly": true});
    let mut mounts = vec![
        read(places::CONFIG_VOLUME, places::CONFIG_AT),
        read(places::NO_TOKEN, places::TOKEN_AT),
    ];
    if !places::secrets(server, defaults).is_empty() {
        mounts.push(read(places::SECRETS, places::SECRETS_AT));
    }
    if matches!(spoken, Spoken::Stdio(_)) {
        mounts.push(json!({"name": places::RUN, "mountPath": places::RUN_AT}));
    }
    mounts
}
