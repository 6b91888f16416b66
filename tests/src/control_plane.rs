//! A real Kubernetes API server with its etcd on loopback, and the controllers if they are
//! wanted. There is no kubelet unless a [`Node`](crate::Node) has one: pods are made and never run.
//!
//! `tests/kube/build` makes the programs; `KUBEBUILDER_ASSETS` names a folder that has others.

use std::{
    env, fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Write},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client as HttpClient, rt::TokioExecutor};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::{
    Api, Client, Config,
    api::{ObjectMeta, PostParams},
    config::AuthInfo,
};
use serde_json::{Value, json};
use tempfile::{NamedTempFile, TempDir};

use crate::{daemon::Daemon, eventually, program};

mod identity;

use self::identity::Identity;

/// Names the version that tests run against unless `MCPULSE_KUBE_VERSION` names another.
const MODULE: &str = include_str!("../kube/go.mod");
/// Longest wait for a server to be ready.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often a control plane is tried of which a port was taken meanwhile.
const ATTEMPTS: usize = 5;
/// The addresses of Services.
pub(crate) const SERVICES: &str = "10.96.0.0/16";
/// The token of the one who may do everything.
const ADMIN: &str = "admin-of-a-test";
/// The tokens of those that a node needs, which are their names, and their groups.
const COMPONENTS: [(&str, &str); 3] = [
    ("system:kube-scheduler", ""),
    ("system:kube-proxy", ""),
    ("system:node:node", "system:nodes"),
];

/// A control plane of its own. Dropped, it ends; when a test fails, its logs are kept and named.
#[derive(Debug)]
pub struct ControlPlane {
    programs: PathBuf,
    directory: Option<TempDir>,
    identity: Identity,
    ports: Ports,
    etcd: Mutex<Daemon>,
    api: Mutex<Daemon>,
    controllers: Option<Daemon>,
    scheduler: Option<Daemon>,
    namespaces: AtomicU32,
}

/// Where its servers listen.
#[derive(Clone, Copy, Debug)]
struct Ports {
    /// Of the API server; all others are on loopback.
    address: Ipv4Addr,
    etcd: u16,
    peer: u16,
    api: u16,
    controllers: u16,
}

impl Ports {
    /// Ports that nobody listens on right now.
    fn free(address: Ipv4Addr) -> Self {
        let held = [(); 4].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let [etcd, peer, api, controllers] =
            held.each_ref().map(|it| it.local_addr().expect("a bound address").port());
        Self { address, etcd, peer, api, controllers }
    }
}

impl ControlPlane {
    /// Starts etcd and an API server with RBAC, and the admission that a cluster has by default.
    ///
    /// # Panics
    /// When the programs are missing, with the remedy, or are not ready in a minute.
    pub async fn start() -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST).await
    }

    /// The same, with the API server at an address that a node reaches.
    pub(crate) async fn start_at(address: Ipv4Addr) -> Self {
        let programs = programs();
        for _ in 0..ATTEMPTS {
            if let Some(started) = Self::attempt(programs.clone(), address).await {
                return started;
            }
        }
        panic!("ports that were free were taken {ATTEMPTS} times");
    }

    async fn attempt(programs: PathBuf, address: Ipv4Addr) -> Option<Self> {
        let directory = TempDir::new().expect("a directory");
        let (identity, ports) = (Identity::new(directory.path(), address), Ports::free(address));
        let etcd = etcd(&programs, directory.path(), ports);
        let api = api_server(&programs, directory.path(), &identity, ports);
        let directory = Some(directory);
        let plane = Self {
            programs,
            directory,
            identity,
            ports,
            etcd: Mutex::new(etcd),
            api: Mutex::new(api),
            controllers: None,
            scheduler: None,
            namespaces: AtomicU32::new(0),
        };
        plane.ready().await.then_some(plane)
    }

    /// Starts the controllers: Deployments make pods, what has no owner is collected.
    #[must_use]
    pub fn with_controllers(mut self) -> Self {
        let kubeconfig = self.kubeconfig();
        let kubeconfig = kubeconfig.display();
        let key = self.identity.service_account_key.display();
        let args = vec![
            format!("--kubeconfig={kubeconfig}"),
            format!("--authentication-kubeconfig={kubeconfig}"),
            format!("--authorization-kubeconfig={kubeconfig}"),
            format!("--service-account-private-key-file={key}"),
            format!("--root-ca-file={}", self.identity.authority.display()),
            format!("--secure-port={}", self.ports.controllers),
            format!("--cert-dir={}", self.path("controllers").display()),
            "--bind-address=127.0.0.1".to_owned(),
            "--leader-elect=false".to_owned(),
            "--use-service-account-credentials".to_owned(),
        ];
        let program = self.program("kube-controller-manager");
        self.controllers = Some(Daemon::start(&program, args, &self.path("controllers.log")));
        self
    }

    /// Starts the scheduler: pods get a node, if there is one.
    #[must_use]
    pub(crate) fn with_scheduler(mut self) -> Self {
        let kubeconfig = self.kubeconfig_with("system:kube-scheduler");
        let kubeconfig = kubeconfig.display();
        let args = vec![
            format!("--kubeconfig={kubeconfig}"),
            format!("--authentication-kubeconfig={kubeconfig}"),
            format!("--authorization-kubeconfig={kubeconfig}"),
            "--secure-port=0".to_owned(),
            "--leader-elect=false".to_owned(),
        ];
        let program = self.program("kube-scheduler");
        self.scheduler = Some(Daemon::start(&program, args, &self.path("scheduler.log")));
        self
    }

    /// Who may do everything.
    pub fn client(&self) -> Client {
        self.client_with(ADMIN)
    }

    /// Whoever has this token.
    pub fn client_with(&self, token: &str) -> Client {
        let url = self.url().parse().expect("a URL");
        let mut config = Config::new(url);
        config.root_cert = Some(vec![self.identity.authority_der.clone()]);
        let token = json!({ "token": token });
        config.auth_info = serde_json::from_value::<AuthInfo>(token).expect("a token");
        Client::try_from(config).expect("a client")
    }

    /// What the API server calls its version, such as `v1.30.14`.
    pub async fn version(&self) -> String {
        let version = self.client().apiserver_version().await;
        version.expect("the API server says its version").git_version
    }

    /// Says that a test, or `part` of it, is passed over because of the version, and why. It is
    /// seen also where what tests say is not.
    ///
    /// # Panics
    /// With the pinned version, on which everything is tested.
    pub async fn pass_over(&self, part: &str, why: &str) {
        let version = self.version().await;
        let test = thread::current().name().unwrap_or_default().to_owned();
        assert_ne!(version, pinned(), "{test}: {part} would be passed over: {why}");
        // Nobody may be reading it.
        let _ = writeln!(io::stderr(), "passed over: {test}{part}: Kubernetes {version} {why}");
    }

    /// Where the API is.
    pub fn url(&self) -> String {
        format!("https://{}:{}", self.ports.address, self.ports.api)
    }

    /// A file with which `kubectl` and the operator may do everything.
    pub fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig_with(ADMIN)
    }

    /// A file with which they may do what the owner of this token may.
    pub fn kubeconfig_with(&self, token: &str) -> PathBuf {
        let authority = &self.identity.authority;
        let cluster = json!({ "server": self.url(), "certificate-authority": authority });
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{ "name": "test", "cluster": cluster }],
            "users": [{ "name": "test", "user": { "token": token } }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
        });
        let mut hasher = DefaultHasher::new();
        token.hash(&mut hasher);
        let path = self.path(&format!("{:x}.kubeconfig", hasher.finish()));
        // Others may be reading it.
        let file = NamedTempFile::new_in(self.path("")).expect("a file");
        fs::write(file.path(), config.to_string()).expect("a kubeconfig");
        file.persist(&path).expect("a kubeconfig");
        path
    }

    /// The path of `kubectl`.
    pub fn kubectl(&self) -> PathBuf {
        self.program("kubectl")
    }

    /// The path of a program of Kubernetes.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// A namespace that no other test has, with its default service account.
    pub async fn namespace(&self, name: &str, labels: &[(&str, &str)]) -> String {
        let number = self.namespaces.fetch_add(1, Ordering::Relaxed);
        let name = format!("{name}-{number}");
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let metadata = ObjectMeta {
            name: Some(name.clone()),
            labels: Some(labels.collect()),
            ..ObjectMeta::default()
        };
        let namespace = Namespace { metadata, ..Namespace::default() };
        let params = PostParams::default();
        Api::all(self.client()).create(&params, &namespace).await.expect("a namespace");
        if self.controllers.is_none() {
            let mut account = ServiceAccount::default();
            account.metadata.name = Some("default".to_owned());
            let accounts = Api::namespaced(self.client(), &name);
            accounts.create(&params, &account).await.expect("a service account");
        }
        let accounts = Api::<ServiceAccount>::namespaced(self.client(), &name);
        let made = async || accounts.get_opt("default").await.ok().flatten();
        eventually("pods may be made", PATIENCE, made).await;
        name
    }

    /// Ends the API server and starts it again on the same port; returns before it is ready.
    pub fn restart_api(&self) {
        self.stop_api();
        let api = api_server(&self.programs, &self.path(""), &self.identity, self.ports);
        *lock(&self.api) = api;
    }

    /// Ends the API server.
    pub fn stop_api(&self) {
        lock(&self.api).end();
    }

    /// Has etcd forget everything but what is there now, so that watches cannot go on from what
    /// they saw before.
    ///
    /// # Panics
    /// When it does not.
    pub async fn compact(&self) {
        let client = HttpClient::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        let ask = async |path: &str, body: Value| -> Value {
            let url = format!("http://127.0.0.1:{}/v3/kv/{path}", self.ports.etcd);
            let request = http::Request::post(url).body(Full::from(body.to_string()));
            let answer = client.request(request.expect("a request")).await.expect("etcd answers");
            assert!(answer.status().is_success(), "{path}: {}", answer.status());
            let body = answer.into_body().collect().await.expect("the whole of it").to_bytes();
            serde_json::from_slice(&body).expect("JSON")
        };
        // Base64 of a byte.
        let there = ask("range", json!({"key": "AA=="})).await;
        let revision = &there["header"]["revision"];
        ask("compaction", json!({"revision": revision, "physical": true})).await;
    }

    /// Waits until the API server is ready. Returns whether it came so far: another process may
    /// have taken one of the ports.
    ///
    /// # Panics
    /// When it has ended for another reason.
    pub async fn ready(&self) -> bool {
        let client = self.client();
        let request = || http::Request::get("/readyz").body(Vec::new()).expect("a request");
        let is_ready = eventually("the API server is ready", PATIENCE, async || {
            for daemon in [&self.etcd, &self.api] {
                let mut daemon = lock(daemon);
                if daemon.has_ended() {
                    let why = daemon.last_words();
                    assert!(why.contains("address already in use"), "it does not start: {why}");
                    return Some(false);
                }
            }
            client.request_text(request()).await.is_ok().then_some(true)
        });
        is_ready.await
    }

    /// Where its files are, and those of whoever belongs to it.
    pub(crate) fn path(&self, below: &str) -> PathBuf {
        let directory = self.directory.as_ref().expect("it has a directory until it ends");
        directory.path().join(below)
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(directory) = self.directory.take()
        {
            let kept = directory.keep();
            eprintln!("--- the logs of the control plane are in {}", kept.display());
            let api = lock(&self.api);
            eprintln!("--- kube-apiserver ({}): {}", api.pid(), api.last_words());
        }
    }
}

fn lock(daemon: &Mutex<Daemon>) -> MutexGuard<'_, Daemon> {
    daemon.lock().unwrap_or_else(PoisonError::into_inner)
}

fn etcd(programs: &Path, directory: &Path, ports: Ports) -> Daemon {
    let clients = format!("http://127.0.0.1:{}", ports.etcd);
    let peers = format!("http://127.0.0.1:{}", ports.peer);
    let args = vec![
        format!("--data-dir={}", directory.join("etcd").display()),
        format!("--listen-client-urls={clients}"),
        format!("--advertise-client-urls={clients}"),
        format!("--listen-peer-urls={peers}"),
        format!("--initial-advertise-peer-urls={peers}"),
        format!("--initial-cluster=default={peers}"),
        "--unsafe-no-fsync".to_owned(),
    ];
    Daemon::start(&programs.join("etcd"), args, &directory.join("etcd.log"))
}

fn api_server(programs: &Path, directory: &Path, identity: &Identity, ports: Ports) -> Daemon {
    let tokens = directory.join("tokens.csv");
    let components = COMPONENTS.map(|(name, group)| format!("{name},{name},{name},{group}\n"));
    let text = format!("{ADMIN},admin,admin,system:masters\n{}", components.concat());
    fs::write(&tokens, text).expect("a file of tokens");
    let mut args = vec![
        format!("--etcd-servers=http://127.0.0.1:{}", ports.etcd),
        format!("--secure-port={}", ports.api),
        format!("--tls-cert-file={}", identity.certificate.display()),
        format!("--tls-private-key-file={}", identity.key.display()),
        format!("--token-auth-file={}", tokens.display()),
        format!("--service-account-key-file={}", identity.service_account_public.display()),
        format!("--service-account-signing-key-file={}", identity.service_account_key.display()),
        format!("--cert-dir={}", directory.join("api").display()),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--bind-address={}", ports.address),
        format!("--advertise-address={}", ports.address),
        format!("--service-cluster-ip-range={SERVICES}"),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        "--allow-privileged=true".to_owned(),
    ];
    if ports.address.is_loopback() {
        // No endpoint may be there.
        args.push("--endpoint-reconciler-type=none".to_owned());
    }
    Daemon::start(&programs.join("kube-apiserver"), args, &directory.join("api.log"))
}

/// Where the programs of Kubernetes are.
pub(crate) fn programs() -> PathBuf {
    if let Some(assets) = env::var_os("KUBEBUILDER_ASSETS") {
        return assets.into();
    }
    let version = env::var("MCPULSE_KUBE_VERSION").ok().filter(|version| !version.is_empty());
    let version = version.as_deref().unwrap_or(pinned());
    let kube = program::directory().parent().map(|target| target.join("kube"));
    let kube = kube.expect("cargo's layout");
    let programs = kube.join(version);
    assert!(
        programs.join("kube-apiserver").exists(),
        "there is no Kubernetes {version} in {0}; run tests/kube/build {0} {version}, for which Go \
         is needed, or set KUBEBUILDER_ASSETS",
        kube.display()
    );
    programs
}

/// The version in the list of modules.
fn pinned() -> &'static str {
    let mut lines = MODULE.lines().map(str::trim);
    let version = lines.find_map(|line| line.strip_prefix("k8s.io/kubernetes "));
    version.and_then(|it| it.split(' ').next()).expect("go.mod names k8s.io/kubernetes")
}
