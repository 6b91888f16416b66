//! All that decides what becomes of one `McpServer`, taken from what is known of the cluster.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    api::core::v1::{LimitRange, PodTemplateSpec, Service},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{Resource, ResourceExt, runtime::reflector::ObjectRef};

use super::{pod::Pod, watches::Cluster, workload::Workload};
use crate::{
    crd::{Finding, McpServer, Selector, TargetKind, rollout::InjectionMode, selector::Labels},
    target::{self, Target},
};

/// All that decides what becomes of a `McpServer`.
#[derive(Clone, Debug)]
pub(super) struct Gathered {
    pub(super) server: Arc<McpServer>,
    pub(super) namespace: String,
    pub(super) name: String,
    /// Whether the namespace says that its pods are to be left alone.
    pub(super) opted_out: bool,
    /// The pods that it means.
    pub(super) target: Result<Target, Finding>,
    /// The selectors of older ones that may mean the same pods.
    pub(super) older: Vec<Selector>,
    /// The Services that lead to its pods.
    pub(super) services: Vec<Service>,
    /// Its LimitRanges, by name.
    pub(super) limits: Vec<LimitRange>,
    /// Its pods, by what makes them; those that older ones mean are not among them.
    pub(super) groups: BTreeMap<Owner, Group>,
    /// Workloads that make such pods, and have fewer than they want.
    pub(super) short: Vec<Owner>,
}

/// What makes pods: a workload, or something that is not known further; a pod that nothing
/// made is its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Owner {
    pub(super) kind: String,
    pub(super) name: String,
}

/// Pods that one owner makes.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    /// The owner, where it is of a kind that can be restarted.
    pub(super) workload: Option<Workload>,
    /// As events name it.
    pub(super) reference: Option<OwnerReference>,
    /// Those that are there to stay.
    pub(super) pods: Vec<Arc<Pod>>,
    /// How many are on their way out.
    pub(super) leaving: usize,
}

impl Gathered {
    /// Takes what concerns a `McpServer`.
    pub(super) fn of(server: Arc<McpServer>, cluster: &Cluster) -> Self {
        let namespace = server.namespace().unwrap_or_default();
        let name = server.name_any();
        let target = target::resolve(&server, cluster.workload_of(&server).as_ref());
        let (mut older, mut services) = (Vec::new(), Vec::new());
        if let Ok(target) = &target {
            older = self::older(&server, target, cluster);
            services = self::services(&server, target, cluster);
        }
        let limits = cluster
            .limits
            .state_filter(|limits| limits.metadata.namespace == server.metadata.namespace);
        let mut limits: Vec<_> = limits.iter().map(|limits| LimitRange::clone(limits)).collect();
        limits.sort_by_key(ResourceExt::name_any);
        let means = |selector: &Selector, labels: &Labels| {
            selector.matches(labels) && !older.iter().any(|older| older.matches(labels))
        };
        let (mut groups, mut short) = (BTreeMap::new(), Vec::new());
        if let Ok(Target { selector, .. }) = &target {
            groups = self::groups(&namespace, |labels| means(selector, labels), cluster);
            short = self::short(&namespace, |labels| means(selector, labels), cluster);
        }
        let opted_out = cluster.is_opted_out(&namespace);
        Self { server, namespace, name, opted_out, target, older, services, limits, groups, short }
    }
}

/// The selectors of those that have the pods that they and this one mean, the oldest first.
fn older(server: &McpServer, target: &Target, cluster: &Cluster) -> Vec<Selector> {
    fn age(server: &McpServer) -> impl Ord {
        let metadata = &server.metadata;
        (metadata.creation_timestamp.as_ref(), metadata.name.as_ref())
    }
    let mut others = cluster.servers.state_filter(|other| {
        other.metadata.namespace == server.metadata.namespace
            && other.spec.injection.mode == InjectionMode::Enabled
            && age(other) < age(server)
    });
    others.sort_by(|a, b| age(a).cmp(&age(b)));
    let selectors = others.iter().filter_map(|other| cluster.selector(other));
    let same = selectors.filter(|selector| selector.may_overlap(&target.selector));
    same.map(Cow::into_owned).collect()
}

fn services(server: &McpServer, target: &Target, cluster: &Cluster) -> Vec<Service> {
    let services = cluster.services.state_filter(|service| {
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        service.metadata.namespace == server.metadata.namespace
            && selector.is_some_and(|selector| target.is_behind(selector))
    });
    services.iter().map(|service| Service::clone(service)).collect()
}

fn groups(
    namespace: &str,
    means: impl Fn(&Labels) -> bool,
    cluster: &Cluster,
) -> BTreeMap<Owner, Group> {
    let pods = cluster.pods.state_filter(|pod| {
        pod.meta().namespace.as_deref() == Some(namespace) && !pod.ended && pod.has_labels(&means)
    });
    let mut groups: BTreeMap<Owner, Group> = BTreeMap::new();
    for pod in pods {
        let reference = root(namespace, &pod, cluster);
        let owner = match &reference {
            Some(one) => Owner { kind: one.kind.clone(), name: one.name.clone() },
            None => Owner { kind: "Pod".to_owned(), name: pod.name().to_owned() },
        };
        let group = groups.entry(owner).or_insert_with_key(|owner| Group {
            workload: workload(namespace, owner, cluster),
            reference,
            ..Group::default()
        });
        if pod.is_live() {
            group.pods.push(pod);
        } else {
            group.leaving += 1;
        }
    }
    for group in groups.values_mut() {
        group.pods.sort_by(|a, b| a.name().cmp(b.name()));
    }
    groups
}

fn short(namespace: &str, means: impl Fn(&Labels) -> bool, cluster: &Cluster) -> Vec<Owner> {
    let concerned = |metadata: &ObjectMeta, template: Option<&PodTemplateSpec>| {
        let labels = template.and_then(|it| it.metadata.as_ref()?.labels.as_ref());
        metadata.namespace.as_deref() == Some(namespace) && labels.is_some_and(&means)
    };
    let deployments = cluster
        .deployments
        .state_filter(|one| concerned(&one.metadata, one.spec.as_ref().map(|spec| &spec.template)));
    let stateful_sets = cluster
        .stateful_sets
        .state_filter(|one| concerned(&one.metadata, one.spec.as_ref().map(|spec| &spec.template)));
    let daemon_sets = cluster
        .daemon_sets
        .state_filter(|one| concerned(&one.metadata, one.spec.as_ref().map(|spec| &spec.template)));
    let all = deployments.iter().map(|one| Workload::from(&**one));
    let all = all.chain(stateful_sets.iter().map(|one| Workload::from(&**one)));
    let all = all.chain(daemon_sets.iter().map(|one| Workload::from(&**one)));
    let short = all.filter(|workload| workload.short);
    short.map(|one| Owner { kind: one.kind.name().to_owned(), name: one.name }).collect()
}

/// What made a pod: of a ReplicaSet, what made that.
fn root(namespace: &str, pod: &Pod, cluster: &Cluster) -> Option<OwnerReference> {
    let made_by = pod.controller()?;
    if made_by.kind != "ReplicaSet" {
        return Some(made_by.clone());
    }
    let set = cluster.replica_sets.get(&ObjectRef::new(&made_by.name).within(namespace));
    let above = set.and_then(|set| {
        let mut owners = set.metadata.owner_references.clone()?.into_iter();
        owners.find(|owner| owner.controller == Some(true))
    });
    Some(above.unwrap_or_else(|| made_by.clone()))
}

fn workload(namespace: &str, owner: &Owner, cluster: &Cluster) -> Option<Workload> {
    let name = owner.name.as_str();
    Some(match owner.kind.as_str() {
        kind if kind == TargetKind::Deployment.name() => {
            Workload::from(&*cluster.deployments.get(&ObjectRef::new(name).within(namespace))?)
        }
        kind if kind == TargetKind::StatefulSet.name() => {
            Workload::from(&*cluster.stateful_sets.get(&ObjectRef::new(name).within(namespace))?)
        }
        kind if kind == TargetKind::DaemonSet.name() => {
            Workload::from(&*cluster.daemon_sets.get(&ObjectRef::new(name).within(namespace))?)
        }
        _ => return None,
    })
}
