//! Brings a cluster to what its `McpServer`s ask for, and says how far it is.
//!
//! - `watches` keeps what is known of the cluster, and asks for a look at those `McpServer`s that
//!   a change concerns.
//! - `gather` takes out of it what concerns one of them; `plan` decides, purely, what is to be
//!   said of it and done about its pods.
//! - `reconcile` does so: it has `proof` try pods out, and `apply` write.
//! - `pod` and `workload` are the little that is kept of both; `memory` is what is remembered from
//!   one look to the next, `tell` writes events, `metrics` counts.

use std::{
    convert::Infallible,
    future::{pending, ready},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use kube::{
    Client, Resource,
    runtime::{
        controller::{self, Action, applier},
        reflector::ObjectRef,
    },
};
use prometheus::Registry;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{self, timeout},
};

use crate::{answer::why, crd::McpServer, render::Defaults, servers::Servers, version::Version};

mod apply;
mod gather;
mod memory;
mod metrics;
mod plan;
mod pod;
mod proof;
mod reconcile;
mod tell;
mod watches;
mod workload;

use metrics::Metrics;
use reconcile::{Leader, Trouble};
use watches::Cluster;

/// `McpServer`s that wait to be looked at; watches wait while there are so many.
const QUEUE: usize = 1024;
/// `McpServer`s that are looked at at once.
const AT_ONCE: u16 = 4;
/// Changes that come within this time make one look.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// The pause after the version of Kubernetes could not be asked for, and the one between two
/// looks for a newer.
const SOON: Duration = Duration::from_secs(1);
const SELDOM: Duration = Duration::from_mins(10);
/// Longest look at one.
const PATIENCE: Duration = Duration::from_mins(1);

/// What the controller is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the operator itself runs, whose pods are left alone.
    pub namespace: String,
    /// The only namespace that is looked at; all of them unless given.
    pub watch_namespace: Option<String>,
    /// The replica, as events name it.
    pub identity: String,
    /// What holds where a `McpServer` says nothing.
    pub defaults: Defaults,
    /// Workloads that may be restarted or upgraded at the same time.
    pub max_rollouts: u32,
}

/// The part of the operator that only the leader runs.
pub struct Controller {
    client: Client,
    servers: Servers,
    settings: Settings,
    metrics: Arc<Metrics>,
}

impl Controller {
    /// Makes one that sees to `servers`; its metrics go into `registry`.
    ///
    /// # Errors
    /// When a metric is malformed, which is a mistake in the program.
    pub fn new(
        client: Client,
        servers: Servers,
        settings: Settings,
        registry: &Registry,
    ) -> prometheus::Result<Self> {
        Ok(Self { client, servers, settings, metrics: Metrics::new(registry)? })
    }

    /// Counts, at each call, a failure of the watch that keeps the `McpServer`s.
    pub fn counts_failures(&self) -> impl Fn() + Send + 'static {
        let metrics = Arc::clone(&self.metrics);
        move || metrics.watch_failed(&McpServer::kind(&()))
    }

    /// Works until dropped; anew when Kubernetes can do more than before.
    pub async fn run(&self) {
        let _leading = Leading::begin(&self.metrics);
        let mut kubernetes = self.kubernetes().await;
        loop {
            kubernetes = tokio::select! {
                () = self.work(kubernetes) => return,
                newer = self.newer(kubernetes) => newer,
            };
        }
    }

    /// What Kubernetes can do.
    async fn kubernetes(&self) -> Version {
        loop {
            match Version::of(&self.client).await {
                Ok(version) => return version,
                Err(error) => tracing::warn!("ask for the version of Kubernetes: {}", why(&error)),
            }
            time::sleep(SOON).await;
        }
    }

    /// Waits until it can do more.
    async fn newer(&self, than: Version) -> Version {
        while than.lacks_something() {
            time::sleep(SELDOM).await;
            let version = self.kubernetes().await;
            if version > than {
                return version;
            }
        }
        pending().await
    }

    async fn work(&self, kubernetes: Version) {
        let mut settings = self.settings.clone();
        settings.defaults.kubernetes = kubernetes;
        let (queue, mut asked) = mpsc::channel(QUEUE);
        let mut watching = JoinSet::new();
        let cluster = Cluster::watch(
            &self.client,
            &self.servers,
            settings.watch_namespace.as_deref(),
            &queue,
            &self.metrics,
            &mut watching,
        );
        let servers = cluster.servers.clone();
        let leader = Leader::new(self.client.clone(), settings, Arc::clone(&self.metrics), cluster);
        let asked = stream::poll_fn(move |context| asked.poll_recv(context));
        let config = controller::Config::default().debounce(DEBOUNCE).concurrency(AT_ONCE);
        let looks = applier(
            |server, leader: Arc<Leader>| Box::pin(look(server, leader)),
            |_, trouble, _| Action::requeue(trouble.pause()),
            Arc::new(leader),
            servers,
            asked.map(Ok::<_, Infallible>),
            config,
        );
        let metrics = Arc::clone(&self.metrics);
        let all = looks.for_each(|look| {
            if let Err(controller::Error::ObjectNotFound(gone)) = look {
                metrics.forget(gone.namespace.as_deref().unwrap_or_default(), &gone.name);
            }
            ready(())
        });
        tokio::select! {
            () = all => {}
            // None ends; one that panics takes the process with it in releases, and here the lead.
            _ = watching.join_next() => {}
        }
    }
}

async fn look(server: Arc<McpServer>, leader: Arc<Leader>) -> Result<Action, Trouble> {
    leader.known().await;
    let begun = Instant::now();
    let name = ObjectRef::from_obj(&*server);
    let looked = timeout(PATIENCE, leader.look(server)).await.unwrap_or(Err(Trouble::Slow));
    let result = match &looked {
        Ok(_) => "ok",
        Err(trouble) => {
            tracing::warn!(server = %name, "{trouble}");
            trouble.kind()
        }
    };
    leader.metrics().reconciled(result, begun.elapsed());
    looked
}

/// Says that this replica leads, for as long as it does.
struct Leading<'a>(&'a Metrics);

impl<'a> Leading<'a> {
    fn begin(metrics: &'a Metrics) -> Self {
        metrics.leading(true);
        Self(metrics)
    }
}

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        self.0.leading(false);
    }
}
