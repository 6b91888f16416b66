//! A control plane that knows McpServers, and requests to it as JSON, as its clients send them.

use std::{
    process::{Output, Stdio},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use kube::Client;
use mcpulse_operator::{
    crd::{self, Injection, McpServer, injection::FORMAT},
    policy,
    release::Release,
    version::Version,
};
use mcpulse_tests::{ControlPlane, eventually};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, process::Command};

use crate::wire::Wire;

/// Longest wait for the API server to have taken note of something.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// A control plane that knows McpServers.
pub(crate) struct Cluster {
    pub(crate) plane: ControlPlane,
    client: Client,
    /// Whether API servers of its version can inject by themselves.
    pub(crate) has_policies: bool,
    /// What it can do beside that.
    pub(crate) kubernetes: Version,
    /// By which it asks the webhooks of operators, where they are what injects.
    pub(crate) webhooks: Option<Wire>,
}

impl Cluster {
    /// Starts one.
    pub(crate) async fn start() -> Self {
        Self::on(ControlPlane::start().await).await
    }

    /// Starts one whose workloads make pods, which the policy injects, or the webhooks of
    /// operators where there are no policies.
    pub(crate) async fn with_workloads() -> Self {
        let mut cluster = Self::with_controllers().await;
        if cluster.has_policies {
            cluster.apply(&policy::injection(&policy::FORMATS, &Release::default())).await;
        } else {
            cluster.webhooks = Some(Wire::new().await);
        }
        cluster
    }

    /// Starts one whose workloads make pods, which nothing injects.
    pub(crate) async fn with_controllers() -> Self {
        let cluster = Self::on(ControlPlane::start().await.with_controllers()).await;
        let namespace = json!({"metadata": {"name": "mcpulse-system"}});
        cluster.post("/api/v1/namespaces", &namespace).await.expect("a namespace");
        cluster
    }

    async fn on(plane: ControlPlane) -> Self {
        let cluster = Self::bare(plane).await;
        cluster.apply(&crd::yaml().expect("the definition")).await;
        cluster.serves_servers().await;
        cluster
    }

    /// One on which nothing has been installed.
    pub(crate) async fn bare(plane: ControlPlane) -> Self {
        let client = plane.client();
        let path = "/apis/admissionregistration.k8s.io/v1";
        let served = request(&client, "GET", path, &Value::Null).await.expect("what is served");
        let mut served = served["resources"].as_array().expect("a list").iter();
        let has_policies = served.any(|one| one["name"] == "mutatingadmissionpolicies");
        let kubernetes = Version::of(&client).await.expect("a version");
        Self { plane, client, has_policies, kubernetes, webhooks: None }
    }

    /// Waits until McpServers can be made.
    pub(crate) async fn serves_servers(&self) {
        let served = async || self.get("/apis/mcpulse.io/v1alpha1/mcpservers").await.ok();
        eventually("McpServers are served", PATIENCE, served).await;
    }

    /// Starts one that injects pods by the policy; none where there are no policies, which passes
    /// the test over.
    pub(crate) async fn with_policy() -> Option<Self> {
        let cluster = Self::start().await.if_policies().await?;
        cluster.apply(&policy::injection(&policy::FORMATS, &Release::default())).await;
        Some(cluster)
    }

    /// It, where there are policies; the test is passed over where not.
    pub(crate) async fn if_policies(self) -> Option<Self> {
        if self.has_policies {
            return Some(self);
        }
        self.plane.pass_over("", "serves no MutatingAdmissionPolicy (1.36)").await;
        None
    }

    /// Whether sidecars that run can be given another image; where not, that part of a test is
    /// passed over.
    pub(crate) async fn upgrades_in_place(&self) -> bool {
        let can = self.kubernetes.restarts_sidecars();
        if !can {
            let why = "gives a sidecar that runs no other image (1.32)";
            self.plane.pass_over(", upgrades in place", why).await;
        }
        can
    }

    /// Has pods of a namespace come without the sidecar, or not any more; all pods, where webhooks
    /// inject.
    pub(crate) async fn withhold(&self, namespace: &str, withheld: bool) {
        match &self.webhooks {
            Some(wire) if withheld => return wire.cut(),
            Some(wire) => return wire.mend(),
            None => {}
        }
        let group = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies";
        let path = format!("{group}/{}", Release::default().policy(FORMAT));
        let mut policy = self.get(&path).await.expect("the policy");
        let selector = &mut policy["spec"]["matchConstraints"]["namespaceSelector"];
        let names = selector["matchExpressions"][0]["values"].as_array_mut().expect("namespaces");
        names.retain(|name| name != namespace);
        names.extend(withheld.then(|| namespace.into()));
        self.request("PUT", &path, &policy).await.expect("it is changed");
    }

    /// The client of the one who may do everything.
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Changes something at a path by a merge patch.
    pub(crate) async fn merge(&self, path: &str, change: &Value) -> Result<Value, String> {
        let request = http::Request::patch(path);
        let request = request.header("content-type", "application/merge-patch+json");
        let request = request.body(change.to_string().into_bytes()).expect("a request");
        self.client.request(request).await.map_err(|error| error.to_string())
    }

    /// Waits until what is at a path gives something.
    pub(crate) async fn until<T>(
        &self,
        what: &str,
        path: &str,
        gives: impl FnMut(&Value) -> Option<T>,
    ) -> T {
        self.within(PATIENCE, what, path, gives).await
    }

    /// The same, for as long as this.
    pub(crate) async fn within<T>(
        &self,
        patience: Duration,
        what: &str,
        path: &str,
        mut gives: impl FnMut(&Value) -> Option<T>,
    ) -> T {
        let mut last = String::new();
        let found = tokio::time::timeout(patience, async {
            loop {
                match self.get(path).await {
                    Ok(there) => match gives(&there) {
                        Some(found) => return found,
                        None => last = format!("{:#}", there.get("status").unwrap_or(&there)),
                    },
                    Err(why) => last = why,
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let found = found.await;
        found.unwrap_or_else(|_| panic!("not within {patience:?}: {what}; last: {last}"))
    }

    /// Makes a namespace of this name in which pods may be made, unless it is there.
    pub(crate) async fn make_namespace(&self, name: &str) {
        // Either may be there, of the API server's own or of another part of the test.
        let namespace = json!({"metadata": {"name": name}});
        let _ = self.post("/api/v1/namespaces", &namespace).await;
        let account = json!({"metadata": {"name": "default"}});
        let accounts = format!("/api/v1/namespaces/{name}/serviceaccounts");
        let _ = self.post(&accounts, &account).await;
    }

    /// `kubectl apply -f -`.
    pub(crate) async fn apply(&self, manifests: &str) {
        let mut kubectl = self.kubectl();
        kubectl.args(["apply", "-f", "-"]);
        let told = feed(kubectl, manifests).await;
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    }

    /// `kubectl`, for the one who may do everything.
    pub(crate) fn kubectl(&self) -> Command {
        let mut kubectl = Command::new(self.plane.kubectl());
        kubectl.arg("--kubeconfig").arg(self.plane.kubeconfig()).kill_on_drop(true);
        kubectl
    }

    /// What is at a path.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, String> {
        self.request("GET", path, &Value::Null).await
    }

    /// Creates something at a path.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, String> {
        self.request("POST", path, body).await
    }

    /// Sends a request; what comes back, or why not.
    pub(crate) async fn request(
        &self,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Result<Value, String> {
        request(&self.client, method, path, body).await
    }

    /// The pod as the API server would create it, or why it would not.
    pub(crate) async fn dry_run(&self, namespace: &str, pod: &Value) -> Result<Value, String> {
        let mut pod = pod.clone();
        pod["metadata"]["namespace"] = namespace.into();
        self.post(&format!("/api/v1/namespaces/{namespace}/pods?dryRun=All"), &pod).await
    }

    /// Creates a McpServer with what it puts into its pods in its status, as the operator does.
    pub(crate) async fn publish(&self, namespace: &str, server: &McpServer, injection: &Value) {
        let path = format!("/apis/mcpulse.io/v1alpha1/namespaces/{namespace}/mcpservers");
        let mut server = json!(server);
        server["metadata"]["namespace"] = namespace.into();
        let mut made = self.post(&path, &server).await.expect("a McpServer");
        made["status"] = json!({"injection": injection});
        let name = made["metadata"]["name"].as_str().expect("its name").to_owned();
        let written = self.request("PUT", &format!("{path}/{name}/status"), &made).await;
        let written = written.expect("its status");
        assert_eq!(&written["status"]["injection"], injection, "something was pruned");
    }

    /// Writes something else into the status of a McpServer.
    pub(crate) async fn republish(&self, namespace: &str, name: &str, injection: &Value) {
        let path = format!("/apis/mcpulse.io/v1alpha1/namespaces/{namespace}/mcpservers/{name}");
        let mut server = self.get(&path).await.expect("the McpServer");
        server["status"] = json!({"injection": injection});
        let written = self.request("PUT", &format!("{path}/status"), &server).await;
        let written = written.expect("its status");
        assert_eq!(&written["status"]["injection"], injection, "something was pruned");
    }

    /// Waits until pods of this shape come out with the injection.
    pub(crate) async fn injects(&self, namespace: &str, pod: &Value, injection: &Injection) {
        let what = format!("pods are injected in {namespace}");
        eventually(&what, PATIENCE, async || {
            let pod = self.dry_run(namespace, pod).await.ok()?;
            let revision = &pod["metadata"]["annotations"]["mcpulse.io/revision"];
            (revision == injection.revision.as_str()).then_some(())
        })
        .await;
    }
}

/// Sends a request; what comes back, or why not.
pub(crate) async fn request(
    client: &Client,
    method: &str,
    path: &str,
    body: &Value,
) -> Result<Value, String> {
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let request = http::Request::builder().method(method).uri(path);
    let request = request.header("content-type", "application/json").body(body);
    let answer = client.request(request.expect("a request")).await;
    answer.map_err(|error| error.to_string())
}

/// Runs a command that reads `input`.
pub(crate) async fn feed(mut command: Command, input: &str) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = command.spawn().expect("the command runs");
    let mut stdin = running.stdin.take().expect("its input");
    let feeding = async move { stdin.write_all(input.as_bytes()).await };
    let (fed, ended) = tokio::join!(feeding, running.wait_with_output());
    fed.expect("it reads");
    ended.expect("it ends")
}

/// Whether a pod carries the sidecar, by its init containers.
pub(crate) fn carries_sidecar(pod: &Value) -> bool {
    let init = pod["spec"]["initContainers"].as_array();
    init.is_some_and(|init| init.iter().any(|one| one["name"] == "mcpulse-proxy"))
}

/// Makes pods while something happens, and some more: how many came without the sidecar.
pub(crate) async fn plain_while(
    cluster: &Cluster,
    namespace: &str,
    pod: &Value,
    meanwhile: impl Future<Output = ()>,
) -> usize {
    const AT_ONCE: usize = 4;
    const MORE: usize = 50;
    let (over, made) = (AtomicBool::new(false), AtomicUsize::new(0));
    let making = async || {
        let (mut plain, mut more) = (0, 0);
        while more < MORE {
            let told = cluster.dry_run(namespace, pod).await.expect("a pod");
            made.fetch_add(1, Ordering::Relaxed);
            plain += usize::from(!carries_sidecar(&told));
            more += usize::from(over.load(Ordering::Relaxed));
        }
        plain
    };
    let ending = async {
        meanwhile.await;
        over.store(true, Ordering::Relaxed);
    };
    let (plain, ()) = tokio::join!(join_all((0..AT_ONCE).map(|_| making())), ending);
    eprintln!("{} pods", made.into_inner());
    plain.into_iter().sum()
}
