//! Servers on standard streams, of which the sidecar makes servers over HTTP.

use std::{fs, net::IpAddr};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::{client::legacy::Client as HttpClient, rt::TokioExecutor};
use mcpulse_tests::{Client, client::Call, eventually};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, PATIENCE, is_ready, on_cluster, pods_path, text},
    faults::{process, status},
    install,
    workload::{SERVICE, Workload, mcp_server},
};

/// The port of the sidecar.
const PORT: u16 = 8080;
const SPEC: &str = "transport: {type: Stdio}";
const GO: Workload =
    Workload { probe: "", ..Workload::with("go", "[]", 8000, "command: [/everything]") };

/// Has pods of a server run, of which the sidecar makes one over HTTP.
async fn start(
    cluster: &Cluster,
    name: &str,
    (workload, spec): (Workload, &str),
) -> (String, Vec<Value>) {
    let namespace = cluster.namespace(name, &[]).await;
    cluster.apply(&namespace, &mcp_server(spec)).await;
    cluster.rendered(&namespace, "server").await;
    let manifests = format!("{workload}---{SERVICE}");
    // Who speaks on standard streams has no port.
    let manifests = manifests.replace("ports: [{name: mcp, containerPort: 8000}]", "");
    cluster.apply(&namespace, &manifests).await;
    let replicas = usize::try_from(workload.replicas).expect("a few");
    let pods = cluster.ready(&namespace, "server", replicas, 1).await;
    (namespace, pods)
}

#[test]
fn go_python_and_node() {
    on_cluster(async |cluster: &Cluster| {
        let python = Workload { probe: "", ..Workload::new("python", "[stdio]", 8000) };
        let of_python =
            "transport: {type: Stdio, stdio: {command: [/usr/bin/python3, /app/mcp2.py]}}";
        let script = "command: [/usr/bin/node, \
                      /app/node_modules/@modelcontextprotocol/server-everything/dist/index.js]";
        let node = Workload { probe: "", ..Workload::with("node", "[stdio]", 8000, script) };
        let add = Call::new("add", json!({"a": 1, "b": 2}));
        let echo = Call::new("echo", json!({"message": "hello"}));
        let greet = Call::new("greet", json!({"name": "you"}));
        for (name, workload, spec, client, call, says) in [
            ("stdio-go", GO, SPEC, Client::Rmcp, greet, "Hi you"),
            ("stdio-python", python, of_python, Client::Mcp2, add, "3"),
            ("stdio-node", node, SPEC, Client::Sdk1, echo, "Echo: hello"),
        ] {
            let (namespace, pods) = start(cluster, name, (workload, spec)).await;
            let url = cluster.url(&namespace, "/mcp").await;
            assert_eq!(cluster.call(client, &url, &call).await, says, "{name}");
            let server = format!("{namespace}/server");
            let reported = cluster.reported(install::NAMESPACE, &server, 1).await;
            assert_eq!(reported[0]["tool"], call.name);
            cluster.scrape(&pods[0]).await.assert_balanced();
            if name == "stdio-node" {
                let log = cluster.told(&namespace, &["logs", "deployment/server"]).await;
                assert!(log.contains("Starting default (STDIO) server"), "{log}");
            }
        }
    });
}

#[test]
fn sessions_have_processes_of_their_own_in_each_replica() {
    on_cluster(async |cluster: &Cluster| {
        const SESSIONS: usize = 20;
        let (namespace, pods) =
            start(cluster, "replicas", (Workload { replicas: 3, ..GO }, SPEC)).await;
        let call = [Call::new("greet", json!({"name": "you"}))];
        let mut sessions = Vec::new();
        for number in 0..SESSIONS {
            let address = text(&pods[number % pods.len()]["status"]["podIP"]).to_owned();
            let url = format!("http://{address}:{PORT}/mcp");
            sessions.push(cluster.open(Client::Rmcp, &url, &call).await);
        }
        let running = || pods.iter().map(programs).collect::<Vec<_>>();
        assert_eq!(running(), [7, 7, 6]);
        for session in sessions {
            session.close().await;
        }
        eventually("no program is left", PATIENCE, async || (running() == [0, 0, 0]).then_some(()))
            .await;
        cluster.reported(install::NAMESPACE, &format!("{namespace}/server"), SESSIONS).await;
    });
}

#[test]
fn sessions_outlive_their_sidecar() {
    on_cluster(async |cluster: &Cluster| {
        let (namespace, pods) = start(cluster, "outlived", (GO, SPEC)).await;
        cluster.node.tag("mcpulse-proxy", "localhost/mcpulse-proxy:third");
        let session = Session::open(&pods[0]).await;
        let server = format!("{namespace}/server");
        session.greet().await;
        // What a sidecar has not told when it is killed, nobody is told.
        cluster.reported(install::NAMESPACE, &server, 1).await;
        assert_eq!(programs(&pods[0]), 1);
        let sidecar = |pod: &Value| status(pod, "initContainerStatuses", "mcpulse-proxy").clone();
        let again = async |before: &Value| {
            let path = pods_path(&namespace, "server");
            let id = sidecar(before)["containerID"].clone();
            let what = "another sidecar is ready";
            cluster
                .until(what, &path, |list| {
                    let pod = &list["items"][0];
                    (sidecar(pod)["containerID"] != id && is_ready(pod)).then(|| pod.clone())
                })
                .await
        };
        let killed = process(text(&sidecar(&pods[0])["containerID"]));
        kill_process(killed, Signal::KILL).expect("it is killed");
        let second = again(&pods[0]).await;
        session.greet().await;
        let image = "transport: {type: Stdio}\n  proxy: {image: 'localhost/mcpulse-proxy:third'}";
        cluster.apply(&namespace, &mcp_server(image)).await;
        let third = again(&second).await;
        session.greet().await;
        let shim = |pod: &Value| status(pod, "containerStatuses", "server")["containerID"].clone();
        assert_eq!(shim(&third), shim(&pods[0]));
        assert_eq!(programs(&third), 1, "it is the program of before");
        cluster.reported(install::NAMESPACE, &server, 3).await;
    });
}

/// The programs of sessions in a pod: all of its server's container but the shim.
fn programs(pod: &Value) -> usize {
    let container = text(&status(pod, "containerStatuses", "server")["containerID"]);
    let container = container.trim_start_matches("containerd://");
    let processes = fs::read_dir("/proc").expect("Linux tells").flatten();
    let is_one = |process: &fs::DirEntry| {
        let file = |name: &str| fs::read_to_string(process.path().join(name)).unwrap_or_default();
        file("cgroup").contains(container) && file("comm").trim() != "shim"
    };
    processes.filter(is_one).count()
}

/// A session that is held by its id alone, as a client has it that connects anew for each request.
struct Session {
    url: String,
    id: String,
}

impl Session {
    async fn open(pod: &Value) -> Self {
        let address: IpAddr = text(&pod["status"]["podIP"]).parse().expect("an address");
        let url = format!("http://{address}:{PORT}/mcp");
        let mut session = Self { url, id: String::new() };
        let client = json!({"name": "test", "version": "1"});
        let params =
            json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client});
        session.id =
            session.post(&json!({"id": 1, "method": "initialize", "params": params})).await.0;
        session.post(&json!({"method": "notifications/initialized"})).await;
        session
    }

    async fn greet(&self) {
        let params = json!({"name": "greet", "arguments": {"name": "you"}});
        let (_, said) =
            self.post(&json!({"id": 2, "method": "tools/call", "params": params})).await;
        assert!(said.contains("Hi you"), "{said}");
    }

    /// The session's id in the answer, and what that says.
    async fn post(&self, message: &Value) -> (String, String) {
        let mut message = message.clone();
        message["jsonrpc"] = "2.0".into();
        let client = HttpClient::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        let mut request = http::Request::post(&self.url)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2025-11-25");
        if !self.id.is_empty() {
            request = request.header("mcp-session-id", &self.id);
        }
        let request = request.body(message.to_string().into()).expect("a request");
        let answer = client.request(request).await.expect("an answer");
        let status = answer.status();
        let id = answer.headers().get("mcp-session-id").and_then(|id| id.to_str().ok());
        let id = id.unwrap_or_default().to_owned();
        let body = answer.into_body().collect().await.expect("all of it").to_bytes();
        let body = String::from_utf8_lossy(&body).into_owned();
        assert!(status.is_success(), "{message}: {status}: {body}");
        (id, body)
    }
}
