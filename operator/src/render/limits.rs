//! What LimitRanges of the namespace make of the sidecar's resources, and what they leave pods:
//! a pod that has its place without the sidecar must not be refused because of it.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use k8s_openapi::{
    api::core::v1::{LimitRange, LimitRangeItem},
    apimachinery::pkg::api::resource::Quantity,
};
use serde_json::Value;

use crate::{
    crd::injection::{ByClass, Class, Limits, PodLimit, Quantities},
    quantity::thousandths,
};

type Amounts = BTreeMap<String, Quantity>;

/// The resources as the API server will have them, and what it refuses.
pub(super) fn fit(by_class: ByClass, ranges: &[LimitRange]) -> (ByClass, Limits) {
    let mut limits = Limits::default();
    let items = || ranges.iter().flat_map(|range| range.spec.iter().flat_map(|it| &it.limits));
    let containers: Vec<&LimitRangeItem> = items().filter(|it| it.type_ == "Container").collect();
    for item in items().filter(|item| item.type_ == "Pod") {
        limits.pod.extend(pod_limits(item));
    }
    if containers.is_empty() {
        return (by_class, limits);
    }
    let mut fitted = |class: Class, resources: Quantities| {
        let resources = defaulted(resources, &containers);
        if !containers.iter().all(|item| accepts(item, &resources)) || above_its_limit(&resources) {
            limits.classes.push(class);
        }
        resources
    };
    let by_class = ByClass {
        best_effort: fitted(Class::BestEffort, by_class.best_effort),
        burstable: fitted(Class::Burstable, by_class.burstable),
        guaranteed: fitted(Class::Guaranteed, by_class.guaranteed),
    };
    (by_class, limits)
}

/// The resources with the defaults that the API server adds, raised to the least that it takes.
fn defaulted(mut resources: Quantities, containers: &[&LimitRangeItem]) -> Quantities {
    for item in containers {
        for (name, least) in item.min.iter().flatten() {
            for amounts in [&mut resources.requests, &mut resources.limits] {
                if let Some(amount) = amounts.get_mut(name)
                    && of(amount) < thousandths_of(least)
                {
                    amount.clone_from(&least.0);
                }
            }
        }
    }
    // What is not requested is requested as high as the limit, before LimitRanges are looked at.
    for (name, limit) in resources.limits.clone() {
        resources.requests.entry(name).or_insert(limit);
    }
    let add = |amounts: &mut BTreeMap<String, String>, defaults: &Option<Amounts>| {
        for (name, amount) in defaults.iter().flatten() {
            amounts.entry(name.clone()).or_insert_with(|| amount.0.clone());
        }
    };
    for item in containers {
        add(&mut resources.limits, &item.default);
        add(&mut resources.requests, &item.default_request);
    }
    resources
}

/// Whether a limit of containers leaves room for a container of these resources.
fn accepts(item: &LimitRangeItem, resources: &Quantities) -> bool {
    let (requests, limits) = (&resources.requests, &resources.limits);
    let min = item.min.iter().flatten().all(|(name, least)| {
        let enough = |amount: &String| of(amount) >= thousandths_of(least);
        requests.get(name).is_some_and(enough) && limits.get(name).is_none_or(enough)
    });
    let max = item.max.iter().flatten().all(|(name, most)| {
        let within = |amount: &String| of(amount) <= thousandths_of(most);
        limits.get(name).is_some_and(within) && requests.get(name).is_none_or(within)
    });
    let ratio = item.max_limit_request_ratio.iter().flatten().all(|(name, most)| {
        let amount =
            |amounts: &BTreeMap<String, String>| amounts.get(name).map_or(0, |amount| of(amount));
        let (request, limit) = (amount(requests), amount(limits));
        request > 0 && limit > 0 && limit * 1000 <= thousandths_of(most) * request
    });
    min && max && ratio
}

/// Whether a request is higher than its limit, which no pod may have.
fn above_its_limit(resources: &Quantities) -> bool {
    resources.requests.iter().any(|(name, request)| {
        let limit = resources.limits.get(name);
        limit.is_some_and(|limit| of(request).cmp(&of(limit)) == Ordering::Greater)
    })
}

fn pod_limits(item: &LimitRangeItem) -> Vec<PodLimit> {
    let named = [&item.min, &item.max, &item.max_limit_request_ratio];
    let names: BTreeSet<&String> =
        named.iter().flat_map(|it| it.iter().flatten()).map(|it| it.0).collect();
    let limit = |name: &String| {
        let amount = |of: &Option<Amounts>| Some(of.as_ref()?.get(name)?.0.clone());
        PodLimit {
            resource: name.clone(),
            min: amount(&item.min),
            max: amount(&item.max),
            ratio: amount(&item.max_limit_request_ratio),
        }
    };
    names.into_iter().map(limit).collect()
}

fn of(amount: &str) -> i128 {
    thousandths(&Value::from(amount))
}

fn thousandths_of(amount: &Quantity) -> i128 {
    of(&amount.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fitted(limits: &str) -> (ByClass, Limits) {
        let limits: Value = serde_yaml::from_str(limits).unwrap();
        let range = serde_json::from_value(json!({"spec": {"limits": limits}})).unwrap();
        let by_class = json!({
            "bestEffort": {},
            "burstable": {"requests": {"cpu": "10m", "memory": "16Mi"}},
            "guaranteed": {"requests": {"cpu": "100m", "memory": "64Mi"},
                           "limits": {"cpu": "100m", "memory": "64Mi"}},
        });
        fit(serde_json::from_value(by_class).unwrap(), &[range])
    }

    #[test]
    fn defaults_are_added_and_requests_are_as_high_as_they_must_be() {
        let (by_class, limits) = fitted(
            "[{type: Container, min: {cpu: 20m}, default: {cpu: '1'}, defaultRequest: {cpu: 50m}}]",
        );
        assert_eq!(limits, Limits::default());
        assert_eq!(by_class.burstable.requests["cpu"], "20m");
        assert_eq!(by_class.burstable.limits["cpu"], "1");
        assert_eq!(by_class.best_effort.requests["cpu"], "50m");
        assert_eq!(by_class.guaranteed.limits["cpu"], "100m");
    }

    #[test]
    fn what_a_container_may_not_have_leaves_out_the_classes_that_need_it() {
        use Class::{Burstable, Guaranteed};
        let classes = |limits: &str| fitted(limits).1.classes;
        let max = "[{type: Container, max: {memory: 32Mi}, default: {memory: 32Mi}}]";
        assert_eq!(classes(max), [Guaranteed]);
        let low = "[{type: Container, max: {memory: 8Mi}, default: {memory: 8Mi}, \
                     defaultRequest: {memory: 8Mi}}]";
        assert_eq!(classes(low), [Burstable, Guaranteed]);
        let ratio = "[{type: Container, maxLimitRequestRatio: {cpu: '2'}, default: {cpu: '1'}, \
                       defaultRequest: {cpu: '1'}}]";
        assert_eq!(classes(ratio), [Burstable]);
    }

    #[test]
    fn what_pods_may_have_is_told_as_it_is() {
        let (_, limits) = fitted("[{type: Pod, max: {cpu: '2', memory: 1Gi}, min: {cpu: 1m}}]");
        let [cpu, memory] = limits.pod.as_slice() else { panic!("{limits:?}") };
        assert_eq!((cpu.max.as_deref(), cpu.min.as_deref()), (Some("2"), Some("1m")));
        assert_eq!((memory.resource.as_str(), memory.max.as_deref()), ("memory", Some("1Gi")));
        assert!(limits.classes.is_empty());
    }
}
