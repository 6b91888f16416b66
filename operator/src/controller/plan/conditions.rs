//! What holds of a `McpServer` and what does not, with what to do about it.

use k8s_openapi::jiff::Timestamp;

use super::{Course, Situation, Tally};
use crate::{
    controller::gather::Owner,
    crd::{
        Finding, McpServerStatus,
        condition::{ConditionType, Reason, record, record_trouble},
        rollout::RolloutStrategy,
        status::RolloutState,
    },
};

/// Writes the conditions.
pub(super) fn tell(
    status: &mut McpServerStatus,
    situation: Situation<'_>,
    tally: &Tally,
    courses: &[(&Owner, Course)],
    now: Timestamp,
) {
    let nothing = situation.refused.or(situation.injection.err());
    let about = |about| nothing.filter(|finding| finding.about == about);
    let accepted = about(ConditionType::Accepted);
    let resolved = about(ConditionType::TargetsResolved);
    let injected = about(ConditionType::Injected).cloned().or_else(|| missing(situation, tally));
    let reverted = courses.iter().find_map(|(_, course)| course.finding.clone());
    let up_to_date = reverted.or_else(|| outdated(status, situation));
    let fails = tally.fails_at(1).map(|how| {
        let message = format!(
            "{how}; nothing is restarted or upgraded meanwhile; see kubectl describe pod, and \
             correct spec.proxy.image or spec.proxy.imagePullSecrets"
        );
        Finding::new(ConditionType::Degraded, Reason::SidecarFails, message)
    });
    let generation = situation.gathered.server.metadata.generation;
    let conditions = &mut status.conditions;
    let mut tell = |about, found: Option<&Finding>, well: &str| {
        record(conditions, about, found.map_or(Ok(well), Err), generation, now);
    };
    tell(ConditionType::Accepted, accepted, "Accepted");
    // Whether they are is not known while the spec is not understood.
    tell(ConditionType::TargetsResolved, accepted.or(resolved), "Resolved");
    let injected = nothing.cloned().or(injected);
    let well = if tally.counts.matched == 0 { "NoPods" } else { "Injected" };
    tell(ConditionType::Injected, injected.as_ref(), well);
    tell(ConditionType::UpToDate, up_to_date.as_ref(), "UpToDate");
    let withdrawn = nothing.filter(|finding| finding.reason == Reason::Withdrawn);
    let degraded = withdrawn.cloned().or(fails);
    let strategy = situation.gathered.server.spec.rollout.strategy;
    let busy = courses.iter().any(|(_, course)| course.state == RolloutState::InProgress);
    // What was asked for: nothing at all, or that pods stay as they are.
    let asked = |finding: &&Finding| match finding.reason {
        Reason::Disabled | Reason::NamespaceOptedOut => true,
        Reason::Missed | Reason::NotRestarted | Reason::Outdated => {
            strategy == RolloutStrategy::OnNextRestart && !busy
        }
        _ => false,
    };
    let unready = [degraded.as_ref(), injected.as_ref(), up_to_date.as_ref()];
    let unready = unready.into_iter().flatten().find(|finding| !asked(finding));
    tell(ConditionType::Ready, unready, "Ready");
    let stalled = nothing.filter(|finding| !asked(finding));
    record_trouble(conditions, ConditionType::Stalled, stalled, generation, now);
    record_trouble(conditions, ConditionType::Degraded, degraded.as_ref(), generation, now);
}

/// Pods that should carry the sidecar, and what becomes of them.
fn missing(situation: Situation<'_>, tally: &Tally) -> Option<Finding> {
    if let Some(unproven) = situation.unproven {
        return Some(unproven.clone());
    }
    let (missed, before) = (tally.reason(Reason::Missed), tally.reason(Reason::NotRestarted));
    let (reason, pods) = match (missed, before) {
        (0, 0) => return None,
        (0, before) => (Reason::NotRestarted, before),
        (missed, _) => (Reason::Missed, missed),
    };
    let rollout = &situation.gathered.server.spec.rollout;
    let what = match (rollout.paused, rollout.strategy) {
        (true, _) => "they wait, for spec.rollout.paused is set",
        (_, RolloutStrategy::RollingRestart) => {
            "their workloads are restarted; where nothing does, run kubectl rollout restart"
        }
        (_, RolloutStrategy::EvictPods) => "they are evicted one after another",
        (_, RolloutStrategy::OnNextRestart) => {
            "they get it when they are restarted, as by kubectl rollout restart"
        }
    };
    let message = format!("{pods} pods run without the sidecar; {what}");
    Some(Finding::new(ConditionType::Injected, reason, message))
}

fn outdated(status: &McpServerStatus, situation: Situation<'_>) -> Option<Finding> {
    let pods = status.pods.outdated;
    situation.injection.ok().filter(|_| pods > 0)?;
    let what = if situation.kubernetes.restarts_sidecars() {
        "see status.workloads for what happens to them"
    } else {
        "before Kubernetes 1.32 a sidecar that runs gets no other image: where nothing restarts \
         them, run kubectl rollout restart"
    };
    let message = format!("{pods} pods carry the sidecar as it was before; {what}");
    Some(Finding::new(ConditionType::UpToDate, Reason::Outdated, message))
}
