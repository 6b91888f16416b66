//! The operator: what every replica does, and what only the one that leads does.

use std::{env, sync::Arc, time::Duration};

use anyhow::Context;
use kube::{Api, Client, Config};
use mcpulse_proxy::{
    admin::{self, Ends},
    config::{Log, LogFormat},
    platform::Stop,
    ready::Ready,
    shutdown::Shutdown,
    telemetry,
};
use prometheus::{Registry, TextEncoder};
use tokio::{runtime, sync::watch, task::JoinSet};

use crate::{
    controller::{self, Controller},
    crd::{injection::FORMAT, telemetry::SecretKey},
    engine::{self, Engine},
    lease::Lease,
    owner,
    registration::Registration,
    release::Release,
    render::Defaults,
    servers::Servers,
};

mod webhook;

/// How long the end of the process may take.
const GRACE: Duration = Duration::from_secs(5);

/// What the operator is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    release: Release,
    /// What tells this replica from the others
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    pub identity: Option<String>,
    /// Where /metrics, /healthz and /readyz are served
    #[arg(long, value_name = "ADDR", default_value = ":8080")]
    pub metrics_listen: String,
    /// Image of the sidecar where a McpServer names none
    #[arg(long, value_name = "IMAGE", default_value_t = Defaults::default().image)]
    pub proxy_image: String,
    /// MCPulse where a McpServer names none
    #[arg(long, value_name = "HOST:PORT", default_value_t = Defaults::default().mcpulse_url)]
    pub mcpulse_url: String,
    /// Secret of the pods' namespaces, and the key in it, with the API key of that MCPulse
    #[arg(long, value_name = "NAME/KEY", value_parser = secret_key)]
    pub mcpulse_api_key: Option<SecretKey>,
    /// Annotate pods for a Prometheus that goes by prometheus.io/*, unless they are already
    #[arg(long)]
    pub scrape_annotations: bool,
    /// Workloads that may be restarted, or have their sidecars upgraded, at the same time
    #[arg(long, value_name = "NUMBER", default_value_t = 2,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub max_rollouts: u32,
    /// How long a replica that is gone is waited for before another leads, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 15,
          value_parser = clap::value_parser!(u32).range(5..=600))]
    pub lease_duration: u32,
    #[command(flatten)]
    webhook: webhook::Options,
    /// What the log says: error, warn, info, debug or trace, or directives
    #[arg(long, value_name = "LEVEL", env = "RUST_LOG", default_value = "info")]
    pub log_level: String,
    /// How a line of the log looks
    #[arg(long, value_name = "FORMAT", default_value = "json", value_parser = ["json", "text"])]
    pub log_format: String,
}

impl Options {
    fn log(&self) -> Log {
        let format = if self.log_format == "text" { LogFormat::Text } else { LogFormat::Json };
        Log { level: self.log_level.clone(), format }
    }

    fn identity(&self) -> String {
        let named = self.identity.clone().or_else(|| env::var("HOSTNAME").ok());
        named.unwrap_or_else(|| format!("mcpulse-operator-{}", std::process::id()))
    }

    fn defaults(&self) -> Defaults {
        Defaults {
            image: self.proxy_image.clone(),
            mcpulse_url: self.mcpulse_url.clone(),
            mcpulse_key: self.mcpulse_api_key.clone(),
            annotated: self.scrape_annotations,
            ..Defaults::default()
        }
    }
}

/// An entry of a Secret.
fn secret_key(text: &str) -> Result<SecretKey, &'static str> {
    match text.split_once('/') {
        Some((name, key)) if !name.is_empty() && !key.is_empty() && !key.contains('/') => {
            Ok(SecretKey { name: name.to_owned(), key: key.to_owned() })
        }
        _ => Err("write the name of a Secret, a slash, and a key of its data"),
    }
}

/// Runs the operator until a signal ends it.
///
/// # Errors
/// When it cannot start: no cluster to be found, an address that is taken.
pub fn run(options: Options) -> anyhow::Result<()> {
    let guard = telemetry::init(&options.log(), None)?;
    let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.context("start the threads of the operator")?;
    let ended = runtime.block_on(operate(options));
    runtime.shutdown_timeout(GRACE);
    drop(guard);
    ended
}

async fn operate(options: Options) -> anyhow::Result<()> {
    let mut stop = Stop::catch().context("catch the signals that end the operator")?;
    let mut config = Config::infer().await.context(
        "find the cluster; run in a pod with a service account, or set KUBECONFIG to a file",
    )?;
    // What is refused for now, such as an eviction, is tried again with the next look; a client
    // that does so itself would hold that up for minutes.
    config.default_retry = false;
    let client = Client::try_from(config).context("make a client of the cluster")?;
    let (registry, ready, shutdown) = (Registry::new(), Ready::default(), Shutdown::default());
    let mut replica = JoinSet::new();

    let listener = admin::bind(&options.metrics_listen, false).await?;
    if let Some(listener) = listener {
        tracing::info!(address = %listener.local_addr()?, "metrics");
        let registry = registry.clone();
        let render = Arc::new(move || TextEncoder::new().encode_to_string(&registry.gather()));
        let ends = Ends { shutdown: shutdown.clone(), drain: None };
        replica.spawn(admin::serve(listener, render, ready.clone(), ends));
    }

    let release = &options.release;
    let owner = owner::find(client.clone(), release).await;
    let servers = match &release.watched {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let (servers, watching) = Servers::new(servers);
    let controller = Controller::new(
        client.clone(),
        servers.clone(),
        controller::Settings {
            namespace: release.namespace.clone(),
            watch_namespace: release.watched.clone(),
            identity: options.identity(),
            defaults: options.defaults(),
            max_rollouts: options.max_rollouts,
        },
        &registry,
    )
    .context("make the metrics of the controller")?;
    replica.spawn(watching.run(controller.counts_failures()));
    let ((bundle, trusted), (chosen, engine)) =
        (watch::channel(None), watch::channel(Engine::Undecided));
    let figures = webhook::Figures::new(&registry).context("make the metrics of the webhook")?;
    let hook = webhook::Replica {
        client: client.clone(),
        options: options.webhook.clone(),
        release: release.clone(),
        owner: owner.clone(),
        identity: options.identity(),
        servers: servers.clone(),
        bundle,
        figures,
        ready: ready.clone(),
        shutdown: shutdown.clone(),
    };
    replica.spawn(hook.follow(engine.clone()));
    let choosing =
        (client.clone(), options.webhook.choice(), release.policy(FORMAT), servers.clone());
    replica.spawn(async move {
        engine::choose(choosing.0, choosing.1, &choosing.2, choosing.3, &chosen).await;
        chosen.closed().await;
    });
    let registration = Registration::new(
        client.clone(),
        release.configuration(),
        options.webhook.reach(release),
        &release.namespace,
    );

    let lease = Lease::new(
        client,
        &release.namespace,
        &release.operator(),
        &options.identity(),
        Duration::from_secs(options.lease_duration.into()),
    )
    .owned_by(owner);
    let gate = ready.gate("cluster");
    let reached = |reached: Result<(), String>| match reached {
        Ok(()) => gate.open(),
        Err(why) => gate.close(why),
    };
    // What only the leader does goes beside the controller, and ends with it.
    let work = async || {
        let registering = registration.follow(servers.clone(), trusted.clone(), engine.clone());
        tokio::join!(controller.run(), registering);
    };
    let leading = lease.lead(work, reached);
    tokio::select! {
        () = leading => {}
        () = stop.next() => {}
    }
    tracing::info!("ending");
    shutdown.begin(GRACE);
    tokio::select! {
        () = lease.release() => {}
        () = shutdown.expired() => {}
        () = stop.next() => {}
    }
    replica.shutdown().await;
    Ok(())
}
