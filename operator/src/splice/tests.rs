//! What holds of every pod, whatever its shape.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{class, pod, splice};
use crate::{
    crd::{Injection, McpServer},
    render::{self, Defaults, Order},
    target,
};

fn injection(spec: &str) -> Injection {
    let spec = format!("{{selector: {{matchLabels: {{app: a}}}}, {spec}}}");
    let server = McpServer::new("a", serde_yaml::from_str(&spec).unwrap());
    let target = target::resolve(&server, None).unwrap();
    let defaults = Defaults::default();
    let order =
        Order { server: &server, target: &target, older: &[], services: &[], defaults: &defaults };
    render::render(order).unwrap()
}

fn injections() -> impl Strategy<Value = Injection> {
    prop::sample::select(vec![
        "transport: {http: {port: mcp}}",
        "container: a, transport: {http: {port: mcp}}",
        "transport: {http: {port: 8000, takeover: NamedPort}}",
        "transport: {http: {port: mcp, takeover: MovePort, movePort: {env: PORT}}}",
        "transport: {http: {port: 8000, takeover: MovePort, movePort: {arg: --port}}}",
        "transport: {http: {port: 8000, takeover: PodIP}}",
        "transport: {http: {port: 8000, takeover: None}}",
        "transport: {type: Stdio, stdio: {command: [a]}}",
        "transport: {type: Stdio}, telemetry: {mcpulse: {apiKeySecretRef: {name: a, key: b}}}",
    ])
    .prop_map(injection)
}

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

fn any_pod() -> impl Strategy<Value = Value> {
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
        json!({"mcpulse.io/revision": "x"}),
        json!({"mcpulse.io/inject": "disabled"}),
    ]));
    let user = maybe(prop::sample::select(vec![json!({"runAsUser": 0}), json!({"runAsUser": 5})]));
    (containers, list(container(), "name"), volumes, annotations, user).prop_map(
        |(containers, init, volumes, annotations, user)| {
            // No name is there twice in a pod, of whichever kind the containers are.
            let taken = |one: &Value| {
                pod::list(&json!({"c": containers}), "c")
                    .iter()
                    .any(|other| other["name"] == one["name"])
            };
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

fn injected(pod: &Value, injection: &Injection) -> Value {
    let mut pod = pod.clone();
    if let Ok(patch) = splice(&pod, injection) {
        json_patch::patch(&mut pod, &patch).unwrap();
    }
    pod
}

fn names(pod: &Value, kind: &str) -> Vec<String> {
    pod::list(&pod["spec"], kind).iter().map(|one| one["name"].to_string()).collect()
}

/// The first value of a field that two entries of a list share.
fn twice(list: &[Value], field: &str) -> Option<String> {
    let mut seen = BTreeSet::new();
    let values = list.iter().map(|one| &one[field]).filter(|value| !value.is_null());
    values.map(ToString::to_string).find(|value| !seen.insert(value.clone()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_pod_is_injected_once(pod in any_pod(), injection in injections()) {
        let once = injected(&pod, &injection);
        prop_assert_eq!(injected(&once, &injection), once);
    }

    #[test]
    fn containers_keep_their_order_and_the_sidecar_starts_before_them(
        pod in any_pod(), injection in injections()
    ) {
        let after = injected(&pod, &injection);
        prop_assert_eq!(names(&after, "containers"), names(&pod, "containers"));
        let mut init = names(&after, "initContainers");
        if after != pod {
            let place = init.iter().position(|name| name == "\"mcpulse-proxy\"").unwrap();
            init.remove(place);
            prop_assert!(init[..place].iter().all(|name| name.contains("istio") || name.contains("linkerd")));
        }
        prop_assert_eq!(init, names(&pod, "initContainers"));
    }

    #[test]
    fn nothing_is_there_twice_that_was_there_once(pod in any_pod(), injection in injections()) {
        let after = injected(&pod, &injection);
        let all: Vec<Value> = pod::containers(&after).cloned().collect();
        prop_assert_eq!(twice(&all, "name"), None);
        prop_assert_eq!(twice(pod::list(&after["spec"], "volumes"), "name"), None);
        for one in &all {
            prop_assert_eq!(twice(pod::list(one, "ports"), "name"), None);
            prop_assert_eq!(twice(pod::list(one, "volumeMounts"), "mountPath"), None);
        }
        if after != pod {
            let sidecar = all.iter().find(|one| one["name"] == "mcpulse-proxy").unwrap();
            let others = all.iter().filter(|one| *one != sidecar);
            let declared: Vec<&Value> = others.flat_map(|one| pod::list(one, "ports")).collect();
            for port in pod::list(sidecar, "ports") {
                let clash = |other: &&&Value| {
                    pod::number(other) == pod::number(port)
                        || (!port["name"].is_null() && other["name"] == port["name"])
                };
                prop_assert_eq!(declared.iter().find(clash), None);
            }
        }
    }

    #[test]
    fn the_pod_keeps_its_class(pod in any_pod(), injection in injections()) {
        prop_assert_eq!(class::of(&injected(&pod, &injection)), class::of(&pod));
    }

    #[test]
    fn other_containers_stay_as_they_are(pod in any_pod(), injection in injections()) {
        let after = injected(&pod, &injection);
        let pairs = pod::list(&after["spec"], "containers").iter().zip(pod::list(&pod["spec"], "containers"));
        let changed = pairs.filter(|(after, before)| after != before).count();
        prop_assert!(changed <= 1, "{changed} containers changed");
        for one in pod::list(&pod["spec"], "initContainers") {
            prop_assert!(pod::list(&after["spec"], "initContainers").contains(one));
        }
    }
}

#[test]
fn random_pods_are_often_enough_injected() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let mut draw = || {
        let pair = (any_pod(), injections()).new_tree(&mut runner).unwrap().current();
        splice(&pair.0, &pair.1).is_ok()
    };
    let injected = (0..500).filter(|_| draw()).count();
    assert!(injected > 75, "{injected} of 500");
}
