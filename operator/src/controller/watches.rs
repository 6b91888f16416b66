//! What is known of the cluster, kept up to date by watches, and which `McpServer`s a change
//! concerns.

use std::{borrow::Cow, collections::HashMap, fmt::Debug, sync::Arc};

use futures_util::StreamExt;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet},
        batch::v1::CronJob,
        core::v1::{LimitRange, Namespace, Service},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt,
        controller::{ReconcileReason, ReconcileRequest},
        reflector::{self, ObjectRef, Store, store::Writer},
        watcher::{self, Event},
    },
};
use serde::de::DeserializeOwned;
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    metrics::Metrics,
    pod::{Interner, Pod},
    workload::Strip,
};
use crate::{
    crd::{
        McpServer, TargetKind, TargetRef,
        injection::{NAMESPACE_OPT_OUT, SERVER},
        selector::{Labels, Selector},
    },
    servers::Servers,
    target::{self, Workload},
};

/// Objects that the API server sends at once when it lists.
const PAGE: u32 = 250;

/// Everything that is known of the cluster.
#[derive(Clone, Debug)]
pub(super) struct Cluster {
    pub(super) servers: Store<McpServer>,
    pub(super) pods: Store<Pod>,
    pub(super) services: Store<Service>,
    pub(super) limits: Store<LimitRange>,
    pub(super) deployments: Store<Deployment>,
    pub(super) stateful_sets: Store<StatefulSet>,
    pub(super) daemon_sets: Store<DaemonSet>,
    pub(super) cron_jobs: Store<CronJob>,
    pub(super) replica_sets: Store<Metadata<ReplicaSet>>,
    namespaces: Store<Metadata<Namespace>>,
}

/// `McpServer`s that something has changed for.
pub(super) type Queue = mpsc::Sender<ReconcileRequest<McpServer>>;

impl Cluster {
    /// Begins to watch one namespace, or all, for what `servers` mean. The watches live in `tasks`.
    pub(super) fn watch(
        client: &Client,
        servers: &Servers,
        namespace: Option<&str>,
        queue: &Queue,
        metrics: &Arc<Metrics>,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let (pods, of_pods) = reflector::store();
        let (services, of_services) = reflector::store();
        let (limits, of_limits) = reflector::store();
        let (deployments, of_deployments) = reflector::store();
        let (stateful_sets, of_stateful_sets) = reflector::store();
        let (daemon_sets, of_daemon_sets) = reflector::store();
        let (cron_jobs, of_cron_jobs) = reflector::store();
        let (replica_sets, of_replica_sets) = reflector::store();
        let (namespaces, of_namespaces) = reflector::store();
        let cluster = Self {
            servers: servers.store().clone(),
            pods,
            services,
            limits,
            deployments,
            stateful_sets,
            daemon_sets,
            cron_jobs,
            replica_sets,
            namespaces,
        };
        let watch = Watch { client, namespace, queue, metrics, cluster: &cluster };
        tasks.spawn(follow(servers.clone(), cluster.clone(), queue.clone()));
        let mut interner = Interner::default();
        let strip_pod = move |pod: &mut Pod| pod.strip(&mut interner);
        tasks.spawn(watch.run(of_pods, strip_pod, PartialEq::eq, of_pod));
        tasks.spawn(watch.run(of_services, strip_service, PartialEq::eq, of_service));
        let same = |a: &LimitRange, b: &LimitRange| a.spec == b.spec;
        tasks.spawn(watch.run(of_limits, strip_limits, same, of_limit_range));
        tasks.spawn(watch.workloads(of_deployments, TargetKind::Deployment));
        tasks.spawn(watch.workloads(of_stateful_sets, TargetKind::StatefulSet));
        tasks.spawn(watch.workloads(of_daemon_sets, TargetKind::DaemonSet));
        tasks.spawn(watch.workloads(of_cron_jobs, TargetKind::CronJob));
        let same = |a: &Metadata<ReplicaSet>, b: &Metadata<ReplicaSet>| a.metadata == b.metadata;
        tasks.spawn(watch.run(of_replica_sets, Strip::strip, same, |cluster, one, requests| {
            of_labels(cluster, one.meta(), requests);
        }));
        tasks.spawn(watch.namespaces(of_namespaces));
        cluster
    }

    /// Waits until everything was read once.
    pub(super) async fn known(&self) {
        // An error means that a watch has ended, which none does before all do.
        let _ = self.servers.wait_until_ready().await;
        let _ = self.pods.wait_until_ready().await;
        let _ = self.services.wait_until_ready().await;
        let _ = self.limits.wait_until_ready().await;
        let _ = self.deployments.wait_until_ready().await;
        let _ = self.stateful_sets.wait_until_ready().await;
        let _ = self.daemon_sets.wait_until_ready().await;
        let _ = self.cron_jobs.wait_until_ready().await;
        let _ = self.replica_sets.wait_until_ready().await;
        let _ = self.namespaces.wait_until_ready().await;
    }

    /// Whether a namespace has the label by which its pods are left alone.
    pub(super) fn is_opted_out(&self, namespace: &str) -> bool {
        let found = self.namespaces.get(&ObjectRef::new(namespace));
        let label =
            |one: &ObjectMeta| Some(one.labels.as_ref()?.get(NAMESPACE_OPT_OUT)? == "disabled");
        found.and_then(|one| label(&one.metadata)).unwrap_or(false)
    }

    /// The workload that a `McpServer` names.
    pub(super) fn workload(&self, namespace: &str, named: &TargetRef) -> Option<Workload> {
        fn find<K>(store: &Store<K>, namespace: &str, name: &str) -> Option<Arc<K>>
        where
            K: Resource<DynamicType = ()> + Clone + 'static,
        {
            store.get(&ObjectRef::new(name).within(namespace))
        }
        let name = named.name.as_str();
        Some(match named.kind {
            TargetKind::Deployment => {
                Workload::Deployment(find(&self.deployments, namespace, name)?)
            }
            TargetKind::StatefulSet => {
                Workload::StatefulSet(find(&self.stateful_sets, namespace, name)?)
            }
            TargetKind::DaemonSet => Workload::DaemonSet(find(&self.daemon_sets, namespace, name)?),
            TargetKind::CronJob => Workload::CronJob(find(&self.cron_jobs, namespace, name)?),
        })
    }

    /// The workload that it names, if it names one that is there.
    pub(super) fn workload_of(&self, server: &McpServer) -> Option<Workload> {
        let namespace = server.metadata.namespace.as_deref().unwrap_or_default();
        self.workload(namespace, server.spec.target_ref.as_ref()?)
    }

    /// The pods that a `McpServer` means, as far as it is known.
    pub(super) fn selector<'a>(&self, server: &'a McpServer) -> Option<Cow<'a, Selector>> {
        target::selector(server, self.workload_of(server).as_ref()).ok()
    }

    fn servers_of(&self, namespace: Option<&str>) -> Vec<Arc<McpServer>> {
        self.servers.state_filter(|one| one.metadata.namespace.as_deref() == namespace)
    }
}

/// All that is kept of some kinds: who made a ReplicaSet, the label of a namespace.
type Metadata<K> = PartialObjectMeta<K>;

/// One kind of objects.
#[derive(Clone, Copy)]
struct Watch<'a> {
    client: &'a Client,
    namespace: Option<&'a str>,
    queue: &'a Queue,
    metrics: &'a Arc<Metrics>,
    cluster: &'a Cluster,
}

/// The `McpServer`s that an object concerns.
type Requests = Vec<ObjectRef<McpServer>>;

impl Watch<'_> {
    /// Keeps the workloads of one kind up to date until dropped.
    fn workloads<K>(
        self,
        writer: Writer<K>,
        kind: TargetKind,
    ) -> impl Future<Output = ()> + Send + 'static
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + PartialEq
            + Send
            + Strip
            + Sync
            + 'static,
    {
        self.run(writer, K::strip, PartialEq::eq, move |cluster, one, requests| {
            of_workload(cluster, kind, one.meta(), requests);
        })
    }

    /// Keeps what is known of the namespaces up to date until dropped.
    fn namespaces(
        self,
        writer: Writer<Metadata<Namespace>>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let config = match self.namespace {
            // A role may allow the one with this name alone.
            Some(name) => watcher::Config::default().fields(&format!("metadata.name={name}")),
            None => watcher::Config::default(),
        };
        let same = |a: &Metadata<Namespace>, b: &Metadata<Namespace>| a.metadata == b.metadata;
        let api = (Api::all(self.client.clone()), config);
        self.keep(api, writer, strip_namespace, same, |cluster, one, requests| {
            let servers = cluster.servers_of(one.metadata.name.as_deref());
            requests.extend(servers.iter().map(|server| ObjectRef::from_obj(&**server)));
        })
    }

    /// Keeps the store of one kind up to date until dropped. `strip` takes out what is not kept,
    /// after `concerned` has seen the whole; what is the `same` afterwards concerns nobody.
    fn run<K>(
        self,
        writer: Writer<K>,
        strip: impl FnMut(&mut K) + Send + 'static,
        same: impl Fn(&K, &K) -> bool + Send + 'static,
        concerned: impl Fn(&Cluster, &K, &mut Requests) + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        let client = self.client.clone();
        let api: Api<K> = match self.namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        };
        self.keep((api, watcher::Config::default()), writer, strip, same, concerned)
    }

    /// The same, of those that are asked for.
    fn keep<K>(
        self,
        (api, config): (Api<K>, watcher::Config),
        mut writer: Writer<K>,
        mut strip: impl FnMut(&mut K) + Send + 'static,
        same: impl Fn(&K, &K) -> bool + Send + 'static,
        concerned: impl Fn(&Cluster, &K, &mut Requests) + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let (queue, metrics, cluster) =
            (self.queue.clone(), Arc::clone(self.metrics), self.cluster.clone());
        let reader = writer.as_reader();
        async move {
            let kind = K::kind(&()).into_owned();
            let stream = watcher::watcher(api, config.page_size(PAGE)).default_backoff();
            let mut stream = std::pin::pin!(stream);
            let mut requests = Vec::new();
            while let Some(event) = stream.next().await {
                let event = match event {
                    Ok(event) => event,
                    Err(error) => {
                        metrics.watch_failed(&kind);
                        tracing::warn!(kind, "watch: {error}; it begins anew");
                        continue;
                    }
                };
                if let Event::Apply(one) | Event::Delete(one) = &event {
                    concerned(&cluster, one, &mut requests);
                }
                let event = event.modify(&mut strip);
                if let Event::Apply(one) = &event {
                    match reader.get(&ObjectRef::from_obj(one)) {
                        Some(before) if same(&before, one) => requests.clear(),
                        Some(before) => concerned(&cluster, &before, &mut requests),
                        None => {}
                    }
                }
                writer.apply_watcher_event(&event);
                // What is gone since the last list is not said. Only now are those known that
                // this very list has brought.
                if matches!(event, Event::InitDone) {
                    let servers = cluster.servers.state();
                    requests.extend(servers.iter().map(|one| ObjectRef::from_obj(&**one)));
                }
                if !ask(&queue, &kind, &mut requests).await {
                    return;
                }
            }
        }
    }
}

/// Asks for a look at those that a change of this kind concerns; whether anybody listens.
async fn ask(queue: &Queue, kind: &str, requests: &mut Requests) -> bool {
    for server in requests.drain(..) {
        let reason = ReconcileReason::Custom { reason: kind.to_owned() };
        if queue.send(ReconcileRequest { obj_ref: server, reason }).await.is_err() {
            return false;
        }
    }
    true
}

/// Asks for a look whenever a `McpServer` comes, goes or changes.
async fn follow(mut servers: Servers, cluster: Cluster, queue: Queue) {
    let kind = McpServer::kind(&());
    let mut before: HashMap<ObjectRef<McpServer>, Arc<McpServer>> = HashMap::new();
    let mut requests = Requests::new();
    while servers.changed().await {
        let now: HashMap<_, _> =
            servers.all().into_iter().map(|one| (ObjectRef::from_obj(&*one), one)).collect();
        let version = |one: &McpServer| (one.uid(), one.resource_version());
        let differs = |one: &McpServer, there: Option<&Arc<McpServer>>| {
            there.is_none_or(|there| version(there) != version(one))
        };
        if before.is_empty() {
            requests.extend(now.keys().cloned());
        } else {
            let gone = before.iter().filter(|(key, one)| differs(one, now.get(key)));
            let new = now.iter().filter(|(key, one)| differs(one, before.get(key)));
            for (_, one) in gone.chain(new) {
                of_server(&cluster, one, &mut requests);
            }
        }
        if !ask(&queue, &kind, &mut requests).await {
            return;
        }
        before = now;
    }
}

fn strip_service(service: &mut Service) {
    service.metadata.managed_fields = None;
    service.metadata.annotations = None;
    service.metadata.labels = None;
    service.metadata.resource_version = None;
    service.status = None;
}

fn strip_namespace(namespace: &mut Metadata<Namespace>) {
    let labels = namespace.metadata.labels.take().unwrap_or_default();
    let labels = labels.into_iter().filter(|(key, _)| key == NAMESPACE_OPT_OUT);
    namespace.metadata = ObjectMeta {
        name: namespace.metadata.name.take(),
        labels: Some(labels.collect()),
        ..ObjectMeta::default()
    };
}

fn strip_limits(limits: &mut LimitRange) {
    limits.metadata.managed_fields = None;
    limits.metadata.annotations = None;
    limits.metadata.labels = None;
}

/// It itself, and those that may leave pods to it or take them from it: by what it means now, and
/// by what it was last known to mean.
fn of_server(cluster: &Cluster, one: &McpServer, requests: &mut Requests) {
    requests.push(ObjectRef::from_obj(one));
    let published = one.status.as_ref().and_then(|status| status.injection.as_ref());
    let mut selectors: Vec<Cow<'_, Selector>> =
        published.map(|injection| Cow::Borrowed(&injection.selector)).into_iter().collect();
    selectors.extend(cluster.selector(one));
    for other in cluster.servers_of(one.metadata.namespace.as_deref()) {
        if other.metadata.uid == one.metadata.uid {
            continue;
        }
        let Some(selector) = cluster.selector(&other) else { continue };
        if selectors.iter().any(|own| own.may_overlap(&selector)) {
            requests.push(ObjectRef::from_obj(&*other));
        }
    }
}

/// Those that mean it, and the one that it was injected for.
fn of_pod(cluster: &Cluster, pod: &Pod, requests: &mut Requests) {
    let meant = |server: &McpServer| {
        pod.has_labels(|labels| {
            labels.get(SERVER).map(String::as_str) == server.metadata.name.as_deref()
                || cluster.selector(server).is_some_and(|selector| selector.matches(labels))
        })
    };
    let servers = cluster.servers_of(pod.meta().namespace.as_deref());
    let servers = servers.iter().filter(|server| meant(server));
    requests.extend(servers.map(|server| ObjectRef::from_obj(&**server)));
}

/// Those to whose pods it may lead.
fn of_service(cluster: &Cluster, service: &Service, requests: &mut Requests) {
    let none = Labels::new();
    let labels = service.spec.as_ref().and_then(|spec| spec.selector.as_ref()).unwrap_or(&none);
    for server in cluster.servers_of(service.metadata.namespace.as_deref()) {
        let target = target::resolve(&server, cluster.workload_of(&server).as_ref());
        if target.is_ok_and(|target| target.is_behind(labels)) {
            requests.push(ObjectRef::from_obj(&*server));
        }
    }
}

/// Those of its namespace.
fn of_limit_range(cluster: &Cluster, limits: &LimitRange, requests: &mut Requests) {
    let servers = cluster.servers_of(limits.metadata.namespace.as_deref());
    requests.extend(servers.iter().map(|server| ObjectRef::from_obj(&**server)));
}

/// Those that name it, and those that mean its pods.
fn of_workload(cluster: &Cluster, kind: TargetKind, one: &ObjectMeta, requests: &mut Requests) {
    let named = TargetRef { kind, name: one.name.clone().unwrap_or_default() };
    let namespace = one.namespace.as_deref().unwrap_or_default();
    let known = cluster.workload(namespace, &named);
    let labels = known.map(|workload| workload.labels()).unwrap_or_default();
    for server in cluster.servers_of(one.namespace.as_deref()) {
        let names = server.spec.target_ref.as_ref() == Some(&named);
        let means = || cluster.selector(&server).is_some_and(|selector| selector.matches(&labels));
        if names || means() {
            requests.push(ObjectRef::from_obj(&*server));
        }
    }
}

/// Those that mean pods with its labels.
fn of_labels(cluster: &Cluster, one: &ObjectMeta, requests: &mut Requests) {
    let Some(labels) = &one.labels else { return };
    let servers = cluster.servers_of(one.namespace.as_deref());
    let means = |server: &&Arc<McpServer>| {
        cluster.selector(server).is_some_and(|selector| selector.matches(labels))
    };
    requests.extend(servers.iter().filter(means).map(|server| ObjectRef::from_obj(&**server)));
}
