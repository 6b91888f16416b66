//! Which workload a pod is of: Kubernetes tells no container, but its own controllers name pods
//! after them, and the labels that they put there say where that name ends. The downward API
//! hands both to the sidecar.

use super::Environment;
use crate::config::Config;

/// Under which OpenTelemetry knows the name of the pod.
const POD: &str = "k8s.pod.name";

/// Adds the workload to the attributes of a process that knows its pod.
pub(super) fn add_to(config: &mut Config, environment: &Environment) {
    let attributes = &mut config.otel.resource_attributes;
    let workload = attributes.get(POD).and_then(|pod| of(pod, environment));
    if let Some((kind, name)) = workload {
        attributes.entry(kind.to_owned()).or_insert(name);
    }
}

/// The attribute for its kind, and its name.
fn of(pod: &str, environment: &Environment) -> Option<(&'static str, String)> {
    if let Some(job) = environment.get("POD_JOB_NAME") {
        return Some(("k8s.job.name", job.to_owned()));
    }
    let (kind, name) = if let Some(index) = environment.get("POD_INDEX") {
        ("k8s.statefulset.name", pod.strip_suffix(index)?.strip_suffix('-')?)
    } else if let Some(hash) = environment.get("POD_TEMPLATE_HASH") {
        ("k8s.deployment.name", pod.rsplit_once('-')?.0.strip_suffix(hash)?.strip_suffix('-')?)
    } else {
        environment.get("POD_REVISION_HASH")?;
        ("k8s.daemonset.name", pod.rsplit_once('-')?.0)
    };
    Some((kind, name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_pod_tells_its_workload() {
        let found = |pod: &str, labels: &[(&str, &str)]| {
            let labels = labels.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
            of(pod, &Environment { variables: labels.collect(), program: None })
        };
        let of_deployment = [("POD_TEMPLATE_HASH", "6d4cf56db6"), ("POD_INDEX", "")];
        let is = |kind, name: &str| Some((kind, name.to_owned()));
        assert_eq!(
            found("my-weather-6d4cf56db6-x7k2p", &of_deployment),
            is("k8s.deployment.name", "my-weather")
        );
        // A name that is too long is cut, and the hash with it.
        assert_eq!(found("my-weather-6d4cf-x7k2p", &of_deployment), None);
        let of_set = [("POD_INDEX", "12"), ("POD_REVISION_HASH", "weather-5b9d")];
        assert_eq!(found("weather-12", &of_set), is("k8s.statefulset.name", "weather"));
        let of_daemon = [("POD_REVISION_HASH", "5b9d")];
        assert_eq!(
            found("on-each-node-x7k2p", &of_daemon),
            is("k8s.daemonset.name", "on-each-node")
        );
        let of_job = [("POD_JOB_NAME", "nightly-29")];
        assert_eq!(found("nightly-29-x7k2p", &of_job), is("k8s.job.name", "nightly-29"));
        assert_eq!(found("by-hand", &[]), None);
    }
}
