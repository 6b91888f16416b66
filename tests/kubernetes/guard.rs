//! The guard: an operator that may do everything may do no more than it needs, and nobody else
//! may write what is put into pods.

use kube::Client;
use mcpulse_operator::{policy, release::Release};
use mcpulse_tests::eventually;
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, PATIENCE, request},
    hook::RELEASE,
    weather::{injection, pod, server},
};

const ACCOUNT: &str = "mcpulse-operator";

/// The operator's service account, which may do everything.
async fn operator(cluster: &Cluster) -> Client {
    cluster.make_namespace(RELEASE).await;
    let accounts = format!("/api/v1/namespaces/{RELEASE}/serviceaccounts");
    let account = json!({"metadata": {"name": ACCOUNT}});
    cluster.post(&accounts, &account).await.expect("an account");
    let binding = json!({
        "metadata": {"name": "everything"},
        "roleRef":
            {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": RELEASE}],
    });
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    cluster.post(bindings, &binding).await.expect("a binding");
    let asked = json!({"spec": {"expirationSeconds": 3600}});
    let path = format!("{accounts}/{ACCOUNT}/token");
    let made = eventually("a token", PATIENCE, async || cluster.post(&path, &asked).await.ok());
    let made = made.await;
    cluster.plane.client_with(made["status"]["token"].as_str().expect("a token"))
}

/// What the operator, and anybody else, is told of changes of the object at a path.
struct Object<'a> {
    cluster: &'a Cluster,
    operator: &'a Client,
    path: String,
}

impl Object<'_> {
    /// The operator changes it: why not, if it may not.
    async fn change(&self, change: impl Fn(&mut Value)) -> Result<Value, String> {
        let mut object = self.cluster.get(&self.path).await.expect("it is there");
        change(&mut object);
        request(self.operator, "PUT", &self.path, &object).await
    }

    async fn allows(&self, change: impl Fn(&mut Value)) {
        self.change(change).await.expect("a change that the operator makes");
    }

    async fn refuses(&self, why: &str, change: impl Fn(&mut Value)) {
        let told = self.change(&change).await.expect_err(why);
        assert!(told.contains(why), "{told}");
        // It is the guard, and not the API server for everybody.
        let mut object = self.cluster.get(&self.path).await.expect("it is there");
        change(&mut object);
        let path = format!("{}?dryRun=All", self.path);
        self.cluster.request("PUT", &path, &object).await.expect("others may");
    }
}

#[tokio::test]
async fn the_operator_is_held_to_what_it_needs() {
    let cluster = Cluster::start().await;
    let operator = operator(&cluster).await;
    cluster.apply(&policy::guard(&Release::default())).await;
    let namespace = cluster.plane.namespace("a", &[]).await;
    let pods = format!("/api/v1/namespaces/{namespace}/pods");

    // Creates only as dry runs.
    let why = eventually("the guard is up", PATIENCE, async || {
        let mut pod = pod();
        pod["metadata"] = json!({"generateName": "a-"});
        request(&operator, "POST", &pods, &pod).await.err()
    })
    .await;
    assert!(why.contains("nothing but pods that are only tried"), "{why}");
    let tried = format!("{pods}?dryRun=All");
    request(&operator, "POST", &tried, &pod()).await.expect("a dry run");

    // Of pods: the sidecar's image and our own metadata.
    let mut carrying = pod();
    carrying["spec"]["initContainers"] = json!([
        {"name": "mcpulse-proxy", "image": "a:1", "restartPolicy": "Always"},
        {"name": "other", "image": "b:1"},
    ]);
    carrying["metadata"]["annotations"] = json!({"theirs": "1", "mcpulse.io/config": "1"});
    cluster.post(&pods, &carrying).await.expect("a pod");
    let path = format!("{pods}/weather");
    let pod = Object { cluster: &cluster, operator: &operator, path };
    pod.allows(|pod| pod["spec"]["initContainers"][0]["image"] = "a:2".into()).await;
    pod.allows(|pod| pod["metadata"]["annotations"]["mcpulse.io/config"] = "2".into()).await;
    pod.allows(|pod| pod["metadata"]["labels"]["mcpulse.io/server"] = "b".into()).await;
    pod.allows(|pod| {
        pod["metadata"]["labels"].as_object_mut().expect("labels").remove("mcpulse.io/server");
    })
    .await;
    let image = "nothing of a pod but the image of mcpulse-proxy";
    pod.refuses(image, |pod| pod["spec"]["containers"][0]["image"] = "evil".into()).await;
    pod.refuses(image, |pod| pod["spec"]["initContainers"][1]["image"] = "evil".into()).await;
    pod.refuses(image, |pod| pod["spec"]["activeDeadlineSeconds"] = 1.into()).await;
    pod.refuses(image, |pod| {
        let toleration = json!({"key": "a", "operator": "Exists"});
        pod["spec"]["tolerations"].as_array_mut().expect("tolerations").push(toleration);
    })
    .await;
    let metadata = "no metadata but labels and annotations of mcpulse.io";
    pod.refuses(metadata, |pod| pod["metadata"]["labels"]["app"] = "b".into()).await;
    pod.refuses(metadata, |pod| pod["metadata"]["annotations"]["theirs"] = "2".into()).await;
    pod.refuses(metadata, |pod| pod["metadata"]["annotations"] = json!({})).await;
    pod.refuses(metadata, |pod| pod["metadata"]["finalizers"] = json!(["a/b"])).await;
    pod.refuses(metadata, |pod| {
        pod["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "1"}]);
    })
    .await;

    // Of workloads: when their pods were restarted.
    for (kind, resource) in [
        ("Deployment", "deployments"),
        ("StatefulSet", "statefulsets"),
        ("DaemonSet", "daemonsets"),
    ] {
        let path = format!("/apis/apps/v1/namespaces/{namespace}/{resource}");
        let labels = json!({"app": "a"});
        let template = json!({
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "a", "image": "a"}]},
        });
        let spec = json!({"selector": {"matchLabels": labels}, "template": template});
        let workload = json!({"kind": kind, "metadata": {"name": "a"}, "spec": spec});
        cluster.post(&path, &workload).await.expect("a workload");
        let path = format!("{path}/a");
        let workload = Object { cluster: &cluster, operator: &operator, path };
        let restarted = "kubectl.kubernetes.io/restartedAt";
        workload
            .allows(|it| {
                it["spec"]["template"]["metadata"]["annotations"][restarted] = "now".into();
                it["metadata"]["annotations"]["mcpulse.io/restarted-for"] = "1".into();
            })
            .await;
        let when = "nothing of a workload but when its pods were restarted";
        workload
            .refuses(when, |it| {
                it["spec"]["template"]["spec"]["containers"][0]["image"] = "evil".into();
            })
            .await;
        workload
            .refuses(when, |it| {
                it["spec"]["template"]["metadata"]["annotations"]["other"] = "1".into();
            })
            .await;
        workload
            .refuses(when, |it| {
                it["spec"]["template"]["metadata"]["labels"]["more"] = "1".into();
            })
            .await;
        let own = if kind == "DaemonSet" { "minReadySeconds" } else { "replicas" };
        workload.refuses(when, |it| it["spec"][own] = 7.into()).await;
        workload.refuses(metadata, |it| it["metadata"]["labels"] = json!({"a": "b"})).await;
    }
}

#[tokio::test]
async fn nobody_but_the_operator_writes_what_is_put_into_pods() {
    let cluster = Cluster::start().await;
    let operator = operator(&cluster).await;
    let namespace = cluster.plane.namespace("a", &[]).await;
    cluster.publish(&namespace, &server("weather"), &json!(injection("weather"))).await;
    cluster.apply(&policy::guard(&Release::default())).await;
    let path = format!("/apis/mcpulse.io/v1alpha1/namespaces/{namespace}/mcpservers/weather");
    let status = format!("{path}/status");
    let changed = async || {
        let mut found = cluster.get(&path).await.expect("it is there");
        found["status"]["target"] = "changed".into();
        found
    };
    let why = eventually("the guard is up", PATIENCE, async || {
        cluster.request("PUT", &status, &changed().await).await.err()
    })
    .await;
    assert!(why.contains("only the operator writes the status"), "{why}");
    request(&operator, "PUT", &status, &changed().await).await.expect("the operator writes it");

    // Users go on writing what they want.
    let mut found = cluster.get(&path).await.expect("it is there");
    found["spec"]["container"] = "server".into();
    found["status"]["injection"]["sidecar"]["image"] = "evil".into();
    let written = cluster.request("PUT", &path, &found).await.expect("a spec");
    assert_ne!(written["status"]["injection"]["sidecar"]["image"], "evil");
}
