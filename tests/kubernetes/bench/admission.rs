//! How long the admission of pods takes: without injection, by the policy, by the webhook, and by
//! the least that a policy can be. All in turns, each on an API server that has nothing else to do.

use std::{
    fmt::Write as _,
    net::TcpListener,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream};
use mcpulse_operator::{policy, release::Release};
use mcpulse_tests::{Scrape, eventually};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, carries_sidecar},
    operator::{Operator, condition},
};

/// How many McpServers a namespace has.
const SIZES: [usize; 3] = [1, 10, 100];
/// Pods one after another, of which the API server counts how long their admission took.
const TRIED: u32 = 50;
/// Pods that are made as fast as it goes, so many at a time.
const MADE: usize = 100;
const AT_ONCE: usize = 16;
/// Longest wait until an operator has done its part.
const PATIENCE: Duration = Duration::from_mins(4);

/// The policy that does least: none of it is ever evaluated but one condition, which is false.
const LEAST: &str = "
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: least}
spec:
  failurePolicy: Ignore
  reinvocationPolicy: IfNeeded
  paramKind: {apiVersion: mcpulse.io/v1alpha1, kind: McpServer}
  matchConstraints:
    resourceRules:
    - {apiGroups: [''], apiVersions: [v1], resources: [pods], operations: [CREATE]}
  matchConditions:
  - {name: never, expression: 'false'}
  mutations:
  - {patchType: JSONPatch, jsonPatch: {expression: '[JSONPatch{op: \"remove\", path: \"/a\"}]'}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: least}
spec: {policyName: least, paramRef: {selector: {}, parameterNotFoundAction: Allow}}
";

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Engine {
    None,
    Least,
    Policy,
    Webhook,
}

const ENGINES: [Engine; 4] = [Engine::None, Engine::Least, Engine::Policy, Engine::Webhook];

/// An API server, and the operator that renders its McpServers.
struct Contender {
    engine: Engine,
    cluster: Cluster,
    _operator: Operator,
    namespaces: Vec<String>,
}

/// What was measured once, or the median of that.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    /// The mean of the API server's own histogram, in milliseconds.
    admission: f64,
    /// Pods a second.
    rate: f64,
}

/// The tables as README has them.
pub(super) async fn table(rounds: usize) -> String {
    let mut contenders = Vec::new();
    for engine in ENGINES {
        contenders.push(Contender::start(engine).await);
    }
    let mut figures = [[(); SIZES.len()]; ENGINES.len()].map(|row| row.map(|()| Vec::new()));
    let mut waits = [const { Vec::new() }; ENGINES.len()];
    for _ in 0..rounds {
        for (at, contender) in contenders.iter().enumerate() {
            for (size, namespace) in contender.namespaces.iter().enumerate() {
                figures[at][size].push(contender.measure(namespace).await);
            }
            if contender.injects() {
                waits[at].push(contender.wait_for_first().await);
            }
        }
    }
    let median = |mut values: Vec<f64>| {
        values.sort_unstable_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let version = contenders[0].cluster.plane.version().await;
    let mut out = format!(
        "Kubernetes {version}, {rounds} rounds\n\n\
         | `McpServer`s in the namespace | admission of a pod: none | least | policy | webhook | \
         policy of webhook | pods a second: none | policy | webhook |\n\
         |---|---|---|---|---|---|---|---|---|\n"
    );
    for (size, count) in SIZES.iter().enumerate() {
        let of = |engine: Engine| {
            let rounds: &Vec<Figures> = &figures[engine as usize][size];
            let of = |figure: fn(&Figures) -> f64| median(rounds.iter().map(figure).collect());
            Figures { admission: of(|it| it.admission), rate: of(|it| it.rate) }
        };
        let [none, least, policy, webhook] = ENGINES.map(of);
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "| {count} | {:.2} ms | {:.2} ms | {:.2} ms | {:.2} ms | {:.2} | {:.0} | {:.0} | \
             {:.0} |",
            none.admission,
            least.admission,
            policy.admission,
            webhook.admission,
            policy.admission / webhook.admission,
            none.rate,
            policy.rate,
            webhook.rate,
        );
    }
    let [_, _, policy, webhook] = waits.map(median);
    let _ = writeln!(
        out,
        "\nFrom `kubectl apply` of a `McpServer` to the first injected pod: {policy:.2} s by the \
         policy, {webhook:.2} s by the webhook."
    );
    out
}

impl Contender {
    /// Starts an API server with a namespace of each size, and waits until everything is rendered.
    async fn start(engine: Engine) -> Self {
        let cluster = Cluster::start().await;
        cluster.make_namespace("mcpulse-system").await;
        let rights = Operator::rights(&cluster, None).await;
        let port = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
        let port = port.expect("a free port").port();
        let (listen, url) = (format!("127.0.0.1:{port}"), format!("https://127.0.0.1:{port}"));
        let injection = if engine == Engine::Webhook { "webhook" } else { "policy" };
        let arguments = ["--injection", injection, "--webhook-listen", &listen];
        let arguments = [&arguments[..], &["--webhook-url", &url]].concat();
        let operator = Operator::with(&cluster, &rights, "one", &arguments).await;
        match engine {
            Engine::None | Engine::Webhook => {}
            Engine::Least => cluster.apply(LEAST).await,
            Engine::Policy => {
                cluster.apply(&policy::injection(&policy::FORMATS, &Release::default())).await;
            }
        }
        let mut contender = Self { engine, cluster, _operator: operator, namespaces: Vec::new() };
        for size in SIZES {
            let namespace = contender.cluster.plane.namespace("size", &[]).await;
            let path = of_servers(&namespace);
            for number in 0..size {
                contender.cluster.post(&path, &server(number)).await.expect("a McpServer");
            }
            let all = |list: &Value| {
                let told = |one: &&Value| {
                    let told = condition(one, "Ready")["observedGeneration"] == 1;
                    told && one["status"]["injection"].is_object()
                };
                let told = list["items"].as_array()?.iter().filter(told).count();
                (told == size).then_some(())
            };
            let cluster = &contender.cluster;
            cluster.within(PATIENCE, "each McpServer is rendered", &path, all).await;
            contender.comes_as_it_should(&namespace).await;
            contender.namespaces.push(namespace);
        }
        contender
    }

    fn injects(&self) -> bool {
        matches!(self.engine, Engine::Policy | Engine::Webhook)
    }

    /// Waits until the API server does what this is about.
    async fn comes_as_it_should(&self, namespace: &str) {
        let what = format!("{:?} does its part", self.engine);
        eventually(&what, PATIENCE, async || {
            let told = self.cluster.dry_run(namespace, &pod()).await.ok()?;
            let begun = self.engine != Engine::Least || self.evaluated("least").await;
            (begun && carries_sidecar(&told) == self.injects()).then_some(())
        })
        .await;
    }

    /// Whether the conditions of a policy were ever evaluated.
    async fn evaluated(&self, policy: &str) -> bool {
        const COUNT: &str = "apiserver_admission_match_condition_evaluation_seconds_count";
        self.scrape().await.sum(COUNT, &[("name", policy)]) > 0.5
    }

    async fn scrape(&self) -> Scrape {
        let request = http::Request::get("/metrics").body(Vec::new()).expect("a request");
        let text = self.cluster.client().request_text(request).await.expect("its metrics");
        Scrape::parse(&text)
    }

    /// Measures once.
    async fn measure(&self, namespace: &str) -> Figures {
        let admission = self.admission(namespace).await;
        let path = format!("/api/v1/namespaces/{namespace}/pods");
        let pod = pod();
        let begun = Instant::now();
        let made = stream::iter(0..MADE).map(|_| self.cluster.post(&path, &pod));
        let made: Vec<_> = made.buffer_unordered(AT_ONCE).collect().await;
        let took = begun.elapsed();
        for pod in made {
            assert_eq!(carries_sidecar(&pod.expect("a pod")), self.injects());
        }
        let gone = format!("{path}?gracePeriodSeconds=0");
        self.cluster.request("DELETE", &gone, &Value::Null).await.expect("they are deleted");
        let none = |list: &Value| list["items"].as_array()?.is_empty().then_some(());
        self.cluster.until("there are no pods", &path, none).await;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        Figures { admission, rate: MADE as f64 / took.as_secs_f64() }
    }

    /// The mean time that admission changed pods for, in milliseconds; measured again where
    /// something else was created meanwhile.
    async fn admission(&self, namespace: &str) -> f64 {
        const STEP: &str = "apiserver_admission_step_admission_duration_seconds";
        let labels = [("operation", "CREATE"), ("type", "admit"), ("rejected", "false")];
        let read = async || {
            let scrape = self.scrape().await;
            ["count", "sum"].map(|of| scrape.sum(&format!("{STEP}_{of}"), &labels))
        };
        eventually("nothing but the pods is created", PATIENCE, async || {
            let [count, sum] = read().await;
            for _ in 0..TRIED {
                let told = self.cluster.dry_run(namespace, &pod()).await.expect("a pod");
                assert_eq!(carries_sidecar(&told), self.injects());
            }
            let [count_after, sum_after] = read().await;
            let (count, sum) = (count_after - count, sum_after - sum);
            let alone = (count - f64::from(TRIED)).abs() < 0.5;
            alone.then(|| sum * 1000.0 / count)
        })
        .await
    }

    /// From applying a McpServer in a namespace that has none to the first pod that comes
    /// injected, in seconds.
    async fn wait_for_first(&self) -> f64 {
        let namespace = self.cluster.plane.namespace("first", &[]).await;
        let mut server = server(0);
        server["metadata"]["namespace"] = namespace.as_str().into();
        let begun = Instant::now();
        self.cluster.apply(&server.to_string()).await;
        eventually("a pod is injected", PATIENCE, async || {
            let told = self.cluster.dry_run(&namespace, &pod()).await.ok()?;
            carries_sidecar(&told).then_some(())
        })
        .await;
        let took = begun.elapsed().as_secs_f64();
        let path = format!("{}/s0", of_servers(&namespace));
        self.cluster.request("DELETE", &path, &Value::Null).await.expect("it is deleted");
        took
    }
}

fn of_servers(namespace: &str) -> String {
    format!("/apis/mcpulse.io/v1alpha1/namespaces/{namespace}/mcpservers")
}

fn server(number: usize) -> Value {
    let name = format!("s{number}");
    json!({
        "apiVersion": "mcpulse.io/v1alpha1",
        "kind": "McpServer",
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": name}}},
    })
}

/// A pod of the first McpServer.
fn pod() -> Value {
    let ports = json!([{"name": "mcp", "containerPort": 8000}]);
    json!({
        "metadata": {"generateName": "p-", "labels": {"app": "s0"}},
        "spec": {"containers": [{"name": "server", "image": "a", "ports": ports}]},
    })
}
