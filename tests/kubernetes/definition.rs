//! The definition of McpServer on a real API server: each rule and each bound holds, with a
//! message that says what to write; the status is the operator's; `kubectl get` shows columns.

use std::collections::BTreeSet;

use mcpulse_operator::crd;
use serde_json::{Value, json};

use crate::{
    cluster::Cluster,
    shape::{self, Shape},
};

/// For each rule its place, a spec that it accepts and one that it refuses. Where no selector is
/// written there is one.
const RULES: [(&str, &str, &str); 33] = [
    ("spec", "selector: {matchLabels: {a: b}}", "selector: null"),
    (
        "spec",
        "{selector: null, targetRef: {kind: Deployment, name: a}}",
        "targetRef: {kind: Deployment, name: a}",
    ),
    (
        "spec",
        "{transport: {type: Stdio, stdio: {listenPort: 9000}}, telemetry: {prometheus: {port: 8080}}}",
        "{transport: {type: Stdio}, telemetry: {prometheus: {port: 8080}}}",
    ),
    (
        "spec",
        "{transport: {http: {port: 8000}}, telemetry: {prometheus: {port: 8001}}}",
        "{transport: {http: {port: 8000}}, telemetry: {prometheus: {port: 8000}}}",
    ),
    ("spec.container", "container: my-server", "container: My_Server"),
    ("spec.proxy.image", "proxy: {image: 'a.b/c:1'}", "proxy: {image: 'a b'}"),
    (
        "spec.proxy.resources",
        "proxy: {resources: {limits: {cpu: 10m}}}",
        "proxy: {resources: {limits: {cpu: 9m}}}",
    ),
    (
        "spec.proxy.resources",
        "proxy: {resources: {requests: {memory: 1Gi}, limits: {memory: 1024Mi}}}",
        "proxy: {resources: {requests: {memory: 1Gi}, limits: {memory: 64Mi}}}",
    ),
    (
        "spec.proxy.resources.limits.cpu",
        "proxy: {resources: {limits: {cpu: '0.5'}}}",
        "proxy: {resources: {limits: {cpu: much}}}",
    ),
    (
        "spec.proxy.resources.limits.memory",
        "proxy: {resources: {limits: {memory: '128e6'}}}",
        "proxy: {resources: {limits: {memory: 64MiB}}}",
    ),
    (
        "spec.proxy.resources.requests.cpu",
        "proxy: {resources: {requests: {cpu: 1m}}}",
        "proxy: {resources: {requests: {cpu: '0'}}}",
    ),
    (
        "spec.proxy.resources.requests.memory",
        "proxy: {resources: {requests: {memory: 1Mi}}}",
        "proxy: {resources: {requests: {memory: -1Mi}}}",
    ),
    (
        "spec.selector",
        "selector: {matchExpressions: [{key: a, operator: Exists}]}",
        "selector: {matchLabels: {}, matchExpressions: []}",
    ),
    (
        "spec.selector.matchExpressions[0]",
        "selector: {matchExpressions: [{key: a, operator: In, values: [b]}]}",
        "selector: {matchExpressions: [{key: a, operator: NotIn}]}",
    ),
    (
        "spec.selector.matchExpressions[0]",
        "selector: {matchExpressions: [{key: a, operator: DoesNotExist}]}",
        "selector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}",
    ),
    (
        "spec.targetRef.name",
        "{selector: null, targetRef: {kind: CronJob, name: a.b-c}}",
        "{selector: null, targetRef: {kind: CronJob, name: cronjob/a}}",
    ),
    (
        "spec.telemetry.mcpulse",
        "telemetry: {mcpulse: {apiKeySecretRef: {name: a, key: b}}}",
        "telemetry: {mcpulse: {enabled: false, apiKeySecretRef: {name: a, key: b}}}",
    ),
    (
        "spec.telemetry.mcpulse.apiKeySecretRef.key",
        "telemetry: {mcpulse: {apiKeySecretRef: {name: a, key: API_KEY.txt}}}",
        "telemetry: {mcpulse: {apiKeySecretRef: {name: a, key: a/b}}}",
    ),
    (
        "spec.telemetry.mcpulse.apiKeySecretRef.name",
        "telemetry: {mcpulse: {apiKeySecretRef: {name: a.b, key: b}}}",
        "telemetry: {mcpulse: {apiKeySecretRef: {name: other/a, key: b}}}",
    ),
    (
        "spec.telemetry.otlp.headers[0].name",
        "telemetry: {otlp: {headers: [{name: X-Key, secretRef: {name: a, key: b}}]}}",
        "telemetry: {otlp: {headers: [{name: 'X Key', secretRef: {name: a, key: b}}]}}",
    ),
    (
        "spec.telemetry.otlp.headers[0].secretRef.key",
        "telemetry: {otlp: {headers: [{name: a, secretRef: {name: a, key: b}}]}}",
        "telemetry: {otlp: {headers: [{name: a, secretRef: {name: a, key: 'b c'}}]}}",
    ),
    (
        "spec.telemetry.otlp.headers[0].secretRef.name",
        "telemetry: {otlp: {headers: [{name: a, secretRef: {name: a, key: b}}]}}",
        "telemetry: {otlp: {headers: [{name: a, secretRef: {name: A, key: b}}]}}",
    ),
    (
        "spec.transport",
        "transport: {type: Stdio, stdio: {command: [a]}}",
        "transport: {type: Stdio, http: {port: 8000}}",
    ),
    (
        "spec.transport",
        "transport: {type: SSE, http: {port: 8000}}",
        "transport: {stdio: {command: [a]}}",
    ),
    (
        "spec.transport.http",
        "transport: {http: {takeover: MovePort, movePort: {env: PORT}}}",
        "transport: {http: {takeover: MovePort}}",
    ),
    (
        "spec.transport.http",
        "transport: {http: {takeover: PodIP}}",
        "transport: {http: {movePort: {env: PORT}}}",
    ),
    (
        "spec.transport.http.movePort",
        "transport: {http: {takeover: MovePort, movePort: {arg: --port}}}",
        "transport: {http: {takeover: MovePort, movePort: {arg: --port, env: PORT}}}",
    ),
    (
        "spec.transport.http.movePort.arg",
        "transport: {http: {takeover: MovePort, movePort: {arg: -p}}}",
        "transport: {http: {takeover: MovePort, movePort: {arg: --port=8000}}}",
    ),
    (
        "spec.transport.http.movePort.env",
        "transport: {http: {takeover: MovePort, movePort: {env: _PORT1}}}",
        "transport: {http: {takeover: MovePort, movePort: {env: 1PORT}}}",
    ),
    (
        "spec.transport.http.path",
        "transport: {http: {path: /}}",
        "transport: {http: {path: '/mcp?a=b'}}",
    ),
    (
        "spec.transport.http.port",
        "transport: {http: {port: 65535}}",
        "transport: {http: {port: 0}}",
    ),
    (
        "spec.transport.http.port",
        "transport: {http: {port: m-1}}",
        "transport: {http: {port: a--b}}",
    ),
    (
        "spec.transport.stdio.idleTimeout",
        "transport: {type: Stdio, stdio: {idleTimeout: 1h30m}}",
        "transport: {type: Stdio, stdio: {idleTimeout: 0s}}",
    ),
];

/// Specs in which every field with a bound is written.
const WHOLE: [&str; 4] = [
    "{container: a, injection: {mode: Enabled, failurePolicy: Ignore}, proxy: {image: a, \
     imagePullSecrets: [{name: a}], logLevel: a, terminationDrainSeconds: 1, resources: \
     {requests: {cpu: '1', memory: '1'}, limits: {cpu: '1', memory: '1'}}}, rollout: {strategy: \
     EvictPods, upgrade: InPlace, maxUnavailable: 1}, selector: {matchLabels: {a: b}, \
     matchExpressions: [{key: a, operator: In, values: [a]}]}, telemetry: {mcpulse: {url: a, \
     capture: None, apiKeySecretRef: {name: a, key: a}}, otlp: {endpoint: a, sample: 0.5, headers: \
     [{name: a, secretRef: {name: a, key: a}}]}, prometheus: {port: 19464, maxTools: 1}}, \
     transport: {http: {port: a, path: /, hostHeader: Rewrite, takeover: MovePort, \
     allowedOrigins: [a], movePort: {env: a}}}}",
    "transport: {http: {takeover: MovePort, movePort: {arg: -a}}}",
    "transport: {type: Stdio, stdio: {command: [a], idleTimeout: 1s, listenPort: 8081, \
     maxProcesses: 1, prestart: 1}}",
    "{selector: null, targetRef: {kind: Deployment, name: a}}",
];

fn server(spec: &str) -> Value {
    let mut spec: Value = serde_yaml::from_str(spec).expect("a spec");
    let fields = spec.as_object_mut().expect("fields");
    fields.entry("selector").or_insert_with(|| json!({"matchLabels": {"app": "a"}}));
    fields.retain(|_, value| !value.is_null());
    json!({"apiVersion": "mcpulse.io/v1alpha1", "kind": "McpServer",
           "metadata": {"name": "a"}, "spec": spec})
}

fn schema() -> Value {
    let definition: Value = serde_yaml::from_str(&crd::yaml().expect("it")).expect("YAML");
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// Every schema below this one with its path, as JSON pointers go through the first item.
fn walk(schema: &Value, path: &str, seen: &mut dyn FnMut(&str, &Value)) {
    seen(path, schema);
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        walk(inner, &format!("{path}/{name}"), seen);
    }
    if schema["items"].is_object() {
        walk(&schema["items"], &format!("{path}/0"), seen);
    }
    if schema["additionalProperties"].is_object() {
        walk(&schema["additionalProperties"], &format!("{path}/a"), seen);
    }
}

/// A text of this length that a field accepts.
fn text(path: &str, length: usize) -> String {
    let filled = |start: &str, by: &str| {
        let rest = length.saturating_sub(start.len());
        format!("{start}{}", by.repeat(rest))[..length].to_owned()
    };
    match path.rsplit('/').next().unwrap_or_default() {
        "path" => filled("/", "a"),
        "arg" => filled("-", "a"),
        "idleTimeout" => "1s".repeat(length.div_ceil(2)),
        "cpu" | "memory" => format!("{}1", "0".repeat(length.saturating_sub(1))),
        _ => filled("", "a"),
    }
}

/// As many items as this, like the one that is there.
fn items(one: &Value, count: usize) -> Value {
    let item = |number: usize| {
        let mut item = one.clone();
        if item["name"].is_string() {
            item["name"] = format!("a{number}").into();
        }
        item
    };
    (0..count).map(item).collect()
}

/// Values at each bound of a field and beyond it, and what is said of the latter.
fn bounds(path: &str, schema: &Value, value: &Value) -> Vec<(Option<Value>, Value, &'static str)> {
    let mut all = Vec::new();
    let size = |key: &str| schema[key].as_u64().and_then(|size| usize::try_from(size).ok());
    if let Some(most) = size("maxLength") {
        let beyond = text(path, most + 1).into();
        all.push((Some(text(path, most).into()), beyond, "Too long"));
    }
    if let Some(least) = size("minLength") {
        all.push((Some(text(path, least).into()), json!(""), "should be at least"));
    }
    if let Some(most) = size("maxItems") {
        let beyond = items(&value[0], most + 1);
        all.push((Some(items(&value[0], most)), beyond, "Too many"));
    }
    if let Some(most) = size("maxProperties") {
        let labels = |count: usize| -> Value {
            (0..count).map(|number| (format!("a{number}"), json!("b"))).collect()
        };
        all.push((Some(labels(most)), labels(most + 1), "Too many"));
    }
    let number = |number: f64| {
        if schema["type"] == "integer" {
            serde_json::from_str(&format!("{number:.0}")).expect("a number")
        } else {
            json!(number)
        }
    };
    if let Some(most) = schema["maximum"].as_f64() {
        all.push((Some(number(most)), number(most + 1.0), "should be less than or equal to"));
    }
    if let Some(least) = schema["minimum"].as_f64() {
        all.push((Some(number(least)), number(least - 1.0), "should be greater than or equal to"));
    }
    if schema["enum"].is_array() {
        all.push((None, json!("Nonsense"), "supported values"));
    }
    all
}

const SERVERS: &str = "/apis/mcpulse.io/v1alpha1/namespaces/default/mcpservers";

async fn create(cluster: &Cluster, server: &Value) -> Result<Value, String> {
    let path = format!("{SERVERS}?dryRun=All&fieldValidation=Strict");
    cluster.post(&path, server).await
}

#[tokio::test]
async fn the_definition_holds_on_a_real_api_server() {
    let cluster = Cluster::start().await;
    rules(&cluster).await;
    every_bound(&cluster).await;
    names(&cluster).await;
    transport_stays(&cluster).await;
    status_and_columns(&cluster).await;
}

async fn rules(cluster: &Cluster) {
    let mut messages = BTreeSet::new();
    walk(&schema()["properties"]["spec"], "spec", &mut |path, schema| {
        let place = path.replace("/0", "[0]").replace('/', ".");
        for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
            let message = rule["message"].as_str().expect("a message").to_owned();
            if !message.contains("cannot change") {
                messages.insert((place.clone(), message));
            }
        }
    });
    let mut unseen = messages.clone();
    let mut wrong = Vec::new();
    for (place, good, bad) in RULES {
        if let Err(why) = create(cluster, &server(good)).await {
            wrong.push(format!("{good} is refused: {why}"));
        }
        let told = create(cluster, &server(bad)).await.err().unwrap_or_default();
        let said = |(at, message): &&(String, String)| at == place && told.contains(message);
        let said: Vec<_> = messages.iter().filter(said).collect();
        if said.is_empty() || !told.contains(&format!("{place}: ")) {
            wrong.push(format!("{bad}: {told}"));
        }
        unseen.retain(|one| !said.contains(&one));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(unseen.is_empty(), "no case for {unseen:#?}");
}

async fn every_bound(cluster: &Cluster) {
    let mut fields = Vec::new();
    walk(&schema()["properties"]["spec"], "/spec", &mut |path, schema| {
        let found = WHOLE.iter().find_map(|spec| {
            let server = server(spec);
            server.pointer(path).is_some().then_some(server)
        });
        let value = found.as_ref().and_then(|server| server.pointer(path)).cloned();
        for case in bounds(path, schema, &value.unwrap_or_default()) {
            let server = found.clone().unwrap_or_else(|| panic!("{path} is in no spec"));
            fields.push((path.to_owned(), server, case));
        }
    });
    assert!(fields.len() > 60, "{} bounds", fields.len());
    let mut wrong = Vec::new();
    for (path, server, (at, beyond, says)) in fields {
        let with = |value: Value| {
            let mut server = server.clone();
            *server.pointer_mut(&path).expect("the field") = value;
            server
        };
        if let Err(why) = create(cluster, &at.map_or_else(|| server.clone(), with)).await {
            wrong.push(format!("{path} at its bound ({says}): {why}"));
        }
        let told = create(cluster, &with(beyond)).await.err().unwrap_or_default();
        if !told.contains(says) {
            wrong.push(format!("{path} beyond its bound, which says {says}: {told}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

async fn names(cluster: &Cluster) {
    let mut named = server("{}");
    named["metadata"]["name"] = "a".repeat(63).into();
    create(cluster, &named).await.expect("63 characters");
    named["metadata"]["name"] = "a".repeat(64).into();
    let told = create(cluster, &named).await.expect_err("64 characters");
    assert!(told.contains("write at most 63 characters"), "{told}");
}

async fn transport_stays(cluster: &Cluster) {
    let mut made = server("{}");
    made["metadata"]["name"] = "lasting".into();
    let mut made = cluster.post(SERVERS, &made).await.expect("a McpServer");
    let path = format!("{SERVERS}/lasting");
    made["spec"]["transport"] = json!({"type": "SSE"});
    let mut made = cluster.request("PUT", &path, &made).await.expect("another kind of HTTP");
    made["spec"]["transport"] = json!({"type": "Stdio"});
    let told = cluster.request("PUT", &path, &made).await.expect_err("another kind of pod");
    assert!(told.contains("delete this McpServer and create another"), "{told}");
}

/// What is rendered survives in the status, which only its own path writes; columns show it.
async fn status_and_columns(cluster: &Cluster) {
    let namespace = cluster.plane.namespace("columns", &[]).await;
    let mut seen = BTreeSet::new();
    for name in shape::names() {
        let Shape { mut server, .. } = Shape::read(&name);
        let injection = shape::injection(&server);
        if !seen.insert(injection.revision.clone()) {
            continue;
        }
        server.metadata.name = Some(format!("server-{}", seen.len()));
        cluster.publish(&namespace, &server, &json!(injection)).await;
    }
    let path = format!("/apis/mcpulse.io/v1alpha1/namespaces/{namespace}/mcpservers/server-1");
    let mut made = cluster.get(&path).await.expect("a McpServer");
    let before = made["metadata"]["generation"].clone();
    made["spec"]["container"] = "ignored".into();
    made["status"]["target"] = "pods with app=weather".into();
    made["status"]["injected"] = "2/3".into();
    made["status"]["pods"]["upToDate"] = 1.into();
    let since = "2026-01-01T00:00:00Z";
    made["status"]["conditions"] = json!([{"type": "Ready", "status": "False", "reason": "Missed",
        "message": "", "lastTransitionTime": since}]);
    let written = cluster.request("PUT", &format!("{path}/status"), &made).await;
    let mut written = written.expect("a status");
    assert_eq!(written["spec"]["container"], Value::Null);
    assert_eq!(written["metadata"]["generation"], before);
    written["status"]["injected"] = "3/3".into();
    let written = cluster.request("PUT", &path, &written).await.expect("a spec");
    assert_eq!(written["status"]["injected"], "2/3");

    let mut kubectl = cluster.kubectl();
    kubectl.args(["get", "mcpl", "server-1", "-o", "wide", "-n", &namespace]);
    let told = kubectl.output().await.expect("kubectl runs");
    let told = String::from_utf8(told.stdout).expect("text");
    let [head, row] = told.lines().collect::<Vec<_>>().try_into().expect("two lines");
    let columns = [
        "NAME",
        "TRANSPORT",
        "TARGET",
        "INJECTED",
        "UP-TO-DATE",
        "READY",
        "REASON",
        "PROXY",
        "AGE",
    ];
    assert_eq!(head.split_whitespace().collect::<Vec<_>>(), columns);
    for value in [
        "server-1",
        "StreamableHTTP",
        "pods with app=weather",
        "2/3",
        "False",
        "Missed",
        "mcpulse-proxy:1",
    ] {
        assert!(row.contains(value), "{row}");
    }
}
