//! The webhook, as a replica of the operator has it, in the process of the test.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use kube::{
    Api,
    runtime::events::{Recorder, Reporter},
};
use mcpulse_operator::{
    certificate::{Clock, Identity, Keeper, Place},
    engine::Engine,
    registration::{Reach, Registration},
    servers::Servers,
    webhook::{self, Counters, Notices, Webhook},
};
use mcpulse_proxy::shutdown::Shutdown;
use mcpulse_tests::eventually;
use prometheus::{GaugeVec, Opts, Registry};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use crate::cluster::{Cluster, PATIENCE};

/// The namespace with the Secret of the authorities.
pub(crate) const RELEASE: &str = "mcpulse-system";
/// The configuration that API servers read.
pub(crate) const CONFIGURATION: &str = "mcpulse";
/// The Secret of the authorities.
pub(crate) const SECRET: &str = "mcpulse-webhook-ca";
/// How often the clock is looked at.
const EVERY: Duration = Duration::from_millis(50);

/// A replica's webhook. Dropped, it is gone, and what it wrote stays.
pub(crate) struct Hook {
    pub(crate) registry: Registry,
    pub(crate) bundle: watch::Receiver<Option<String>>,
    /// What injects.
    pub(crate) engine: watch::Sender<Engine>,
    /// How late the clock is, in seconds.
    late: Arc<AtomicI64>,
    _tasks: JoinSet<()>,
}

impl Hook {
    /// Starts one that leads: API servers ask it. Its namespace is made unless it is there.
    pub(crate) async fn start(cluster: &Cluster) -> Self {
        Self::start_as(cluster, Engine::Webhook).await
    }

    /// The same, with what is known to inject so far.
    pub(crate) async fn start_as(cluster: &Cluster, engine: Engine) -> Self {
        let hook = Self::replica(cluster, true, Duration::ZERO).await;
        hook.engine.send_replace(engine);
        hook
    }

    /// Starts one that leads or does not, whose clock is late.
    pub(crate) async fn replica(cluster: &Cluster, leads: bool, late: Duration) -> Self {
        cluster.make_namespace(RELEASE).await;
        let client = cluster.plane.client();
        let mut tasks = JoinSet::new();
        let (servers, watch) = Servers::new(Api::all(client.clone()));
        tasks.spawn(watch.run(|| {}));

        let registry = Registry::new();
        let (notices, noticed) = Notices::new();
        let counters = Counters::new(&registry).expect("counters");
        let webhook = Arc::new(Webhook::new(servers.clone(), counters, notices));
        let reporter = Reporter { controller: "mcpulse-operator".to_owned(), instance: None };
        let recorder = Recorder::new(client.clone(), reporter);
        tasks.spawn(webhook::publish(recorder, noticed));

        let identity = Arc::new(Identity::default());
        let (sender, bundle) = watch::channel(None);
        let late = Arc::new(AtomicI64::new(late.as_secs().cast_signed()));
        let lateness = Arc::clone(&late);
        let clock: Clock = Arc::new(move || {
            let late = lateness.load(Ordering::Relaxed);
            let by = Duration::from_secs(late.unsigned_abs());
            if late < 0 { SystemTime::now() + by } else { SystemTime::now() - by }
        });
        let place = Place {
            namespace: RELEASE.to_owned(),
            secret: SECRET.to_owned(),
            owner: None,
            configuration: CONFIGURATION.to_owned(),
            names: vec!["127.0.0.1".to_owned()],
        };
        let expiry = GaugeVec::new(Opts::new("expiry", "of certificates"), &["kind"]);
        let expiry = expiry.expect("a gauge");
        let shown = Arc::clone(&identity);
        let keeper = Keeper::new(client.clone(), place, (clock, EVERY), shown, sender, expiry);
        tasks.spawn(keeper.keep());

        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        tasks.spawn(async move {
            let served = webhook::serve(listener, identity, webhook, Shutdown::default());
            served.await.expect("TLS");
        });
        let (engine, follows) = watch::channel(Engine::Webhook);
        if leads {
            let reach = Reach::Url(format!("https://{address}"));
            let registration = Registration::new(client, CONFIGURATION, reach, RELEASE);
            let bundle = bundle.clone();
            tasks.spawn(async move { registration.follow(servers, bundle, follows).await });
        }
        Self { registry, bundle, engine, late, _tasks: tasks }
    }

    /// Sets its clock to so many seconds before the time of the API server, or behind it.
    pub(crate) fn set_late(&self, seconds: i64) {
        self.late.store(seconds, Ordering::Relaxed);
    }

    /// Whom API servers should trust, once it is known.
    pub(crate) async fn trusted(&self) -> String {
        let known = async || self.bundle.borrow().clone();
        eventually("an authority is known", PATIENCE, known).await
    }

    /// How many pods had this result.
    pub(crate) fn counted(&self, result: &str) -> u64 {
        let families = self.registry.gather();
        let metrics = families.iter().flat_map(prometheus::proto::MetricFamily::get_metric);
        let of_result = metrics.filter(|metric| {
            metric.get_label().iter().any(|one| one.name() == "result" && one.value() == result)
        });
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        of_result.map(|metric| metric.get_counter().get_value() as u64).sum()
    }
}
