//! Gives running sidecars another image, without touching the server beside them: a few at a
//! time, and no further while one does not come up.

use std::sync::Arc;

use super::{Course, Deed, Situation, Tally, Verdict, image, restart::room};
use crate::{
    controller::{
        gather::{Group, Owner},
        pod::{Pod, UPGRADED},
        workload::Progress,
    },
    crd::{rollout::UpgradeStrategy, status::RolloutState},
};

/// What happens to the pods of one owner.
pub(super) fn course(
    situation: Situation<'_>,
    owner: &Owner,
    group: &Group,
    verdicts: &[Verdict],
    tally: &Tally,
) -> Course {
    let rollout = &situation.gathered.server.spec.rollout;
    let Ok(injection) = situation.injection else { return Course::default() };
    if rollout.upgrade != UpgradeStrategy::InPlace || !situation.kubernetes.restarts_sidecars() {
        return Course::default();
    }
    let wanted = image(injection);
    let old = group.pods.iter().zip(verdicts);
    let old = old.filter(|(pod, verdict)| {
        **verdict == Verdict::Behind && runs(pod).is_some_and(|image| image != wanted)
    });
    let old: Vec<_> = old.map(|(pod, _)| pod).collect();
    let changing = group.pods.iter().any(|pod| runs(pod) == Some(wanted) && is_changing(pod));
    if old.is_empty() {
        return Course::is(if changing { RolloutState::InProgress } else { RolloutState::Idle });
    }
    // A rollout of its own makes the pods anew; one that sidecars are in the way of is none.
    let rolling = group.workload.as_ref().is_some_and(|it| it.progress == Progress::Rolling)
        && !changing
        && !group.pods.iter().any(|pod| pod.fails());
    if rollout.paused || tally.fails_at(1).is_some() || rolling {
        return Course::is(RolloutState::Waiting);
    }
    // A pod whose sidecar changes may still be said to be ready.
    let hidden = group.pods.iter().filter(|pod| pod.ready && is_changing(pod)).count();
    let free = room(situation, group).saturating_sub(hidden);
    // Those that do not serve as it is have nothing to lose.
    let (failing, serving): (Vec<_>, Vec<_>) = old.into_iter().partition(|pod| pod.fails());
    let deeds = failing.into_iter().chain(serving.into_iter().take(free));
    let deeds = deeds.map(|pod| Deed::Upgrade(owner.clone(), Arc::clone(pod))).collect();
    Course { deeds, ..Course::is(RolloutState::InProgress) }
}

/// The image that the sidecar is to run.
fn runs(pod: &Pod) -> Option<&str> {
    pod.sidecar.as_ref().map(|sidecar| sidecar.image.as_str())
}

/// Whether the sidecar was given another image that it does not serve with yet.
fn is_changing(pod: &Pod) -> bool {
    let Some(before) = pod.annotation(UPGRADED) else { return false };
    let before = before.parse().ok();
    pod.sidecar.as_ref().is_some_and(|it| !(it.is_ready() && it.runs_its_image(before)))
}
