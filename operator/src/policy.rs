//! The policies that API servers apply themselves, as YAML for a cluster: the splice in CEL
//! (Kubernetes 1.36), the refusal of pods without the sidecar where that was asked for, and the
//! guard of the operator's own rights.
//!
//! The files below `policy/` are their texts, in which `${…}` stands for what Rust uses as well.
//! ARCHITECTURE.md specifies what the splice does.

use std::borrow::Cow;

use crate::{
    crd::injection::{CONTAINER, FORMAT, NAMESPACE_OPT_OUT, OPT_OUT},
    release::Release,
    splice::MESH,
};

/// Namespaces whose pods are left alone, besides that of the operator itself.
pub(crate) const EXCLUDED: [&str; 2] = ["kube-system", "kube-node-lease"];

/// A format of what is put into pods, and the policy that reads it.
#[derive(Clone, Debug)]
pub struct Format {
    /// Its number.
    pub number: u32,
    /// The policy, with `${…}` for what is filled in.
    pub policy: Cow<'static, str>,
}

/// The formats that API servers are to know: the current one, then the one before.
pub const FORMATS: [Format; 1] =
    [Format { number: FORMAT, policy: Cow::Borrowed(include_str!("policy/injection.yaml")) }];

/// The policies that inject, and their bindings: one for each format that API servers are to
/// know, the current one first. Pods of the namespace in which the operator itself runs are left
/// alone.
///
/// The current one also takes what a later version has left in the format before; those before
/// take only what a version before has left. So no pod is injected by two, and none by nobody,
/// in whatever order policies and status change when versions do.
pub fn injection(formats: &[Format], release: &Release) -> String {
    release.fill(&injections(formats))
}

/// The policy that refuses pods without the sidecar where a `McpServer` asks for that.
pub fn refusal(release: &Release) -> String {
    release.fill(&known(REFUSAL))
}

/// The policies that hold the operator to what it needs, and that keep the status of `McpServer`s
/// for it.
pub fn guard(release: &Release) -> String {
    release.fill(&known(GUARD))
}

const REFUSAL: &str = include_str!("policy/refusal.yaml");
const GUARD: &str = include_str!("policy/guard.yaml");

/// The policies that inject, in which `${…}` stands for what differs from release to release.
fn injections(formats: &[Format]) -> String {
    let mesh = MESH.map(|name| format!("'{name}'")).join(", ");
    let policies = formats.iter().enumerate().map(|(age, Format { number, policy })| {
        let places = if age == 0 {
            "[?params.?status.?injection, ?params.?status.?previous]"
        } else {
            "[?params.?status.?injection]"
        };
        let format = number.to_string();
        let values = [("format", &*format), ("mesh", &mesh), ("places", places)];
        let fill = |text: String, (name, value): &(&str, &str)| {
            text.replace(&format!("${{{name}}}"), value)
        };
        values.iter().fold(known(policy), fill)
    });
    policies.collect::<Vec<_>>().join("---\n")
}

/// The text with what Rust uses as well.
fn known(text: &str) -> String {
    let values = [
        ("container", CONTAINER),
        ("excluded", &EXCLUDED.join(", ")),
        ("optOut.namespace", NAMESPACE_OPT_OUT),
        ("optOut.pod", OPT_OUT),
    ];
    values
        .iter()
        .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("${{{name}}}"), value))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::Value;

    use super::*;
    use crate::golden::committed;

    #[test]
    fn the_committed_policies_are_those_of_the_code() {
        let release = Release::default();
        for (name, text) in [
            ("injection", injections(&FORMATS)),
            ("refusal", known(REFUSAL)),
            ("guard", known(GUARD)),
        ] {
            let told = release.fill(&text);
            assert!(!told.contains("${"), "{told}");
            committed(&format!("../policies/{name}.mcpulse.io.yaml"), &told);
            committed(&format!("../charts/mcpulse/files/{name}.yaml"), &text);
        }
    }

    #[test]
    fn pods_are_injected_whole_and_those_of_the_release_are_left_alone() {
        let release = Release { namespace: "elsewhere".to_owned(), ..Release::default() };
        let told = injection(&FORMATS, &release);
        let documents = serde_yaml::Deserializer::from_str(&told).map(Value::deserialize);
        let [policy, binding] =
            documents.collect::<Result<Vec<_>, _>>().unwrap().try_into().unwrap();
        assert_eq!(binding["spec"]["policyName"], policy["metadata"]["name"]);
        let spec = &policy["spec"];
        let excluded = &spec["matchConstraints"]["namespaceSelector"]["matchExpressions"][0];
        let names = serde_json::json!(["kube-system", "kube-node-lease", "elsewhere"]);
        assert_eq!((&excluded["operator"], &excluded["values"]), (&"NotIn".into(), &names));
        // Whole or not at all, and never in a pod's way.
        assert_eq!(spec["mutations"].as_array().map(Vec::len), Some(1));
        assert_eq!(spec["failurePolicy"], "Ignore");
    }
    #[test]
    fn a_release_of_one_namespace_means_no_pods_of_others() {
        let watched = Some("team".to_owned());
        let release = Release { name: "second".to_owned(), watched, ..Release::default() };
        let told =
            [injection(&FORMATS, &release), refusal(&release), guard(&release)].join("---\n");
        let documents = serde_yaml::Deserializer::from_str(&told).map(Value::deserialize);
        let mut selecting = 0;
        for one in documents.collect::<Result<Vec<_>, _>>().unwrap() {
            let name = one["metadata"]["name"].as_str().unwrap();
            assert!(name.ends_with(".second.io"), "{name}");
            let labels = &one["spec"]["matchConstraints"]["namespaceSelector"]["matchLabels"];
            selecting += usize::from(labels["kubernetes.io/metadata.name"] == "team");
        }
        // All but the guard, which is about one user wherever it is.
        assert_eq!(selecting, 3);
    }
}
