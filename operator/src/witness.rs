//! A pod that nobody has, made to be tried: one that an injection means and finds nothing in the
//! way of, which any namespace accepts.

use serde_json::{Value, json};

use crate::crd::{
    Injection, Selector,
    injection::PortMode,
    selector::{Labels, Operator},
};

/// The pod.
pub fn pod(injection: &Injection) -> Value {
    let mut container = json!({
        "name": injection.container.as_deref().unwrap_or("server"),
        "image": "mcpulse.invalid/witness:1",
        "command": ["server"],
        // Of no cost, and all that a quota may ask for.
        "resources": {"limits": {"cpu": "1m", "memory": "1Mi"}},
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
    });
    if let Some(rule) = &injection.port {
        let number = rule.number.unwrap_or(8000);
        let mut port = json!({"containerPort": number});
        let any = || (rule.mode == PortMode::NamedPort).then_some("mcp");
        if let Some(name) = rule.name.as_deref().or_else(any) {
            port["name"] = name.into();
        }
        container["ports"] = json!([port]);
        if let Some(option) = &rule.arg {
            container["args"] = json!([option, number.to_string()]);
        }
    }
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": "mcpulse-witness-", "labels": labels(&injection.selector),
        },
        "spec": {
            "containers": [container],
            "securityContext":
                {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        },
    })
}

/// Labels that a selector means, unless it contradicts itself.
fn labels(selector: &Selector) -> Labels {
    let mut labels = selector.match_labels.clone();
    for requirement in &selector.match_expressions {
        let wanted = match requirement.operator {
            Operator::In => requirement.values.first().cloned(),
            Operator::Exists => Some(String::new()),
            Operator::NotIn | Operator::DoesNotExist => None,
        };
        if let Some(wanted) = wanted {
            labels.entry(requirement.key.clone()).or_insert(wanted);
        }
    }
    labels
}
