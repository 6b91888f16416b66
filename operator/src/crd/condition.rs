//! What the operator finds about a `McpServer`, and how findings become conditions.

use std::fmt;

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};

/// What a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConditionType {
    /// The spec can be used.
    Accepted,
    /// The pods and the way to their port are known.
    TargetsResolved,
    /// Every pod that is meant carries the sidecar, or has a reason not to.
    Injected,
    /// Every pod that carries it has it as it would be injected now.
    UpToDate,
    /// All is as the spec asks.
    Ready,
    /// Nothing will change before somebody does something; absent otherwise.
    Stalled,
    /// Pods failed because of the sidecar; absent otherwise.
    Degraded,
}

impl fmt::Display for ConditionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Why something does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A value that the proxy would refuse.
    InvalidConfiguration,
    /// A spec that the rules of the definition should have refused.
    InvalidSpec,
    /// The workload is not there.
    TargetNotFound,
    /// The workload's pods have no labels by which they could be known.
    TargetWithoutLabels,
    /// A Service leads past the name of the port.
    NumericTargetPort,
    /// Services of this Kubernetes would not find the sidecar.
    NamedPortUnsupported,
    /// The namespace is one that is left alone.
    NamespaceExcluded,
    /// The API server would refuse a pod with the sidecar.
    PodRefused,
    /// The spec says that nothing is to be injected.
    Disabled,
    /// The namespace says so.
    NamespaceOptedOut,
    /// Nothing puts the sidecar into pods.
    NotInjecting,
    /// Pods that should carry the sidecar were created without.
    Missed,
    /// Pods run since before the sidecar could be injected.
    NotRestarted,
    /// Pods carry the sidecar as another spec, or another version of the operator, had it.
    Outdated,
    /// Sidecars cannot start.
    SidecarFails,
    /// Sidecars failed, and are not injected any more.
    Withdrawn,
    /// The owner of a workload takes restarts back.
    OwnerReverts,
    /// A workload replaces its pods when somebody else says so.
    RolloutHeld,
    /// A workload does not get further with its own rollout.
    RolloutFailed,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Something that does not hold, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is about.
    pub about: ConditionType,
    /// Why.
    pub reason: Reason,
    /// What was found, and what to do.
    pub message: String,
}

impl Finding {
    /// Something that does not hold.
    pub fn new(about: ConditionType, reason: Reason, message: impl Into<String>) -> Self {
        Self { about, reason, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.message)
    }
}

/// Writes into conditions what is so now. The time of a condition is when it last changed sides.
pub fn record(
    conditions: &mut Vec<Condition>,
    about: ConditionType,
    found: Result<&str, &Finding>,
    generation: Option<i64>,
    now: Timestamp,
) {
    let (status, reason, message) = match found {
        Ok(reason) => ("True", reason.to_owned(), String::new()),
        Err(finding) => ("False", finding.reason.to_string(), finding.message.clone()),
    };
    let type_ = about.to_string();
    let earlier = conditions.iter().position(|condition| condition.type_ == type_);
    let since = match earlier.map(|at| &conditions[at]) {
        Some(condition) if condition.status == status => condition.last_transition_time.clone(),
        _ => Time(now),
    };
    let condition = Condition {
        type_,
        status: status.to_owned(),
        reason,
        message,
        observed_generation: generation,
        last_transition_time: since,
    };
    match earlier {
        Some(at) => conditions[at] = condition,
        None => conditions.push(condition),
    }
}

/// Writes into conditions what is only there while something is wrong.
pub fn record_trouble(
    conditions: &mut Vec<Condition>,
    about: ConditionType,
    found: Option<&Finding>,
    generation: Option<i64>,
    now: Timestamp,
) {
    let type_ = about.to_string();
    let Some(finding) = found else {
        conditions.retain(|condition| condition.type_ != type_);
        return;
    };
    let reason = finding.reason.to_string();
    record(conditions, about, Ok(&reason), generation, now);
    if let Some(condition) = conditions.iter_mut().find(|condition| condition.type_ == type_) {
        condition.message.clone_from(&finding.message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_there_while_it_lasts() {
        let mut conditions = Vec::new();
        let finding = Finding::new(ConditionType::Degraded, Reason::Withdrawn, "two pods failed");
        let now = Timestamp::from_second(1).unwrap();
        record_trouble(&mut conditions, ConditionType::Degraded, Some(&finding), None, now);
        let condition = &conditions[0];
        assert_eq!((condition.status.as_str(), condition.reason.as_str()), ("True", "Withdrawn"));
        assert_eq!(condition.message, "two pods failed");
        record_trouble(&mut conditions, ConditionType::Degraded, None, None, now);
        assert_eq!(conditions, []);
    }

    #[test]
    fn a_condition_is_there_once_and_keeps_its_time_while_it_holds() {
        let mut conditions = Vec::new();
        let missing = |name: &str| {
            let message = format!("{name} is not there");
            Finding::new(ConditionType::TargetsResolved, Reason::TargetNotFound, message)
        };
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut told = |found: Result<&str, &Finding>, second| {
            record(
                &mut conditions,
                ConditionType::TargetsResolved,
                found,
                Some(second),
                at(second),
            );
            assert_eq!(conditions.len(), 1);
            conditions[0].clone()
        };
        assert_eq!(told(Err(&missing("a")), 1).last_transition_time, Time(at(1)));
        let again = told(Err(&missing("b")), 2);
        assert_eq!(again.last_transition_time, Time(at(1)));
        assert_eq!(
            (again.message.as_str(), again.observed_generation),
            ("b is not there", Some(2))
        );
        let good = told(Ok("Resolved"), 3);
        assert_eq!((good.status.as_str(), good.last_transition_time), ("True", Time(at(3))));
    }
}
