//! What the operator may do in a cluster: as little as it needs, each verb with the code that
//! uses it.

use crate::{crd::injection::FORMAT, release::Release};

const TEXT: &str = include_str!("rbac/roles.yaml");

/// The roles of the operator of a release, as YAML to be applied to a cluster. One that watches a
/// single namespace needs no rights in others, and of the cluster only those to objects that it
/// knows by name.
pub fn yaml(release: &Release) -> String {
    release.fill(&text())
}

/// The roles, in which `${…}` stands for what differs from release to release.
fn text() -> String {
    TEXT.replace("${format}", &FORMAT.to_string())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde::Deserialize;
    use serde_json::Value;

    use super::*;
    use crate::golden::committed;

    fn documents(text: &str) -> Vec<Value> {
        let documents = serde_yaml::Deserializer::from_str(text).map(Value::deserialize);
        documents.collect::<Result<_, _>>().unwrap()
    }

    fn of(namespace: &str, watched: Option<&str>) -> Release {
        let watched = watched.map(str::to_owned);
        Release { namespace: namespace.to_owned(), watched, ..Release::default() }
    }

    #[test]
    fn the_committed_roles_are_those_of_the_code() {
        committed("../policies/rbac.mcpulse.io.yaml", &yaml(&Release::default()));
        committed("../charts/mcpulse/files/roles.yaml", &text());
    }

    #[test]
    fn no_verb_is_there_without_the_code_that_uses_it() {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut named = 0;
        for line in TEXT.lines().filter(|line| line.starts_with("# ")) {
            let mut words = line.split([' ', ',']).map(|word| word.trim_end_matches('.'));
            for file in
                words.by_ref().filter(|word| Path::new(word).extension() == Some("rs".as_ref()))
            {
                named += 1;
                assert!(sources.join(file).exists(), "{file}");
            }
        }
        assert!(named >= 5, "{named}");
        for document in documents(&yaml(&of("a", None))) {
            for rule in document["rules"].as_array().into_iter().flatten() {
                for list in ["apiGroups", "resources", "verbs"] {
                    assert!(!rule[list].as_array().unwrap().contains(&"*".into()), "{rule}");
                }
            }
        }
    }

    #[test]
    fn one_namespace_needs_nothing_of_others() {
        let told = yaml(&of("release", Some("team")));
        assert!(!told.contains("${"), "{told}");
        let all = documents(&told);
        let of_cluster = all.iter().filter(|one| one["kind"] == "ClusterRole");
        for rule in of_cluster.filter_map(|one| one["rules"].as_array()).flatten() {
            assert!(rule["resourceNames"].is_array(), "{rule}");
        }
        let role = all.iter().find(|one| one["kind"] == "Role").unwrap();
        assert_eq!(role["metadata"]["namespace"], "team");
        let binding = all.iter().find(|one| one["kind"] == "RoleBinding").unwrap();
        assert_eq!(binding["metadata"]["namespace"], "team");
        assert_eq!(binding["subjects"][0]["namespace"], "release");
    }
}
