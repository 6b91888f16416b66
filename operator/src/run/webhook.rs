//! The webhook's part of a replica: nothing of it begins before the webhook is what injects, and
//! it ends when the policy does.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{
    Client,
    runtime::events::{Recorder, Reporter},
};
use mcpulse_proxy::{
    bind::bind,
    ready::{Gate, Ready},
    shutdown::Shutdown,
};
use prometheus::{GaugeVec, Opts, Registry};
use tokio::{sync::watch, task::JoinSet, time};

use crate::{
    certificate::{Files, Identity, Keeper, Place},
    engine::{Choice, Engine},
    registration::Reach,
    release::Release,
    servers::Servers,
    webhook::{self, Counters, Notices, Webhook},
};

/// How often the clock is looked at, and the pause after the webhook could not begin.
const EVERY: Duration = Duration::from_mins(1);

/// What the webhook is told.
#[derive(Clone, Debug, clap::Args)]
#[group(id = "webhook")]
pub(super) struct Options {
    /// What injects pods
    #[arg(long, value_name = "ENGINE", value_enum, default_value_t)]
    injection: Choice,
    /// Where API servers call the webhook
    #[arg(long, value_name = "ADDR", default_value = ":9443")]
    webhook_listen: String,
    /// An address by which they do, such as https://10.0.0.1:9443, instead of the release's Service
    #[arg(long, value_name = "URL")]
    webhook_url: Option<String>,
    /// Folder with tls.crt, tls.key and ca.crt that somebody else makes, such as cert-manager;
    /// not given, the operator makes its own
    #[arg(long, value_name = "DIR")]
    webhook_certificate: Option<PathBuf>,
}

impl Options {
    /// How the engine is chosen.
    pub(super) fn choice(&self) -> Choice {
        self.injection
    }

    /// How API servers reach the webhook of a release.
    pub(super) fn reach(&self, release: &Release) -> Reach {
        match &self.webhook_url {
            Some(url) => Reach::Url(url.trim_end_matches('/').to_owned()),
            None => {
                Reach::Service { namespace: release.namespace.clone(), name: release.operator() }
            }
        }
    }

    /// The names by which they call it.
    fn names(&self, release: &Release) -> Vec<String> {
        let host = self.webhook_url.as_ref().and_then(|url| {
            let url: http::Uri = url.parse().ok()?;
            Some(url.host()?.trim_matches(['[', ']']).to_owned())
        });
        let service = format!("{}.{}", release.operator(), release.namespace);
        let service = ["", ".svc", ".svc.cluster.local"].map(|suffix| format!("{service}{suffix}"));
        host.into_iter().chain(service).collect()
    }
}

/// What the webhook counts and shows, whether it serves or not.
pub(super) struct Figures {
    counters: Counters,
    expiry: GaugeVec,
}

impl Figures {
    /// Those of a replica, which `registry` shows.
    ///
    /// # Errors
    /// When it shows such metrics already.
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let expiry = Opts::new(
            "mcpulse_webhook_certificate_expiry_timestamp_seconds",
            "When the webhook's certificate and the authority that signs it expire",
        );
        let expiry = GaugeVec::new(expiry, &["kind"])?;
        registry.register(Box::new(expiry.clone()))?;
        Ok(Self { counters: Counters::new(registry)?, expiry })
    }
}

/// The webhook of this replica.
pub(super) struct Replica {
    pub(super) client: Client,
    pub(super) options: Options,
    pub(super) release: Release,
    /// What the Secret of the authorities ends with.
    pub(super) owner: Option<OwnerReference>,
    /// The replica, as events name it.
    pub(super) identity: String,
    pub(super) servers: Servers,
    /// Gets whom API servers should trust.
    pub(super) bundle: watch::Sender<Option<String>>,
    pub(super) figures: Figures,
    pub(super) ready: Ready,
    pub(super) shutdown: Shutdown,
}

impl Replica {
    /// Serves whenever the webhook is what injects.
    pub(super) async fn follow(self, mut engine: watch::Receiver<Engine>) {
        while engine.wait_for(|engine| *engine == Engine::Webhook).await.is_ok() {
            let gate = self.ready.gate("webhook");
            let id = gate.id();
            let serving = async {
                match self.serve(&gate).await {
                    Ok(()) => std::future::pending().await,
                    Err(error) => {
                        tracing::error!("{error:#}");
                        gate.close(format!("{error:#}"));
                        time::sleep(EVERY).await;
                    }
                }
            };
            let mut another = engine.clone();
            tokio::select! {
                () = serving => {}
                _ = another.wait_for(|engine| *engine != Engine::Webhook) => {}
            }
            self.ready.remove(id);
        }
    }

    /// Serves until the shutdown.
    async fn serve(&self, gate: &Gate) -> anyhow::Result<()> {
        let address = &self.options.webhook_listen;
        let listener = bind(address).await;
        let listener = listener.with_context(|| format!("listen for API servers on {address}"))?;
        let mut tasks = JoinSet::new();
        let identity = Arc::new(Identity::default());
        let (shown, bundle) = (Arc::clone(&identity), self.bundle.clone());
        if let Some(directory) = &self.options.webhook_certificate {
            tasks.spawn(Files::new(directory.clone(), shown, bundle).keep());
        } else {
            let place = Place {
                namespace: self.release.namespace.clone(),
                secret: self.release.authorities(),
                owner: self.owner.clone(),
                configuration: self.release.configuration().to_owned(),
                names: self.options.names(&self.release),
            };
            let clock = (Arc::new(SystemTime::now) as _, EVERY);
            let (client, expiry) = (self.client.clone(), self.figures.expiry.clone());
            tasks.spawn(Keeper::new(client, place, clock, shown, bundle, expiry).keep());
        }
        let (notices, noticed) = Notices::new();
        let reporter = Reporter {
            controller: "mcpulse-operator".to_owned(),
            instance: Some(self.identity.clone()),
        };
        let recorder = Recorder::new(self.client.clone(), reporter);
        tasks.spawn(webhook::publish(recorder, noticed));
        let webhook = Webhook::new(self.servers.clone(), self.figures.counters.clone(), notices);
        tracing::info!(address = %listener.local_addr()?, "webhook");
        let shown = Arc::clone(&identity);
        let opening = async {
            shown.known().await;
            gate.open();
            std::future::pending().await
        };
        let shutdown = self.shutdown.clone();
        tokio::select! {
            served = webhook::serve(listener, identity, Arc::new(webhook), shutdown) => {
                served.context("set up TLS for API servers")
            }
            never = opening => never,
        }
    }
}
