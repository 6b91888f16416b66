//! Which pods are meant, by their labels.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Labels, as `metadata.labels` has them.
pub type Labels = BTreeMap<String, String>;

/// Labels that pods must have; all that is said must hold.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "(has(self.matchLabels) && size(self.matchLabels) > 0) || \
     (has(self.matchExpressions) && size(self.matchExpressions) > 0)"
).message(
    "an empty selector means every pod of the namespace: write at least one label in matchLabels \
     or matchExpressions"
))]
pub struct Selector {
    /// Labels with their values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend(
        "maxProperties" = 32,
        "additionalProperties" = {"type": "string", "maxLength": 63}
    ))]
    pub match_labels: Labels,
    /// What labels must be like.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub match_expressions: Vec<Requirement>,
}

/// What one label must be like.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new(
    "(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)"
).message(
    "write values with the operators In and NotIn, and none with Exists and DoesNotExist"
))]
pub struct Requirement {
    /// The label.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// How the label and the values are compared: In (has one of them), NotIn (has none of
    /// them, or is absent), Exists, DoesNotExist.
    pub operator: Operator,
    /// What it is compared with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 63)))]
    pub values: Vec<String>,
}

/// How a label and values are compared.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operator {
    /// The label is there, with one of the values.
    In,
    /// The label is absent, or has none of the values.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

impl Selector {
    /// Pods with these labels.
    pub fn labels(labels: Labels) -> Self {
        Self { match_labels: labels, match_expressions: Vec::new() }
    }

    /// Whether nothing is said, so that all pods would be meant.
    pub fn is_empty(&self) -> bool {
        self.match_labels.is_empty() && self.match_expressions.is_empty()
    }

    /// Whether a pod with these labels is meant. An empty selector means none.
    pub fn matches(&self, labels: &Labels) -> bool {
        !self.is_empty()
            && self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|requirement| requirement.holds(labels))
    }

    /// Whether no pod can have this label with this value and be meant.
    pub fn rules_out(&self, key: &str, value: &str) -> bool {
        let other = self.match_labels.get(key).is_some_and(|own| own != value);
        let label = Labels::from([(key.to_owned(), value.to_owned())]);
        let mut about = self.match_expressions.iter().filter(|one| one.key == key);
        other || about.any(|requirement| !requirement.holds(&label))
    }

    /// Whether one pod can be meant by both.
    pub fn may_overlap(&self, other: &Self) -> bool {
        let mut labels = other.match_labels.iter();
        let mut own = self.match_labels.iter();
        labels.all(|(key, value)| !self.rules_out(key, value))
            && own.all(|(key, value)| !other.rules_out(key, value))
    }
}

impl Requirement {
    fn holds(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        let listed = value.is_some_and(|value| self.values.contains(value));
        match self.operator {
            Operator::In => listed,
            Operator::NotIn => !listed,
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(yaml: &str) -> Selector {
        serde_yaml::from_str(yaml).unwrap()
    }

    fn matches(yaml: &str, labels: &[(&str, &str)]) -> bool {
        let labels = labels.iter().map(|&(key, value)| (key.to_owned(), value.to_owned()));
        selector(yaml).matches(&labels.collect())
    }

    #[test]
    fn labels_and_expressions_must_all_hold() {
        let both = "{matchLabels: {a: x}, matchExpressions: [{key: b, operator: Exists}]}";
        assert!(matches(both, &[("a", "x"), ("b", "y")]));
        assert!(!matches(both, &[("a", "x")]));
        assert!(!matches(both, &[("a", "z"), ("b", "y")]));
        assert!(!matches("{}", &[("a", "x")]), "an empty selector means nobody");
    }

    #[test]
    fn operators_mean_what_kubernetes_means_by_them() {
        let one = |operator: &str, labels: &[(&str, &str)]| {
            let values = if operator.ends_with("In") { "values: [x, y]" } else { "values: []" };
            matches(
                &format!("{{matchExpressions: [{{key: a, operator: {operator}, {values}}}]}}"),
                labels,
            )
        };
        let (x, z) = ([("a", "x")], [("a", "z")]);
        assert_eq!((one("In", &x), one("In", &z), one("In", &[])), (true, false, false));
        assert_eq!((one("NotIn", &x), one("NotIn", &z), one("NotIn", &[])), (false, true, true));
        assert_eq!((one("Exists", &x), one("Exists", &[])), (true, false));
        assert_eq!((one("DoesNotExist", &x), one("DoesNotExist", &[])), (false, true));
    }

    #[test]
    fn selectors_overlap_unless_they_contradict_each_other() {
        let overlap = |a: &str, b: &str| {
            let (a, b) = (selector(a), selector(b));
            assert_eq!(a.may_overlap(&b), b.may_overlap(&a));
            a.may_overlap(&b)
        };
        let a = "{matchLabels: {app: a}}";
        assert!(overlap(a, "{matchLabels: {tier: x}}"));
        assert!(overlap(a, "{matchExpressions: [{key: app, operator: In, values: [a, b]}]}"));
        assert!(!overlap(a, "{matchLabels: {app: b}}"));
        assert!(!overlap(a, "{matchExpressions: [{key: app, operator: DoesNotExist}]}"));
    }
}
