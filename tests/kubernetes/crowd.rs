//! Many McpServers and many pods: what the operator costs then, and that it rests when there is
//! nothing to do.

use std::{fs, time::Duration};

use futures_util::{StreamExt, stream};
use mcpulse_tests::eventually;
use serde_json::{Value, json};

use crate::{cluster::Cluster, operator::Operator};

const SERVERS: usize = 300;
const PODS: usize = 5000;
/// Requests at a time.
const AT_ONCE: usize = 16;
/// Most that the operator may have in memory, in KiB.
const MEMORY: u64 = 64 * 1024;
/// Longest wait until everything is counted.
const PATIENCE: Duration = Duration::from_mins(4);
/// How long it is watched at rest.
const REST: Duration = Duration::from_secs(10);

#[tokio::test]
async fn three_hundred_servers_and_five_thousand_pods_are_little() {
    let cluster = Cluster::with_policy().await;
    let namespace = json!({"metadata": {"name": "mcpulse-system"}});
    cluster.post("/api/v1/namespaces", &namespace).await.expect("a namespace");
    let namespace = cluster.plane.namespace("crowd", &[]).await;
    let pods = format!("/api/v1/namespaces/{namespace}/pods");
    let servers = format!("/apis/mcpulse.io/v1alpha1/namespaces/{namespace}/mcpservers");
    let pod = |number: usize| {
        let ports = json!([{"name": "mcp", "containerPort": 8000}]);
        let env: Vec<Value> = (0..10)
            .map(|at| json!({"name": format!("V{at}"), "value": format!("{number}")}))
            .collect();
        let container = json!({"name": "server", "image": "a", "ports": ports, "env": env});
        let labels = json!({"app": format!("s{}", number % SERVERS)});
        json!({"metadata": {"name": format!("p{number}"), "labels": labels},
               "spec": {"containers": [container]}})
    };
    let make = async |from: usize, to: usize| {
        let made = stream::iter(from..to).map(|number| {
            let (cluster, pods, pod) = (&cluster, &pods, pod(number));
            async move { cluster.post(pods, &pod).await.map(drop) }
        });
        let made: Vec<_> = made.buffer_unordered(AT_ONCE).collect().await;
        made.into_iter().collect::<Result<Vec<_>, _>>().expect("pods");
    };
    make(0, PODS / 2).await;
    let rights = Operator::rights(&cluster, None).await;
    let operator = Operator::with(&rights, "one", &[]);
    operator.leads().await;
    for number in 0..SERVERS {
        let spec = json!({"selector": {"matchLabels": {"app": format!("s{number}")}}});
        let server = json!({
            "apiVersion": "mcpulse.io/v1alpha1",
            "kind": "McpServer",
            "metadata": {"name": format!("s{number}")},
            "spec": spec,
        });
        cluster.post(&servers, &server).await.expect("a McpServer");
    }
    let counted =
        async |state: &str| operator.scrape().await.sum("mcpulse_pods", &[("state", state)]);
    #[expect(clippy::cast_precision_loss, reason = "there are fewer pods than that")]
    let all = async |what: &str, pods: usize| {
        let what = format!("{pods} pods are {what}");
        let reached =
            async || (counted(what.rsplit(' ').next()?).await >= pods as f64).then_some(());
        eventually(&what, PATIENCE, reached).await;
    };
    all("skipped", PODS / 2).await;
    make(PODS / 2, PODS).await;
    all("matched", PODS).await;
    let injected = counted("injected").await;
    assert!(injected > 2000.0, "{injected}");

    // At rest it watches and renews its lease.
    let busy = async || {
        let scrape = operator.scrape().await;
        scrape.sum("mcpulse_reconciles_total", &[]) + scrape.sum("mcpulse_status_writes_total", &[])
    };
    let mut before = -1.0;
    eventually("it rests", PATIENCE, async || {
        let now = busy().await;
        let rests = (now - before).abs() < 0.5;
        before = now;
        tokio::time::sleep(Duration::from_secs(1)).await;
        rests.then_some(())
    })
    .await;
    let (busy_before, cpu) = (busy().await, ticks(operator.pid()));
    tokio::time::sleep(REST).await;
    let cpu = ticks(operator.pid()) - cpu;
    let resident = resident(operator.pid());
    eprintln!("{resident} KiB resident, {cpu} ticks of CPU in {REST:?} at rest");
    assert!((busy().await - busy_before).abs() < 0.5, "nothing is looked at");
    assert!(resident <= MEMORY, "{resident} KiB");
}

/// What a process has in memory, in KiB.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its size");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// The time that a process was on a processor, in ticks.
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("its times");
    let (_, fields) = stat.rsplit_once(')').expect("its name");
    let fields: Vec<&str> = fields.split_whitespace().collect();
    [11, 12].iter().map(|at| fields[*at].parse::<u64>().expect("a time")).sum()
}
