//! One look at a `McpServer`: gather, plan, say, do.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use kube::{
    Client, Resource,
    runtime::{controller::Action, events::EventType, reflector::ObjectRef},
};

use super::{
    Settings, apply,
    gather::{Gathered, Owner},
    memory::{Memory, Tried},
    metrics::Metrics,
    plan::{self, Cause, Deed, Plan, Situation},
    proof,
    tell::Teller,
    watches::Cluster,
};
use crate::{
    answer::why,
    crd::{Finding, Injection, McpServer, McpServerStatus},
};

/// Deeds of one look; the others come with the next.
const DEEDS: usize = 100;
/// When to look again for the deeds that are left, or that had to wait for other workloads.
const SOON: Duration = Duration::from_secs(1);
/// Between two tries of a pod that the API server refuses with the sidecar, or may refuse.
const REFUSED: Duration = Duration::from_mins(1);
/// Tries of a pod that comes back without the sidecar before that is said: API servers take a
/// moment to know a new `McpServer`.
const TRIES: u32 = 4;

/// A look that failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// A request failed.
    #[error("{attempted}: {}; it is tried again", why(source))]
    Request {
        /// What for.
        attempted: &'static str,
        /// Why.
        #[source]
        source: kube::Error,
    },
    /// It took too long.
    #[error("the API server takes too long to answer; it is tried again")]
    Slow,
}

impl Trouble {
    fn at(attempted: &'static str) -> impl FnOnce(kube::Error) -> Self {
        move |source| Self::Request { attempted, source }
    }

    /// In one word, for metrics.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Request { source, .. } => outcome(source),
            Self::Slow => "slow",
        }
    }

    /// When to try again.
    pub(super) fn pause(&self) -> Duration {
        Duration::from_secs(if self.kind() == "conflict" { 1 } else { 5 })
    }
}

/// How a request failed, in one word.
fn outcome(error: &kube::Error) -> &'static str {
    match error {
        kube::Error::Api(status) => match status.code {
            404 | 410 => "gone",
            409 | 422 => "conflict",
            429 => "busy",
            401 | 403 => "forbidden",
            _ => "failed",
        },
        _ => "unreachable",
    }
}

/// What the leader works with.
pub(super) struct Leader {
    client: Client,
    settings: Settings,
    metrics: Arc<Metrics>,
    cluster: Cluster,
    teller: Teller,
    shared: Mutex<Shared>,
}

/// What looks at several `McpServer`s share.
#[derive(Default)]
struct Shared {
    memories: HashMap<ObjectRef<McpServer>, Memory>,
    /// The owners whose pods are being changed.
    busy: HashMap<ObjectRef<McpServer>, Vec<Owner>>,
}

/// A memory in use, which is put back however the look ends.
struct Held<'a> {
    leader: &'a Leader,
    key: ObjectRef<McpServer>,
    memory: Memory,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let memory = mem::take(&mut self.memory);
        self.leader.with(|shared| shared.memories.insert(self.key.clone(), memory));
    }
}

impl Leader {
    pub(super) fn new(
        client: Client,
        settings: Settings,
        metrics: Arc<Metrics>,
        cluster: Cluster,
    ) -> Self {
        let teller = Teller::new(client.clone(), &settings.identity);
        Self { client, settings, metrics, cluster, teller, shared: Mutex::default() }
    }

    /// Waits until the cluster is known.
    pub(super) async fn known(&self) {
        self.cluster.known().await;
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Looks at one.
    pub(super) async fn look(&self, server: Arc<McpServer>) -> Result<Action, Trouble> {
        let key = ObjectRef::from_obj(&*server);
        let memory = self.with(|shared| {
            // Those that are gone.
            let there = |key: &ObjectRef<McpServer>| self.cluster.servers.get(key).is_some();
            shared.memories.retain(|key, _| there(key));
            shared.busy.retain(|key, _| there(key));
            shared.memories.remove(&key).unwrap_or_default().of(&server)
        });
        let mut held = Held { leader: self, key: key.clone(), memory };
        let gathered = Gathered::of(server, &self.cluster);
        self.pursue(&gathered, &mut held.memory, &key).await
    }

    async fn pursue(
        &self,
        gathered: &Gathered,
        memory: &mut Memory,
        key: &ObjectRef<McpServer>,
    ) -> Result<Action, Trouble> {
        let before = memory.status(&gathered.server);
        let (injection, refused) = self.rendered(gathered, memory, &before).await?;
        let unproven = memory.unproven.as_ref().filter(|(_, tries)| *tries >= TRIES);
        let plan = plan::plan(Situation {
            gathered,
            injection: injection.as_ref(),
            refused: refused.as_ref(),
            unproven: unproven.map(|(finding, _)| finding),
            before: &before,
            healed: &memory.healed,
            now: Timestamp::now(),
            kubernetes: self.settings.defaults.kubernetes,
        });
        if plan.status != before {
            let written = apply::status(&self.client, gathered, &plan.status).await;
            written.map_err(Trouble::at("write the status of the McpServer"))?;
            self.metrics.status_written();
            memory.written(&gathered.server, plan.status.clone());
            self.teller.changes(gathered, &before.conditions, &plan.status.conditions).await;
        }
        self.say(gathered, memory, &plan).await;
        self.with(|shared| shared.busy.insert(key.clone(), plan.busy.clone()));
        let mut again = plan.again;
        let mut sooner = |when: Duration| again = again.map_or(Some(when), |at| Some(at.min(when)));
        if memory.tried.is_some() {
            sooner(REFUSED);
        }
        if plan.deeds.len() > DEEDS {
            sooner(SOON);
        }
        if let Some(injection) = &plan.status.injection {
            for deed in plan.deeds.iter().take(DEEDS) {
                if let Some(when) = self.perform(gathered, memory, key, injection, deed).await {
                    sooner(when);
                }
            }
        } else {
            for deed in plan.deeds.iter().take(DEEDS) {
                if let Some(when) = self.withdraw(gathered, deed).await {
                    sooner(when);
                }
            }
        }
        Ok(again.map_or_else(Action::await_change, Action::requeue))
    }

    /// What is to be in the pods; and what is wrong with it while what was there before stays.
    async fn rendered(
        &self,
        gathered: &Gathered,
        memory: &mut Memory,
        before: &McpServerStatus,
    ) -> Result<(Result<Injection, Finding>, Option<Finding>), Trouble> {
        let (defaults, own) = (&self.settings.defaults, &self.settings.namespace);
        let new = match plan::render(gathered, before, defaults, own) {
            Ok(new) => new,
            Err(finding) => {
                memory.tried = None;
                return Ok((Err(finding), None));
            }
        };
        let short = gathered.short.first();
        if before.injection.as_ref() == Some(&new) && short.is_none() {
            memory.tried = None;
            return Ok((Ok(new), None));
        }
        let now = Timestamp::now();
        memory.tried.take_if(|tried| {
            let age = Duration::try_from(now.duration_since(tried.at)).unwrap_or_default();
            tried.injection != new || tried.short.as_ref() != short || age >= REFUSED
        });
        let known = memory.tried.as_ref().map(|tried| tried.finding.clone());
        let finding = match known {
            Some(finding) => finding,
            None => self.tried(gathered, memory, &new, now).await?,
        };
        Ok(match (finding, &before.injection) {
            (None, _) => (Ok(new), None),
            (Some(finding), Some(old)) => (Ok(old.clone()), Some(finding)),
            (Some(finding), None) => (Err(finding), None),
        })
    }

    /// What the API server has against a pod with the sidecar; remembered where it may change.
    async fn tried(
        &self,
        gathered: &Gathered,
        memory: &mut Memory,
        injection: &Injection,
        at: Timestamp,
    ) -> Result<Option<Finding>, Trouble> {
        let told = proof::accepted(&self.client, gathered, injection).await;
        let finding = told.map_err(Trouble::at("try a pod with the sidecar"))?.err();
        let short = gathered.short.first().cloned();
        if finding.is_some() || short.is_some() {
            let (injection, finding) = (injection.clone(), finding.clone());
            memory.tried = Some(Tried { injection, short, finding, at });
        }
        Ok(finding)
    }

    /// Counts, and tells of pods that were missed, of each once.
    async fn say(&self, gathered: &Gathered, memory: &mut Memory, plan: &Plan) {
        let (namespace, name) = (&gathered.namespace, &gathered.name);
        self.metrics.pods(namespace, name, &plan.status.pods, plan.missed.len());
        let mut new: Vec<&Owner> = Vec::new();
        let mut count = 0;
        for (owner, pod) in &plan.missed {
            if memory.missed.insert(pod.meta().uid.clone().unwrap_or_default()) {
                count += 1;
                if !new.contains(&owner) {
                    new.push(owner);
                }
            }
        }
        let there: Vec<_> = plan.missed.iter().map(|(_, pod)| pod.meta().uid.clone()).collect();
        memory.missed.retain(|uid| there.iter().any(|one| one.as_ref() == Some(uid)));
        if count == 0 {
            return;
        }
        self.metrics.missed(namespace, name, count);
        for owner in new {
            let note = format!(
                "pods of {} {} were created without the sidecar of McpServer {name}",
                owner.kind, owner.name
            );
            self.teller.both(gathered, owner, EventType::Warning, "Missed", "Inject", &note).await;
        }
    }

    /// Does something about pods. Returns when to look again, if nothing else says so.
    async fn perform(
        &self,
        gathered: &Gathered,
        memory: &mut Memory,
        key: &ObjectRef<McpServer>,
        injection: &Injection,
        deed: &Deed,
    ) -> Option<Duration> {
        let (client, namespace) = (&self.client, gathered.namespace.as_str());
        match deed {
            Deed::Configure(pod) => {
                let done = apply::configure(client, namespace, pod, injection).await;
                self.count("configure", pod.name(), done)
            }
            Deed::Upgrade(owner, pod) => {
                if !self.may(key, owner) {
                    return Some(SOON);
                }
                let done = apply::upgrade(client, namespace, pod, injection).await;
                self.count("upgrade", pod.name(), done)
            }
            Deed::Restart(owner, workload) => {
                if !self.may(key, owner) {
                    return Some(SOON);
                }
                if let Some(when) = self.unproven(gathered, memory, owner, injection).await {
                    return Some(when);
                }
                let done = apply::restart(client, namespace, workload, injection).await;
                if done.is_ok() {
                    let note = format!(
                        "restarted {} {} so that its pods get the sidecar of McpServer {}",
                        owner.kind, owner.name, gathered.name
                    );
                    let normal = EventType::Normal;
                    self.teller.both(gathered, owner, normal, "Restarted", "Restart", &note).await;
                }
                self.count("restart", &owner.name, done)
            }
            Deed::Evict(owner, pod, cause) => {
                if !self.may(key, owner) {
                    return Some(SOON);
                }
                if *cause == Cause::Rollout
                    && let Some(when) = self.unproven(gathered, memory, owner, injection).await
                {
                    return Some(when);
                }
                let done = apply::evict(client, namespace, pod).await;
                if done.is_ok() {
                    memory.healed.insert(owner.clone(), Timestamp::now());
                    let note = format!("evicted pod {} so that it gets the sidecar", pod.name());
                    let normal = EventType::Normal;
                    self.teller.both(gathered, owner, normal, "Evicted", "Evict", &note).await;
                }
                self.count("evict", pod.name(), done)
            }
        }
    }

    /// Takes a pod away whose sidecar fails, so that it comes back without.
    async fn withdraw(&self, gathered: &Gathered, deed: &Deed) -> Option<Duration> {
        let Deed::Evict(owner, pod, Cause::Withdrawal) = deed else { return None };
        let done = apply::evict(&self.client, &gathered.namespace, pod).await;
        if done.is_ok() {
            let note = format!("evicted pod {}, whose sidecar cannot start", pod.name());
            let warning = EventType::Warning;
            self.teller.both(gathered, owner, warning, "Evicted", "Evict", &note).await;
        }
        self.count("evict", pod.name(), done)
    }

    /// Tries a pod of this owner, unless that was done. Returns when to try again if it did not
    /// get the sidecar.
    async fn unproven(
        &self,
        gathered: &Gathered,
        memory: &mut Memory,
        owner: &Owner,
        injection: &Injection,
    ) -> Option<Duration> {
        if memory.proven.get(owner) == Some(&injection.revision) {
            // Only once: what was so then may have changed.
            memory.proven.remove(owner);
            return None;
        }
        let tries = memory.unproven.as_ref().map_or(0, |(_, tries)| *tries);
        match proof::injected(&self.client, gathered, owner, injection).await {
            Ok(Ok(())) => {
                if memory.unproven.take().is_some_and(|(_, tries)| tries >= TRIES) {
                    // The conditions say otherwise until they are written anew.
                    memory.proven.insert(owner.clone(), injection.revision.clone());
                    return Some(Duration::from_millis(1));
                }
                None
            }
            Ok(Err(finding)) => {
                memory.unproven = Some((finding, tries.saturating_add(1)));
                let pause = Duration::from_millis(500 << tries.min(7));
                Some(pause.min(Duration::from_mins(1)))
            }
            Err(error) => {
                tracing::warn!(owner = owner.name, "try a pod: {}", why(&error));
                Some(Trouble::at("try a pod")(error).pause())
            }
        }
    }

    /// Whether pods of this owner may be changed now, besides those of others.
    fn may(&self, key: &ObjectRef<McpServer>, owner: &Owner) -> bool {
        let most = usize::try_from(self.settings.max_rollouts).unwrap_or(usize::MAX);
        self.with(|shared| {
            let all: usize = shared.busy.values().map(Vec::len).sum();
            let own = shared.busy.entry(key.clone()).or_default();
            if own.contains(owner) {
                return true;
            }
            if all >= most {
                return false;
            }
            own.push(owner.clone());
            true
        })
    }

    /// Counts what was done. Returns when to try again if it was not done.
    fn count(&self, action: &str, name: &str, done: kube::Result<()>) -> Option<Duration> {
        match done {
            Ok(()) => {
                self.metrics.deed(action, "ok");
                None
            }
            Err(error) => {
                let outcome = outcome(&error);
                self.metrics.deed(action, outcome);
                tracing::info!(name, outcome, "{action}: {}; it is tried again", why(&error));
                Some(if outcome == "busy" { 5 * SOON } else { SOON })
            }
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Shared) -> T) -> T {
        change(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
