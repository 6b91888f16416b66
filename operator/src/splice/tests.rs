//! What holds of every pod, whatever its shape.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::Value;

mod random;

use random::{SPECS, any_pod};

use super::{class, pod, splice};
use crate::{
    crd::{Injection, McpServer},
    render,
};

fn injection(spec: &str) -> Injection {
    let spec = format!("{{selector: {{matchLabels: {{app: a}}}}, {spec}}}");
    let server = McpServer::new("a", serde_yaml::from_str(&spec).unwrap());
    render::alone(&server)
}

fn injections() -> impl Strategy<Value = Injection> {
    prop::sample::select(SPECS.to_vec()).prop_map(injection)
}

fn injected(pod: &Value, injection: &Injection) -> Value {
    let mut pod = pod.clone();
    if let Ok(patch) = splice(&pod, injection) {
        json_patch::patch(&mut pod, &patch).unwrap();
    }
    pod
}

fn names(pod: &Value, kind: &str) -> Vec<String> {
    pod::list(&pod["spec"], kind).iter().map(|one| one["name"].to_string()).collect()
}

/// The first value of a field that two entries of a list share.
fn twice(list: &[Value], field: &str) -> Option<String> {
    let mut seen = BTreeSet::new();
    let values = list.iter().map(|one| &one[field]).filter(|value| !value.is_null());
    values.map(ToString::to_string).find(|value| !seen.insert(value.clone()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_pod_is_injected_once(pod in any_pod(), injection in injections()) {
        let once = injected(&pod, &injection);
        prop_assert_eq!(injected(&once, &injection), once);
    }

    #[test]
    fn containers_keep_their_order_and_the_sidecar_starts_before_them(
        pod in any_pod(), injection in injections()
    ) {
        let after = injected(&pod, &injection);
        prop_assert_eq!(names(&after, "containers"), names(&pod, "containers"));
        let mut init = names(&after, "initContainers");
        if after != pod {
            let place = init.iter().position(|name| name == "\"mcpulse-proxy\"").unwrap();
            init.remove(place);
            prop_assert!(init[..place].iter().all(|name| name.contains("istio") || name.contains("linkerd")));
        }
        prop_assert_eq!(init, names(&pod, "initContainers"));
    }

    #[test]
    fn nothing_is_there_twice_that_was_there_once(pod in any_pod(), injection in injections()) {
        let after = injected(&pod, &injection);
        let all: Vec<Value> = pod::containers(&after).cloned().collect();
        prop_assert_eq!(twice(&all, "name"), None);
        prop_assert_eq!(twice(pod::list(&after["spec"], "volumes"), "name"), None);
        for one in &all {
            prop_assert_eq!(twice(pod::list(one, "ports"), "name"), None);
            prop_assert_eq!(twice(pod::list(one, "volumeMounts"), "mountPath"), None);
        }
        if after != pod {
            let sidecar = all.iter().find(|one| one["name"] == "mcpulse-proxy").unwrap();
            let others = all.iter().filter(|one| *one != sidecar);
            let declared: Vec<&Value> = others.flat_map(|one| pod::list(one, "ports")).collect();
            for port in pod::list(sidecar, "ports") {
                let clash = |other: &&&Value| {
                    pod::number(other) == pod::number(port)
                        || (!port["name"].is_null() && other["name"] == port["name"])
                };
                prop_assert_eq!(declared.iter().find(clash), None);
            }
        }
    }

    #[test]
    fn the_pod_keeps_its_class(pod in any_pod(), injection in injections()) {
        prop_assert_eq!(class::of(&injected(&pod, &injection)), class::of(&pod));
    }

    #[test]
    fn other_containers_stay_as_they_are(pod in any_pod(), injection in injections()) {
        let after = injected(&pod, &injection);
        let pairs = pod::list(&after["spec"], "containers").iter().zip(pod::list(&pod["spec"], "containers"));
        let changed = pairs.filter(|(after, before)| after != before).count();
        prop_assert!(changed <= 1, "{changed} containers changed");
        for one in pod::list(&pod["spec"], "initContainers") {
            prop_assert!(pod::list(&after["spec"], "initContainers").contains(one));
        }
    }
}

#[test]
fn random_pods_are_often_enough_injected() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let mut draw = || {
        let pair = (any_pod(), injections()).new_tree(&mut runner).unwrap().current();
        splice(&pair.0, &pair.1).is_ok()
    };
    let injected = (0..500).filter(|_| draw()).count();
    assert!(injected > 75, "{injected} of 500");
}
