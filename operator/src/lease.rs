//! Which replica leads: the one that holds a Lease (`coordination.k8s.io/v1`) and renews it.
//!
//! A replica judges by its own clock how long somebody else's claim has not been renewed, so
//! clocks that differ do no harm; and it stops leading well before others may take over.

use std::time::{Duration, Instant};

use k8s_openapi::{
    api::coordination::v1::{Lease as Resource, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference},
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tokio::time;

use crate::answer::{self, why};

/// A Lease that replicas compete for.
#[derive(Clone, Debug)]
pub struct Lease {
    api: Api<Resource>,
    name: String,
    holder: String,
    duration: Duration,
    owner: Option<OwnerReference>,
}

/// What was seen of the Lease, and since when it is so.
#[derive(Clone, Debug)]
struct Seen {
    spec: LeaseSpec,
    since: Instant,
}

impl Lease {
    /// The Lease of this name, to be held as `holder`, whose claim holds for `duration` after
    /// each renewal.
    pub fn new(
        client: Client,
        namespace: &str,
        name: &str,
        holder: &str,
        duration: Duration,
    ) -> Self {
        let api = Api::namespaced(client, namespace);
        Self { api, name: name.to_owned(), holder: holder.to_owned(), duration, owner: None }
    }

    /// Where it has to be made, it ends with its owner.
    #[must_use]
    pub fn owned_by(mut self, owner: Option<OwnerReference>) -> Self {
        self.owner = owner;
        self
    }

    /// Does `work` whenever this replica leads, and drops it when it does not any more. Tells
    /// `reached` whether the Lease could be read.
    pub async fn lead(&self, mut work: impl AsyncFnMut(), reached: impl Fn(Result<(), String>)) {
        loop {
            let held = self.acquire(&reached).await;
            tracing::info!(lease = self.name, holder = self.holder, "leading");
            tokio::select! {
                () = work() => {}
                () = self.keep(held) => {}
            }
            tracing::warn!(lease = self.name, holder = self.holder, "not leading any more");
        }
    }

    /// Gives the Lease back, so that another replica need not wait for it to expire.
    pub async fn release(&self) {
        let Ok(Some(mut lease)) = self.api.get_opt(&self.name).await else { return };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() != Some(&self.holder) {
            return;
        }
        spec.holder_identity = None;
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        if let Err(error) = self.api.replace(&self.name, &PostParams::default(), &lease).await {
            tracing::debug!("give back the lease {}: {}", self.name, why(&error));
        }
    }

    /// Waits until this replica leads.
    async fn acquire(&self, reached: &impl Fn(Result<(), String>)) -> Resource {
        let mut seen: Option<Seen> = None;
        loop {
            let claimed = self.claim(&mut seen).await;
            reached(claimed.as_ref().map(|_| ()).map_err(why));
            match claimed {
                Ok(Some(held)) => return held,
                Ok(None) => {}
                Err(error) => tracing::warn!(
                    "read the lease {}: {}; may the operator get, create and update leases in its \
                     namespace?",
                    self.name,
                    why(&error)
                ),
            }
            time::sleep(self.pause()).await;
        }
    }

    /// Takes the Lease if it is free.
    async fn claim(&self, seen: &mut Option<Seen>) -> kube::Result<Option<Resource>> {
        let Some(mut lease) = self.api.get_opt(&self.name).await? else {
            let metadata = ObjectMeta {
                name: Some(self.name.clone()),
                owner_references: self.owner.clone().map(|owner| vec![owner]),
                ..ObjectMeta::default()
            };
            let lease = Resource { metadata, spec: Some(self.spec(None)) };
            return unless_taken(self.api.create(&PostParams::default(), &lease).await);
        };
        let spec = lease.spec.clone().unwrap_or_default();
        if seen.as_ref().is_none_or(|seen| seen.spec != spec) {
            *seen = Some(Seen { spec: spec.clone(), since: Instant::now() });
        }
        let unchanged = seen.as_ref().map_or(Duration::ZERO, |seen| seen.since.elapsed());
        if !self.is_free(&spec, unchanged) {
            return Ok(None);
        }
        lease.spec = Some(self.spec(Some(&spec)));
        unless_taken(self.api.replace(&self.name, &PostParams::default(), &lease).await)
    }

    /// Whether a claim that was not renewed for so long may be taken.
    fn is_free(&self, claim: &LeaseSpec, unchanged: Duration) -> bool {
        let holder = claim.holder_identity.as_deref().unwrap_or_default();
        let lasts = claim.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let lasts = lasts.map_or(self.duration, Duration::from_secs);
        holder.is_empty() || holder == self.holder || unchanged > lasts
    }

    /// Renews the Lease; returns when it is lost, or could not be renewed for so long that
    /// another replica may soon take it.
    async fn keep(&self, mut held: Resource) {
        let mut renewed = Instant::now();
        while renewed.elapsed() < self.duration * 2 / 3 {
            time::sleep(self.pause()).await;
            held.spec = held.spec.as_ref().map(|spec| self.spec(Some(spec)));
            let begun = Instant::now();
            let params = PostParams::default();
            let written = self.api.replace(&self.name, &params, &held);
            match time::timeout(self.duration / 3, written).await {
                Ok(Ok(lease)) => (held, renewed) = (lease, begun),
                // Somebody else wrote it; if it is still ours, it can be renewed next time.
                Ok(Err(error)) if is_conflict(&error) => match self.api.get(&self.name).await {
                    Ok(lease) if self.holds(&lease) => held = lease,
                    Ok(_) => return,
                    Err(error) => tracing::warn!("read the lease {}: {}", self.name, why(&error)),
                },
                Ok(Err(error)) => tracing::warn!("renew the lease {}: {}", self.name, why(&error)),
                Err(_) => tracing::warn!("renew the lease {}: no answer", self.name),
            }
        }
    }

    fn holds(&self, lease: &Resource) -> bool {
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
        holder == Some(&self.holder)
    }

    /// Between two looks at the Lease, and between two renewals.
    fn pause(&self) -> Duration {
        self.duration / 5
    }

    /// What the Lease says once this replica holds it.
    fn spec(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let ours = before.filter(|spec| spec.holder_identity.as_deref() == Some(&self.holder));
        let transitions = before.and_then(|spec| spec.lease_transitions).unwrap_or_default();
        let acquired = ours.and_then(|spec| spec.acquire_time.clone());
        LeaseSpec {
            holder_identity: Some(self.holder.clone()),
            lease_duration_seconds: i32::try_from(self.duration.as_secs()).ok(),
            acquire_time: Some(acquired.unwrap_or_else(|| now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(transitions + i32::from(ours.is_none() && before.is_some())),
            ..LeaseSpec::default()
        }
    }
}

/// Someone who was faster is no error.
fn unless_taken(written: kube::Result<Resource>) -> kube::Result<Option<Resource>> {
    match written {
        Err(error) if is_conflict(&error) => Ok(None),
        written => written.map(Some),
    }
}

fn is_conflict(error: &kube::Error) -> bool {
    answer::is(error, 409)
}
