//! What fails beside a server, which serves on.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
};

use mcpulse_tests::{Client, client::Call, eventually};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, PATIENCE, on_cluster, on_cluster_alone, text},
    install,
    workload::{SERVICE, Workload, mcp_server},
};

fn hello() -> Call {
    Call::new("greet", json!({"name": "you"}))
}

/// A server with its sidecar, whose calls a MCPulse of its namespace is told; the namespace.
async fn start(cluster: &Cluster, name: &str) -> String {
    let namespace = cluster.namespace(name, &[]).await;
    install::receiver(cluster, &namespace).await;
    let reporting = format!("telemetry: {{mcpulse: {{url: 'mcpulse.{namespace}:50051'}}}}");
    cluster.apply(&namespace, &mcp_server(&reporting)).await;
    cluster.rendered(&namespace, "server").await;
    let workload = Workload::new("go", "['-http', '0.0.0.0:8000']", 8000);
    cluster.apply(&namespace, &format!("{workload}---{SERVICE}")).await;
    cluster.ready(&namespace, "server", 1, 1).await;
    namespace
}

/// Has clients call one after the other while something happens, and once more; how many did.
async fn served_while(cluster: &Cluster, url: &str, meanwhile: impl Future<Output = ()>) -> usize {
    let over = AtomicBool::new(false);
    let calling = async {
        let mut calls = 0;
        loop {
            let last = over.load(Ordering::Relaxed);
            assert_eq!(cluster.call(Client::Rmcp, url, &hello()).await, "Hi you");
            calls += 1;
            if last {
                return calls;
            }
        }
    };
    let ending = async {
        meanwhile.await;
        over.store(true, Ordering::Relaxed);
    };
    tokio::join!(calling, ending).0
}

/// The status of a container of a pod.
pub(crate) fn status<'a>(pod: &'a Value, kind: &str, name: &str) -> &'a Value {
    let all = pod["status"][kind].as_array().expect("containers");
    all.iter().find(|status| status["name"] == name).expect("a container")
}

#[test]
fn without_any_operator_new_pods_are_injected() {
    on_cluster(async |cluster: &Cluster| {
        let namespace = start(cluster, "alone").await;
        let scale = async |replicas: &str| {
            let replicas = format!("--replicas={replicas}");
            let words = ["scale", "deployment/mcpulse-operator", &replicas];
            cluster.told(install::NAMESPACE, &words).await;
        };
        scale("0").await;
        cluster.runs(install::NAMESPACE, "mcpulse-operator", 0).await;
        cluster.told(&namespace, &["scale", "deployment/server", "--replicas=3"]).await;
        cluster.ready(&namespace, "server", 3, 1).await;
        scale("2").await;
        cluster.runs(install::NAMESPACE, "mcpulse-operator", 2).await;
    });
}

#[test]
fn the_api_server_and_containerd_start_anew() {
    on_cluster_alone(async |cluster: &Cluster| {
        let namespace = start(cluster, "anew").await;
        let pods = cluster.pods(&namespace, "server").await;
        let url = cluster.url(&namespace, "/mcp").await;
        let calls = served_while(cluster, &url, async {
            cluster.node.restart_api().await;
            cluster.node.restart_containerd().await;
            cluster.ready(&namespace, "server", 1, 1).await;
        })
        .await;
        let server = format!("{namespace}/server");
        cluster.reported(&namespace, &server, calls).await;
        let after = cluster.ready(&namespace, "server", 1, 1).await;
        for (kind, name) in
            [("containerStatuses", "server"), ("initContainerStatuses", "mcpulse-proxy")]
        {
            let same = status(&pods[0], kind, name)["containerID"]
                == status(&after[0], kind, name)["containerID"];
            assert!(same, "{name} was restarted");
        }
        // It can still make pods.
        cluster.told(&namespace, &["scale", "deployment/server", "--replicas=2"]).await;
        cluster.ready(&namespace, "server", 2, 1).await;
    });
}

#[test]
fn a_sidecar_that_is_killed_comes_again_and_the_server_stays() {
    on_cluster(async |cluster: &Cluster| {
        let namespace = start(cluster, "killed").await;
        let before = cluster.pods(&namespace, "server").await;
        let url = cluster.url(&namespace, "/mcp").await;
        let server = format!("{namespace}/server");
        cluster.call(Client::Rmcp, &url, &hello()).await;
        cluster.reported(&namespace, &server, 1).await;
        let sidecar = status(&before[0], "initContainerStatuses", "mcpulse-proxy");
        kill_process(process(text(&sidecar["containerID"])), Signal::KILL).expect("it is killed");
        let path = crate::cluster::pods_path(&namespace, "server");
        let after = cluster
            .until("the sidecar has come again", &path, |list| {
                let pod = &list["items"][0];
                let sidecar = status(pod, "initContainerStatuses", "mcpulse-proxy");
                let again = sidecar["restartCount"] == 1 && sidecar["ready"] == true;
                again.then(|| pod.clone())
            })
            .await;
        let container = |pod: &Value| status(pod, "containerStatuses", "server").clone();
        assert_eq!(container(&after)["containerID"], container(&before[0])["containerID"]);
        cluster.ready(&namespace, "server", 1, 1).await;
        let url = cluster.url(&namespace, "/mcp").await;
        assert_eq!(cluster.call(Client::Rmcp, &url, &hello()).await, "Hi you");
        cluster.reported(&namespace, &server, 2).await;
        cluster.scrape(&after).await.assert_balanced();
    });
}

#[test]
fn while_mcpulse_is_away_calls_wait_for_it() {
    on_cluster(async |cluster: &Cluster| {
        const CALLS: usize = 5;
        let namespace = start(cluster, "away").await;
        let pods = cluster.pods(&namespace, "server").await;
        let url = cluster.url(&namespace, "/mcp").await;
        cluster.told(&namespace, &["scale", "deployment/receiver", "--replicas=0"]).await;
        cluster.ready(&namespace, "receiver", 0, 0).await;
        for _ in 0..CALLS {
            assert_eq!(cluster.call(Client::Rmcp, &url, &hello()).await, "Hi you");
        }
        let scrape = cluster.scrape(&pods[0]).await;
        scrape.assert_balanced();
        assert!((scrape.sum("mcpulse_report_queue_length", &[]) - 5.0).abs() < 0.5);
        cluster.told(&namespace, &["scale", "deployment/receiver", "--replicas=1"]).await;
        cluster.reported(&namespace, &format!("{namespace}/server"), CALLS).await;
        let all = [("sink", "mcpulse"), ("result", "delivered")];
        eventually("all are delivered", PATIENCE, async || {
            let scrape = cluster.scrape(&pods[0]).await;
            scrape.assert_balanced();
            ((scrape.sum("mcpulse_reports_total", &all) - 5.0).abs() < 0.5).then_some(())
        })
        .await;
    });
}

/// The first process of a container.
pub(crate) fn process(container: &str) -> Pid {
    let container = container.trim_start_matches("containerd://");
    let processes = fs::read_dir("/proc").expect("Linux tells").flatten();
    let mut of_it = processes.filter_map(|process| {
        let groups = fs::read_to_string(process.path().join("cgroup")).ok()?;
        let id = process.file_name().to_str()?.parse::<i32>().ok()?;
        groups.contains(container).then_some(id)
    });
    of_it.next().and_then(Pid::from_raw).expect("a process of the container")
}
