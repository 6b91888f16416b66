//! The cluster that all tests of this program share, and what they ask of it.

use std::{
    collections::BTreeSet,
    env,
    net::IpAddr,
    process::Stdio,
    sync::{OnceLock, PoisonError, RwLock},
    thread,
    time::Duration,
};

use mcpulse_tests::{
    Client, Node, Scrape, Tools,
    client::{Call, Session, Target},
    eventually,
    node::{self, Place},
};
use serde_json::Value;
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    process::Command,
    runtime::{Builder, Runtime},
};

use crate::install;

/// Longest wait for what a cluster does, on a machine that has much else to do.
pub(crate) const PATIENCE: Duration = Duration::from_mins(3);
/// Where each sidecar has its metrics.
const METRICS: u16 = 19464;
/// What servers are made of.
const IMAGES: [&str; 3] = ["go", "python", "node"];

/// A node with the operator and MCPulse on it.
pub(crate) struct Cluster {
    pub(crate) node: Node,
    /// None where no client is needed.
    pub(crate) tools: Option<&'static Tools>,
}

/// Tests that disturb others are alone.
static TURNS: RwLock<()> = RwLock::new(());

/// Runs a test on the cluster, which the first one starts and the end of this program ends.
/// Passes the test over where what it takes is not installed.
pub(crate) fn on_cluster(test: impl AsyncFnOnce(&'static Cluster)) {
    let _turn = TURNS.read().unwrap_or_else(PoisonError::into_inner);
    run(test);
}

/// The same, for a test beside which no other can be.
pub(crate) fn on_cluster_alone(test: impl AsyncFnOnce(&'static Cluster)) {
    let _turn = TURNS.write().unwrap_or_else(PoisonError::into_inner);
    run(test);
}

fn run(test: impl AsyncFnOnce(&'static Cluster)) {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    if let Some(why) = node::missing() {
        assert!(env::var("MCPULSE_TOOLS").as_deref() != Ok("required"), "{why}");
        eprintln!("passed over: {why}");
        return;
    }
    let Some(tools) = Tools::with(&["node", "mcp1", "mcp2", "go"]) else { return };
    let cluster = CLUSTER.get_or_init(|| {
        let place = Place::make();
        place.enter().expect("the place is there");
        runtime().block_on(Cluster::start(place, tools))
    });
    cluster.node.place().enter().expect("the place is there");
    let _keeper = Keeper(&cluster.node);
    runtime().block_on(test(cluster));
}

/// Its threads are where this one is.
pub(crate) fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// Keeps the logs when a test fails.
struct Keeper<'a>(&'a Node);

impl Drop for Keeper<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.keep_logs();
        }
    }
}

impl Cluster {
    async fn start(place: Place, tools: &'static Tools) -> Self {
        let cluster = Self { node: Node::start(place).await, tools: Some(tools) };
        for name in IMAGES {
            cluster.node.load(name);
        }
        install::operator(&cluster).await;
        install::receiver(&cluster, install::NAMESPACE).await;
        cluster
    }

    /// A namespace of its own for a test.
    pub(crate) async fn namespace(&self, name: &str, labels: &[(&str, &str)]) -> String {
        self.node.plane().namespace(name, labels).await
    }

    /// `kubectl` in a namespace, for the one who may do everything.
    pub(crate) fn kubectl(&self, namespace: &str) -> Command {
        let mut kubectl = Command::new(self.node.plane().kubectl());
        kubectl.arg("--kubeconfig").arg(self.node.plane().kubeconfig());
        kubectl.args(["--namespace", namespace]).kill_on_drop(true);
        kubectl
    }

    /// What `kubectl` says.
    ///
    /// # Panics
    /// When it fails.
    pub(crate) async fn told(&self, namespace: &str, words: &[&str]) -> String {
        let told = self.kubectl(namespace).args(words).output().await.expect("kubectl runs");
        let errors = String::from_utf8_lossy(&told.stderr);
        assert!(told.status.success(), "kubectl {words:?}: {errors}");
        String::from_utf8(told.stdout).expect("text")
    }

    /// `kubectl apply -f -`.
    pub(crate) async fn apply(&self, namespace: &str, manifests: &str) {
        let mut kubectl = self.kubectl(namespace);
        kubectl.args(["apply", "-f", "-"]).stdin(Stdio::piped());
        let piped = kubectl.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut running = piped.spawn().expect("kubectl runs");
        let mut input = running.stdin.take().expect("its input");
        input.write_all(manifests.as_bytes()).await.expect("it reads");
        drop(input);
        let told = running.wait_with_output().await.expect("kubectl ends");
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    }

    /// What is at a path of the API, if it is there.
    pub(crate) async fn get(&self, path: &str) -> Option<Value> {
        let request = http::Request::get(path).body(Vec::new()).expect("a request");
        self.node.plane().client().request(request).await.ok()
    }

    /// Waits until what is at a path gives something.
    pub(crate) async fn until<T>(
        &self,
        what: &str,
        path: &str,
        mut gives: impl FnMut(&Value) -> Option<T>,
    ) -> T {
        let mut last = Value::Null;
        let looking = async {
            loop {
                if let Some(there) = self.get(path).await {
                    if let Some(found) = gives(&there) {
                        return found;
                    }
                    last = there;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, looking).await;
        found.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}; last: {last:#}"))
    }

    /// The pods with this label `app`, but those that are on their way out.
    pub(crate) async fn pods(&self, namespace: &str, app: &str) -> Vec<Value> {
        let list = self.get(&pods_path(namespace, app)).await.expect("a list of pods");
        living(&list)
    }

    /// Waits until there are so many pods with this label `app`, each ready and with as many
    /// sidecars, and no others, on their way out included.
    pub(crate) async fn ready(
        &self,
        namespace: &str,
        app: &str,
        count: usize,
        sidecars: usize,
    ) -> Vec<Value> {
        let what =
            format!("{count} pods of {app} in {namespace} are ready, with {sidecars} sidecars");
        self.until(&what, &pods_path(namespace, app), |list| {
            let pods = list["items"].as_array().expect("a list").clone();
            let all = pods.iter().all(|pod| is_ready(pod) && sidecars_of(pod) == sidecars);
            (pods.len() == count && all).then_some(pods)
        })
        .await
    }

    /// Waits until a Deployment has so many pods, all of them ready.
    pub(crate) async fn runs(&self, namespace: &str, deployment: &str, count: u64) {
        let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments/{deployment}");
        let all = |deployment: &Value| {
            let status = &deployment["status"];
            let are = |name: &str| status[name].as_u64().unwrap_or_default() == count;
            (are("replicas") && are("readyReplicas")).then_some(())
        };
        self.until(&format!("{deployment} has {count} pods"), &path, all).await;
    }

    /// Waits until it is known what a McpServer puts into pods.
    pub(crate) async fn rendered(&self, namespace: &str, server: &str) {
        let path = server_path(namespace, server);
        let known = |server: &Value| server["status"]["injection"].is_object().then_some(());
        self.until(&format!("McpServer {server} is rendered"), &path, known).await;
    }

    /// Waits until a condition of a McpServer is so, for this reason; what it says.
    pub(crate) async fn condition(
        &self,
        namespace: &str,
        server: &str,
        (about, status, reason): (&str, &str, &str),
    ) -> String {
        let what = format!("McpServer {server} has {about}={status} ({reason})");
        self.until(&what, &server_path(namespace, server), |server| {
            let conditions = server["status"]["conditions"].as_array()?;
            let found = conditions.iter().find(|one| one["type"] == about)?;
            let is_so = found["status"] == status && found["reason"] == reason;
            is_so.then(|| found["message"].as_str().unwrap_or_default().to_owned())
        })
        .await
    }

    /// Has a client open a session and make calls in it.
    pub(crate) async fn open(&self, client: Client, url: &str, calls: &[Call]) -> Session {
        let target = Target::Http(url.to_owned());
        let tools = self.tools.expect("clients are installed");
        client.hold_in(&self.node.place().words(), tools, &target, calls).await
    }

    /// Has a client hold a session and make calls; what came of them.
    pub(crate) async fn hold(&self, client: Client, url: &str, calls: &[Call]) -> Value {
        let session = self.open(client, url, calls).await;
        let outcomes = session.outcomes()["calls"].clone();
        session.close().await;
        outcomes
    }

    /// Has a client make a call that succeeds; what it says.
    pub(crate) async fn call(&self, client: Client, url: &str, call: &Call) -> String {
        let outcomes = self.hold(client, url, std::slice::from_ref(call)).await;
        let text = outcomes[0]["ok"][0]["text"].as_str();
        text.unwrap_or_else(|| panic!("{client:?} to {url}: {outcomes}")).to_owned()
    }

    /// What MCPulse in a namespace was told of a server, once it is as much as this; each call
    /// once.
    pub(crate) async fn reported(&self, at: &str, server: &str, count: usize) -> Vec<Value> {
        let mut calls = Vec::new();
        let has_come = async || {
            let mut logs = self.kubectl(at);
            logs.args(["logs", "--selector=app=receiver", "--tail=-1"]);
            // A receiver that only just starts has none.
            let told = logs.output().await.ok().filter(|told| told.status.success())?;
            let log = String::from_utf8(told.stdout).expect("text");
            let all = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            calls = all.filter(|call| call["server"] == server).collect();
            (calls.len() >= count).then_some(())
        };
        eventually(&format!("MCPulse is told of {count} calls of {server}"), PATIENCE, has_come)
            .await;
        let ids: BTreeSet<_> = calls.iter().map(|call| call["id"].to_string()).collect();
        assert_eq!((calls.len(), ids.len()), (count, count), "{server}: {calls:#?}");
        calls
    }

    /// Where clients find a path of the Service `server`, once each way that it leads is to a pod
    /// that takes connections: kube-proxy hears of those that came and went when the API server's
    /// clients do, and then waits a second for more.
    pub(crate) async fn url(&self, namespace: &str, path: &str) -> String {
        const IN_A_ROW: usize = 20;
        let service = format!("/api/v1/namespaces/{namespace}/services/server");
        let service = self.get(&service).await.expect("a Service");
        let address: IpAddr = text(&service["spec"]["clusterIP"]).parse().expect("an address");
        let takes = async || {
            for _ in 0..IN_A_ROW {
                let connecting = TcpStream::connect((address, 80));
                tokio::time::timeout(Duration::from_secs(1), connecting).await.ok()?.ok()?;
            }
            Some(())
        };
        eventually(&format!("{namespace}/server takes connections"), PATIENCE, takes).await;
        format!("http://server.{namespace}.svc.cluster.local{path}")
    }

    /// The metrics of a pod's sidecar.
    pub(crate) async fn scrape(&self, pod: &Value) -> Scrape {
        let address: IpAddr = text(&pod["status"]["podIP"]).parse().expect("an address");
        Scrape::of((address, METRICS).into()).await
    }
}

/// Where a McpServer is.
pub(crate) fn server_path(namespace: &str, server: &str) -> String {
    format!("/apis/mcpulse.io/v1alpha1/namespaces/{namespace}/mcpservers/{server}")
}

/// Where the pods with a label `app` are.
pub(crate) fn pods_path(namespace: &str, app: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods?labelSelector=app%3D{app}")
}

/// Text that has to be there.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// How many sidecars a pod has.
pub(crate) fn sidecars_of(pod: &Value) -> usize {
    let init = pod["spec"]["initContainers"].as_array();
    init.map_or(0, |init| init.iter().filter(|one| one["name"] == "mcpulse-proxy").count())
}

/// Whether a pod is ready.
pub(crate) fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions
        .is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
}

fn living(list: &Value) -> Vec<Value> {
    let pods = list["items"].as_array().expect("a list");
    let lives = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null();
    pods.iter().filter(lives).cloned().collect()
}
