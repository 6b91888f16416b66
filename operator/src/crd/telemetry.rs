//! What is reported of a server's calls, and to whom.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is reported, and to whom.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Telemetry {
    /// Metrics for Prometheus, which each sidecar serves itself.
    pub prometheus: Prometheus,
    /// Spans for an OpenTelemetry collector; off without an endpoint.
    pub otlp: Otlp,
    /// Tool calls for MCPulse.
    pub mcpulse: Mcpulse,
}

/// Metrics.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Prometheus {
    /// The number of the port named mcpulse-metrics, with /metrics, /healthz and /readyz. No
    /// container of the pods may use it.
    #[schemars(range(min = 1024, max = 65535))]
    pub port: u16,
    /// Tools with series of their own; the others share one.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_tools: u32,
    /// Whether pods that have none of the annotations prometheus.io/scrape, prometheus.io/port and
    /// prometheus.io/path get them, by which a Prometheus without PodMonitors finds the sidecar;
    /// the operator's own choice unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<bool>,
}

impl Default for Prometheus {
    fn default() -> Self {
        Self { port: 19464, max_tools: 200, annotations: None }
    }
}

/// Spans.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Otlp {
    /// The collector, which takes OTLP over gRPC: a URL, or HOST:PORT without TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub endpoint: Option<String>,
    /// Headers of every export, with values from Secrets of this namespace.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 8),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub headers: Vec<SecretHeader>,
    /// The share of calls that become spans where no parent decides, from 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub sample: f64,
}

impl Default for Otlp {
    fn default() -> Self {
        Self { endpoint: None, headers: Vec::new(), sample: 1.0 }
    }
}

/// A header with its value in a Secret.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretHeader {
    /// The header's name.
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9-]+$')").message(
        "write the name of a header: letters, digits and dashes"
    ))]
    pub name: String,
    /// Where its value is. The operator never reads it.
    pub secret_ref: SecretKey,
}

/// An entry of a Secret of the same namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretKey {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')").message(
        "write the name of a Secret of this namespace"
    ))]
    pub name: String,
    /// The entry's key.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[-._a-zA-Z0-9]+$')").message(
        "write a key of that Secret's data: letters, digits, dashes, dots and underscores"
    ))]
    pub key: String,
}

/// Tool calls for MCPulse.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.enabled || !has(self.apiKeySecretRef)").message(
    "nothing is sent to MCPulse while enabled is false: leave out apiKeySecretRef, or enable it"
))]
pub struct Mcpulse {
    /// Whether calls are reported to MCPulse.
    #[serde(default = "default_enabled")]
    pub enabled: bool,
    /// MCPulse: HOST:PORT, or a URL; the operator's own unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub url: Option<String>,
    /// The Secret of this namespace that holds the API key. The operator never reads it: it is
    /// mounted into the sidecar alone, as an optional volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_secret_ref: Option<SecretKey>,
    /// What of a call's arguments and error texts is reported: None of them, both Redacted
    /// (what looks like a secret is replaced), or both in Full.
    #[serde(default)]
    pub capture: Capture,
}

impl Default for Mcpulse {
    fn default() -> Self {
        Self {
            enabled: default_enabled(),
            url: None,
            api_key_secret_ref: None,
            capture: Capture::default(),
        }
    }
}

fn default_enabled() -> bool {
    true
}

/// What of a call's arguments and error texts leaves the pod.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Capture {
    /// Neither.
    None,
    /// Both, with what looks like a secret replaced.
    #[default]
    Redacted,
    /// Both as they are.
    Full,
}
