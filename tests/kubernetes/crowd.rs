//! Many McpServers and many pods in one namespace: what the operator costs then, and that it rests
//! when there is nothing to do.

use std::{
    collections::BTreeMap,
    env, fs,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use mcpulse_operator::{crd::Injection, splice};
use mcpulse_tests::{Scrape, eventually};
use serde_json::{Value, json};

use crate::{
    cluster::Cluster,
    operator::{Operator, condition},
};

pub(crate) const SERVERS: usize = 300;
/// Pods, unless `MCPULSE_CROWD` says how many.
const PODS: usize = 600;
/// Requests at a time.
const AT_ONCE: usize = 16;
/// Most that the operator may have allocated, in KiB. The program itself is resident beside that,
/// in this build larger than it need be.
const MEMORY: u64 = 40 * 1024;
/// Longest wait until everything is said and counted.
const PATIENCE: Duration = Duration::from_mins(4);
/// How long it is watched at rest.
pub(crate) const REST: Duration = Duration::from_secs(20);
/// What the API server asks of itself now and then, leases and documents without a resource.
const OWN: [&str; 3] = ["", "leases", "services"];

#[tokio::test]
async fn many_servers_and_pods_cost_little_memory_and_no_request_at_rest() {
    let pods = env::var("MCPULSE_CROWD").map_or(PODS, |it| it.parse().expect("a number of pods"));
    let cost = Cost::of(pods).await;
    assert!(cost.allocated <= MEMORY, "{cost:?}");
}

/// What the operator takes among so many pods.
#[derive(Debug)]
pub(crate) struct Cost {
    /// From the first McpServer until each has conditions.
    pub(crate) told: Duration,
    /// Until each pod is counted, half of which were made meanwhile.
    pub(crate) counted: Duration,
    /// Processor time until then.
    pub(crate) work: Duration,
    /// Processor time in [`REST`], in which it asked for nothing but its watches and its lease.
    pub(crate) rest: Duration,
    /// What is in memory at rest, in KiB.
    pub(crate) resident: u64,
    /// What was at most.
    pub(crate) peak: u64,
    /// What of it is allocated.
    pub(crate) allocated: u64,
}

impl Cost {
    /// Measures it.
    pub(crate) async fn of(pods: usize) -> Self {
        // Without the policy: for each pod it would look at each McpServer, and that is not what this
        // is about. Half of the pods are injected here.
        let cluster = Cluster::start().await;
        cluster.make_namespace("mcpulse-system").await;
        let namespace = cluster.plane.namespace("crowd", &[]).await;
        let of_pods = format!("/api/v1/namespaces/{namespace}/pods");
        let of_servers = format!("/apis/mcpulse.io/v1alpha1/namespaces/{namespace}/mcpservers");
        let make = async |path: &str, all: Vec<Value>| {
            let made = stream::iter(&all).map(|one| cluster.post(path, one));
            let made: Vec<_> = made.buffer_unordered(AT_ONCE).collect().await;
            made.into_iter().collect::<Result<Vec<_>, _>>().expect("they are made")
        };
        make(&of_pods, (0..pods / 2).map(pod).collect()).await;
        let rights = Operator::rights(&cluster, None).await;
        let operator = Operator::with(&cluster, &rights, "one", &["--injection", "policy"]).await;
        operator.leads().await;

        let begun = Instant::now();
        make(&of_servers, (0..SERVERS).map(server).collect()).await;
        let told = |list: &Value| {
            let told = items(list).filter(|one| {
                let told = |about: &str| condition(one, about)["observedGeneration"] == 1;
                condition(one, "Accepted")["status"] == "True" && told("Injected") && told("Ready")
            });
            let injections = told.filter_map(|one| {
                let injection = serde_json::from_value(one["status"]["injection"].clone()).ok()?;
                Some((one["metadata"]["name"].as_str()?.to_owned(), injection))
            });
            let injections: BTreeMap<String, Injection> = injections.collect();
            (injections.len() == SERVERS).then_some(injections)
        };
        let injections =
            cluster.within(PATIENCE, "every McpServer has conditions", &of_servers, told).await;
        let told = begun.elapsed();
        let injected = |number: usize| {
            let mut pod = pod(number);
            let changes = splice::splice(&pod, &injections[&name(number)]).expect("it fits");
            json_patch::patch(&mut pod, &changes).expect("a patch");
            pod
        };
        make(&of_pods, (pods / 2..pods).map(injected).collect()).await;
        let all = |list: &Value| {
            let sum =
                |of: &str| items(list).filter_map(|one| one["status"]["pods"][of].as_u64()).sum();
            let (matched, injected): (u64, u64) = (sum("matched"), sum("injected"));
            ((matched, injected) == (pods as u64, pods.div_ceil(2) as u64)).then_some(())
        };
        cluster.within(PATIENCE, "every pod is counted", &of_servers, all).await;
        let (counted, work) = (begun.elapsed(), processor_time(operator.pid()));

        let mut before = requests(&cluster).await;
        let (mut since, mut cpu) = (Instant::now(), processor_time(operator.pid()));
        eventually("it rests", PATIENCE, async || {
            let now = requests(&cluster).await;
            if now != before {
                (before, since, cpu) = (now, Instant::now(), processor_time(operator.pid()));
            }
            (since.elapsed() >= REST).then_some(())
        })
        .await;
        let rest = processor_time(operator.pid()).saturating_sub(cpu);
        let memory = |of: &str| memory(operator.pid(), of);
        let (resident, peak, allocated) = (memory("VmRSS"), memory("VmHWM"), memory("RssAnon"));
        operator.assert_allowed().await;
        let cost = Self { told, counted, work, rest, resident, peak, allocated };
        eprintln!("{pods} pods, {SERVERS} McpServers: {cost:?}");
        cost
    }
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list["items"].as_array().into_iter().flatten()
}

fn name(number: usize) -> String {
    format!("s{}", number % SERVERS)
}

fn server(number: usize) -> Value {
    let name = name(number);
    json!({
        "apiVersion": "mcpulse.io/v1alpha1",
        "kind": "McpServer",
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": name}}},
    })
}

fn pod(number: usize) -> Value {
    let env = (0..10).map(|at| json!({"name": format!("V{at}"), "value": number.to_string()}));
    let env: Vec<Value> = env.collect();
    let ports = json!([{"name": "mcp", "containerPort": 8000}]);
    json!({
        "metadata": {"name": format!("p{number}"), "labels": {"app": name(number)}},
        "spec": {"containers": [{"name": "server", "image": "a", "ports": ports, "env": env}]},
    })
}

/// What was asked of the API server so far, of each kind, but for watches, leases and its own.
async fn requests(cluster: &Cluster) -> Vec<(BTreeMap<String, String>, f64)> {
    let request = http::Request::get("/metrics").body(Vec::new()).expect("a request");
    let text = cluster.client().request_text(request).await.expect("its metrics");
    let scrape = Scrape::parse(&text);
    let counted = scrape.samples().iter().filter(|one| {
        one.name == "apiserver_request_total"
            && one.labels["verb"] != "WATCH"
            && !OWN.contains(&one.labels["resource"].as_str())
    });
    counted.map(|one| (one.labels.clone(), one.value)).collect()
}

/// A figure of what a process has in memory, in KiB.
fn memory(pid: u32, figure: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix(figure)?.strip_prefix(':'));
    line.expect("the figure").trim().trim_end_matches(" kB").parse().expect("a number")
}

/// The time that a process was on a processor.
fn processor_time(pid: u32) -> Duration {
    /// How long a tick is, on every Linux there is.
    const TICK: Duration = Duration::from_millis(10);
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("its times");
    let (_, fields) = stat.rsplit_once(')').expect("its name");
    let fields: Vec<&str> = fields.split_whitespace().collect();
    [11, 12].iter().map(|at| TICK * fields[*at].parse::<u32>().expect("a time")).sum()
}
