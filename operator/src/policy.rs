//! The policies that API servers apply themselves, as YAML for a cluster: the splice in CEL
//! (Kubernetes 1.36), the refusal of pods without the sidecar where that was asked for, and the
//! guard of the operator's own rights.
//!
//! The files below `policy/` are their texts, in which `${…}` stands for what Rust uses as well.
//! ARCHITECTURE.md specifies what the splice does.

use std::borrow::Cow;

use crate::{
    crd::injection::{CONTAINER, FORMAT, NAMESPACE_OPT_OUT, OPT_OUT},
    splice::MESH,
};

/// Namespaces whose pods are left alone, besides that of the operator itself.
pub(crate) const EXCLUDED: [&str; 2] = ["kube-system", "kube-node-lease"];

/// The name of the policy for injections of this format, and of its binding.
pub fn name(format: u32) -> String {
    format!("injection-{format}.mcpulse.io")
}

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
/// know, the current one first. Pods of `namespace`, where the operator itself runs, are left
/// alone.
///
/// The current one also takes what a later version has left in the format before; those before
/// take only what a version before has left. So no pod is injected by two, and none by nobody,
/// in whatever order policies and status change when versions do.
pub fn injection(formats: &[Format], namespace: &str) -> String {
    let mesh = MESH.map(|name| format!("'{name}'")).join(", ");
    let policies = formats.iter().enumerate().map(|(age, Format { number, policy })| {
        let places = if age == 0 {
            "[?params.?status.?injection, ?params.?status.?previous]"
        } else {
            "[?params.?status.?injection]"
        };
        let format = number.to_string();
        let values =
            [("format", &*format), ("mesh", &mesh), ("namespace", namespace), ("places", places)];
        fill(policy, &values)
    });
    policies.collect::<Vec<_>>().join("---\n")
}

/// The policy that refuses pods without the sidecar where a `McpServer` asks for that. Pods of
/// `namespace` are left alone.
pub fn refusal(namespace: &str) -> String {
    fill(include_str!("policy/refusal.yaml"), &[("namespace", namespace)])
}

/// The policies that hold the operator, the service account `account` of `namespace`, to what it
/// needs, and that keep the status of `McpServer`s for it.
pub fn guard(namespace: &str, account: &str) -> String {
    let user = format!("system:serviceaccount:{namespace}:{account}");
    fill(include_str!("policy/guard.yaml"), &[("user", &user)])
}

fn fill(text: &str, values: &[(&str, &str)]) -> String {
    let excluded = EXCLUDED.join(", ");
    let known = [
        ("container", CONTAINER),
        ("excluded", &excluded),
        ("optOut.namespace", NAMESPACE_OPT_OUT),
        ("optOut.pod", OPT_OUT),
    ];
    let fill =
        |text: String, (name, value): &(&str, &str)| text.replace(&format!("${{{name}}}"), value);
    known.iter().chain(values).fold(text.to_owned(), fill)
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path::Path};

    use serde::Deserialize;
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_committed_policies_are_those_of_the_code() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
        for (name, told) in [
            ("injection", injection(&FORMATS, "mcpulse-system")),
            ("refusal", refusal("mcpulse-system")),
            ("guard", guard("mcpulse-system", "mcpulse-operator")),
        ] {
            assert!(!told.contains("${"), "{told}");
            let path = directory.join(format!("{name}.mcpulse.io.yaml"));
            if env::var_os("UPDATE_GOLDEN").is_some() {
                fs::create_dir_all(&directory).unwrap();
                fs::write(&path, &told).unwrap();
            }
            let committed = fs::read_to_string(&path).unwrap_or_default();
            assert!(committed == told, "run UPDATE_GOLDEN=1 cargo test -p mcpulse-operator policy");
        }
    }

    #[test]
    fn pods_are_injected_whole_and_those_of_the_release_are_left_alone() {
        let told = injection(&FORMATS, "elsewhere");
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
}
