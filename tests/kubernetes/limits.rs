//! LimitRanges: no pod is refused because of the sidecar, whatever containers and pods may have in
//! the namespace, and both engines and Rust agree on which have room for it.

use k8s_openapi::api::core::v1::LimitRange;
use mcpulse_operator::{
    crd::{Injection, McpServer, injection::Limits},
    render::{self, Defaults, Order},
    splice::splice,
    target,
};
use mcpulse_tests::eventually;
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, PATIENCE},
    hook::Hook,
    parity::{Outcome, Pair},
    weather::pod,
};

/// What a namespace allows, what the McpServer asks for, and how many of the pods below are
/// injected and skipped; the others are refused with and without the sidecar.
const CASES: [(&str, &str, (usize, usize)); 9] = [
    ("{type: Container, max: {cpu: '1', memory: 1Gi}}", "{}", (6, 0)),
    // Less than what Guaranteed pods need, and than what others do.
    ("{type: Container, max: {memory: 32Mi}, default: {memory: 32Mi}}", "{}", (1, 1)),
    ("{type: Container, max: {memory: 8Mi}, default: {memory: 8Mi}}", "{}", (0, 1)),
    ("{type: Container, min: {cpu: 50m, memory: 32Mi}}", "{}", (4, 0)),
    ("{type: Container, default: {memory: 8Mi}, defaultRequest: {memory: 8Mi}}", "{}", (3, 2)),
    (
        "{type: Container, maxLimitRequestRatio: {memory: '2'}, default: {memory: 64Mi}}",
        "{requests: {memory: 30Mi}}",
        (3, 3),
    ),
    // Of all containers together.
    ("{type: Pod, max: {memory: 300Mi}}", "{requests: {memory: 60Mi}}", (2, 1)),
    // The only limit of a pod that has none would be the sidecar's.
    (
        "{type: Pod, min: {memory: 25Mi}}",
        "{requests: {memory: 16Mi}, limits: {memory: 20Mi}}",
        (4, 1),
    ),
    // What a burstable pod has is little more than what it requests; the sidecar has much more.
    (
        "{type: Pod, maxLimitRequestRatio: {memory: '2'}}",
        "{requests: {memory: 16Mi}, limits: {memory: 300Mi}}",
        (3, 1),
    ),
];

/// Pods with more and more resources.
fn pods() -> Vec<Value> {
    let resources = [
        json!({}),
        json!({"requests": {"cpu": "100m", "memory": "40Mi"}}),
        json!({"limits": {"cpu": "100m", "memory": "30Mi"}}),
        json!({"limits": {"cpu": "200m", "memory": "200Mi"}}),
        json!({"requests": {"cpu": "200m", "memory": "250Mi"},
               "limits": {"cpu": "400m", "memory": "260Mi"}}),
    ];
    let with = |resources: &Value| {
        let mut pod = pod();
        pod["spec"]["containers"][0]["resources"] = resources.clone();
        pod
    };
    let mut pods: Vec<Value> = resources.iter().map(with).collect();
    // What an init container needs counts where it is more than the rest.
    let mut init = with(&resources[2]);
    let own = json!({"limits": {"cpu": "300m", "memory": "280Mi"}});
    init["spec"]["initContainers"] = json!([
        {"name": "beside", "image": "a", "restartPolicy": "Always", "resources": resources[2]},
        {"name": "before", "image": "a", "resources": own},
    ]);
    pods.push(init);
    pods
}

fn rendered(limits: &str, resources: &str) -> (McpServer, Injection, Value) {
    let spec = format!(
        "{{selector: {{matchLabels: {{app: weather}}}}, proxy: {{resources: {resources}}}}}"
    );
    let server = McpServer::new("weather", serde_yaml::from_str(&spec).expect("a spec"));
    let limits: Value = serde_yaml::from_str(limits).expect("limits");
    let limits = json!({"metadata": {"name": "limits"}, "spec": {"limits": [limits]}});
    (server.clone(), render(&server, &[]), limits)
}

fn render(server: &McpServer, limits: &[LimitRange]) -> Injection {
    let target = target::resolve(server, None).expect("a target");
    let defaults = Defaults::default();
    let order =
        Order { server, target: &target, older: &[], services: &[], limits, defaults: &defaults };
    render::render(order).expect("an injection")
}

async fn compare(cluster: &Cluster) {
    for (limits, resources, wanted) in CASES {
        let (server, plain, range) = rendered(limits, resources);
        let pair = Pair::new(cluster, &[]).await;
        // What the policy is known to know before there are limits.
        cluster.publish(&pair.inside, &server, &json!(plain)).await;
        cluster.injects(&pair.inside, &pod(), &plain).await;
        let mut read = None;
        for namespace in [&pair.inside, &pair.outside] {
            let path = format!("/api/v1/namespaces/{namespace}/limitranges");
            // As the API server has it, with its defaults.
            read = Some(cluster.post(&path, &range).await.expect("limits"));
        }
        let read = serde_json::from_value(read.expect("limits")).expect("a LimitRange");
        let injection = render(&server, &[read]);
        assert_eq!(injection.revision, plain.revision, "pods would be restarted");
        cluster.republish(&pair.inside, "weather", &json!(injection)).await;
        settle(cluster, &pair, &injection).await;
        let mut outcomes = Vec::new();
        for pod in pods() {
            let outcome = pair.compare(cluster, &pod, &injection).await;
            if outcome == Outcome::Skipped {
                refused_with_sidecar(cluster, &pair, &pod, &injection).await;
            }
            outcomes.push(outcome);
        }
        eprintln!("{limits} {resources}: {outcomes:?}");
        let count = |outcome| outcomes.iter().filter(|it| **it == outcome).count();
        let counts = (count(Outcome::Injected), count(Outcome::Skipped));
        assert_eq!(counts, wanted, "{limits} {resources}: {outcomes:?}");
    }
}

/// Checks that a pod is skipped for its limits, and for good reason.
async fn refused_with_sidecar(cluster: &Cluster, pair: &Pair, pod: &Value, injection: &Injection) {
    let mut plain = cluster.dry_run(&pair.outside, pod).await.expect("a pod");
    let skip = splice(&plain, injection).expect_err("it is skipped");
    assert_eq!(skip.reason(), "Limits");
    let heedless = Injection { limits: Limits::default(), ..injection.clone() };
    let patch = splice(&plain, &heedless).expect("nothing else is in the way");
    json_patch::patch(&mut plain, &patch).expect("the patch applies");
    let why = cluster.dry_run(&pair.outside, &plain).await.expect_err("it is refused");
    eprintln!("skipped, for {why}");
}

/// Waits until the API server has taken note of the limits and of what they make of the injection.
async fn settle(cluster: &Cluster, pair: &Pair, injection: &Injection) {
    for pod in pods() {
        eventually("the limits are known", PATIENCE, async || {
            pair.compared(cluster, &pod, injection).await.ok()
        })
        .await;
    }
}

#[tokio::test]
async fn no_pod_is_refused_because_of_limits_with_the_policy() {
    let Some(cluster) = Cluster::with_policy().await else { return };
    compare(&cluster).await;
}

#[tokio::test]
async fn no_pod_is_refused_because_of_limits_with_the_webhook() {
    let cluster = Cluster::start().await;
    let _hook = Hook::start(&cluster).await;
    compare(&cluster).await;
}
