//! Whether LimitRanges leave a pod room for the sidecar.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{class::Class, pod::list, skip::Skip};
use crate::{
    crd::{
        Injection,
        injection::{PodLimit, Quantities},
    },
    quantity::thousandths,
};

/// Checks what containers and pods may have.
pub(super) fn room(pod: &Value, class: Class, injection: &Injection) -> Result<(), Skip> {
    let limits = &injection.limits;
    if limits.classes.contains(&class) {
        return Err(Skip::Limits("the sidecar's resources are more than a container".to_owned()));
    }
    let resources = class.resources(&injection.resources);
    match limits.pod.iter().find(|limit| !leaves_room(pod, resources, limit)) {
        Some(limit) => Err(Skip::Limits(format!(
            "the pod's {} with the sidecar's is more or less than a pod",
            limit.resource
        ))),
        None => Ok(()),
    }
}

fn leaves_room(pod: &Value, resources: &Quantities, limit: &PodLimit) -> bool {
    let name = &limit.resource;
    let own = |amounts: &BTreeMap<String, String>| {
        amounts.get(name).map_or(0, |amount| thousandths(&json!(amount)))
    };
    let limits = most(pod, |one| thousandths(&one["limits"][name])) + own(&resources.limits);
    let requests = most(pod, |one| match &one["requests"][name] {
        Value::Null => thousandths(&one["limits"][name]),
        request => thousandths(request),
    }) + own(&resources.requests);
    let amount = |of: &Option<String>| of.as_ref().map(|amount| thousandths(&json!(amount)));
    amount(&limit.max).is_none_or(|max| limits <= max && requests <= max)
        && amount(&limit.min)
            .is_none_or(|min| limits >= min || !resources.limits.contains_key(name))
        && amount(&limit.ratio).is_none_or(|ratio| limits * 1000 <= ratio * requests)
}

/// What a pod needs at most at any time: all that runs together, or an init container with the
/// sidecars that started before it.
fn most(pod: &Value, of: impl Fn(&Value) -> i128) -> i128 {
    let amount = |container: &Value| of(&container["resources"]);
    let containers = list(&pod["spec"], "containers").iter().map(amount).sum::<i128>();
    let (mut sidecars, mut most) = (0, 0);
    for container in list(&pod["spec"], "initContainers") {
        most = most.max(sidecars + amount(container));
        if container["restartPolicy"] == "Always" {
            sidecars += amount(container);
        }
    }
    most.max(containers + sidecars)
}
