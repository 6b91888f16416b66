//! The `McpServer` resource: what users write, and what the operator tells them in its status.

#![expect(unreachable_pub, reason = "KubeSchema writes its structs inside functions")]

use kube::{CustomResource, CustomResourceExt, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub mod condition;
pub mod injection;
pub mod proxy;
pub mod rollout;
pub mod selector;
pub mod status;
pub mod telemetry;
pub mod transport;

pub use condition::Finding;
pub use injection::Injection;
pub use selector::Selector;
pub use status::McpServerStatus;

/// One MCP server: pods of this namespace, how they speak MCP, and what is to be reported of
/// them.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "mcpulse.io",
    version = "v1alpha1",
    kind = "McpServer",
    plural = "mcpservers",
    shortname = "mcpl",
    category = "mcpulse",
    namespaced,
    status = "McpServerStatus",
    derive = "PartialEq",
    doc = "An MCP server whose pods get mcpulse-proxy as a sidecar. Who may create one may run \
           code in the pods of its namespace.",
    validation = Rule::new("size(self.metadata.name) <= 63").message(
        "metadata.name becomes a label value of pods: write at most 63 characters"
    ),
    printcolumn(
        name = "Transport",
        type_ = "string",
        json_path = ".spec.transport.type",
        description = "How the server speaks MCP"
    ),
    printcolumn(
        name = "Target",
        type_ = "string",
        json_path = ".status.target",
        description = "The pods that are meant"
    ),
    printcolumn(
        name = "Injected",
        type_ = "string",
        json_path = ".status.injected",
        description = "Pods that carry the sidecar, of those that are meant"
    ),
    printcolumn(
        name = "Up-to-date",
        type_ = "integer",
        json_path = ".status.pods.upToDate",
        description = "Pods with the sidecar as it would be injected now"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#,
        description = "Whether all is as the spec asks"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        description = "Why it is so",
        priority = 1
    ),
    printcolumn(
        name = "Proxy",
        type_ = "string",
        json_path = ".status.injection.sidecar.image",
        description = "The image of the sidecar",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(
    validation = Rule::new("has(self.selector) != has(self.targetRef)").message(
        "write either selector (labels that the pods have) or targetRef (the workload that makes \
         them), and only one of them"
    ),
    validation = Rule::new(
        "self.transport.type != 'Stdio' || (has(self.transport.stdio) ? \
         self.transport.stdio.listenPort : 8080) != self.telemetry.prometheus.port"
    ).message(
        "transport.stdio.listenPort (8080 unless given) and telemetry.prometheus.port are the \
         same: write another number in one of them"
    ),
    validation = Rule::new(
        "!has(self.transport.http) || type(self.transport.http.port) != int || \
         self.transport.http.port != self.telemetry.prometheus.port"
    ).message(
        "transport.http.port and telemetry.prometheus.port are the same: write another number \
         in telemetry.prometheus.port, at which only the sidecar listens"
    )
)]
pub struct McpServerSpec {
    /// The pods, by their labels. Either this or targetRef.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
    /// The pods, by the workload that makes them. Either this or selector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<TargetRef>,
    /// The container that is the MCP server. Not given, it is the one that declares the port,
    /// or the only one besides those of a mesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')").message(
        "write the name of a container: lower case letters, digits and dashes"
    ))]
    pub container: Option<String>,
    /// How the server speaks MCP.
    #[serde(default)]
    pub transport: transport::Transport,
    /// Whether and how strictly pods get the sidecar.
    #[serde(default)]
    pub injection: rollout::Admission,
    /// The sidecar itself.
    #[serde(default)]
    pub proxy: proxy::Proxy,
    /// What is reported, and to whom.
    #[serde(default)]
    pub telemetry: telemetry::Telemetry,
    /// How pods that run already come to have it.
    #[serde(default)]
    pub rollout: rollout::Rollout,
}

/// A workload of the same namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetRef {
    /// Its kind. The pods of a CronJob are known by the labels of its job template's pods,
    /// which must have some.
    pub kind: TargetKind,
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')").message(
        "write the name of a workload of this namespace, without its kind"
    ))]
    pub name: String,
}

/// The kinds of workloads that a `McpServer` can name.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TargetKind {
    /// `apps/v1`.
    Deployment,
    /// `apps/v1`.
    StatefulSet,
    /// `apps/v1`.
    DaemonSet,
    /// `batch/v1`; its pods are known by the labels of its job template's pods.
    CronJob,
}

impl TargetKind {
    /// Its name, as manifests have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
            Self::CronJob => "CronJob",
        }
    }
}

/// The definition of the resource as YAML, to be applied to a cluster.
///
/// # Errors
/// When the schema cannot be written, which a test rules out.
pub fn yaml() -> anyhow::Result<String> {
    // By way of JSON, whose keys are sorted: the same text from every build.
    let mut definition = serde_json::to_value(McpServer::crd())?;
    tidy(&mut definition);
    let text = serde_yaml::to_string(&definition)?;
    Ok(format!("# Written by `mcpulse-operator crd`; a test compares.\n{text}"))
}

/// Takes out what derived schemas say and Kubernetes has no use for: formats that it does not
/// know, and `nullable`, without which it reads `null` as absent, as rules and defaults want it.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.remove("nullable");
            map.retain(|key, value| {
                key != "format" || value.as_str().is_none_or(|format| !format.starts_with("uint"))
            });
            map.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
