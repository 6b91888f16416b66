//! The policy in CEL, the webhook and the splice in Rust make the same of the same pod, and no pod
//! is refused that would have been accepted without them.

use std::collections::BTreeMap;

use mcpulse_operator::{
    crd::{Injection, McpServer},
    splice::splice,
};
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};
use serde_json::{Value, json};

use crate::{
    cluster::Cluster,
    hook::Hook,
    random::{SPECS, any_pod},
    shape::{self, Shape},
};

/// What became of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing: it is refused inside and outside.
    Refused,
    Skipped,
    Injected,
}

/// Two namespaces alike, of which one has a `McpServer`.
pub(crate) struct Pair {
    pub(crate) inside: String,
    pub(crate) outside: String,
}

impl Pair {
    pub(crate) async fn new(cluster: &Cluster, labels: &[(&str, &str)]) -> Self {
        let inside = cluster.plane.namespace("inside", labels).await;
        Self { inside, outside: cluster.plane.namespace("outside", labels).await }
    }

    /// Sends a pod to both, and compares what comes out inside with what Rust makes of it.
    pub(crate) async fn compare(
        &self,
        cluster: &Cluster,
        pod: &Value,
        injection: &Injection,
    ) -> Outcome {
        let compared = self.compared(cluster, pod, injection).await;
        compared.unwrap_or_else(|why| panic!("{why}\nof {pod:#}"))
    }

    /// The same, or how they differ. What Rust changed is sent once more, which gives it the
    /// defaults that what is new lacks.
    pub(crate) async fn compared(
        &self,
        cluster: &Cluster,
        pod: &Value,
        injection: &Injection,
    ) -> Result<Outcome, String> {
        let plain = cluster.dry_run(&self.outside, pod).await;
        let told = cluster.dry_run(&self.inside, pod).await;
        let Ok(plain) = plain else {
            return match told {
                Ok(_) => Err("accepted only inside".to_owned()),
                Err(_) => Ok(Outcome::Refused),
            };
        };
        let told = told.map_err(|why| format!("refused inside: {why}"))?;
        let (wanted, outcome) = match splice(&plain, injection) {
            Ok(patch) => {
                let mut spliced = plain;
                json_patch::patch(&mut spliced, &patch).expect("the patch applies");
                (cluster.dry_run(&self.outside, &spliced).await?, Outcome::Injected)
            }
            Err(_) => (plain, Outcome::Skipped),
        };
        let (told, wanted) = (settled(&told), settled(&wanted));
        if told == wanted {
            Ok(outcome)
        } else {
            Err(format!("the API server makes {told:#}\nand Rust {wanted:#}"))
        }
    }
}

/// A pod without what differs each time that it is created.
fn settled(pod: &Value) -> Value {
    const TOKEN: &str = "kube-api-access-";
    let text = pod.to_string();
    let mut parts = text.split(TOKEN);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text = text + TOKEN + &part[5..];
    }
    let mut pod: Value = serde_json::from_str(&text).expect("what was JSON");
    for key in ["creationTimestamp", "generation", "managedFields", "namespace", "uid"] {
        pod["metadata"][key].take();
    }
    pod
}

/// The pod as namespaces with restricted Pod Security want it.
fn restricted(mut pod: Value) -> Value {
    for kind in ["containers", "initContainers"] {
        for container in pod["spec"][kind].as_array_mut().into_iter().flatten() {
            container["securityContext"] = json!({
                "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
            });
        }
    }
    pod["spec"]["securityContext"] =
        json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
    pod
}

#[tokio::test]
async fn every_shape_comes_out_of_the_policy_as_it_comes_out_of_rust() {
    let Some(cluster) = Cluster::with_policy().await else { return };
    compare_shapes(&cluster).await;
}

#[tokio::test]
async fn every_shape_comes_out_of_the_webhook_as_it_comes_out_of_rust() {
    let cluster = Cluster::start().await;
    let hook = Hook::start(&cluster).await;
    compare_shapes(&cluster).await;
    assert_eq!(hook.counted("failed"), 0);
}

#[tokio::test]
async fn random_pods_come_out_of_the_policy_as_they_come_out_of_rust() {
    let Some(cluster) = Cluster::with_policy().await else { return };
    compare_random_pods(&cluster).await;
}

#[tokio::test]
async fn random_pods_come_out_of_the_webhook_as_they_come_out_of_rust() {
    let cluster = Cluster::start().await;
    let hook = Hook::start(&cluster).await;
    compare_random_pods(&cluster).await;
    assert_eq!(hook.counted("failed"), 0);
}

async fn compare_shapes(cluster: &Cluster) {
    let strict = [("pod-security.kubernetes.io/enforce", "restricted")];
    let mut pairs = BTreeMap::new();
    let mut seen: Vec<(String, Outcome, Outcome)> = Vec::new();
    for name in shape::names() {
        let Shape { pod, server } = Shape::read(&name);
        let injection = shape::injection(&server);
        let golden = std::fs::read_to_string(shape::golden(&name)).expect("how it comes out");
        let is_injected = !golden.starts_with('#');
        let key = json!(injection).to_string();
        if !pairs.contains_key(&key) {
            let both = [Pair::new(cluster, &[]).await, Pair::new(cluster, &strict).await];
            for pair in &both {
                cluster.publish(&pair.inside, &server, &json!(injection)).await;
            }
            pairs.insert(key.clone(), (both, false));
        }
        seen.push((name, Outcome::Refused, Outcome::Refused));
        let ([lax, strict], known) = pairs.get_mut(&key).expect("its namespaces");
        if is_injected && !*known {
            cluster.injects(&lax.inside, &pod, &injection).await;
            cluster.injects(&strict.inside, &restricted(pod), &injection).await;
            *known = true;
        }
    }
    for (name, in_lax, in_strict) in &mut seen {
        let Shape { pod, server } = Shape::read(name);
        let injection = shape::injection(&server);
        let ([lax, strict], known) = &pairs[&json!(injection).to_string()];
        assert!(*known, "no pod of {name}'s McpServer is injected");
        let golden = std::fs::read_to_string(shape::golden(name)).expect("how it comes out");
        eprintln!("{name}");
        if is_foreign(cluster, &lax.outside, &pod).await {
            let part = format!(", {name}");
            cluster.plane.pass_over(&part, "knows no resources of a whole pod (1.34)").await;
            continue;
        }
        *in_lax = lax.compare(cluster, &pod, &injection).await;
        if *in_lax != Outcome::Refused {
            assert_eq!(*in_lax == Outcome::Skipped, golden.starts_with('#'), "{name}");
        }
        *in_strict = strict.compare(cluster, &restricted(pod), &injection).await;
    }
    let count = |outcome| seen.iter().filter(|one| one.1 == outcome).count();
    let refused: Vec<_> = seen.iter().filter(|one| one.1 == Outcome::Refused).collect();
    let (skipped, injected) = (count(Outcome::Skipped), count(Outcome::Injected));
    eprintln!("{skipped} skipped, {injected} injected, without us refused: {refused:?}");
    assert!(skipped + injected >= 60, "{skipped} and {injected}");
    let strictly = seen.iter().filter(|one| one.2 == Outcome::Injected).count();
    assert!(
        strictly + 1 >= injected,
        "{strictly} of {injected} are injected in a strict namespace"
    );
}

/// Whether a pod asks for what the API server does not know, and leaves away.
async fn is_foreign(cluster: &Cluster, namespace: &str, pod: &Value) -> bool {
    let asked = pod["spec"].get("resources").is_some();
    let told = cluster.dry_run(namespace, pod).await;
    asked && told.is_ok_and(|told| told["spec"].get("resources").is_none())
}

async fn compare_random_pods(cluster: &Cluster) {
    const PODS: usize = 200;
    let mut served = Vec::new();
    for spec in SPECS {
        let spec = format!("{{selector: {{matchLabels: {{app: a}}}}, {spec}}}");
        let server = McpServer::new("a", serde_yaml::from_str(&spec).expect("a spec"));
        let injection = shape::injection(&server);
        let pair = Pair::new(cluster, &[]).await;
        cluster.publish(&pair.inside, &server, &json!(injection)).await;
        served.push((pair, injection));
    }
    // What each of them injects, so that the API server is known to know them.
    for (pair, injection) in &served {
        let ports = json!([{"name": "mcp", "containerPort": 8000}]);
        let ports = injection.port.as_ref().map(|_| ports);
        let container = json!({"name": "a", "image": "a", "command": ["a"],
                               "args": ["--port=8000"], "ports": ports});
        let metadata = json!({"name": "a", "labels": {"app": "a"}});
        let easy = json!({"metadata": metadata, "spec": {"containers": [container]}});
        cluster.injects(&pair.inside, &easy, injection).await;
    }
    let mut runner = TestRunner::deterministic();
    let mut outcomes = Vec::new();
    for number in 0..PODS * 10 {
        let mut pod = any_pod().new_tree(&mut runner).expect("a pod").current();
        acceptable(&mut pod);
        let (pair, injection) = &served[number % served.len()];
        outcomes.push(pair.compare(cluster, &pod, injection).await);
        if outcomes.iter().filter(|outcome| **outcome != Outcome::Refused).count() == PODS {
            break;
        }
    }
    let count = |outcome| outcomes.iter().filter(|one| **one == outcome).count();
    let (skipped, injected) = (count(Outcome::Skipped), count(Outcome::Injected));
    eprintln!("{skipped} skipped, {injected} injected, {} refused", count(Outcome::Refused));
    assert_eq!(skipped + injected, PODS);
    assert!(injected > PODS / 10, "{injected} injected");
}

/// Gives a random pod what every pod needs.
fn acceptable(pod: &mut Value) {
    pod["metadata"]["name"] = "a".into();
    for kind in ["containers", "initContainers"] {
        for container in pod["spec"][kind].as_array_mut().into_iter().flatten() {
            container["image"] = "a".into();
            if kind == "initContainers" {
                // Others may have neither probes nor hooks.
                container["restartPolicy"] = "Always".into();
            }
        }
    }
    let mut volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    if !volumes.any(|volume| volume["name"] == "data") {
        let volumes = pod["spec"]["volumes"].as_array().cloned().unwrap_or_default();
        let data = json!({"name": "data"});
        pod["spec"]["volumes"] = volumes.into_iter().chain([data]).collect();
    }
}
