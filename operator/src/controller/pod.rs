//! What is kept of a pod: little, for there are thousands. Of its spec that is what the splice
//! reads, as text, and nothing once the sidecar is there.

use std::{borrow::Cow, sync::Arc};

use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::Pod as Full,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::Resource;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::crd::{
    injection::{CONFIG, CONTAINER, OPT_OUT, REVISION},
    selector::Labels,
};

mod body;
mod sidecar;

pub(super) use body::Interner;
pub(super) use sidecar::{Health, Sidecar};

/// The annotation of pod templates that restarts their workload.
pub(super) const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";
/// The annotation by which the kubelet marks what it made itself.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// The annotation with the restarts that the sidecar had before it was upgraded.
pub(super) const UPGRADED: &str = "mcpulse.io/upgraded-after-restarts";

/// A pod.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(from = "Raw", into = "Partial")]
pub(super) struct Pod {
    metadata: ObjectMeta,
    /// What the splice reads of the spec, while there is no sidecar.
    body: Option<Arc<str>>,
    /// The sidecar, once it is there.
    pub(super) sidecar: Option<Sidecar>,
    /// Whether it serves.
    pub(super) ready: bool,
    /// Whether it has ended.
    pub(super) ended: bool,
}

/// A pod as it comes.
#[derive(Deserialize)]
struct Raw {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Value,
    #[serde(default)]
    status: Value,
}

/// A pod as it would go out, which never happens.
#[derive(Serialize)]
struct Partial {
    metadata: ObjectMeta,
}

impl From<Pod> for Partial {
    fn from(pod: Pod) -> Self {
        Self { metadata: pod.metadata }
    }
}

impl From<Raw> for Pod {
    fn from(raw: Raw) -> Self {
        let Raw { metadata, spec, status } = raw;
        let sidecar = Sidecar::of(&spec, &status);
        let body = sidecar.is_none().then(|| body::reduced(&spec).to_string().into());
        let phase = status["phase"].as_str().unwrap_or_default();
        let conditions = status["conditions"].as_array().into_iter().flatten();
        let mut ready = conditions.filter(|condition| condition["type"] == "Ready");
        Self {
            metadata: kept(metadata),
            body,
            sidecar,
            ready: ready.any(|condition| condition["status"] == "True"),
            ended: ["Succeeded", "Failed"].contains(&phase),
        }
    }
}

/// The metadata without what nobody asks for.
fn kept(metadata: ObjectMeta) -> ObjectMeta {
    let known = [CONFIG, MIRROR, OPT_OUT, RESTARTED_AT, REVISION, UPGRADED];
    let annotations = metadata.annotations.unwrap_or_default();
    let annotations: Labels =
        annotations.into_iter().filter(|(key, _)| known.contains(&key.as_str())).collect();
    let owners = metadata.owner_references.unwrap_or_default();
    let owners: Vec<_> = owners.into_iter().filter(|one| one.controller == Some(true)).collect();
    ObjectMeta {
        name: metadata.name,
        namespace: metadata.namespace,
        uid: metadata.uid,
        labels: metadata.labels,
        annotations: (!annotations.is_empty()).then_some(annotations),
        owner_references: (!owners.is_empty()).then_some(owners),
        // Until the watch has taken note of it.
        resource_version: metadata.resource_version,
        creation_timestamp: metadata.creation_timestamp,
        deletion_timestamp: metadata.deletion_timestamp,
        ..ObjectMeta::default()
    }
}

impl Pod {
    /// Its name.
    pub(super) fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// Whether it has labels that this accepts.
    pub(super) fn has_labels(&self, accepts: impl FnOnce(&Labels) -> bool) -> bool {
        self.metadata.labels.as_ref().is_some_and(accepts)
    }

    /// One of the annotations that are kept.
    pub(super) fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// What made it.
    pub(super) fn controller(&self) -> Option<&OwnerReference> {
        self.metadata.owner_references.as_ref()?.first()
    }

    /// Whether it is there to stay.
    pub(super) fn is_live(&self) -> bool {
        !self.ended && self.metadata.deletion_timestamp.is_none()
    }

    /// Whether it does not run because of the sidecar.
    pub(super) fn fails(&self) -> bool {
        self.sidecar.as_ref().is_some_and(Sidecar::is_failing)
    }

    /// What the splice reads of it, and a key that is equal where that is; nothing once the
    /// sidecar is there.
    pub(super) fn shape(&self) -> Option<Shape<'_>> {
        let body = self.body.as_ref()?;
        let labels = self.metadata.labels.as_ref();
        let opted_out = self.annotation(OPT_OUT).or_else(|| Some(labels?.get(OPT_OUT)?.as_str()));
        Some(Shape {
            body,
            opted_out: opted_out == Some("disabled"),
            mirror: self.annotation(MIRROR).is_some(),
        })
    }

    /// Takes out what only the watch needs, and has pods that are alike share their body.
    pub(super) fn strip(&mut self, interner: &mut Interner) {
        self.metadata.resource_version = None;
        if let Some(body) = &mut self.body {
            interner.intern(body);
        }
    }
}

/// What the splice reads of a pod without a sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Shape<'a> {
    body: &'a str,
    opted_out: bool,
    mirror: bool,
}

impl Shape<'_> {
    /// It as a pod.
    pub(super) fn pod(&self) -> Value {
        let mut annotations = json!({});
        if self.opted_out {
            annotations[OPT_OUT] = "disabled".into();
        }
        if self.mirror {
            annotations[MIRROR] = "".into();
        }
        // It was written from a value.
        let spec: Value = serde_json::from_str(self.body).unwrap_or_default();
        json!({"metadata": {"annotations": annotations}, "spec": spec})
    }
}

impl Resource for Pod {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        Full::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        Full::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        Full::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        Full::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// Whether this container is the sidecar.
fn is_sidecar(container: &Value) -> bool {
    container["name"] == CONTAINER
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(yaml: &str) -> Pod {
        serde_yaml::from_str(yaml).unwrap()
    }

    #[test]
    fn little_is_kept_and_alike_pods_share_it() {
        let one = |name: &str| {
            let text = format!(
                "{{metadata: {{name: {name}, labels: {{app: a}}, annotations: {{x: y}}, \
                 managedFields: [{{manager: m}}]}}, spec: {{nodeName: {name}, containers: \
                 [{{name: server, image: i, env: [{{name: A, value: {name}}}], volumeMounts: \
                 [{{name: kube-api-access-{name}, mountPath: /t}}]}}], volumes: \
                 [{{name: kube-api-access-{name}}}, {{name: data, emptyDir: {{}}}}]}}}}"
            );
            pod(&text)
        };
        let (mut a, mut b) = (one("a"), one("b"));
        assert_eq!(a.metadata.annotations, None);
        assert_eq!(a.metadata.managed_fields, None);
        let mut interner = Interner::default();
        a.strip(&mut interner);
        b.strip(&mut interner);
        assert!(Arc::ptr_eq(a.body.as_ref().unwrap(), b.body.as_ref().unwrap()));
        let shape = a.shape().unwrap().pod();
        assert_eq!(shape["spec"]["containers"][0]["env"], json!([{"name": "A"}]));
        assert_eq!(shape["spec"]["volumes"], json!([{"name": "data"}]));
    }

    #[test]
    fn opting_out_is_part_of_the_shape() {
        let plain = pod("{metadata: {name: a, labels: {app: a}}, spec: {containers: []}}");
        let label = pod(
            "{metadata: {name: a, labels: {mcpulse.io/inject: disabled}}, spec: {containers: []}}",
        );
        assert_ne!(plain.shape(), label.shape());
        assert_eq!(label.shape().unwrap().pod()["metadata"]["annotations"][OPT_OUT], "disabled");
    }

    #[test]
    fn a_pod_that_ends_is_not_live() {
        assert!(pod("{metadata: {name: a}, status: {phase: Running}}").is_live());
        assert!(!pod("{metadata: {name: a}, status: {phase: Succeeded}}").is_live());
        let going = "{metadata: {name: a, deletionTimestamp: '2026-01-01T00:00:00Z'}}";
        assert!(!pod(going).is_live());
    }
}
