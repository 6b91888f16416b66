//! The sidecar itself: its image and what it may use.

use kube::{KubeSchema, core::cel::Rule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The sidecar.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Proxy {
    /// Its image, with tag or digest; the operator's own choice unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new(r"self.matches('^[^\\s]+$')").message(
        "write an image with its tag or digest, without spaces"
    ))]
    pub image: Option<String>,
    /// Secrets of this namespace for pulling it, added to those of the pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 8),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub image_pull_secrets: Vec<SecretName>,
    /// What it may use of the node. Pods of the class BestEffort stay without requests and
    /// limits, and in Guaranteed ones the requests are as high as the limits.
    #[serde(default)]
    pub resources: Resources,
    /// What it says about itself: error, warn, info, debug or trace, or directives as
    /// RUST_LOG takes them.
    #[serde(default = "default_log_level")]
    #[schemars(length(min = 1, max = 256))]
    pub log_level: String,
    /// How long it waits at its end for calls in flight, in seconds.
    #[serde(default = "default_drain")]
    #[schemars(range(min = 0, max = 3600))]
    pub termination_drain_seconds: u32,
}

impl Default for Proxy {
    fn default() -> Self {
        Self {
            image: None,
            image_pull_secrets: Vec::new(),
            resources: Resources::default(),
            log_level: default_log_level(),
            termination_drain_seconds: default_drain(),
        }
    }
}

fn default_log_level() -> String {
    "info".to_owned()
}

fn default_drain() -> u32 {
    20
}

/// A Secret of the same namespace.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretName {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// What the sidecar may use.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new(
        "!has(self.limits) || !has(self.limits.cpu) || \
         quantity(self.requests.cpu).compareTo(quantity(self.limits.cpu)) <= 0"
    ).message("requests.cpu (10m unless given) is above limits.cpu: raise the limit"),
    validation = Rule::new(
        "!has(self.limits) || !has(self.limits.memory) || \
         quantity(self.requests.memory).compareTo(quantity(self.limits.memory)) <= 0"
    ).message("requests.memory (32Mi unless given) is above limits.memory: raise the limit")
)]
pub struct Resources {
    /// What is set aside for it.
    #[serde(default)]
    pub requests: Requests,
    /// What it may not exceed; nothing unless given, and in Guaranteed pods 100m and 64Mi.
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
}

/// What is set aside for the sidecar.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    /// Processor time, such as 10m (a hundredth of a core).
    #[serde(default = "default_cpu")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = quantity("100m"))]
    pub cpu: String,
    /// Memory, such as 32Mi.
    #[serde(default = "default_memory")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = quantity("64Mi"))]
    pub memory: String,
}

impl Default for Requests {
    fn default() -> Self {
        Self { cpu: default_cpu(), memory: default_memory() }
    }
}

fn default_cpu() -> String {
    "10m".to_owned()
}

fn default_memory() -> String {
    "32Mi".to_owned()
}

/// What the sidecar may not exceed.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Processor time, such as 500m (half a core).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = quantity("100m"))]
    pub cpu: Option<String>,
    /// Memory, such as 128Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = quantity("64Mi"))]
    pub memory: Option<String>,
}

impl Limits {
    fn is_empty(&self) -> bool {
        self.cpu.is_none() && self.memory.is_none()
    }
}

fn quantity(example: &str) -> Rule {
    Rule::new("isQuantity(self) && quantity(self).isGreaterThan(quantity('0'))")
        .message(format!("write a quantity above zero, such as {example}").as_str())
}
