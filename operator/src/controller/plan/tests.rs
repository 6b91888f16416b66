use std::collections::BTreeMap;

use k8s_openapi::{api::apps::v1::Deployment, jiff::Timestamp};
use serde_json::json;

use super::*;
use crate::{
    controller::{gather::Group, workload::Workload},
    crd::{McpServer, status::PodCounts},
    target,
};

/// A McpServer of generation 3 with a Deployment, whose pods are what `pods` says.
struct Case {
    gathered: Gathered,
    before: McpServerStatus,
    healed: BTreeMap<Owner, Timestamp>,
    now: Timestamp,
    kubernetes: Version,
}

const SETTLED: &str =
    "observedGeneration: 1, replicas: 1, updatedReplicas: 1, availableReplicas: 1";

fn defaults(image: &str) -> Defaults {
    Defaults { image: image.to_owned(), ..Defaults::default() }
}

fn owner() -> Owner {
    Owner { kind: "Deployment".to_owned(), name: "weather".to_owned() }
}

impl Case {
    fn new(rollout: &str) -> Self {
        let spec = format!("{{selector: {{matchLabels: {{app: a}}}}, rollout: {rollout}}}");
        let mut server = McpServer::new("weather", serde_yaml::from_str(&spec).unwrap());
        server.metadata.namespace = Some("team".to_owned());
        server.metadata.generation = Some(3);
        let created = "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap();
        server.metadata.creation_timestamp = Some(created.into());
        let gathered = Gathered {
            target: target::resolve(&server, None),
            server: Arc::new(server),
            namespace: "team".to_owned(),
            name: "weather".to_owned(),
            opted_out: false,
            older: Vec::new(),
            services: Vec::new(),
            limits: Vec::new(),
            groups: BTreeMap::from([(owner(), Group::default())]),
            short: Vec::new(),
        };
        let before = McpServerStatus { observed_generation: Some(3), ..McpServerStatus::default() };
        let now = "2026-01-02T00:00:00Z".parse().unwrap();
        let (healed, kubernetes) = (BTreeMap::new(), Version::NEWEST);
        Self { gathered, before, healed, now, kubernetes }.deployment("", "", SETTLED)
    }

    /// Its Deployment has these annotations, its template those, and this status.
    fn deployment(mut self, own: &str, template: &str, status: &str) -> Self {
        let text = format!(
            "{{metadata: {{name: weather, generation: 1, annotations: {{{own}}}}}, spec: \
             {{replicas: 1, selector: {{}}, template: {{metadata: {{annotations: {{{template}}}}}}}}}, \
             status: {{{status}}}}}"
        );
        let deployment: Deployment = serde_yaml::from_str(&text).unwrap();
        self.group().workload = Some(Workload::from(&deployment));
        self
    }

    fn group(&mut self) -> &mut Group {
        self.gathered.groups.get_mut(&owner()).unwrap()
    }

    /// A pod without the sidecar.
    fn plain(mut self, name: &str, created: &str) -> Self {
        let pod = json!({
            "metadata": {"name": name, "uid": name, "labels": {"app": "a"},
                         "creationTimestamp": created},
            "spec": {"containers": [
                {"name": "server", "ports": [{"name": "mcp", "containerPort": 8000}]},
            ]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        });
        self.group().pods.push(Arc::new(serde_json::from_value(pod).unwrap()));
        self
    }

    /// A pod with the sidecar of a revision.
    fn carrier(
        mut self,
        name: &str,
        revision: &str,
        image: &str,
        state: &serde_json::Value,
    ) -> Self {
        let mut status = json!({"name": "mcpulse-proxy", "image": image, "ready": true});
        if !state.is_null() {
            status["ready"] = false.into();
            status["state"] = json!({"waiting": {"reason": state}});
        }
        let is_ready = if state.is_null() { "True" } else { "False" };
        let config = self.rendered(image).annotations[CONFIG].clone();
        let pod = json!({
            "metadata": {"name": name, "uid": name, "labels": {"app": "a"}, "annotations":
                {"mcpulse.io/revision": revision, "mcpulse.io/config": config}},
            "spec": {"initContainers": [{"name": "mcpulse-proxy", "image": image}]},
            "status": {"initContainerStatuses": [status],
                       "conditions": [{"type": "Ready", "status": is_ready}]},
        });
        self.group().pods.push(Arc::new(serde_json::from_value(pod).unwrap()));
        self
    }

    fn rendered(&self, image: &str) -> Injection {
        let status = McpServerStatus::default();
        render(&self.gathered, &status, &defaults(image), "mcpulse-system").unwrap()
    }

    fn revision(&self) -> String {
        self.rendered("i").revision
    }

    fn plan_with(&self, injection: Result<&Injection, &Finding>) -> Plan {
        plan(Situation {
            gathered: &self.gathered,
            injection,
            refused: None,
            unproven: None,
            before: &self.before,
            healed: &self.healed,
            now: self.now,
            kubernetes: self.kubernetes,
        })
    }

    fn plan(&self) -> Plan {
        self.plan_with(Ok(&self.rendered("i")))
    }
}

impl Plan {
    fn deeds(&self) -> Vec<String> {
        let told = self.deeds.iter().map(|deed| match deed {
            Deed::Configure(pod) => format!("configure {}", pod.name()),
            Deed::Upgrade(_, pod) => format!("upgrade {}", pod.name()),
            Deed::Restart(owner, _) => format!("restart {}", owner.name),
            Deed::Evict(_, pod, Cause::Rollout) => format!("evict {}", pod.name()),
            Deed::Evict(_, pod, Cause::Withdrawal) => format!("withdraw {}", pod.name()),
        });
        told.collect()
    }

    fn rollout(&self) -> RolloutState {
        self.status.workloads[0].rollout
    }

    fn condition(&self, type_: &str) -> Option<(&str, &str)> {
        let mut conditions = self.status.conditions.iter();
        let found = conditions.find(|condition| condition.type_ == type_)?;
        Some((&found.status, &found.reason))
    }
}

const OLD: &str = "2025-12-31T00:00:00Z";
const NEW: &str = "2026-01-01T00:00:00Z";

#[test]
fn pods_from_before_and_pods_that_were_missed_have_their_workload_restarted() {
    for (created, reason) in [(OLD, "NotRestarted"), (NEW, "Missed")] {
        let plan = Case::new("{}").plain("a", created).plan();
        assert_eq!(plan.deeds(), ["restart weather"]);
        assert_eq!(plan.rollout(), RolloutState::Waiting, "not before a pod was tried");
        assert_eq!(plan.status.skipped[0].reason, reason);
        assert_eq!(plan.condition("Injected"), Some(("False", reason)));
        assert_eq!(plan.condition("Ready"), Some(("False", reason)));
        assert_eq!(plan.missed.len(), usize::from(reason == "Missed"));
    }
}

#[test]
fn nothing_is_restarted_that_is_not_to_be() {
    let plain = |case: Case| case.plain("a", OLD).plan();
    let rolling = "observedGeneration: 0";
    let failed = "observedGeneration: 1, conditions: [{type: Progressing, status: 'False'}]";
    let cases = [
        (Case::new("{strategy: OnNextRestart}"), RolloutState::Idle),
        (Case::new("{paused: true}"), RolloutState::Waiting),
        (Case::new("{}").deployment("mcpulse.io/restart: never", "", SETTLED), RolloutState::Idle),
        (Case::new("{}").deployment("", "", rolling), RolloutState::Waiting),
        (Case::new("{}").deployment("", "", failed), RolloutState::Waiting),
    ];
    for (at, (case, state)) in cases.into_iter().enumerate() {
        let plan = plain(case);
        assert_eq!((plan.deeds(), plan.rollout()), (vec![], state), "case {at}");
    }
    let plan = plain(Case::new("{strategy: OnNextRestart}"));
    assert_eq!(plan.condition("Ready"), Some(("True", "Ready")), "as the spec asks");
    assert_eq!(plan.condition("Injected"), Some(("False", "NotRestarted")));
}

#[test]
fn a_revision_is_restarted_once_and_pods_missed_after_that_after_a_while() {
    let revision = Case::new("{}").revision();
    let at = |minute: u32| format!("2026-01-02T00:{minute:02}:00Z");
    let template = format!("kubectl.kubernetes.io/restartedAt: '{}'", at(0));
    let restarted = |how: &str, status: &str| {
        let own = format!("mcpulse.io/restarted-for: '{revision} at {}{how}'", at(0));
        Case::new("{}").deployment(&own, &template, status)
    };
    let case = |status: &str| restarted("", status);
    let rolling = case("observedGeneration: 0").plain("a", OLD).plan();
    assert_eq!((rolling.deeds(), rolling.rollout()), (vec![], RolloutState::InProgress));
    assert_eq!(rolling.busy, [owner()]);
    // Its event has not come yet: it is of the old template.
    let lagging = case(SETTLED).plain("a", OLD).plan();
    assert_eq!((lagging.deeds(), lagging.rollout()), (vec![], RolloutState::InProgress));

    let missed = |how: &str, minute: u32| {
        let mut case = restarted(how, SETTLED).plain("a", NEW);
        let group = case.group();
        let mut pod = Pod::clone(&group.pods[0]);
        let meta = kube::Resource::meta_mut(&mut pod);
        meta.annotations = Some([("kubectl.kubernetes.io/restartedAt".to_owned(), at(0))].into());
        group.pods = vec![Arc::new(pod)];
        case.now = at(minute).parse().unwrap();
        case.plan()
    };
    assert_eq!(missed("", 0).deeds(), ["restart weather"]);
    let soon = missed(" again", 4);
    assert_eq!((soon.deeds(), soon.again), (vec![], Some(Duration::from_mins(6))));
    assert_eq!(missed(" again", 10).deeds(), ["restart weather"]);
}

#[test]
fn another_operator_restarts_nothing_and_another_spec_does() {
    let mut case = Case::new("{}").carrier("a", "earlier", "i", &json!(null));
    case.before.revisions = vec!["earlier".to_owned()];
    let plan = case.plan();
    assert_eq!(plan.deeds(), [""; 0]);
    assert_eq!(plan.status.revisions, ["earlier".to_owned(), case.revision()]);
    assert_eq!(plan.status.pods.outdated, 1);
    case.before.observed_generation = Some(2);
    let plan = case.plan();
    assert_eq!(plan.status.revisions, [case.revision()]);
    assert_eq!(plan.deeds(), ["restart weather"]);
}

#[test]
fn what_is_live_reaches_pods_as_they_run_and_images_a_few_at_a_time() {
    let mut case = Case::new("{maxUnavailable: 2}");
    let revision = case.revision();
    for name in ["a", "b", "c"] {
        case = case.carrier(name, &revision, "i", &json!(null));
    }
    case.before.revisions = vec![revision.clone()];
    assert_eq!(
        case.plan().status.pods,
        PodCounts { matched: 3, injected: 3, ready: 3, up_to_date: 3, ..PodCounts::default() }
    );
    let next = case.rendered("next");
    assert_eq!(next.revision, revision, "an image is changed in place");
    let plan = case.plan_with(Ok(&next));
    assert_eq!(
        (plan.deeds(), plan.rollout()),
        (vec!["upgrade a".to_owned(), "upgrade b".to_owned()], RolloutState::InProgress)
    );
    case.kubernetes = Version::minor(31);
    let plan = case.plan_with(Ok(&next));
    assert_eq!((plan.deeds(), plan.rollout()), (vec![], RolloutState::Idle));
    assert_eq!(plan.condition("UpToDate"), Some(("False", "Outdated")));
    case.kubernetes = Version::minor(32);
    let mut live = case.rendered("i");
    live.annotations.insert(CONFIG.to_owned(), "another: text".to_owned());
    assert_eq!(case.plan_with(Ok(&live)).deeds(), ["configure a", "configure b", "configure c"]);
    // One that cannot start stops the others.
    let case = case.carrier("d", &revision, "next", &json!("ImagePullBackOff"));
    let plan = case.plan_with(Ok(&next));
    assert_eq!((plan.deeds(), plan.rollout()), (vec![], RolloutState::Waiting));
    assert_eq!(plan.condition("Degraded"), Some(("True", "SidecarFails")));
}

#[test]
fn two_pods_that_fail_withdraw_the_injection_until_the_image_or_the_spec_is_another() {
    let revision = Case::new("{}").revision();
    let fails = json!("CrashLoopBackOff");
    let case =
        Case::new("{}").carrier("a", &revision, "i", &fails).carrier("b", &revision, "i", &fails);
    let mut case = case.plain("c", NEW);
    let plan = case.plan();
    assert_eq!(plan.deeds(), ["withdraw a", "withdraw b"]);
    assert_eq!(plan.status.injection, None);
    assert_eq!(plan.condition("Degraded"), Some(("True", "Withdrawn")));
    assert_eq!(plan.condition("Stalled"), Some(("True", "Withdrawn")));
    assert_eq!(plan.status.skipped[0].reason, "Withdrawn", "c is not missed");
    case.before = plan.status;
    let render = |case: &Case, image: &str| {
        render(&case.gathered, &case.before, &defaults(image), "mcpulse-system")
    };
    assert_eq!(render(&case, "i").unwrap_err().reason, Reason::Withdrawn);
    let next = render(&case, "next").unwrap();
    assert_eq!(case.plan_with(Ok(&next)).status.withdrawn, None);
}

#[test]
fn evictions_keep_to_what_may_be_unavailable() {
    let mut case = Case::new("{strategy: EvictPods}").plain("a", OLD).plain("b", OLD);
    let plan = case.plan();
    assert_eq!(
        (plan.deeds(), plan.rollout()),
        (vec!["evict a".to_owned()], RolloutState::InProgress)
    );
    case.group().leaving = 1;
    assert_eq!(case.plan().deeds(), [""; 0]);
    // Pods that came back without the sidecar wait.
    let mut case = Case::new("{strategy: EvictPods}").plain("a", "2026-01-01T23:59:00Z");
    case.healed.insert(owner(), "2026-01-01T23:59:00.5Z".parse().unwrap());
    let plan = case.plan();
    assert_eq!((plan.deeds(), plan.again), (vec![], Some(Duration::from_millis(540_500))));
    assert_eq!(case.plain("b", NEW).plan().deeds(), ["evict b"], "b was missed before");
}

#[test]
fn a_restart_that_is_taken_back_is_not_tried_again() {
    let own = format!("mcpulse.io/restarted-for: '{} at {NEW}'", Case::new("{}").revision());
    let plan = Case::new("{}").deployment(&own, "", SETTLED).plain("a", OLD).plan();
    assert_eq!(
        (plan.deeds(), plan.rollout()),
        (vec!["evict a".to_owned()], RolloutState::Reverted)
    );
    assert_eq!(plan.condition("UpToDate"), Some(("False", "OwnerReverts")));
}

#[test]
fn why_nothing_is_injected_is_said_in_every_condition_that_it_concerns() {
    let finding = Finding::new(ConditionType::TargetsResolved, Reason::NumericTargetPort, "fix it");
    let plan = Case::new("{}").plain("a", NEW).plan_with(Err(&finding));
    assert_eq!(plan.condition("Accepted"), Some(("True", "Accepted")));
    for type_ in ["TargetsResolved", "Injected", "Ready"] {
        assert_eq!(plan.condition(type_), Some(("False", "NumericTargetPort")), "{type_}");
    }
    assert_eq!(plan.condition("Stalled"), Some(("True", "NumericTargetPort")));
    assert_eq!((plan.deeds(), plan.status.injection), (vec![], None));
    let disabled = Finding::new(ConditionType::Injected, Reason::Disabled, "so it is");
    let plan = Case::new("{}").plain("a", NEW).plan_with(Err(&disabled));
    assert_eq!(plan.condition("Ready"), Some(("True", "Ready")));
    assert_eq!(plan.condition("Stalled"), None);
}

#[test]
fn a_namespace_that_opts_out_is_no_fault() {
    let mut case = Case::new("{}").plain("a", NEW);
    case.gathered.opted_out = true;
    let finding =
        render(&case.gathered, &case.before, &defaults("i"), "mcpulse-system").unwrap_err();
    let remedy = "kubectl label namespace team mcpulse.io/injection-";
    assert!(finding.message.contains(remedy), "{finding}");
    let plan = case.plan_with(Err(&finding));
    assert_eq!(plan.condition("Injected"), Some(("False", "NamespaceOptedOut")));
    assert_eq!(plan.condition("Ready"), Some(("True", "Ready")));
    assert_eq!(plan.condition("Stalled"), None);
    assert_eq!(plan.status.skipped[0].reason, "NamespaceOptedOut");
    assert_eq!((plan.deeds(), plan.missed.len()), (vec![], 0));
}

#[test]
fn the_release_and_the_system_are_left_alone() {
    let mut case = Case::new("{}");
    for namespace in ["kube-system", "kube-node-lease", "mcpulse-system"] {
        case.gathered.namespace = namespace.to_owned();
        let told = render(&case.gathered, &case.before, &defaults("i"), "mcpulse-system");
        assert_eq!(told.unwrap_err().reason, Reason::NamespaceExcluded);
    }
}
