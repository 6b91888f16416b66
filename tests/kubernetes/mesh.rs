//! A mesh beside us: another mutating webhook, which adds containers of its own and leads every
//! probe to one of them, asked before ours or after it. Pods are whole in the end, and ours once.

use std::{
    convert::Infallible,
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use mcpulse_operator::splice::{Skip, splice};
use mcpulse_tests::{Identity, eventually};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

use crate::{
    cluster::{Cluster, PATIENCE, carries_sidecar},
    hook::Hook,
    weather::{injection, pod, server},
};

/// API servers ask webhooks by the names of their configurations; ours is `mcpulse`.
const BEFORE: &str = "a-mesh";
const AFTER: &str = "z-mesh";
/// Where the mesh answers probes.
const PROBES: u16 = 15020;
const PROXY: &str = "istio-proxy";
const INIT: &str = "istio-init";

/// The webhook of a mesh, until it is dropped.
struct Mesh {
    asked: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

impl Mesh {
    /// Starts it, and has the API server ask it about the pods of a namespace.
    async fn start(cluster: &Cluster, name: &str, namespace: &str) -> Self {
        let identity = Identity::default();
        let acceptor = identity.acceptor(&["http/1.1"]);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let (asked, mut serving) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
        let counted = Arc::clone(&asked);
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, counted) = (acceptor.clone(), Arc::clone(&counted));
                connections.spawn(async move {
                    let Ok(secured) = acceptor.accept(socket).await else { return };
                    let service = service_fn(|request| {
                        counted.fetch_add(1, Ordering::Relaxed);
                        answer(request)
                    });
                    // API servers close connections as they like.
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(secured), service)
                        .await;
                });
            }
        });
        let trusted = BASE64_STANDARD.encode(fs::read(identity.cert()).expect("a certificate"));
        let url = format!("https://localhost:{port}/");
        let only = json!({"matchLabels": {"kubernetes.io/metadata.name": namespace}});
        let configuration = json!({
            "metadata": {"name": name},
            "webhooks": [{
                "name": "mesh.example.com",
                "admissionReviewVersions": ["v1"],
                "clientConfig": {"url": url, "caBundle": trusted},
                "failurePolicy": "Fail",
                "namespaceSelector": only,
                "reinvocationPolicy": "IfNeeded",
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
                           "resources": ["pods"]}],
                "sideEffects": "None",
            }],
        });
        let path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
        cluster.post(path, &configuration).await.expect("a configuration");
        Self { asked, _serving: serving }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.expect("a whole request").to_bytes();
    let review: Value = serde_json::from_slice(&body).expect("JSON");
    let before = &review["request"]["object"];
    let patch = json!(json_patch::diff(before, &meshed(before.clone())));
    let patch = BASE64_STANDARD.encode(patch.to_string());
    let response = json!({"uid": review["request"]["uid"], "allowed": true,
                          "patchType": "JSONPatch", "patch": patch});
    let review = json!({"apiVersion": review["apiVersion"], "kind": review["kind"],
                        "response": response});
    let response = Response::builder().header("content-type", "application/json");
    Ok(response.body(Full::from(review.to_string())).expect("a response"))
}

/// A pod as the mesh has it: each time it sees to what came since.
fn meshed(mut pod: Value) -> Value {
    let spec = pod["spec"].as_object_mut().expect("a spec");
    for (list, name) in [("containers", PROXY), ("initContainers", INIT)] {
        let list = spec.entry(list).or_insert_with(|| json!([])).as_array_mut().expect("a list");
        if !list.iter().any(|one| one["name"] == name) {
            let place = if name == INIT { 0 } else { list.len() };
            let ports = json!([{"name": "http-envoy-prom", "containerPort": 15090}]);
            list.insert(place, json!({"name": name, "image": "mesh", "ports": ports}));
        }
        for container in list.iter_mut().filter(|one| one["name"] != name) {
            let name = container["name"].as_str().expect("a name").to_owned();
            for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
                let http = container.pointer_mut(&format!("/{probe}/httpGet"));
                if let Some(http) = http.filter(|http| http["port"] != PROBES) {
                    http["path"] = format!("/app-health/{name}/{probe}").into();
                    http["port"] = PROBES.into();
                }
            }
        }
    }
    pod
}

/// A pod whose probe names the port that is taken over.
fn probed(name: &str) -> Value {
    let mut pod = pod();
    pod["metadata"]["name"] = name.into();
    let probe = json!({"httpGet": {"path": "/ready", "port": "mcp"}});
    pod["spec"]["containers"][0]["readinessProbe"] = probe;
    pod
}

fn names<'a>(pod: &'a Value, list: &str) -> Vec<&'a str> {
    let list = pod["spec"][list].as_array().into_iter().flatten();
    list.filter_map(|one| one["name"].as_str()).collect()
}

/// A namespace in which both inject, in this order.
async fn scene(cluster: &Cluster, order: &str) -> (String, Mesh) {
    let namespace = cluster.plane.namespace("mesh", &[]).await;
    let injection = injection("weather");
    cluster.publish(&namespace, &server("weather"), &json!(injection)).await;
    cluster.injects(&namespace, &pod(), &injection).await;
    let mesh = Mesh::start(cluster, order, &namespace).await;
    eventually("the mesh is asked", PATIENCE, async || {
        let told = cluster.dry_run(&namespace, &pod()).await.expect("a pod");
        names(&told, "containers").contains(&PROXY).then_some(())
    })
    .await;
    (namespace, mesh)
}

/// Makes a pod, and looks at all that is to be in it.
async fn comes_out_whole(cluster: &Cluster, namespace: &str) {
    let path = format!("/api/v1/namespaces/{namespace}/pods");
    let made = cluster.post(&path, &probed("first")).await.expect("it is created");
    assert_eq!(names(&made, "containers"), ["server", PROXY], "{made:#}");
    assert_eq!(names(&made, "initContainers"), [INIT, "mcpulse-proxy"], "{made:#}");
    let (app, sidecar) = (&made["spec"]["containers"][0], &made["spec"]["initContainers"][1]);
    assert_eq!(app["ports"][0]["name"], "mcp-app");
    assert_eq!(app["readinessProbe"]["httpGet"]["port"], PROBES, "the mesh answers it");
    let ports = sidecar["ports"].as_array().expect("ports").iter();
    assert_eq!(ports.filter(|port| port["name"] == "mcp").count(), 1, "{sidecar:#}");
    let env = sidecar["env"].as_array().expect("variables").iter();
    let told = env.filter(|one| one["name"] == "MCPULSE_APP_PORT");
    assert_eq!(told.map(|one| &one["value"]).collect::<Vec<_>>(), ["8000"]);
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        assert_eq!(sidecar[probe]["httpGet"]["port"], PROBES, "{probe}");
    }
    let ours = injection("weather");
    let volumes = names(&made, "volumes");
    for volume in &ours.volumes {
        assert_eq!(volumes.iter().filter(|name| **name == volume["name"]).count(), 1);
    }
    assert_eq!(made["metadata"]["annotations"]["mcpulse.io/revision"], ours.revision.as_str());
    assert_eq!(made["metadata"]["labels"]["mcpulse.io/server"], "weather");

    // What came out goes in again: nothing more comes to it.
    assert_eq!(splice(&made, &ours).err(), Some(Skip::AlreadyInjected));
    let metadata = &made["metadata"];
    let again = json!({
        "metadata": {"name": "again", "labels": metadata["labels"],
                     "annotations": metadata["annotations"]},
        "spec": made["spec"],
    });
    let told = cluster.post(&path, &again).await.expect("it is created again");
    assert_eq!(told["spec"], made["spec"]);
    assert_eq!(told["metadata"]["annotations"], metadata["annotations"]);
}

#[tokio::test]
async fn a_mesh_and_the_policy_are_not_in_each_others_way() {
    let Some(cluster) = Cluster::with_policy().await else { return };
    // Policies come before webhooks; what webhooks change, policies see again.
    let (namespace, mesh) = scene(&cluster, AFTER).await;
    let before = mesh.asked();
    comes_out_whole(&cluster, &namespace).await;
    assert!(mesh.asked() > before);
}

#[tokio::test]
async fn a_mesh_and_the_webhook_are_not_in_each_others_way_whoever_is_first() {
    let cluster = Cluster::start().await;
    let hook = Hook::start(&cluster).await;
    for order in [BEFORE, AFTER] {
        let (namespace, mesh) = scene(&cluster, order).await;
        let (asked, injected) = (mesh.asked(), hook.counted("injected"));
        comes_out_whole(&cluster, &namespace).await;
        assert_eq!(hook.counted("injected"), injected + 1, "{order}: once, and not again");
        // It sees what ours has changed since: twice where it comes first.
        let times = mesh.asked() - asked;
        assert!(times > usize::from(order == BEFORE), "{order}: {times}");
    }
    assert_eq!(hook.counted("failed"), 0);
}

#[tokio::test]
async fn a_server_is_found_beside_the_container_of_a_mesh() {
    let cluster = Cluster::start().await;
    let _hook = Hook::start(&cluster).await;
    let (namespace, _mesh) = scene(&cluster, BEFORE).await;
    let mut undeclared = pod();
    undeclared["metadata"]["labels"]["app"] = "stdio".into();
    undeclared["spec"]["containers"] =
        json!([{"name": "server", "image": "a", "command": ["server"]}]);
    let mut stdio = json!(server("stdio"));
    stdio["spec"] = json!({"selector": {"matchLabels": {"app": "stdio"}},
                           "transport": {"type": "Stdio"}});
    let stdio = serde_json::from_value(stdio).expect("a McpServer");
    let rendered = crate::shape::injection(&stdio);
    cluster.publish(&namespace, &stdio, &json!(rendered)).await;
    eventually("it is injected", PATIENCE, async || {
        let told = cluster.dry_run(&namespace, &undeclared).await.expect("a pod");
        let app = &told["spec"]["containers"][0];
        (carries_sidecar(&told) && app["command"][0] == "/mcpulse/shim").then_some(())
    })
    .await;
}
