//! The definition as it is committed, and what holds for each of its fields.

use serde_json::Value;

use super::*;
use crate::golden::committed;

fn definition() -> Value {
    serde_yaml::from_str(&yaml().unwrap()).unwrap()
}

fn schema() -> Value {
    definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// Every schema below this one with its path.
fn walk(schema: &Value, path: &str, seen: &mut dyn FnMut(&str, &Value)) {
    seen(path, schema);
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        walk(inner, &format!("{path}.{name}"), seen);
    }
    for below in ["items", "additionalProperties"] {
        if schema[below].is_object() {
            walk(&schema[below], &format!("{path}[]"), seen);
        }
    }
}

#[test]
fn the_committed_definitions_are_those_of_the_code() {
    let told = yaml().unwrap();
    committed("../crds/mcpservers.mcpulse.io.yaml", &told);
    committed("../charts/mcpulse/files/definition.yaml", &told);
}

#[test]
fn every_field_says_what_it_is_for() {
    let mut silent = Vec::new();
    walk(&schema()["properties"]["spec"], "spec", &mut |path, schema| {
        if !path.ends_with("[]") && schema["description"].as_str().is_none_or(str::is_empty) {
            silent.push(path.to_owned());
        }
    });
    assert!(silent.is_empty(), "{silent:#?}");
}

#[test]
fn every_list_text_and_map_of_the_spec_has_a_bound() {
    let mut unbounded = Vec::new();
    walk(&schema()["properties"]["spec"], "spec", &mut |path, schema| {
        let bound = match schema["type"].as_str() {
            Some("array") => "maxItems",
            Some("string") if schema["enum"].is_null() => "maxLength",
            Some("object") if schema["additionalProperties"].is_object() => "maxProperties",
            _ => return,
        };
        if schema[bound].is_null() {
            unbounded.push(format!("{path} has no {bound}"));
        }
    });
    assert!(unbounded.is_empty(), "{unbounded:#?}");
}

#[test]
fn every_rule_says_what_to_write() {
    let mut rules = 0;
    walk(&schema(), "", &mut |path, schema| {
        for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
            let message = rule["message"].as_str().unwrap_or_default();
            let said = ["write", "delete", "raise", "leave out"];
            assert!(said.iter().any(|word| message.contains(word)), "{path}: {rule}");
            rules += 1;
        }
    });
    assert!(rules > 15, "{rules} rules");
}

#[test]
fn what_is_not_written_has_its_default_in_the_definition_and_in_the_code() {
    let spec: McpServerSpec = serde_yaml::from_str("{selector: {matchLabels: {app: a}}}").unwrap();
    let written = serde_json::to_value(&spec).unwrap();
    for section in ["transport", "injection", "proxy", "telemetry", "rollout"] {
        let default = &schema()["properties"]["spec"]["properties"][section]["default"];
        assert_eq!(&written[section], default, "{section}");
    }
    assert_eq!(spec.telemetry.prometheus.port, 19464);
    let again: McpServerSpec = serde_json::from_value(written).unwrap();
    assert_eq!(again, spec);
}
