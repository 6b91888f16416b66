//! Which pods a `McpServer` means: its own selector, or that of the workload it names.

use std::{borrow::Cow, sync::Arc};

use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet, Deployment, StatefulSet},
        batch::v1::CronJob,
        core::v1::PodTemplateSpec,
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};

use crate::crd::{
    Finding, McpServer, Selector, TargetKind, TargetRef,
    condition::{ConditionType, Reason},
    selector::{Labels, Operator, Requirement},
};

/// A workload that a `McpServer` names.
#[derive(Clone, Debug)]
pub enum Workload {
    /// Of this kind.
    Deployment(Arc<Deployment>),
    /// Of this kind.
    StatefulSet(Arc<StatefulSet>),
    /// Of this kind.
    DaemonSet(Arc<DaemonSet>),
    /// Of this kind.
    CronJob(Arc<CronJob>),
}

impl Workload {
    /// Its kind.
    pub fn kind(&self) -> TargetKind {
        match self {
            Self::Deployment(_) => TargetKind::Deployment,
            Self::StatefulSet(_) => TargetKind::StatefulSet,
            Self::DaemonSet(_) => TargetKind::DaemonSet,
            Self::CronJob(_) => TargetKind::CronJob,
        }
    }

    /// Its name.
    pub fn name(&self) -> Option<&str> {
        let metadata = match self {
            Self::Deployment(workload) => &workload.metadata,
            Self::StatefulSet(workload) => &workload.metadata,
            Self::DaemonSet(workload) => &workload.metadata,
            Self::CronJob(workload) => &workload.metadata,
        };
        metadata.name.as_deref()
    }

    fn selector(&self) -> Option<&LabelSelector> {
        match self {
            Self::Deployment(workload) => Some(&workload.spec.as_ref()?.selector),
            Self::StatefulSet(workload) => Some(&workload.spec.as_ref()?.selector),
            Self::DaemonSet(workload) => Some(&workload.spec.as_ref()?.selector),
            // Its own selects Jobs, each of which has labels of its own making.
            Self::CronJob(_) => None,
        }
    }

    fn template(&self) -> Option<&PodTemplateSpec> {
        match self {
            Self::Deployment(workload) => Some(&workload.spec.as_ref()?.template),
            Self::StatefulSet(workload) => Some(&workload.spec.as_ref()?.template),
            Self::DaemonSet(workload) => Some(&workload.spec.as_ref()?.template),
            Self::CronJob(workload) => {
                Some(&workload.spec.as_ref()?.job_template.spec.as_ref()?.template)
            }
        }
    }

    /// The labels of its pods.
    pub fn labels(&self) -> Labels {
        let metadata = self.template().and_then(|template| template.metadata.as_ref());
        metadata.and_then(|metadata| metadata.labels.clone()).unwrap_or_default()
    }
}

/// The pods that a `McpServer` means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// They, by their labels.
    pub selector: Selector,
    /// All labels that they will have, where the workload that makes them is known.
    pub labels: Option<Labels>,
}

/// The pods that a `McpServer` means; `workload` is the one that it names, if it is there.
///
/// # Errors
/// What is missing, and what to do.
pub fn resolve(server: &McpServer, workload: Option<&Workload>) -> Result<Target, Finding> {
    let selector = selector(server, workload)?.into_owned();
    let workload = workload.filter(|_| server.spec.target_ref.is_some());
    Ok(Target { selector, labels: workload.map(Workload::labels) })
}

/// Only their selector, for those who ask it of many.
///
/// # Errors
/// What is missing, and what to do.
pub fn selector<'a>(
    server: &'a McpServer,
    workload: Option<&Workload>,
) -> Result<Cow<'a, Selector>, Finding> {
    match (&server.spec.selector, &server.spec.target_ref) {
        (Some(selector), None) if !selector.is_empty() => Ok(Cow::Borrowed(selector)),
        (None, Some(named)) => {
            let found = workload
                .filter(|one| one.kind() == named.kind && one.name() == Some(named.name.as_str()));
            of_workload(named, found.ok_or_else(|| not_found(named))?).map(Cow::Owned)
        }
        _ => Err(Finding::new(
            ConditionType::Accepted,
            Reason::InvalidSpec,
            "spec needs either selector with at least one label, or targetRef; write one of them",
        )),
    }
}

fn of_workload(named: &TargetRef, workload: &Workload) -> Result<Selector, Finding> {
    let selector = workload.selector().map_or_else(|| Selector::labels(workload.labels()), read);
    if selector.is_empty() {
        let (kind, name) = (named.kind.name(), &named.name);
        let message = format!(
            "the pods of {kind} {name} have no labels by which they could be known; add one, \
             such as app: {name}, to the labels of its pod template"
        );
        return Err(Finding::new(
            ConditionType::TargetsResolved,
            Reason::TargetWithoutLabels,
            message,
        ));
    }
    Ok(selector)
}

fn not_found(named: &TargetRef) -> Finding {
    let (kind, name) = (named.kind.name(), &named.name);
    let message = format!(
        "there is no {kind} {name} in this namespace; create it, or correct spec.targetRef"
    );
    Finding::new(ConditionType::TargetsResolved, Reason::TargetNotFound, message)
}

fn read(selector: &LabelSelector) -> Selector {
    let requirements = selector.match_expressions.iter().flatten();
    let requirements = requirements.filter_map(|requirement| {
        let operator = match requirement.operator.as_str() {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            // The API server takes no other.
            _ => return None,
        };
        let values = requirement.values.clone().unwrap_or_default();
        Some(Requirement { key: requirement.key.clone(), operator, values })
    });
    Selector {
        match_labels: selector.match_labels.clone().unwrap_or_default(),
        match_expressions: requirements.collect(),
    }
}

impl Target {
    /// Whether a Service with this selector leads to these pods. Where their labels are only
    /// known in part, one that has a label in common and contradicts none counts as well.
    pub fn is_behind(&self, service: &Labels) -> bool {
        if service.is_empty() {
            return false;
        }
        if let Some(labels) = &self.labels {
            return service.iter().all(|(key, value)| labels.get(key) == Some(value));
        }
        let known = |(key, value): (&String, &String)| {
            self.selector.match_labels.get(key) == Some(value)
                || self.selector.match_expressions.iter().any(|requirement| {
                    requirement.key == *key && requirement.values.contains(value)
                })
        };
        service.iter().any(known)
            && service.iter().all(|(key, value)| !self.selector.rules_out(key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(spec: &str) -> McpServer {
        McpServer::new("weather", serde_yaml::from_str(spec).unwrap())
    }

    fn labels(yaml: &str) -> Labels {
        serde_yaml::from_str(yaml).unwrap()
    }

    fn deployment() -> Workload {
        let text = "{metadata: {name: weather}, spec: {selector: {matchLabels: {app: weather}, \
                    matchExpressions: [{key: tier, operator: NotIn, values: [x]}]}, \
                    template: {metadata: {labels: {app: weather, track: stable}}}}}";
        Workload::Deployment(Arc::new(serde_yaml::from_str(text).unwrap()))
    }

    fn cron_job(template: &str) -> Workload {
        let text = format!(
            "{{metadata: {{name: nightly}}, spec: {{schedule: '0 0 * * *', jobTemplate: {{spec: \
             {{template: {{metadata: {template}}}}}}}}}}}"
        );
        Workload::CronJob(Arc::new(serde_yaml::from_str(&text).unwrap()))
    }

    #[test]
    fn a_selector_is_taken_as_it_is() {
        let target = resolve(&server("{selector: {matchLabels: {app: a}}}"), None).unwrap();
        assert_eq!(target.selector, Selector::labels(labels("{app: a}")));
    }

    #[test]
    fn a_workload_lends_its_selector() {
        let spec = "{targetRef: {kind: Deployment, name: weather}}";
        let target = resolve(&server(spec), Some(&deployment())).unwrap();
        assert!(target.selector.matches(&labels("{app: weather}")));
        assert!(!target.selector.matches(&labels("{app: weather, tier: x}")));
        assert_eq!(target.labels, Some(labels("{app: weather, track: stable}")));
    }

    #[test]
    fn a_cron_job_lends_the_labels_of_its_pods_which_must_be_there() {
        let server = server("{targetRef: {kind: CronJob, name: nightly}}");
        let target = resolve(&server, Some(&cron_job("{labels: {app: n}}"))).unwrap();
        assert_eq!(target.selector, Selector::labels(labels("{app: n}")));
        let finding = resolve(&server, Some(&cron_job("{}"))).unwrap_err();
        assert_eq!(finding.reason, Reason::TargetWithoutLabels);
        assert!(finding.message.contains("app: nightly"), "{finding}");
    }

    #[test]
    fn a_workload_that_is_not_there_is_named() {
        let server = server("{targetRef: {kind: StatefulSet, name: weather}}");
        for absent in [None, Some(&deployment())] {
            let finding = resolve(&server, absent).unwrap_err();
            assert_eq!(finding.reason, Reason::TargetNotFound);
            assert!(finding.message.contains("no StatefulSet weather"), "{finding}");
        }
    }

    #[test]
    fn what_the_rules_of_the_definition_refuse_is_refused_here_too() {
        let both = "{selector: {matchLabels: {app: a}}, targetRef: {kind: CronJob, name: a}}";
        for spec in ["{}", "{selector: {}}", both] {
            assert_eq!(resolve(&server(spec), None).unwrap_err().reason, Reason::InvalidSpec);
        }
    }

    #[test]
    fn services_are_told_apart_by_what_is_known_of_the_pods() {
        let service = |target: &Target, yaml: &str| target.is_behind(&labels(yaml));
        let selector = "{selector: {matchLabels: {app: a}}}";
        let partly = resolve(&server(selector), None).unwrap();
        assert!(service(&partly, "{app: a}") && service(&partly, "{app: a, track: b}"));
        assert!(!service(&partly, "{app: b}") && !service(&partly, "{tier: db}"));
        assert!(!service(&partly, "{}"), "a Service without selector leads nowhere");
        let spec = "{targetRef: {kind: Deployment, name: weather}}";
        let wholly = resolve(&server(spec), Some(&deployment())).unwrap();
        assert!(service(&wholly, "{track: stable}"));
        assert!(!service(&wholly, "{app: weather, tier: db}"));
    }
}
