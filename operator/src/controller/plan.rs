//! What is to be said of a `McpServer`, and done about its pods. Pure: the same situation, the
//! same plan.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::jiff::Timestamp;

use super::{
    gather::{Gathered, Owner},
    pod::Pod,
    workload::Workload,
};
use crate::{
    crd::{
        Finding, Injection, McpServerStatus,
        condition::{ConditionType, Reason},
        injection::{CONFIG, NAMESPACE_OPT_OUT},
        rollout::InjectionMode,
        status::{RolloutState, Withdrawn},
    },
    render::{self, Defaults, Order},
    version::Version,
};

mod conditions;
mod restart;
mod tally;
#[cfg(test)]
mod tests;
mod upgrade;

use tally::{Tally, Verdict};

/// Pods that fail because of the sidecar before it is injected no more.
const WITHDRAWN_AT: usize = 2;
/// Revisions that are remembered as needing no restart.
const REVISIONS: usize = 8;

/// What is found, and what is known beside it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Situation<'a> {
    pub(super) gathered: &'a Gathered,
    /// What is to be in pods, or why nothing is.
    pub(super) injection: Result<&'a Injection, &'a Finding>,
    /// What was found wrong with a newer rendering, while an older one stays.
    pub(super) refused: Option<&'a Finding>,
    /// Why a pod that was tried did not get the sidecar.
    pub(super) unproven: Option<&'a Finding>,
    /// What was said before.
    pub(super) before: &'a McpServerStatus,
    /// When pods of an owner were last made anew for having been missed.
    pub(super) healed: &'a BTreeMap<Owner, Timestamp>,
    pub(super) now: Timestamp,
    /// What Kubernetes can do.
    pub(super) kubernetes: Version,
}

/// What is to be said and done.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) status: McpServerStatus,
    pub(super) deeds: Vec<Deed>,
    /// Owners whose pods are being changed.
    pub(super) busy: Vec<Owner>,
    /// When to look again if nothing happens before.
    pub(super) again: Option<Duration>,
    /// Pods that were missed.
    pub(super) missed: Vec<(Owner, Arc<Pod>)>,
}

/// Something to be done about pods.
#[derive(Clone, Debug)]
pub(super) enum Deed {
    /// Give the sidecar its live configuration.
    Configure(Arc<Pod>),
    /// Give it its image, and its live configuration.
    Upgrade(Owner, Arc<Pod>),
    /// Have a workload make all its pods anew.
    Restart(Owner, Box<Workload>),
    /// Have a pod made anew.
    Evict(Owner, Arc<Pod>, Cause),
}

/// Why a pod is made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// To get the sidecar, or a newer one.
    Rollout,
    /// To start without the sidecar, which fails.
    Withdrawal,
}

/// What happens to the pods of one owner.
#[derive(Debug, Default)]
struct Course {
    state: RolloutState,
    deeds: Vec<Deed>,
    again: Option<Duration>,
    finding: Option<Finding>,
}

impl Course {
    fn is(state: RolloutState) -> Self {
        Self { state, ..Self::default() }
    }
}

/// What is to be in the pods, or why nothing is.
///
/// # Errors
/// Why nothing is.
pub(super) fn render(
    gathered: &Gathered,
    before: &McpServerStatus,
    defaults: &Defaults,
    operators: &str,
) -> Result<Injection, Finding> {
    if ["kube-system", "kube-node-lease", operators].contains(&gathered.namespace.as_str()) {
        let message = format!(
            "pods of namespace {} are left alone; run the server in another namespace",
            gathered.namespace
        );
        return Err(Finding::new(ConditionType::Accepted, Reason::NamespaceExcluded, message));
    }
    let target = gathered.target.as_ref().map_err(Clone::clone)?;
    let injection = render::render(Order {
        server: &gathered.server,
        target,
        older: &gathered.older,
        services: &gathered.services,
        limits: &gathered.limits,
        defaults,
    })?;
    if gathered.server.spec.injection.mode == InjectionMode::Disabled {
        let message = "spec.injection.mode is Disabled; pods that carry the sidecar keep it until \
                       they end";
        return Err(Finding::new(ConditionType::Injected, Reason::Disabled, message));
    }
    if gathered.opted_out {
        let namespace = &gathered.namespace;
        let message = format!(
            "namespace {namespace} has the label {NAMESPACE_OPT_OUT}: disabled; pods that carry the \
             sidecar keep it until they end; to have pods injected, run kubectl label namespace \
             {namespace} {NAMESPACE_OPT_OUT}-"
        );
        return Err(Finding::new(ConditionType::Injected, Reason::NamespaceOptedOut, message));
    }
    match &before.withdrawn {
        Some(withdrawn)
            if withdrawn.generation == gathered.server.metadata.generation
                && withdrawn.image == image(&injection) =>
        {
            Err(is_withdrawn(withdrawn))
        }
        _ => Ok(injection),
    }
}

/// What is to be said and done.
pub(super) fn plan(situation: Situation<'_>) -> Plan {
    let Situation { gathered, before, now, .. } = situation;
    let generation = gathered.server.metadata.generation;
    let mut status = before.clone();
    status.injection = situation.injection.ok().cloned();
    // There is no format before this one.
    status.previous = None;
    status.revisions = revisions(before, situation.injection.ok(), generation);
    if situation.injection.is_ok() {
        status.withdrawn = None;
    }
    let tally = Tally::of(gathered, situation.injection, &status.revisions);
    if let (Ok(injection), Some(how)) = (situation.injection, tally.fails_at(WITHDRAWN_AT)) {
        // Said at once, so that no further pod gets it; what follows from it comes next.
        let withdrawn = Withdrawn {
            generation,
            image: image(injection).to_owned(),
            revision: injection.revision.clone(),
            message: how,
        };
        let finding = is_withdrawn(&withdrawn);
        let before = McpServerStatus { withdrawn: Some(withdrawn), ..status };
        return plan(Situation { injection: Err(&finding), before: &before, ..situation });
    }
    let mut deeds = Vec::new();
    let mut courses = Vec::new();
    for (owner, group) in &gathered.groups {
        let verdicts = &tally.verdicts[owner];
        let course = restart::course(situation, owner, group, verdicts, &tally);
        let course = match course.state {
            RolloutState::Idle => upgrade::course(situation, owner, group, verdicts, &tally),
            _ => course,
        };
        courses.push((owner, course));
    }
    let paused = gathered.server.spec.rollout.paused;
    if let (Ok(injection), false) = (situation.injection, paused) {
        let live = injection.annotations.get(CONFIG).map(String::as_str);
        let behind = tally.pods(gathered, Verdict::Behind);
        let behind = behind.filter(|(_, pod)| pod.annotation(CONFIG) != live);
        deeds.extend(behind.map(|(_, pod)| Deed::Configure(Arc::clone(pod))));
    }
    let again = courses.iter().filter_map(|(_, course)| course.again).min();
    let busy = courses
        .iter()
        .filter(|(_, course)| course.state == RolloutState::InProgress)
        .map(|(owner, _)| (*owner).clone())
        .collect();
    let missed = tally.pods(gathered, Verdict::Missing { missed: true });
    let missed = missed.map(|(owner, pod)| (owner.clone(), Arc::clone(pod))).collect();
    tally.tell(&mut status, gathered, &courses);
    status.observed_generation = generation;
    conditions::tell(&mut status, situation, &tally, &courses, now);
    deeds.extend(courses.into_iter().flat_map(|(_, course)| course.deeds));
    Plan { status, deeds, busy, again, missed }
}

fn is_withdrawn(withdrawn: &Withdrawn) -> Finding {
    let message = format!(
        "{}; new pods start without the sidecar until the McpServer is edited or has another \
         image",
        withdrawn.message
    );
    Finding::new(ConditionType::Injected, Reason::Withdrawn, message)
}

/// The revisions whose pods need no restart. Another version of the operator that renders the
/// same spec otherwise adds one; another spec begins anew, unless it is the same to pods.
fn revisions(
    before: &McpServerStatus,
    injection: Option<&Injection>,
    generation: Option<i64>,
) -> Vec<String> {
    let mut revisions = before.revisions.clone();
    let Some(injection) = injection else { return revisions };
    if revisions.contains(&injection.revision) {
        return revisions;
    }
    if before.observed_generation != generation {
        revisions.clear();
    }
    revisions.push(injection.revision.clone());
    let surplus = revisions.len().saturating_sub(REVISIONS);
    revisions.drain(..surplus);
    revisions
}

/// The image of the sidecar.
pub(super) fn image(injection: &Injection) -> &str {
    injection.sidecar["image"].as_str().unwrap_or_default()
}
