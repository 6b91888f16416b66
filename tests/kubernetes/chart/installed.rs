//! A release from its installation to its end: what people type, and what is left.

use std::{collections::BTreeSet, fs};

use mcpulse_tests::{ControlPlane, eventually, program};
use serde_json::{Value, json};
use tokio::process::Command;

use super::{
    file,
    helm::{Helm, MAJORS, MONITORS, built, chart, template},
    tester::Pods,
};
use crate::{
    cluster::{Cluster, PATIENCE, carries_sidecar, feed},
    operator::manifest,
    wire::Wire,
};

pub(super) const NAMESPACE: &str = "mcpulse-system";

/// The spec of a McpServer that every version of Kubernetes can inject.
const ANYWHERE: &str =
    "{selector: {matchLabels: {app: weather}}, transport: {http: {port: 8000, takeover: None}}}";

/// A cluster with controllers and nothing else, in which webhooks have a way to operators where
/// policies do not inject.
pub(super) async fn cluster() -> Cluster {
    let mut cluster = Cluster::bare(ControlPlane::start().await.with_controllers()).await;
    if !cluster.has_policies {
        cluster.webhooks = Some(Wire::new().await);
    }
    cluster
}

/// Everything that is there, but for what comes and goes by itself.
async fn everything(cluster: &Cluster) -> BTreeSet<String> {
    let mut kubectl = cluster.kubectl();
    kubectl.args(["api-resources", "--verbs=list", "--output=name"]);
    let kinds = String::from_utf8(kubectl.output().await.expect("kubectl runs").stdout);
    let kinds = kinds.expect("text");
    let kinds = kinds.lines().filter(|kind| !kind.starts_with("events"));
    let kinds = kinds.collect::<Vec<_>>().join(",");
    assert!(kinds.contains("leases") && kinds.contains("validatingadmissionpolicies"), "{kinds}");
    let mut kubectl = cluster.kubectl();
    kubectl.args(["get", &kinds, "--all-namespaces", "--ignore-not-found", "--output"]);
    kubectl
        .arg("jsonpath={range .items[*]}{.kind} {.metadata.namespace}/{.metadata.name}{\"\\n\"}");
    let told = kubectl.output().await.expect("kubectl runs");
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let told = String::from_utf8(told.stdout).expect("text");
    // What comes by itself, and late: of the control plane, and in each namespace.
    let own = ["kube-system/", "FlowSchema", "PriorityLevel", "APIService", "kube-root-ca.crt"];
    let lines = told.lines().filter(|line| !own.iter().any(|own| line.contains(own)));
    lines.map(str::to_owned).collect()
}

/// What is there at the one time and was not at the other.
async fn new(cluster: &Cluster, before: &BTreeSet<String>) -> Vec<String> {
    everything(cluster).await.difference(before).cloned().collect()
}

/// Who may edit Deployments may edit `McpServer`s, and not their status.
async fn editors_edit_servers(cluster: &Cluster, team: &str) {
    let may = async |verb: &str, resource: &str| {
        let user = format!("system:serviceaccount:{team}:default");
        let review = json!({"spec": {"user": user, "resourceAttributes": {
            "namespace": team, "verb": verb, "group": "mcpulse.io", "resource": "mcpservers",
            "subresource": resource,
        }}});
        let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        cluster.post(path, &review).await.expect("a review")["status"]["allowed"] == true
    };
    assert!(!may("create", "").await);
    let binding = json!({
        "metadata": {"name": "edit"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": team}],
    });
    let bindings = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{team}/rolebindings");
    cluster.post(&bindings, &binding).await.expect("a binding");
    let can = async || may("create", "").await.then_some(());
    eventually("edit is for McpServers too", PATIENCE, can).await;
    assert!(!may("patch", "status").await);
    cluster.request("DELETE", &format!("{bindings}/edit"), &Value::Null).await.expect("it goes");
}

async fn lives_and_goes(major: u8) {
    let cluster = cluster().await;
    let helm = Helm::with(major, &cluster.plane.kubeconfig());
    cluster.make_namespace(NAMESPACE).await;
    let labels =
        json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    cluster.merge("/api/v1/namespaces/mcpulse-system", &labels).await.expect("a strict namespace");
    let team = cluster.plane.namespace("team", &[]).await;
    let before = everything(&cluster).await;

    let chart = chart();
    let release = ["mcpulse", &chart, "--namespace", NAMESPACE, "--set", "log.format=text"];
    let notes = helm.says(&[&["install"], &release[..]].concat()).await;
    cluster.serves_servers().await;
    let pods = Pods::of(&cluster, NAMESPACE, "mcpulse");
    let mut operator = pods.operator().await;
    operator.leads().await;
    let path =
        "/api/v1/namespaces/mcpulse-system/pods?labelSelector=app.kubernetes.io/component=operator";
    let two = |pods: &Value| (pods["items"].as_array()?.len() == 2).then_some(());
    cluster.until("two pods are allowed", path, two).await;

    // NOTES: helm test, then a McpServer, then what there is of it.
    let commands: Vec<&str> = notes.lines().filter(|line| line.starts_with("   helm")).collect();
    assert_eq!(commands, ["   helm test mcpulse --namespace mcpulse-system"]);
    let words = ["test", "mcpulse", "--namespace", NAMESPACE, "--timeout", "2m"];
    let (tested, said) = tokio::join!(helm.run(&words), pods.tested());
    let why = String::from_utf8_lossy(&tested.stderr);
    assert!(tested.status.success(), "{why}: {said}: {}", operator.said());
    assert!(said.contains("come with mcpulse-proxy"), "{said}");
    let why = pods.unverified(&["none", "--namespace", &team]).await;
    assert!(why.contains(&format!("there is no McpServer {team}/none")), "{why}");
    let applied = manifest(&team, "weather", ANYWHERE).to_string();
    let mut kubectl = cluster.kubectl();
    kubectl.args(["apply", "--filename", "-"]);
    assert!(feed(kubectl, &applied).await.status.success());
    let (_, shown) =
        notes.split_once("kubectl apply --namespace default -f - <<'END'\n").expect("2");
    let (shown, rest) = shown.split_once("   END\n").expect("its end");
    let mut kubectl = cluster.kubectl();
    kubectl.args([
        "apply",
        "--namespace",
        &team,
        "--dry-run=server",
        "--validate=strict",
        "-f",
        "-",
    ]);
    let shown: String = shown.lines().flat_map(|line| [&line[3..], "\n"]).collect();
    let told = feed(kubectl, &shown).await;
    assert!(told.status.success(), "{shown}{}", String::from_utf8_lossy(&told.stderr));
    assert!(rest.contains("kubectl get mcpservers --all-namespaces"), "{rest}");

    editors_edit_servers(&cluster, &team).await;

    // An upgrade leaves alone what is the operator's, and what it does not change.
    let configuration =
        "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/mcpulse";
    let webhooks =
        async || cluster.get(configuration).await.expect("it is there")["webhooks"].clone();
    if !cluster.has_policies {
        let written = async || webhooks().await.is_array().then_some(());
        eventually("the webhooks are written", PATIENCE, written).await;
    }
    let written = webhooks().await;
    helm.says(&[&["upgrade"], &release[..], &["--set", "replicas=3"]].concat()).await;
    assert_eq!(webhooks().await, written);
    let deployment = "/apis/apps/v1/namespaces/mcpulse-system/deployments/mcpulse-operator";
    let deployment = cluster.get(deployment).await.expect("the Deployment");
    assert_eq!(deployment["spec"]["replicas"], 3);
    helm.says(&["rollback", "mcpulse", "--namespace", NAMESPACE]).await;
    assert_eq!(webhooks().await, written);

    // What the operator makes is the Deployment's.
    let lease = "/apis/coordination.k8s.io/v1/namespaces/mcpulse-system/leases/mcpulse-operator";
    let lease = cluster.get(lease).await.expect("the Lease");
    let owner = |one: &Value| one["metadata"]["ownerReferences"][0]["uid"].clone();
    assert_eq!(owner(&lease), deployment["metadata"]["uid"]);
    if !cluster.has_policies {
        let secret = "/api/v1/namespaces/mcpulse-system/secrets/mcpulse-webhook-ca";
        let secret = cluster.get(secret).await.expect("the Secret");
        assert_eq!(owner(&secret), deployment["metadata"]["uid"]);
    }
    operator.assert_allowed().await;

    helm.says(&["uninstall", "mcpulse", "--namespace", NAMESPACE]).await;
    let kept = [
        "CustomResourceDefinition /mcpservers.mcpulse.io".to_owned(),
        format!("McpServer {team}/weather"),
    ];
    eventually("nothing is left but the definition and what people made", PATIENCE, async || {
        (new(&cluster, &before).await == kept).then_some(())
    })
    .await;
    operator.kill().await;

    // And again, over what was left.
    helm.says(&[&["install"], &release[..]].concat()).await;
    assert_eq!(new(&cluster, &before).await.iter().filter(|one| kept.contains(one)).count(), 2);
}

#[tokio::test]
async fn a_release_of_helm_4_works_and_leaves_nothing() {
    lives_and_goes(MAJORS[0]).await;
}

#[tokio::test]
async fn a_release_of_helm_3_works_and_leaves_nothing() {
    lives_and_goes(MAJORS[1]).await;
}

/// `kubectl apply` without doing it; what cannot be is said.
async fn would_apply(cluster: &Cluster, objects: &str) {
    let mut kubectl = cluster.kubectl();
    kubectl.args(["apply", "--dry-run=server", "--validate=strict", "--filename", "-"]);
    let told = feed(kubectl, objects).await;
    let why = String::from_utf8_lossy(&told.stderr);
    // What a policy says of itself is a warning: an expression that cannot be compiled, too.
    let warned = why.lines().any(|line| line.starts_with("Warning:"));
    assert!(told.status.success() && !warned, "{why}\n{objects}");
}

/// All that the chart can be asked for at once.
const EVERYTHING: &str = "
global: {imagePullSecrets: [{name: registry}]}
image: {digest: 'sha256:0000000000000000000000000000000000000000000000000000000000000000'}
mcpulse: {apiKey: {secret: key, value: secret, namespaces: [default]}}
webhook: {certificateSecret: certificate}
podDisruptionBudget: {maxUnavailable: '50%'}
networkPolicy:
  webhookFrom: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}]
  metricsFrom: [{namespaceSelector: {}, podSelector: {matchLabels: {app: prometheus}}}]
metrics: {dashboard: {annotations: {grafana_folder: MCP}}}
resources: {limits: {cpu: 1}}
priorityClassName: system-cluster-critical
nodeSelector: {kubernetes.io/os: linux}
tolerations: [{key: a, operator: Exists, effect: NoExecute, tolerationSeconds: 5}]
affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms:
  [{matchExpressions: [{key: a, operator: Exists}]}]}}}
topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]
podLabels: {team: a}
podAnnotations: {note: b}
";

#[tokio::test]
async fn the_api_server_takes_everything_that_is_rendered() {
    let cluster = cluster().await;
    cluster.make_namespace(NAMESPACE).await;
    cluster.make_namespace("team").await;
    let definition = fs::read_to_string(file("files/definition.yaml")).expect("it is there");
    cluster.apply(&definition).await;
    cluster.serves_servers().await;
    // Whose rights the pod of `helm test` has: what is only tried is not there for what follows.
    let account = json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "mcpulse-operator", "namespace": NAMESPACE},
    });
    cluster.apply(&account.to_string()).await;
    let version = cluster.plane.version().await;
    let values = tempfile::NamedTempFile::new().expect("a file");
    fs::write(values.path(), EVERYTHING).expect("values");
    let values = values.path().to_str().expect("text").to_owned();
    let chart = chart();
    for major in MAJORS {
        for more in [&[][..], &["--set", "watchNamespace=team"], &["--values", &values]] {
            let words = [&["--kube-version", &version], more].concat();
            let words = template(("mcpulse", NAMESPACE), &words, &chart);
            let rendered = Helm::alone(major).says(&words).await;
            let has_policy = rendered.contains("kind: MutatingAdmissionPolicy\n");
            assert_eq!(has_policy, cluster.has_policies);
            would_apply(&cluster, &rendered).await;
        }
    }
    for kind in ["podmonitors", "servicemonitors", "prometheusrules"] {
        let mut kubectl = cluster.kubectl();
        let path = built().join("monitors").join(format!("{kind}.yaml"));
        // Too large for what `apply` remembers.
        kubectl.args(["create", "--filename"]).arg(path);
        assert!(kubectl.status().await.expect("kubectl runs").success(), "{kind}");
        let path = format!("/apis/monitoring.coreos.com/v1/{kind}");
        eventually(&path, PATIENCE, async || cluster.get(&path).await.ok()).await;
    }
    for more in [&[][..], &["--set", "watchNamespace=team"], &["--values", &values]] {
        let kinds = ["--kube-version", &version, "--api-versions", MONITORS];
        let words = [&kinds[..], more].concat();
        let rendered = Helm::alone(4).says(&template(("mcpulse", NAMESPACE), &words, &chart)).await;
        assert!(rendered.contains("kind: PodMonitor\n"));
        would_apply(&cluster, &rendered).await;
    }
    // Asked itself, the cluster says so.
    let helm = Helm::with(4, &cluster.plane.kubeconfig());
    let words = ["--dry-run=server", "--set", "crd.install=false"];
    let told = helm.says(&template(("mcpulse", "default"), &words, &chart)).await;
    for kind in ["PodMonitor", "ServiceMonitor", "PrometheusRule", "ValidatingAdmissionPolicy"] {
        assert!(told.contains(&format!("kind: {kind}\n")), "{kind}");
    }
    assert_eq!(told.contains("kind: MutatingAdmissionPolicy\n"), cluster.has_policies);
}

#[tokio::test]
async fn the_examples_are_taken_as_they_are_and_injected() {
    let cluster = Cluster::start().await;
    let strict = [("pod-security.kubernetes.io/enforce", "restricted")];
    let strict = cluster.plane.namespace("strict", &strict).await;
    let mut examples = 0;
    for entry in fs::read_dir(file("examples")).expect("examples") {
        let path = entry.expect("an entry").path();
        would_apply(&cluster, &fs::read_to_string(&path).expect("an example")).await;
        let mut operator = Command::new(program("mcpulse-operator"));
        operator.arg("inject");
        for option in ["--filename", "--server", "--services"] {
            operator.arg(option).arg(&path);
        }
        let told = operator.output().await.expect("it runs");
        let why = String::from_utf8_lossy(&told.stderr);
        assert!(told.status.success(), "{}: {why}", path.display());
        let pod: Value = serde_yaml::from_slice(&told.stdout).expect("one pod");
        assert!(carries_sidecar(&pod), "{}", path.display());
        let taken = cluster.dry_run(&strict, &pod).await;
        assert!(taken.is_ok(), "{}: {taken:?}", path.display());
        examples += 1;
    }
    assert_eq!(examples, 4);
}
