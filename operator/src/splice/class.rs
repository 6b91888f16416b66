//! The class of service of a pod, by the kubelet's own reckoning, so that the sidecar leaves it
//! as it is.

use serde_json::Value;

use super::pod::containers;
pub(super) use crate::crd::injection::Class;
use crate::{
    crd::injection::{ByClass, Quantities},
    quantity::nanos,
};

impl Class {
    /// What keeps a pod of this class in it.
    pub(super) fn resources(self, by_class: &ByClass) -> &Quantities {
        match self {
            Self::BestEffort => &by_class.best_effort,
            Self::Burstable => &by_class.burstable,
            Self::Guaranteed => &by_class.guaranteed,
        }
    }
}

const COUNTED: [&str; 2] = ["cpu", "memory"];

/// The class of a pod without resources of its own: init containers count, other resources than
/// processor time and memory do not, nor does what is zero (component-helpers, `ComputePodQOS`).
/// The kubelet compares sums; no request is above its limit, so that comes to the same.
pub(super) fn of(pod: &Value) -> Class {
    let of_container = |container: &Value| {
        COUNTED.map(|name| {
            let resources = &container["resources"];
            let limit = nanos(&resources["limits"][name]);
            // What is not requested is requested as high as the limit: the API server's default.
            let request = match &resources["requests"][name] {
                Value::Null => limit,
                request => nanos(request),
            };
            (request, limit)
        })
    };
    let amounts: Vec<(i128, i128)> = containers(pod).flat_map(of_container).collect();
    if amounts.iter().all(|&(request, limit)| request <= 0 && limit <= 0) {
        Class::BestEffort
    } else if amounts.iter().all(|&(request, limit)| limit > 0 && request == limit) {
        Class::Guaranteed
    } else {
        Class::Burstable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(resources: &[&str]) -> Class {
        let resources = resources.iter().map(|one| {
            let resources: Value = serde_yaml::from_str(one).unwrap();
            serde_json::json!({"resources": resources})
        });
        let containers: Vec<Value> = resources.collect();
        of(&serde_json::json!({"spec": {"containers": containers}}))
    }

    #[test]
    fn the_class_is_the_kubelets() {
        use Class::{BestEffort, Burstable, Guaranteed};
        assert_eq!(class(&["{}"]), BestEffort);
        assert_eq!(class(&["{requests: {cpu: 0}}"]), BestEffort);
        assert_eq!(class(&["{requests: {ephemeral-storage: 1Gi}}"]), BestEffort);
        assert_eq!(class(&["{requests: {cpu: 1m}}"]), Burstable);
        assert_eq!(class(&["{limits: {cpu: 1}}"]), Burstable);
        assert_eq!(class(&["{limits: {cpu: 1, memory: 1Gi}}"]), Guaranteed);
        let equal = "{limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 1000m, memory: 1024Mi}}";
        assert_eq!(class(&[equal]), Guaranteed);
        assert_eq!(class(&[equal, "{}"]), Burstable);
        assert_eq!(class(&["{limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 1m}}"]), Burstable);
    }
}
