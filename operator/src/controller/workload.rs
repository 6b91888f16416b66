//! What is kept of the workloads that make pods, and how far their own rollouts are.

use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet},
        batch::v1::CronJob,
        core::v1::PodTemplateSpec,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::core::PartialObjectMeta;

use super::pod::RESTARTED_AT;
use crate::crd::{TargetKind, selector::Labels};

/// The annotation by which a workload is never restarted, with the value `never`.
pub(super) const RESTART: &str = "mcpulse.io/restart";
/// The annotation of a workload that says what it was last restarted for, and when.
pub(super) const RESTARTED_FOR: &str = "mcpulse.io/restarted-for";

/// What is said of a restart that is not the first for its revision.
const AGAIN: &str = " again";

/// A workload that is restarted by a change of its template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Workload {
    pub(super) kind: TargetKind,
    pub(super) name: String,
    pub(super) uid: Option<String>,
    pub(super) resource_version: Option<String>,
    /// Whether its owner said that it is never to be restarted.
    pub(super) opted_out: bool,
    /// What it was last restarted for.
    pub(super) restarted_for: Option<RestartedFor>,
    /// When its template says that it was restarted.
    pub(super) restarted_at: Option<String>,
    /// How far its rollout is.
    pub(super) progress: Progress,
    /// Whether it has fewer pods than it wants: it makes more, or the API server refuses them.
    pub(super) short: bool,
}

/// How far the rollout of a workload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Every pod is of the current template.
    Settled,
    /// Pods are being replaced.
    Rolling,
    /// Its owner holds it: paused, or pods are replaced when somebody deletes them.
    Held,
    /// It does not get further.
    Failed,
}

/// What a workload was restarted for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RestartedFor {
    /// The revision that its pods were to get.
    pub(super) revision: String,
    /// What was written into the template.
    pub(super) at: String,
    /// Whether that was done once before, and pods were missed since.
    pub(super) again: bool,
}

impl RestartedFor {
    /// It as an annotation.
    pub(super) fn text(&self) -> String {
        let again = if self.again { AGAIN } else { "" };
        format!("{} at {}{again}", self.revision, self.at)
    }

    fn read(text: &str) -> Option<Self> {
        let (revision, at) = text.split_once(" at ")?;
        let (at, again) = at.strip_suffix(AGAIN).map_or((at, false), |at| (at, true));
        Some(Self { revision: revision.to_owned(), at: at.to_owned(), again })
    }
}

impl Workload {
    fn new(
        kind: TargetKind,
        metadata: &ObjectMeta,
        template: Option<&PodTemplateSpec>,
        (progress, short): (Progress, bool),
    ) -> Self {
        let annotation = |key: &str| Some(metadata.annotations.as_ref()?.get(key)?.as_str());
        let restarted_at = template.and_then(|template| {
            template.metadata.as_ref()?.annotations.as_ref()?.get(RESTARTED_AT).cloned()
        });
        Self {
            kind,
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone(),
            resource_version: metadata.resource_version.clone(),
            opted_out: annotation(RESTART) == Some("never"),
            restarted_for: annotation(RESTARTED_FOR).and_then(RestartedFor::read),
            restarted_at,
            progress,
            short,
        }
    }

    /// Whether somebody took the restart out of the template. A later restart by somebody else
    /// is none of that.
    pub(super) fn is_reverted(&self) -> bool {
        let Some(ours) = &self.restarted_for else { return false };
        self.restarted_at.as_ref().is_none_or(|there| *there < ours.at)
    }
}

impl From<&Deployment> for Workload {
    fn from(one: &Deployment) -> Self {
        let spec = one.spec.as_ref();
        let status = one.status.clone().unwrap_or_default();
        let wanted = spec.and_then(|spec| spec.replicas).unwrap_or(1);
        let (all, updated) = (status.replicas.unwrap_or(0), status.updated_replicas.unwrap_or(0));
        let available = status.available_replicas.unwrap_or(0);
        let says = |type_: &str, it: &str| {
            let mut conditions = status.conditions.iter().flatten();
            conditions.any(|condition| condition.type_ == type_ && condition.status == it)
        };
        let failed = says("Progressing", "False");
        let short = says("ReplicaFailure", "True");
        let progress = if spec.and_then(|spec| spec.paused) == Some(true) {
            Progress::Held
        } else if status.observed_generation != one.metadata.generation {
            Progress::Rolling
        } else if failed {
            Progress::Failed
        } else if updated < wanted || all > updated || available < updated {
            Progress::Rolling
        } else {
            Progress::Settled
        };
        let (kind, template) = (TargetKind::Deployment, spec.map(|spec| &spec.template));
        Self::new(kind, &one.metadata, template, (progress, short))
    }
}

impl From<&StatefulSet> for Workload {
    fn from(one: &StatefulSet) -> Self {
        let spec = one.spec.as_ref();
        let status = one.status.clone().unwrap_or_default();
        let wanted = spec.and_then(|spec| spec.replicas).unwrap_or(1);
        let strategy = spec.and_then(|spec| spec.update_strategy.as_ref());
        let partition = strategy.and_then(|it| it.rolling_update.as_ref()?.partition);
        let held = strategy.and_then(|it| it.type_.as_deref()) == Some("OnDelete")
            || partition.is_some_and(|partition| partition > 0);
        let ready = status.ready_replicas.unwrap_or(0);
        let progress = if held {
            Progress::Held
        } else if status.observed_generation != one.metadata.generation
            || status.current_revision != status.update_revision
            || ready < wanted
        {
            Progress::Rolling
        } else {
            Progress::Settled
        };
        let short = status.replicas < wanted;
        let (kind, template) = (TargetKind::StatefulSet, spec.map(|spec| &spec.template));
        Self::new(kind, &one.metadata, template, (progress, short))
    }
}

impl From<&DaemonSet> for Workload {
    fn from(one: &DaemonSet) -> Self {
        let spec = one.spec.as_ref();
        let status = one.status.clone().unwrap_or_default();
        let strategy = spec.and_then(|spec| spec.update_strategy.as_ref()?.type_.as_deref());
        let wanted = status.desired_number_scheduled;
        let progress = if strategy == Some("OnDelete") {
            Progress::Held
        } else if status.observed_generation != one.metadata.generation
            || status.updated_number_scheduled.unwrap_or(0) < wanted
            || status.number_available.unwrap_or(0) < wanted
        {
            Progress::Rolling
        } else {
            Progress::Settled
        };
        let short = status.current_number_scheduled < wanted;
        let (kind, template) = (TargetKind::DaemonSet, spec.map(|spec| &spec.template));
        Self::new(kind, &one.metadata, template, (progress, short))
    }
}

/// Takes out what nobody asks for.
pub(super) trait Strip {
    fn strip(&mut self);
}

fn strip(metadata: &mut ObjectMeta) {
    metadata.managed_fields = None;
    let kept = |key: &String| [RESTART, RESTARTED_FOR].contains(&key.as_str());
    if let Some(annotations) = &mut metadata.annotations {
        annotations.retain(|key, _| kept(key));
    }
}

fn strip_template(template: &mut PodTemplateSpec) {
    template.spec = None;
    let Some(metadata) = &mut template.metadata else { return };
    if let Some(annotations) = &mut metadata.annotations {
        annotations.retain(|key, _| key == RESTARTED_AT);
    }
}

macro_rules! strip_workload {
    ($($kind:ty),*) => {$(
        impl Strip for $kind {
            fn strip(&mut self) {
                strip(&mut self.metadata);
                if let Some(spec) = &mut self.spec {
                    strip_template(&mut spec.template);
                }
            }
        }
    )*};
}

strip_workload!(Deployment, StatefulSet, DaemonSet);

impl Strip for CronJob {
    fn strip(&mut self) {
        strip(&mut self.metadata);
        self.status = None;
        if let Some(job) = self.spec.as_mut().and_then(|spec| spec.job_template.spec.as_mut()) {
            strip_template(&mut job.template);
        }
    }
}

impl Strip for PartialObjectMeta<ReplicaSet> {
    fn strip(&mut self) {
        self.metadata.managed_fields = None;
        self.metadata.annotations = None;
        self.metadata.labels = None::<Labels>;
        self.metadata.resource_version = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(yaml: &str) -> Deployment {
        let text = format!(
            "{{metadata: {{name: a, generation: 2, annotations: {{mcpulse.io/restarted-for: 'r1 at \
             2026-01-02T00:00:00Z', x: y}}}}, {yaml}}}"
        );
        serde_yaml::from_str(&text).unwrap()
    }

    fn progress(status: &str) -> Progress {
        let text =
            format!("spec: {{replicas: 2, selector: {{}}, template: {{}}}}, status: {{{status}}}");
        Workload::from(&deployment(&text)).progress
    }

    #[test]
    fn a_rollout_is_over_when_every_pod_is_new_and_there() {
        let all = "observedGeneration: 2, replicas: 2, updatedReplicas: 2, availableReplicas: 2";
        assert_eq!(progress(all), Progress::Settled);
        assert_eq!(progress("observedGeneration: 1, replicas: 2"), Progress::Rolling);
        let old = "observedGeneration: 2, replicas: 3, updatedReplicas: 2, availableReplicas: 3";
        assert_eq!(progress(old), Progress::Rolling);
        let stuck = "observedGeneration: 2, conditions: [{type: Progressing, status: 'False'}]";
        assert_eq!(progress(stuck), Progress::Failed);
    }

    #[test]
    fn what_a_restart_was_for_is_read_back() {
        for again in [false, true] {
            let (revision, at) = ("r1".to_owned(), "2026-01-02T00:00:00Z".to_owned());
            let told = RestartedFor { revision, at, again };
            assert_eq!(RestartedFor::read(&told.text()), Some(told));
        }
    }

    #[test]
    fn a_restart_that_is_gone_was_taken_back_and_a_later_one_was_not() {
        let reverted = |at: &str| {
            let template = format!("{{metadata: {{annotations: {{{RESTARTED_AT}: '{at}'}}}}}}");
            let spec = format!("spec: {{selector: {{}}, template: {template}}}");
            Workload::from(&deployment(&spec)).is_reverted()
        };
        assert!(!reverted("2026-01-02T00:00:00Z") && !reverted("2026-01-03T00:00:00Z"));
        assert!(reverted("2026-01-01T00:00:00Z"));
        assert!(Workload::from(&deployment("spec: {selector: {}, template: {}}")).is_reverted());
    }

    #[test]
    fn what_is_stripped_is_not_asked_for() {
        let text = "spec: {replicas: 2, selector: {}, template: {spec: {containers: []}}}, \
                    status: {observedGeneration: 2}";
        let mut one = deployment(text);
        let before = Workload::from(&one);
        one.strip();
        assert_eq!(Workload::from(&one), before);
        assert_eq!(one.spec.unwrap().template.spec, None);
        assert_eq!(one.metadata.annotations.unwrap().len(), 1);
    }
}
