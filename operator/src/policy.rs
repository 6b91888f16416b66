//! The policy by which API servers inject pods themselves (Kubernetes 1.36): the splice in CEL.
//!
//! `policy/injection.yaml` is its text, in which `${…}` stands for what the splice in Rust uses
//! as well. ARCHITECTURE.md specifies what both do.

use crate::{
    crd::injection::{CONTAINER, FORMAT, NAMESPACE_OPT_OUT, OPT_OUT},
    splice::MESH,
};

const TEXT: &str = include_str!("policy/injection.yaml");

/// Namespaces whose pods are left alone, besides that of the operator itself.
pub(crate) const EXCLUDED: [&str; 2] = ["kube-system", "kube-node-lease"];

/// The name of the policy for injections of this format, and of its binding.
pub fn name(format: u32) -> String {
    format!("injection-{format}.mcpulse.io")
}

/// The policy and its binding as YAML, to be applied to a cluster. Pods of `namespace`, where the
/// operator itself runs, are left alone.
pub fn yaml(namespace: &str) -> String {
    let excluded = EXCLUDED.join(", ");
    let mesh = MESH.map(|name| format!("'{name}'")).join(", ");
    let format = FORMAT.to_string();
    let values = [
        ("container", CONTAINER),
        ("excluded", &excluded),
        ("format", &format),
        ("mesh", &mesh),
        ("namespace", namespace),
        ("optOut.namespace", NAMESPACE_OPT_OUT),
        ("optOut.pod", OPT_OUT),
    ];
    let fill =
        |text: String, (name, value): (&str, &str)| text.replace(&format!("${{{name}}}"), value);
    values.into_iter().fold(TEXT.to_owned(), fill)
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path::Path};

    use serde::Deserialize;
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_committed_policy_is_the_one_of_the_code() {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/injection.mcpulse.io.yaml");
        let told = yaml("mcpulse-system");
        if env::var_os("UPDATE_GOLDEN").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &told).unwrap();
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == told, "run UPDATE_GOLDEN=1 cargo test -p mcpulse-operator policy");
    }

    #[test]
    fn nothing_is_left_to_fill_in_and_the_namespace_of_the_release_is_left_alone() {
        let told = yaml("elsewhere");
        assert!(!told.contains("${"), "{told}");
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
