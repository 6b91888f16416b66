//! What the operator tells about a `McpServer`.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::injection::{self, Injection};

/// What the operator tells.
// Atomic, as only the operator writes it: who wrote each single field would be another 2.5 KB, and
// API servers read the whole McpServer for each pod that the policy looks at.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct McpServerStatus {
    /// The generation of the spec that this is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The pods that are meant, in a few words.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    pub target: String,
    /// Pods that carry the sidecar, of those that are meant, such as 3/3.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 32))]
    pub injected: String,
    /// How many pods there are of each kind.
    pub pods: PodCounts,
    /// Why pods have no sidecar, and how many.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["reason"])
    )]
    pub skipped: Vec<Skipped>,
    /// The workloads that make the pods.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 50),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["kind", "name"])
    )]
    pub workloads: Vec<Workload>,
    /// What is put into pods; nothing while it is not known.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "known")]
    pub injection: Option<Injection>,
    /// The same in the format before, for API servers and operators that know no later one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "injection::object")]
    pub previous: Option<Value>,
    /// Revisions whose pods need no restart: that of injection, and those of the same spec by
    /// other versions of the operator.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(max = 64)))]
    pub revisions: Vec<String>,
    /// What is not put into pods any more, for pods failed because of it; nothing unless they did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<Withdrawn>,
    /// What holds and what does not, with what to do about it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub conditions: Vec<Condition>,
}

impl McpServerStatus {
    /// What is put into pods, as this version knows it: what a later one has written may hold it
    /// as the format before.
    pub fn known_injection(&self) -> Option<Cow<'_, Injection>> {
        let previous = || Injection::known(self.previous.clone()?).map(Cow::Owned);
        self.injection.as_ref().map(Cow::Borrowed).or_else(previous)
    }
}

/// Only what this version knows: another's must not keep it from reading the rest.
fn known<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Injection>, D::Error> {
    Ok(Injection::known(Value::deserialize(input)?))
}

/// A sidecar that made pods fail. Another spec or another image is tried anew.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawn {
    /// The generation of the spec that asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// Its image.
    #[schemars(length(max = 512))]
    pub image: String,
    /// Its revision.
    #[schemars(length(max = 64))]
    pub revision: String,
    /// How pods failed.
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// How many pods there are of each kind.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodCounts {
    /// Those that are meant.
    pub matched: u32,
    /// Of these, those that carry the sidecar.
    pub injected: u32,
    /// Of these, those whose sidecar is ready.
    pub ready: u32,
    /// Of the injected, those with the sidecar as it would be injected now.
    pub up_to_date: u32,
    /// Of the injected, the others.
    pub outdated: u32,
    /// Those that carry none.
    pub skipped: u32,
    /// Those that fail because of the sidecar.
    pub failing: u32,
}

/// Pods without the sidecar, for one reason.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The reason, in one word.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// How many pods.
    pub count: u32,
    /// What to do, for one of them.
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// A workload and its pods.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// Its kind.
    #[schemars(length(max = 63))]
    pub kind: String,
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Its pods that carry the sidecar.
    pub injected: u32,
    /// Its pods.
    pub desired: u32,
    /// How its pods come to have it.
    pub rollout: RolloutState,
}

/// How far a rollout is.
#[derive(
    JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize,
)]
pub enum RolloutState {
    /// Nothing to do.
    #[default]
    Idle,
    /// Something must come first.
    Waiting,
    /// Under way.
    InProgress,
    /// The owner of the workload took the restart back.
    Reverted,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_another_version_wrote_is_left_and_the_format_before_is_taken() {
        let quantities = json!({"bestEffort": {}, "burstable": {}, "guaranteed": {}});
        let ours = json!({
            "format": injection::FORMAT, "revision": "1", "selector": {"matchLabels": {"a": "b"}},
            "sidecar": {}, "user": 1, "resources": quantities, "labels": {}, "annotations": {},
        });
        let read = |status: Value| serde_json::from_value::<McpServerStatus>(status).unwrap();
        let known = |status: Value| read(status).known_injection().map(|it| it.revision.clone());
        assert_eq!(known(json!({"injection": ours})).as_deref(), Some("1"));
        let later = json!({"format": 99, "something": "else"});
        assert_eq!(known(json!({"injection": later})), None);
        assert_eq!(known(json!({"injection": later, "previous": ours})).as_deref(), Some("1"));
        assert_eq!(read(json!({"injection": later, "target": "all"})).target, "all");
        assert_eq!(known(json!({"injection": ours, "previous": later})).as_deref(), Some("1"));
    }
}
