//! The operator itself, run as a process against a control plane.

use std::{
    env,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use mcpulse_operator::{policy, rbac, release::Release};
use mcpulse_tests::{Proxy, Scrape, eventually, program};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::cluster::{Cluster, PATIENCE};

/// The variable that names the operator to be run, such as one that is optimized; that of this
/// build unless it is set.
const BUILT: &str = "MCPULSE_OPERATOR";

/// A running `mcpulse-operator`.
pub(crate) struct Operator(Proxy);

impl Operator {
    /// A file with exactly the rights that the operator is to have.
    pub(crate) async fn rights(cluster: &Cluster, watched: Option<&str>) -> PathBuf {
        let watched = watched.map(str::to_owned);
        let release = Release { watched, ..Release::default() };
        cluster.apply(&rbac::yaml(&release)).await;
        cluster.apply(&policy::guard(&release)).await;
        let account = "/api/v1/namespaces/mcpulse-system/serviceaccounts/mcpulse-operator/token";
        let made = cluster.post(account, &json!({"spec": {"expirationSeconds": 3600}})).await;
        let token = made.expect("a token")["status"]["token"].as_str().map(str::to_owned);
        cluster.plane.kubeconfig_with(&token.expect("a token"))
    }

    /// Starts one with the rights of a file, and further arguments.
    pub(crate) async fn with(
        cluster: &Cluster,
        kubeconfig: &Path,
        identity: &str,
        arguments: &[&str],
    ) -> Self {
        let built = env::var_os(BUILT).map(PathBuf::from);
        let mut command = Command::new(built.unwrap_or_else(|| program("mcpulse-operator")));
        command.env("KUBECONFIG", kubeconfig).env_remove("RUST_LOG").args(["run"]);
        command.args(["--identity", identity, "--metrics-listen", "127.0.0.1:0"]);
        command.args(["--log-format", "text", "--lease-duration", "5"]);
        if !arguments.contains(&"--webhook-listen") {
            command.args(["--webhook-listen", "127.0.0.1:0"]);
        }
        if !arguments.contains(&"--proxy-image") {
            command.args(["--proxy-image", IMAGE]);
        }
        command.args(arguments);
        Self::run(cluster, command).await
    }

    /// Starts one as a Deployment in `namespace` has it, but for where it listens.
    pub(crate) async fn deployed(
        cluster: &Cluster,
        kubeconfig: &Path,
        namespace: &str,
        arguments: &[&str],
    ) -> Self {
        let mut command = Command::new(program("mcpulse-operator"));
        command.env("KUBECONFIG", kubeconfig).env_remove("RUST_LOG").args(arguments);
        command.env("POD_NAMESPACE", namespace).env("POD_NAME", "one");
        command.args(["--metrics-listen", "127.0.0.1:0", "--webhook-listen", "127.0.0.1:0"]);
        Self::run(cluster, command).await
    }

    /// Where webhooks inject, its own is one of them from then on.
    async fn run(cluster: &Cluster, mut command: Command) -> Self {
        let Some(wire) = &cluster.webhooks else { return Self(Proxy::run(command)) };
        command.args(["--webhook-url", &wire.url()]);
        let operator = Self(Proxy::run(command));
        wire.lead_to(operator.webhook_port().await);
        operator
    }

    /// Ends it as Kubernetes does.
    pub(crate) async fn stop(&mut self) {
        self.0.signal(Signal::TERM);
        let status = self.0.wait(Duration::from_secs(10)).await;
        assert!(status.success(), "{status}: {}", self.0.stderr());
    }

    /// Ends it as a node that dies does.
    pub(crate) async fn kill(&mut self) {
        self.0.signal(Signal::KILL);
        self.0.wait(Duration::from_secs(10)).await;
    }

    /// What it counts.
    pub(crate) async fn scrape(&self) -> Scrape {
        self.0.scrape().await
    }

    /// What it has said.
    pub(crate) fn said(&self) -> String {
        self.0.stderr()
    }

    /// Checks that it was never refused anything.
    pub(crate) async fn assert_allowed(&self) {
        let scrape = self.scrape().await;
        let refused = [("result", "forbidden")];
        let refused = ["mcpulse_rollout_actions_total", "mcpulse_reconciles_total"]
            .map(|name| scrape.sum(name, &refused));
        assert!(refused.iter().all(|count| *count < 0.5), "{refused:?}: {}", self.said());
        assert!(!self.said().to_lowercase().contains("forbidden"), "{}", self.said());
    }

    /// Where it serves `/metrics`.
    pub(crate) async fn address(&self) -> SocketAddr {
        self.0.metrics_address().await
    }

    /// The port on which it serves its webhook, once it does.
    pub(crate) async fn webhook_port(&self) -> u16 {
        eventually("the webhook is served", PATIENCE, async || {
            let said = self.said();
            let (_, address) = said.split_once("webhook address=127.0.0.1:")?;
            address.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
        })
        .await
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Waits until it leads.
    pub(crate) async fn leads(&self) {
        eventually("the operator leads", PATIENCE, async || {
            (self.scrape().await.sum("mcpulse_operator_leading", &[]) > 0.5).then_some(())
        })
        .await;
    }
}

/// The image of sidecars where nothing else is said.
pub(crate) const IMAGE: &str = "example.com/mcpulse-proxy:1";

/// The path of a McpServer.
pub(crate) fn server(namespace: &str, name: &str) -> String {
    format!("/apis/mcpulse.io/v1alpha1/namespaces/{namespace}/mcpservers/{name}")
}

/// The path of a Deployment.
pub(crate) fn deployment(namespace: &str, name: &str) -> String {
    format!("/apis/apps/v1/namespaces/{namespace}/deployments/{name}")
}

/// A condition of a McpServer.
pub(crate) fn condition<'a>(server: &'a Value, type_: &str) -> &'a Value {
    let conditions = server["status"]["conditions"].as_array().into_iter().flatten();
    let mut conditions = conditions.filter(|condition| condition["type"] == type_);
    conditions.next().unwrap_or(&Value::Null)
}

/// A McpServer as a manifest.
pub(crate) fn manifest(namespace: &str, name: &str, spec: &str) -> Value {
    let spec: Value = serde_yaml::from_str(spec).expect("a spec");
    json!({
        "apiVersion": "mcpulse.io/v1alpha1",
        "kind": "McpServer",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    })
}

/// A Deployment as a manifest, whose pods have the label `app` with its name.
pub(crate) fn workload(namespace: &str, name: &str, replicas: u32) -> Value {
    let labels = json!({"app": name});
    let ports = json!([{"name": "mcp", "containerPort": 8000}]);
    let container = json!({"name": "server", "image": "example.com/server:1", "ports": ports});
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    })
}
