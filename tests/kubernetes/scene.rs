//! A namespace with a McpServer and a Deployment, both called `weather`, in which pods run.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use mcpulse_tests::eventually;
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, PATIENCE, carries_sidecar},
    kubelet::Kubelet,
    operator::{condition, deployment, manifest, server, workload},
    weather::pod,
};

/// The spec of a McpServer for the Deployment's pods.
pub(crate) const SELECTS: &str = "{selector: {matchLabels: {app: weather}}}";

pub(crate) fn server_path(namespace: &str) -> String {
    server(namespace, "weather")
}

pub(crate) fn pods_path(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods?labelSelector=app%3Dweather")
}

/// The pods of a Deployment that are not on their way out.
pub(crate) async fn pods(cluster: &Cluster, namespace: &str) -> Vec<Value> {
    let pods = cluster.get(&pods_path(namespace)).await.expect("pods");
    let pods = pods["items"].as_array().expect("a list").iter();
    pods.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).cloned().collect()
}

/// Waits until what is made is younger than what is there: API servers tell ages by the second.
pub(crate) async fn another_second() {
    let second = || SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    let begun = second();
    eventually("a second has passed", PATIENCE, async || (second() > begun).then_some(())).await;
}

pub(crate) fn is(server: &Value, type_: &str, status: &str) -> bool {
    condition(server, type_)["status"] == status
}

/// A namespace with a McpServer `weather`, in which pods run.
pub(crate) struct Scene<'a> {
    cluster: &'a Cluster,
    pub(crate) namespace: String,
    kubelet: Option<Kubelet>,
}

impl<'a> Scene<'a> {
    pub(crate) async fn new(cluster: &'a Cluster, name: &str) -> Self {
        Self::of(cluster, &cluster.plane.namespace(name, &[]).await)
    }

    /// One that is there.
    pub(crate) fn of(cluster: &'a Cluster, namespace: &str) -> Self {
        let mut scene = Self { cluster, namespace: namespace.to_owned(), kubelet: None };
        scene.work();
        scene
    }

    /// Has pods run.
    pub(crate) fn work(&mut self) {
        self.kubelet = Some(Kubelet::of(self.cluster.client(), &self.namespace));
    }

    /// Has no further pods run.
    pub(crate) fn rest(&mut self) {
        self.kubelet = None;
    }

    /// Applies the McpServer. Where Services do not find sidecars by the names of their ports,
    /// its server is one that listens on loopback.
    pub(crate) async fn apply(&self, spec: &str) {
        let mut manifest = manifest(&self.namespace, "weather", spec);
        if !self.cluster.kubernetes.finds_sidecars() {
            manifest["spec"]["transport"]["http"]["takeover"] = "PodIP".into();
        }
        self.cluster.apply(&manifest.to_string()).await;
    }

    pub(crate) async fn deploy(&self, replicas: u32) {
        self.cluster.apply(&workload(&self.namespace, "weather", replicas).to_string()).await;
    }

    /// Deploys pods and waits until they run without the sidecar.
    pub(crate) async fn deployed(&self, replicas: u32) {
        self.deploy(replicas).await;
        let path = deployment(&self.namespace, "weather");
        let all = |it: &Value| (it["status"]["availableReplicas"] == replicas).then_some(());
        self.cluster.until("the pods run", &path, all).await;
        another_second().await;
    }

    /// Edits the McpServer.
    pub(crate) async fn edit(&self, spec: &Value) {
        let path = server(&self.namespace, "weather");
        self.cluster.merge(&path, &json!({"spec": spec})).await.expect("an edit");
    }

    /// Waits until the McpServer is so; what it is then.
    pub(crate) async fn until(&self, what: &str, so: impl Fn(&Value) -> bool) -> Value {
        let path = server(&self.namespace, "weather");
        let what = format!("{}: {what}", self.namespace);
        self.cluster.until(&what, &path, |server| so(server).then(|| server.clone())).await
    }

    /// Waits until an injection is published; its revision.
    pub(crate) async fn published(&self) -> String {
        let published = |server: &Value| server["status"]["injection"]["revision"].is_string();
        let server = self.until("an injection is published", published).await;
        server["status"]["injection"]["revision"].as_str().expect("a revision").to_owned()
    }

    /// Waits until new pods come with the sidecar, of which API servers take note a moment after
    /// it is published.
    pub(crate) async fn injects(&self) {
        self.comes("new pods come with the sidecar", true).await;
    }

    /// Waits until new pods come without it.
    pub(crate) async fn injects_nothing(&self) {
        self.comes("new pods come without the sidecar", false).await;
    }

    async fn comes(&self, what: &str, with: bool) {
        let mut pod = pod();
        // Where there is a quota.
        pod["spec"]["containers"][0]["resources"] = json!({"requests": {"memory": "1Mi"}});
        let what = format!("{}: {what}", self.namespace);
        eventually(&what, PATIENCE, async || {
            let told = self.cluster.dry_run(&self.namespace, &pod).await.ok()?;
            (carries_sidecar(&told) == with).then_some(())
        })
        .await;
    }

    /// Waits until so many pods carry a ready sidecar, and all is well.
    pub(crate) async fn well(&self, pods: u32) -> Value {
        self.well_within(PATIENCE, pods).await
    }

    /// The same, for as long as this.
    pub(crate) async fn well_within(&self, patience: Duration, pods: u32) -> Value {
        let what = format!("{}: {pods} pods carry a ready sidecar", self.namespace);
        let path = server(&self.namespace, "weather");
        let injected = format!("{pods}/{pods}");
        let well = |server: &Value| {
            let status = &server["status"];
            let all = status["injected"] == injected.as_str() && status["pods"]["ready"] == pods;
            (all && is(server, "Ready", "True")).then(|| server.clone())
        };
        self.cluster.within(patience, &what, &path, well).await
    }

    pub(crate) async fn pods(&self) -> Vec<Value> {
        pods(self.cluster, &self.namespace).await
    }

    /// The unique ids of the pods.
    pub(crate) async fn uids(&self) -> BTreeSet<String> {
        let pods = self.pods().await;
        let uids = pods.iter().filter_map(|pod| pod["metadata"]["uid"].as_str());
        uids.map(str::to_owned).collect()
    }

    /// How many templates the Deployment has had.
    pub(crate) async fn templates(&self) -> usize {
        let path = format!("/apis/apps/v1/namespaces/{}/replicasets", self.namespace);
        let sets = self.cluster.get(&path).await.expect("ReplicaSets");
        sets["items"].as_array().map_or(0, Vec::len)
    }

    /// Waits for an event about something of this kind.
    pub(crate) async fn told(&self, kind: &str, reason: &str) {
        let path = format!("/apis/events.k8s.io/v1/namespaces/{}/events", self.namespace);
        let told = |events: &Value| {
            let mut events = events["items"].as_array()?.iter();
            events.find(|one| one["regarding"]["kind"] == kind && one["reason"] == reason)?;
            Some(())
        };
        self.cluster.until(&format!("an event {reason} about a {kind}"), &path, told).await;
    }
}
