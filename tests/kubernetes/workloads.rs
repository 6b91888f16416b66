//! Rollouts of what is no Deployment, where they differ; and workloads that do not get their pods.

use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, carries_sidecar},
    operator::{Operator, condition, deployment, workload},
    scene::{SELECTS, Scene, another_second, is},
};

/// Nodes of the cluster, each of which has a pod of every DaemonSet.
const NODES: [&str; 2] = ["one", "two"];

/// A StatefulSet or a DaemonSet called `weather`.
struct Set<'a> {
    cluster: &'a Cluster,
    kind: &'static str,
    path: String,
}

impl<'a> Set<'a> {
    /// Makes it, and waits until its pods run.
    async fn deployed(
        cluster: &'a Cluster,
        scene: &Scene<'_>,
        kind: &'static str,
        spec: Value,
    ) -> Self {
        let mut manifest = workload(&scene.namespace, "weather", 2);
        manifest["kind"] = kind.into();
        let whole = manifest["spec"].as_object_mut().expect("a spec");
        if kind == "DaemonSet" {
            whole.remove("replicas");
            // Nobody says of the nodes that they are ready.
            whole["template"]["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
        }
        whole.extend(spec.as_object().cloned().unwrap_or_default());
        cluster.apply(&manifest.to_string()).await;
        let plural = format!("{}s", kind.to_lowercase());
        let path = format!("/apis/apps/v1/namespaces/{}/{plural}/weather", scene.namespace);
        let set = Self { cluster, kind, path };
        let ready = ["readyReplicas", "numberReady"];
        let runs = |it: &Value| ready.iter().any(|key| it["status"][key] == 2).then_some(());
        cluster.until("its pods run", &set.path, runs).await;
        another_second().await;
        set
    }

    /// How many templates it has had.
    async fn templates(&self, scene: &Scene<'_>) -> usize {
        let path = format!("/apis/apps/v1/namespaces/{}/controllerrevisions", scene.namespace);
        let all = self.cluster.get(&path).await.expect("revisions");
        all["items"].as_array().map_or(0, Vec::len)
    }

    /// Waits until its template says that it was restarted, and takes that back.
    async fn revert(&self) {
        const RESTARTED: &str = "kubectl.kubernetes.io/restartedAt";
        let restarted = |it: &Value| {
            let annotations = &it["spec"]["template"]["metadata"]["annotations"];
            annotations[RESTARTED].is_string().then_some(())
        };
        self.cluster.until("it is restarted", &self.path, restarted).await;
        let none = json!({"metadata": {"annotations": {RESTARTED: null}}});
        let change = json!({"spec": {"template": none}});
        self.cluster.merge(&self.path, &change).await.expect("it takes it back");
    }
}

async fn each_is_restarted_once(cluster: &Cluster, kind: &'static str) {
    let scene = Scene::new(cluster, "restart").await;
    let set = Set::deployed(cluster, &scene, kind, json!({})).await;
    assert_eq!(set.templates(&scene).await, 1);
    scene.apply(SELECTS).await;
    scene.well(2).await;
    let over = |server: &Value| server["status"]["workloads"][0]["rollout"] == "Idle";
    let server = scene.until("the rollout is over", over).await;
    assert_eq!(server["status"]["workloads"][0]["kind"], set.kind);
    assert_eq!(set.templates(&scene).await, 2, "one restart");
    scene.told(kind, "Restarted").await;
}

async fn each_is_evicted_where_that_is_asked_for(cluster: &Cluster, kind: &'static str) {
    let scene = Scene::new(cluster, "evict").await;
    let set = Set::deployed(cluster, &scene, kind, json!({})).await;
    scene.apply("{selector: {matchLabels: {app: weather}}, rollout: {strategy: EvictPods}}").await;
    scene.well(2).await;
    assert_eq!(set.templates(&scene).await, 1, "it stays as it is");
    scene.told(kind, "Evicted").await;
}

async fn pods_that_somebody_deletes_get_it(cluster: &Cluster, kind: &'static str) {
    let scene = Scene::new(cluster, "next").await;
    let _set = Set::deployed(cluster, &scene, kind, json!({})).await;
    scene
        .apply("{selector: {matchLabels: {app: weather}}, rollout: {strategy: OnNextRestart}}")
        .await;
    let waits = |server: &Value| server["status"]["skipped"][0]["reason"] == "NotRestarted";
    scene.until("they are left alone", waits).await;
    scene.injects().await;
    for pod in scene.pods().await {
        let name = pod["metadata"]["name"].as_str().expect("a name");
        let path = format!("/api/v1/namespaces/{}/pods/{name}", scene.namespace);
        cluster.request("DELETE", &path, &Value::Null).await.expect("it is deleted");
    }
    scene.well(2).await;
}

async fn one_that_replaces_no_pods_is_told_and_evicted_if_asked(
    cluster: &Cluster,
    kind: &'static str,
) {
    let scene = Scene::new(cluster, "held").await;
    let by_hand = json!({"updateStrategy": {"type": "OnDelete"}});
    let set = Set::deployed(cluster, &scene, kind, by_hand).await;
    let before = scene.uids().await;
    scene.apply(SELECTS).await;
    let held = |server: &Value| {
        condition(server, "UpToDate")["reason"] == "RolloutHeld"
            && server["status"]["workloads"][0]["rollout"] == "Waiting"
    };
    let server = scene.until("it is told", held).await;
    assert!(is(&server, "Ready", "False"), "{server:#}");
    assert_eq!((scene.uids().await, set.templates(&scene).await), (before, 1));
    scene.edit(&json!({"rollout": {"strategy": "EvictPods"}})).await;
    scene.well(2).await;
    assert_eq!(set.templates(&scene).await, 1);
}

async fn an_owner_that_takes_restarts_back_is_noticed(cluster: &Cluster, kind: &'static str) {
    let scene = Scene::new(cluster, "reverted").await;
    let set = Set::deployed(cluster, &scene, kind, json!({})).await;
    scene.apply(SELECTS).await;
    set.revert().await;
    scene
        .until("they carry it all the same", |server| {
            server["status"]["injected"] == "2/2" && server["status"]["pods"]["ready"] == 2
        })
        .await;
    let there = cluster.get(&set.path).await.expect("it");
    let annotations = &there["spec"]["template"]["metadata"]["annotations"];
    assert_eq!(annotations["kubectl.kubernetes.io/restartedAt"], Value::Null, "{there:#}");
}

/// One pod with the sidecar is within the quota, and two without; two with it are not.
async fn a_quota_that_is_used_up_is_told(cluster: &Cluster) {
    let scene = Scene::new(cluster, "quota").await;
    let quotas = format!("/api/v1/namespaces/{}/resourcequotas", scene.namespace);
    let spec = json!({"hard": {"requests.memory": "130Mi"}});
    let quota = json!({"metadata": {"name": "memory"}, "spec": spec});
    cluster.post(&quotas, &quota).await.expect("a quota");
    let quota = format!("{quotas}/memory");
    let known = |it: &Value| it["status"]["hard"]["requests.memory"].is_string().then_some(());
    cluster.until("the quota is known", &quota, known).await;
    scene.apply(SELECTS).await;
    scene.injects().await;
    let mut manifest = workload(&scene.namespace, "weather", 2);
    let container = &mut manifest["spec"]["template"]["spec"]["containers"][0];
    container["resources"] = json!({"requests": {"memory": "45Mi"}});
    cluster.apply(&manifest.to_string()).await;
    let refused = |server: &Value| condition(server, "Accepted")["reason"] == "PodRefused";
    let server = scene.until("it is told", refused).await;
    let message = condition(&server, "Accepted")["message"].as_str().expect("a message");
    for part in ["Deployment weather", "exceeded quota: memory", "raise the quota"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(is(&server, "Ready", "False") && is(&server, "Stalled", "True"), "{server:#}");
    assert!(server["status"]["injection"].is_object(), "what there is stays");
    assert!(scene.pods().await.iter().all(carries_sidecar));
    let more = json!({"spec": {"hard": {"requests.memory": "1Gi"}}});
    cluster.merge(&quota, &more).await.expect("more");
    let more = |it: &Value| (it["status"]["hard"]["requests.memory"] == "1Gi").then_some(());
    cluster.until("that is known", &quota, more).await;
    // What was refused is tried again ever more seldom; another size, at once.
    let scale = json!({"spec": {"replicas": 3}});
    cluster.merge(&deployment(&scene.namespace, "weather"), &scale).await.expect("a size");
    let server = scene.well(3).await;
    assert!(is(&server, "Accepted", "True"), "{server:#}");
    assert_eq!(scene.templates().await, 1, "nothing was restarted");
}

#[tokio::test]
async fn each_kind_of_workload_is_brought_up_to_date_in_its_way() {
    let cluster = Cluster::with_workloads().await;
    for name in NODES {
        let node = json!({"metadata": {"name": name}});
        cluster.post("/api/v1/nodes", &node).await.expect("a node");
    }
    let rights = Operator::rights(&cluster, None).await;
    let operator = Operator::with(&cluster, &rights, "one", &["--max-rollouts", "20"]).await;
    let of_kind = async |kind| {
        tokio::join!(
            each_is_restarted_once(&cluster, kind),
            each_is_evicted_where_that_is_asked_for(&cluster, kind),
            pods_that_somebody_deletes_get_it(&cluster, kind),
            one_that_replaces_no_pods_is_told_and_evicted_if_asked(&cluster, kind),
            an_owner_that_takes_restarts_back_is_noticed(&cluster, kind),
        );
    };
    tokio::join!(
        of_kind("StatefulSet"),
        of_kind("DaemonSet"),
        a_quota_that_is_used_up_is_told(&cluster),
    );
    operator.assert_allowed().await;
}
