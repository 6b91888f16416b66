use prometheus::Registry;
use serde_json::{Value, json};
use tokio::sync::mpsc::Receiver;

use super::*;
use crate::{crd::McpServer, render};

struct Fixture {
    webhook: Webhook,
    notices: Receiver<Notice>,
    registry: Registry,
}

/// A `McpServer` of namespace `a` as the operator leaves it.
fn server(name: &str, made: &str) -> McpServer {
    let spec = serde_yaml::from_str("{selector: {matchLabels: {app: a}}}").unwrap();
    let mut server = McpServer::new(name, spec);
    let injection = Some(render::alone(&server));
    server.status = Some(crate::crd::McpServerStatus { injection, ..Default::default() });
    server.metadata.namespace = Some("a".to_owned());
    server.metadata.creation_timestamp = serde_json::from_value(json!(made)).unwrap();
    server
}

fn fixture(servers: Vec<McpServer>) -> Fixture {
    let registry = Registry::new();
    let (notices, receiver) = Notices::new();
    let servers = Servers::known(servers);
    let webhook = Webhook::new(servers, Counters::new(&registry).unwrap(), notices);
    Fixture { webhook, notices: receiver, registry }
}

fn pod() -> Value {
    let container = json!({"name": "server", "ports": [{"name": "mcp", "containerPort": 8000}]});
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"generateName": "a-", "labels": {"app": "a"}, "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "a-1", "uid": "x", "controller": true},
        ]},
        "spec": {"containers": [container]},
    })
}

fn review(namespace: &str, pod: &Value, dry_run: bool) -> Vec<u8> {
    let kind = json!({"group": "", "version": "v1", "kind": "Pod"});
    let resource = json!({"group": "", "version": "v1", "resource": "pods"});
    let request = json!({
        "uid": "1", "kind": kind, "resource": resource, "namespace": namespace,
        "operation": "CREATE", "userInfo": {}, "object": pod, "dryRun": dry_run,
    });
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request,
    });
    review.to_string().into_bytes()
}

impl Fixture {
    fn answer(&self, body: &[u8]) -> Value {
        let review = serde_json::to_value(self.webhook.answer(body)).unwrap();
        assert_eq!(review["apiVersion"], "admission.k8s.io/v1");
        assert_eq!(review["kind"], "AdmissionReview");
        assert_eq!(review["response"]["allowed"], true, "{review}");
        review["response"].clone()
    }

    fn counted(&self, result: &str, reason: &str) -> bool {
        let families = self.registry.gather();
        let mut metrics = families.iter().flat_map(prometheus::proto::MetricFamily::get_metric);
        metrics.any(|metric| {
            let labels = metric.get_label();
            let is = |name: &str, value: &str| {
                labels.iter().any(|label| label.name() == name && label.value() == value)
            };
            is("result", result) && is("reason", reason)
        })
    }
}

#[test]
fn a_pod_gets_the_patch_of_the_oldest_server_that_means_it() {
    let fixture = fixture(vec![
        server("newer", "2026-01-02T00:00:00Z"),
        server("older", "2026-01-01T00:00:00Z"),
    ]);
    let response = fixture.answer(&review("a", &pod(), false));
    assert_eq!((&response["uid"], &response["patchType"]), (&json!("1"), &json!("JSONPatch")));
    let patch: Vec<u8> = serde_json::from_value(response["patch"].clone()).unwrap_or_default();
    let patch = String::from_utf8(patch).unwrap();
    assert!(patch.contains(r#""value":"older""#), "{patch}");
    assert!(response["warnings"].is_null());
    assert!(fixture.counted("injected", ""));

    let elsewhere = fixture.answer(&review("b", &pod(), false));
    assert!(elsewhere["patch"].is_null() && elsewhere["warnings"].is_null());
    assert!(fixture.counted("skipped", "NotSelected"));
}

#[test]
fn a_pod_that_cannot_have_it_is_told_why_and_so_is_its_owner() {
    let mut fixture = fixture(vec![server("a", "2026-01-01T00:00:00Z")]);
    let mut taken = pod();
    taken["spec"]["hostNetwork"] = true.into();
    let response = fixture.answer(&review("a", &taken, true));
    assert!(response["patch"].is_null());
    let warning = response["warnings"][0].as_str().unwrap();
    assert!(warning.starts_with("mcpulse: no sidecar (HostNetwork): "), "{warning}");
    assert!(fixture.notices.try_recv().is_err(), "an event about a dry run");

    fixture.answer(&review("a", &taken, false));
    let notice = format!("{:?}", fixture.notices.try_recv().unwrap());
    assert!(notice.contains("ReplicaSet") && notice.contains("HostNetwork"), "{notice}");
    assert!(fixture.counted("skipped", "HostNetwork"));

    // Who asked for nothing is told nothing.
    let mut out = pod();
    out["metadata"]["labels"]["mcpulse.io/inject"] = "disabled".into();
    let response = fixture.answer(&review("a", &out, false));
    assert!(response["warnings"].is_null());
    assert!(fixture.notices.try_recv().is_err());
}

#[test]
fn a_warning_is_no_longer_than_api_servers_pass_on() {
    let long = Verdict::Failed("ä".repeat(300));
    let response = warned(AdmissionResponse::invalid(""), &long);
    let warning = &response.warnings.unwrap()[0];
    assert!(warning.len() <= LONGEST_WARNING && warning.ends_with('…'), "{warning}");
}

#[test]
fn what_cannot_be_read_is_let_through_with_a_warning() {
    let fixture = fixture(vec![server("a", "2026-01-01T00:00:00Z")]);
    let mut strange: Value = serde_json::from_slice(&review("a", &pod(), false)).unwrap();
    strange["request"]["operation"] = "INVENT".into();
    let response = fixture.answer(strange.to_string().as_bytes());
    assert_eq!(response["uid"], "1");
    assert!(response["warnings"][0].as_str().unwrap().contains("INVENT"), "{response}");
    assert_eq!(fixture.answer(b"{")["uid"], "");
    let mut empty = strange;
    empty["request"]["operation"] = "CREATE".into();
    empty["request"]["object"] = Value::Null;
    assert!(fixture.answer(empty.to_string().as_bytes())["warnings"][0].is_string());
    assert!(fixture.counted("failed", "Failed"));
}
