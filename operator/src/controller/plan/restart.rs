//! Has pods made anew that lack the sidecar, or carry the one of another spec: by a restart of
//! their workload, or one by one. Never the same pod twice, and nothing while something fails.

use std::{sync::Arc, time::Duration};

use k8s_openapi::jiff::Timestamp;
use kube::Resource;

use super::{Cause, Course, Deed, Situation, Tally, Verdict};
use crate::{
    controller::{
        gather::{Group, Owner},
        pod::{Pod, RESTARTED_AT},
        workload::{Progress, Workload},
    },
    crd::{
        Finding, Injection,
        condition::{ConditionType, Reason},
        rollout::RolloutStrategy,
        status::RolloutState,
    },
};

/// Between two times that pods of one owner are made anew because they were missed.
const HEALING: Duration = Duration::from_mins(10);

/// What happens to the pods of one owner.
pub(super) fn course(
    situation: Situation<'_>,
    owner: &Owner,
    group: &Group,
    verdicts: &[Verdict],
    tally: &Tally,
) -> Course {
    let rollout = &situation.gathered.server.spec.rollout;
    let wanting: Vec<_> = group.pods.iter().zip(verdicts).filter(|one| wants(*one.1)).collect();
    let injection = match situation.injection {
        Ok(injection) => injection,
        Err(finding) if finding.reason == Reason::Withdrawn && !rollout.paused => {
            return withdraw(owner, group);
        }
        Err(_) => return Course::default(),
    };
    if let Some(workload) = &group.workload
        && wanting.is_empty()
    {
        return under_way(workload, injection);
    }
    let opted_out = group.workload.as_ref().is_some_and(|workload| workload.opted_out);
    // What nothing makes anew, and Jobs, whose next run gets it.
    let lasts = ["Pod", "Job"].contains(&owner.kind.as_str());
    if wanting.is_empty()
        || rollout.strategy == RolloutStrategy::OnNextRestart
        || opted_out
        || lasts
    {
        return Course::default();
    }
    if rollout.paused || tally.fails_at(1).is_some() {
        return Course::is(RolloutState::Waiting);
    }
    match (rollout.strategy, &group.workload) {
        (RolloutStrategy::RollingRestart, Some(workload)) => {
            if is_reverted(workload, injection) {
                let mut course = evict(situation, owner, group, &wanting);
                course.state = RolloutState::Reverted;
                course.finding = Some(reverts(owner));
                return course;
            }
            restart(situation, owner, workload, injection, &wanting)
        }
        (RolloutStrategy::RollingRestart, None) => Course::is(RolloutState::Waiting),
        _ => evict(situation, owner, group, &wanting),
    }
}

fn wants(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Missing { .. } | Verdict::Outdated)
}

/// Whether somebody took back the restart for this very injection.
fn is_reverted(workload: &Workload, injection: &Injection) -> bool {
    let ours = workload.restarted_for.as_ref();
    ours.is_some_and(|ours| ours.revision == injection.revision) && workload.is_reverted()
}

/// No pod wants anything: whether that is because the restart is not over yet.
fn under_way(workload: &Workload, injection: &Injection) -> Course {
    let ours = workload.restarted_for.as_ref();
    let ours = ours.is_some_and(|ours| ours.revision == injection.revision);
    Course::is(match workload.progress {
        Progress::Rolling if ours => RolloutState::InProgress,
        _ => RolloutState::Idle,
    })
}

/// Restarts a workload, once for each revision, and again for pods of its current template that
/// were missed: never the same pod twice.
fn restart(
    situation: Situation<'_>,
    owner: &Owner,
    workload: &Workload,
    injection: &Injection,
    wanting: &[(&Arc<Pod>, &Verdict)],
) -> Course {
    let ours = workload.restarted_for.as_ref();
    let ours = ours.filter(|ours| ours.revision == injection.revision);
    // Pods that an earlier injection keeps from starting keep their workload from settling.
    let stuck = wanting.iter().any(|(pod, _)| pod.fails());
    match workload.progress {
        Progress::Rolling | Progress::Failed if stuck && ours.is_none() => {}
        Progress::Rolling if ours.is_some() => return Course::is(RolloutState::InProgress),
        Progress::Rolling => return Course::is(RolloutState::Waiting),
        Progress::Held => {
            return Course { finding: Some(held(owner)), ..Course::is(RolloutState::Waiting) };
        }
        Progress::Failed => {
            return Course { finding: Some(failed(owner)), ..Course::is(RolloutState::Waiting) };
        }
        Progress::Settled => {}
    }
    // The others are being replaced already.
    let mut current = wanting
        .iter()
        .filter(|(pod, _)| pod.annotation(RESTARTED_AT) == workload.restarted_at.as_deref());
    if let Some(ours) = ours {
        if !current.any(|(_, verdict)| matches!(verdict, Verdict::Missing { .. })) {
            return Course::is(RolloutState::InProgress);
        }
        // The first time at once.
        let at = ours.at.parse::<Timestamp>().ok().filter(|_| ours.again);
        if let Some(rest) = rest(at, situation.now) {
            return Course { again: Some(rest), ..Course::is(RolloutState::Waiting) };
        }
    } else if current.next().is_none() {
        return Course::is(RolloutState::Waiting);
    }
    let deed = Deed::Restart(owner.clone(), Box::new(workload.clone()));
    Course { deeds: vec![deed], ..Course::is(RolloutState::Waiting) }
}

/// What is left of the pause after this.
fn rest(since: Option<Timestamp>, now: Timestamp) -> Option<Duration> {
    let passed = Duration::try_from(now.duration_since(since?)).unwrap_or_default();
    HEALING.checked_sub(passed).filter(|rest| !rest.is_zero())
}

/// Makes pods anew one after another, as many at once as may be without service.
fn evict(
    situation: Situation<'_>,
    owner: &Owner,
    group: &Group,
    wanting: &[(&Arc<Pod>, &Verdict)],
) -> Course {
    // Pods that came back without the sidecar wait; their time is in whole seconds.
    let last = situation.healed.get(owner).copied();
    let came_back = |pod: &Pod| {
        let created = pod.meta().creation_timestamp.as_ref();
        last.is_some_and(|last| created.is_some_and(|it| it.0.as_second() >= last.as_second()))
    };
    let held = |pod: &Pod, verdict: &Verdict| {
        let missed = *verdict == Verdict::Missing { missed: true } && came_back(pod);
        rest(last, situation.now).filter(|_| missed)
    };
    let free = room(situation, group);
    let may = wanting.iter().filter(|(pod, verdict)| held(pod, verdict).is_none());
    // Those that do not serve as it is have nothing to lose.
    let (failing, serving): (Vec<_>, Vec<_>) = may.partition(|(pod, _)| pod.fails());
    let may = failing.into_iter().chain(serving.into_iter().take(free));
    let deeds: Vec<_> =
        may.map(|(pod, _)| Deed::Evict(owner.clone(), Arc::clone(pod), Cause::Rollout)).collect();
    let again = wanting.iter().filter_map(|(pod, verdict)| held(pod, verdict)).min();
    let state =
        if deeds.is_empty() && free > 0 { RolloutState::Waiting } else { RolloutState::InProgress };
    Course { deeds, again, ..Course::is(state) }
}

/// How many more pods may be without service.
pub(super) fn room(situation: Situation<'_>, group: &Group) -> usize {
    let most = situation.gathered.server.spec.rollout.max_unavailable;
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let without = group.leaving + group.pods.iter().filter(|pod| !pod.ready).count();
    most.saturating_sub(without)
}

/// Pods whose sidecar fails are in the way of their workload, whoever restarted it.
fn withdraw(owner: &Owner, group: &Group) -> Course {
    if ["Pod", "Job"].contains(&owner.kind.as_str())
        || group.workload.as_ref().is_some_and(|workload| workload.opted_out)
    {
        return Course::default();
    }
    let failing = group.pods.iter().filter(|pod| pod.fails());
    let evict = |pod: &Arc<Pod>| Deed::Evict(owner.clone(), Arc::clone(pod), Cause::Withdrawal);
    let deeds: Vec<_> = failing.map(evict).collect();
    let state = if deeds.is_empty() { RolloutState::Idle } else { RolloutState::InProgress };
    Course { deeds, ..Course::is(state) }
}

fn reverts(owner: &Owner) -> Finding {
    let Owner { kind, name } = owner;
    let message = format!(
        "what owns {kind} {name} takes restarts back, so its pods are evicted one by one instead; \
         have it keep the annotation {RESTARTED_AT} of the pod template, or write \
         rollout.strategy: EvictPods or OnNextRestart"
    );
    Finding::new(ConditionType::UpToDate, Reason::OwnerReverts, message)
}

fn held(owner: &Owner) -> Finding {
    let Owner { kind, name } = owner;
    let message = format!(
        "{kind} {name} does not replace its pods when it is restarted (it is paused, or its update \
         strategy is OnDelete or has a partition); delete its pods, or write rollout.strategy: \
         EvictPods"
    );
    Finding::new(ConditionType::UpToDate, Reason::RolloutHeld, message)
}

fn failed(owner: &Owner) -> Finding {
    let Owner { kind, name } = owner;
    let message = format!(
        "{kind} {name} does not get further with its own rollout; see kubectl rollout status \
         {kind}/{name}, and restart it when it can be"
    );
    Finding::new(ConditionType::UpToDate, Reason::RolloutFailed, message)
}
