//! What is put into pods: all that the two engines, the policy in CEL and the splice in Rust,
//! know of a `McpServer`. ARCHITECTURE.md specifies what they do with it.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    proxy::SecretName,
    selector::{Labels, Selector},
};

/// The shape of [`Injection`] that this version writes.
pub const FORMAT: u32 = 1;
/// The name of the sidecar.
pub const CONTAINER: &str = "mcpulse-proxy";
/// The annotation that says what a pod was injected with.
pub const REVISION: &str = "mcpulse.io/revision";
/// The annotation that carries the live configuration.
pub const CONFIG: &str = "mcpulse.io/config";
/// The label of pods that carry the sidecar.
pub const INJECTED: &str = "mcpulse.io/injected";
/// The label that names the `McpServer`.
pub const SERVER: &str = "mcpulse.io/server";
/// The label or annotation by which a pod opts out with the value `disabled`.
pub const OPT_OUT: &str = "mcpulse.io/inject";
/// The label by which a namespace does.
pub const NAMESPACE_OPT_OUT: &str = "mcpulse.io/injection";
/// The label of pods that are only tried, which the webhook leaves to the policy.
pub const PROBE: &str = "mcpulse.io/probe";

/// All that is put into a pod, but for what only the pod knows. Every format has `format`,
/// `selector` and `except`.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Injection {
    /// The shape of this; engines leave alone what they do not know.
    pub format: u32,
    /// A hash of what is here, but for the sidecar's image, the live configuration and except.
    #[schemars(length(max = 64))]
    pub revision: String,
    /// The pods that are meant.
    pub selector: Selector,
    /// Pods that an older McpServer of the namespace means, which these are left to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub except: Vec<Selector>,
    /// The container that is the server. Not given, it is the one that declares the port, or
    /// the only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub container: Option<String>,
    /// How the port of a server that listens is taken over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<PortRule>,
    /// Numbers for a port that the pod does not have yet; the first free one is taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub ports: Vec<u16>,
    /// What is put before the command of a server on standard streams.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(max = 4096)))]
    pub command: Vec<String>,
    /// The command of a server on standard streams whose container has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 4096)))]
    pub argv: Vec<String>,
    /// Mounts of the server's container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub mounts: Vec<Mount>,
    /// Volumes of the pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), schema_with = "objects")]
    pub volumes: Vec<Value>,
    /// Secrets for pulling the sidecar's image, added to those of the pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub image_pull_secrets: Vec<SecretName>,
    /// The container, with env, ports and securityContext, and without resources.
    #[schemars(schema_with = "object")]
    pub sidecar: Value,
    /// The user of the sidecar in pods that would have it be root, as which it does not run.
    pub user: u32,
    /// The sidecar's resources, by the class that the pod has and keeps.
    pub resources: ByClass,
    /// What LimitRanges of the namespace leave no room for.
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    /// Labels of the pod.
    #[schemars(extend("maxProperties" = 8))]
    pub labels: Labels,
    /// Annotations of the pod.
    #[schemars(extend("maxProperties" = 8))]
    pub annotations: Labels,
    /// Annotations of a pod that has none of these.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    #[schemars(extend("maxProperties" = 8))]
    pub default_annotations: Labels,
}

impl Injection {
    /// One that was written in the format of this version, and nothing of any other.
    pub(super) fn known(written: Value) -> Option<Self> {
        let ours = written["format"] == FORMAT;
        ours.then(|| serde_json::from_value(written).ok()).flatten()
    }

    /// Whether a pod with these labels is meant, and no older `McpServer` means it.
    pub fn selects(&self, labels: &Labels) -> bool {
        self.selector.matches(labels) && !self.except.iter().any(|older| older.matches(labels))
    }
}

/// How the port of a server that listens is taken over.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRule {
    /// In which way.
    pub mode: PortMode,
    /// The port by its name. Either this or number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 15))]
    pub name: Option<String>,
    /// The port by its number. Either this or name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u16>,
    /// MovePort: the variable by which the server learns its new port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub env: Option<String>,
    /// MovePort: the option by which it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub arg: Option<String>,
}

/// In which way a port is taken over.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PortMode {
    /// The sidecar gets the port's name.
    NamedPort,
    /// The sidecar gets the port's number and name, and the server another.
    MovePort,
    /// The sidecar listens on the same number of the pod's address.
    #[serde(rename = "PodIP")]
    PodIp,
    /// The sidecar has a port of its own.
    None,
}

/// A mount of a container.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// The volume.
    #[schemars(length(max = 63))]
    pub name: String,
    /// The path.
    #[schemars(length(max = 4096))]
    pub mount_path: String,
}

/// A class of service of pods.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Class {
    /// Without requests and limits.
    BestEffort,
    /// With some.
    Burstable,
    /// With requests that are their limits.
    Guaranteed,
}

/// What LimitRanges leave no room for.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    /// Classes of pods in which the sidecar would be more than a container may be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3))]
    pub classes: Vec<Class>,
    /// What pods may have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub pod: Vec<PodLimit>,
}

impl Limits {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How much of a resource a pod may have.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodLimit {
    /// The resource.
    #[schemars(length(max = 316))]
    pub resource: String,
    /// The least that it may request or be limited to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub min: Option<String>,
    /// The most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub max: Option<String>,
    /// How many times its request its limit may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub ratio: Option<String>,
}

/// The sidecar's resources by the pod's class of service.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ByClass {
    /// In pods without requests and limits.
    pub best_effort: Quantities,
    /// In pods with some.
    pub burstable: Quantities,
    /// In pods whose requests are their limits.
    pub guaranteed: Quantities,
}

/// Resources of a container, as Kubernetes has them.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quantities {
    /// What is set aside.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub requests: BTreeMap<String, String>,
    /// What may not be exceeded.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub limits: BTreeMap<String, String>,
}

pub(super) fn object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

fn objects(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "items": object(generator)})
}
