//! Random pods, and servers for them.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// Specs of servers, without their selector.
pub(crate) const SPECS: [&str; 9] = [
    "transport: {http: {port: mcp}}, telemetry: {prometheus: {annotations: true}}",
    "container: a, transport: {http: {port: mcp}}",
    "transport: {http: {port: 8000, takeover: NamedPort}}",
    "transport: {http: {port: mcp, takeover: MovePort, movePort: {env: PORT}}}",
    "transport: {http: {port: 8000, takeover: MovePort, movePort: {arg: --port}}}",
    "transport: {http: {port: 8000, takeover: PodIP}}",
    "transport: {http: {port: 8000, takeover: None}}",
    "transport: {type: Stdio, stdio: {command: [a]}}",
    "transport: {type: Stdio}, telemetry: {mcpulse: {apiKeySecretRef: {name: a, key: b}}}",
];

fn word(of: &'static [&'static str]) -> impl Strategy<Value = Value> {
    prop::sample::select(of).prop_map(Value::from)
}

/// A value that is absent as often as not.
fn maybe(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    prop::option::of(value).prop_map(|value| value.unwrap_or(Value::Null))
}

/// A map of those of the fields that are there.
fn fields(fields: Vec<(&'static str, Value)>) -> Value {
    let there = fields.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(there.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}

/// The first of those that have the same value in a field.
fn unique(items: Vec<Value>, field: &str) -> Value {
    let mut seen = BTreeSet::new();
    let fresh = |item: &Value| item[field].is_null() || seen.insert(item[field].to_string());
    items.into_iter().filter(fresh).collect()
}

fn list(item: impl Strategy<Value = Value>, field: &'static str) -> impl Strategy<Value = Value> {
    maybe(prop::collection::vec(item, 0..3).prop_map(move |items| unique(items, field)))
}

fn port() -> impl Strategy<Value = Value> {
    let name =
        maybe(word(&["mcp", "mcp", "mcp", "x", "y", "z", "mcp-app", "mcpulse", "mcpulse-metrics"]));
    let number =
        prop::sample::select(vec![8000, 8000, 8000, 8001, 8002, 8003, 8080, 19464, 19480, 19481]);
    let protocol = maybe(word(&["TCP", "UDP"]));
    (name, number, protocol).prop_map(|(name, number, protocol)| {
        fields(vec![("name", name), ("containerPort", number.into()), ("protocol", protocol)])
    })
}

fn probe() -> impl Strategy<Value = Value> {
    let port = prop_oneof![word(&["mcp", "x"]), Just(json!(8000)), Just(json!(1))];
    let action = word(&["httpGet", "tcpSocket", "grpc"]);
    maybe((action, port).prop_map(|(action, port)| {
        json!({action.as_str().unwrap_or_default(): {"port": port}, "periodSeconds": 3})
    }))
}

fn resources() -> impl Strategy<Value = Value> {
    maybe(prop::sample::select(vec![
        json!({}),
        json!({"requests": {"cpu": "100m"}}),
        json!({"limits": {"cpu": "1", "memory": "1Gi"}}),
        json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1024Mi"}}),
    ]))
}

fn container() -> impl Strategy<Value = Value> {
    let names =
        word(&["a", "a", "b", "c", "d", "e", "f", "mcpulse-proxy", "istio-init", "linkerd-init"]);
    let words = || {
        maybe(
            prop::collection::vec(word(&["--port", "8000", "--port=8000", "run"]), 0..4)
                .prop_map(Value::from),
        )
    };
    let env =
        list(word(&["PORT", "HOME"]).prop_map(|name| json!({"name": name, "value": "1"})), "none");
    let mounts = list(
        word(&["/mcpulse", "/mcpulse/", "/data"])
            .prop_map(|path| json!({"name": "data", "mountPath": path})),
        "mountPath",
    );
    let hook =
        probe().prop_map(|probe| if probe.is_null() { probe } else { json!({"preStop": probe}) });
    (
        names,
        list(port(), "name"),
        (words(), words()),
        env,
        mounts,
        (probe(), probe(), hook),
        resources(),
    )
        .prop_map(
            |(name, ports, (command, args), env, mounts, (live, ready, hook), resources)| {
                fields(vec![
                    ("name", name),
                    ("ports", ports),
                    ("command", command),
                    ("args", args),
                    ("env", env),
                    ("volumeMounts", mounts),
                    ("livenessProbe", live),
                    ("readinessProbe", ready),
                    ("lifecycle", hook),
                    ("resources", resources),
                ])
            },
        )
}

/// Pods with what matters here, more often in each other's way than not.
pub(crate) fn any_pod() -> impl Strategy<Value = Value> {
    // Several containers often declare the same port, and then none is the server.
    let count = prop_oneof![3 => Just(1..2), 1 => Just(2..4)];
    let containers = count
        .prop_flat_map(|count| prop::collection::vec(container(), count))
        .prop_map(|all| unique(all, "name"));
    let volumes = list(
        word(&["data", "y", "z", "mcpulse-config", "x"]).prop_map(|name| json!({"name": name})),
        "name",
    );
    let annotations = maybe(prop::sample::select(vec![
        json!({"a": "b"}),
        json!({"a": "b"}),
        json!({}),
        json!({"prometheus.io/scrape": "false"}),
        json!({"mcpulse.io/revision": "x"}),
        json!({"mcpulse.io/inject": "disabled"}),
    ]));
    let user = maybe(prop::sample::select(vec![json!({"runAsUser": 0}), json!({"runAsUser": 5})]));
    (containers, list(container(), "name"), volumes, annotations, user).prop_map(
        |(containers, init, volumes, annotations, user)| {
            // No name is there twice in a pod, of whichever kind the containers are.
            let all = containers.as_array().cloned().unwrap_or_default();
            let taken = |one: &Value| all.iter().any(|other| other["name"] == one["name"]);
            let init = match init {
                Value::Array(init) => init.into_iter().filter(|one| !taken(one)).collect(),
                init => init,
            };
            let spec = fields(vec![
                ("containers", containers.clone()),
                ("initContainers", init),
                ("volumes", volumes),
                ("securityContext", user),
                ("fieldOfTomorrow", json!([1, 2.5, null])),
            ]);
            let metadata =
                fields(vec![("labels", json!({"app": "a"})), ("annotations", annotations)]);
            json!({"metadata": metadata, "spec": spec})
        },
    )
}
