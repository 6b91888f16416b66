//! `mcpulse-operator inject`: what would happen to pods, in the words that people read.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{ffi::OsString, fs};

use mcpulse_operator::cli;
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: weather, labels: {app: weather}}
spec: {containers: [{name: server, image: a, ports: [{name: mcp, containerPort: 8000}]}]}
";

const SERVER: &str = "
apiVersion: mcpulse.io/v1alpha1
kind: McpServer
metadata: {name: weather}
spec: {selector: {matchLabels: {app: weather}}}
";

struct Ran {
    code: String,
    out: String,
    err: String,
}

impl Ran {
    fn pods(&self) -> Vec<Value> {
        let documents = serde_yaml::Deserializer::from_str(&self.out);
        documents.map(|document| Value::deserialize(document).unwrap()).collect()
    }
}

/// Runs `inject` on files of these contents; what goes wrong is on standard error.
fn inject(files: &[(&str, &str)]) -> Ran {
    inject_with(&[], files)
}

/// The same with further arguments.
fn inject_with(arguments: &[&str], files: &[(&str, &str)]) -> Ran {
    let directory = TempDir::new().unwrap();
    let mut words = vec![OsString::from("mcpulse-operator"), "inject".into()];
    words.extend(arguments.iter().map(OsString::from));
    for (place, (flag, text)) in files.iter().enumerate() {
        let path = directory.path().join(format!("{place}.yaml"));
        fs::write(&path, text).unwrap();
        words.extend([OsString::from(flag), path.into()]);
    }
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = match cli::run(words, &mut out, &mut err) {
        Ok(code) => format!("{code:?}"),
        Err(error) => {
            err.extend(format!("{error:#}").into_bytes());
            "error".to_owned()
        }
    };
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code, out: text(out), err: text(err) }
}

fn success() -> String {
    format!("{:?}", std::process::ExitCode::SUCCESS)
}

fn failure() -> String {
    format!("{:?}", std::process::ExitCode::FAILURE)
}

fn sidecar(pod: &Value) -> &Value {
    &pod["spec"]["initContainers"][0]["name"]
}

#[test]
fn a_pod_comes_out_with_the_sidecar() {
    let ran = inject(&[("-f", POD), ("--server", SERVER)]);
    assert_eq!((ran.code.as_str(), ran.err.as_str()), (success().as_str(), ""));
    assert_eq!(sidecar(&ran.pods()[0]), "mcpulse-proxy");
}

#[test]
fn a_pod_that_does_not_change_is_printed_as_it_was_with_the_reason() {
    let out_of_it = POD.replace("{app: weather}", "{app: weather, mcpulse.io/inject: disabled}");
    let both = format!("{POD}---{out_of_it}");
    let ran = inject(&[("-f", &both), ("--server", SERVER)]);
    assert_eq!(ran.code, failure());
    let pods = ran.pods();
    assert_eq!(sidecar(&pods[0]), "mcpulse-proxy");
    assert_eq!(pods[1], serde_yaml::from_str::<Value>(&out_of_it).unwrap());
    assert_eq!(
        ran.err,
        "Pod weather: OptedOut: the pod opts out by mcpulse.io/inject: disabled; take that away \
         to inject it\n"
    );
}

#[test]
fn what_keeps_a_server_from_being_injected_is_said_with_what_to_do() {
    let service = "{apiVersion: v1, kind: Service, metadata: {name: front}, \
                   spec: {selector: {app: weather}, ports: [{port: 80, targetPort: 8000}]}}";
    let ran = inject(&[("-f", POD), ("--server", SERVER), ("--services", service)]);
    assert_eq!(ran.code, failure());
    for part in ["Pod weather: McpServer weather injects nothing", "NumericTargetPort", "MovePort"]
    {
        assert!(ran.err.contains(part), "{}", ran.err);
    }
}

#[test]
fn an_older_cluster_shows_what_it_gets() {
    let files = [("-f", POD), ("--server", SERVER)];
    let ran = inject_with(&["--kubernetes", "v1.32.13"], &files);
    assert_eq!(ran.code, failure());
    assert!(ran.err.contains("NamedPortUnsupported"), "{}", ran.err);
    let ran = inject_with(&["--kubernetes", "1.33"], &files);
    assert_eq!((ran.code.as_str(), ran.err.as_str()), (success().as_str(), ""));
}

#[test]
fn a_pod_that_nobody_selects_is_told_from_one_that_is_left_to_an_older_server() {
    let other = POD.replace("app: weather", "app: other");
    let ran = inject(&[("-f", &other), ("--server", SERVER)]);
    assert!(ran.err.contains("does not select it; give the pod the labels"), "{}", ran.err);
    let misnamed = SERVER.replace("spec: {", "spec: {container: nobody, ");
    let younger = SERVER.replace("name: weather", "name: younger");
    let ran = inject(&[("-f", POD), ("--server", &misnamed), ("--server", &younger)]);
    assert!(ran.err.contains("NoMatchingContainer: there is no container nobody"), "{}", ran.err);
}

#[test]
fn a_workload_stands_for_the_pods_that_it_makes() {
    let template = "template: {metadata: {labels: {app: weather}}, spec: {containers: \
                    [{name: server, ports: [{name: mcp, containerPort: 8000}]}]}}";
    let workload = format!(
        "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: front}}, \
         spec: {{selector: {{matchLabels: {{app: weather}}}}, {template}}}}}"
    );
    let server = SERVER.replace(
        "{selector: {matchLabels: {app: weather}}}",
        "{targetRef: {kind: Deployment, name: front}}",
    );
    let ran = inject(&[("-f", &workload), ("--server", &server)]);
    assert_eq!((ran.code.as_str(), ran.err.as_str()), (success().as_str(), ""));
    let pod = &ran.pods()[0];
    assert_eq!((sidecar(pod), &pod["kind"]), (&Value::from("mcpulse-proxy"), &Value::from("Pod")));
    let ran = inject(&[("-f", POD), ("--server", &server)]);
    assert!(ran.err.contains("no Deployment front"), "{}", ran.err);
}

#[test]
fn what_cannot_be_read_is_named() {
    for (files, part) in [
        ([("-f", "a: ["), ("--server", SERVER)], "0.yaml, document 1"),
        ([("-f", "a: b"), ("--server", SERVER)], "is no manifest"),
        ([("-f", "kind: Namespace"), ("--server", SERVER)], "there is no pod"),
        ([("-f", POD), ("--server", POD)], "there is no McpServer"),
        (
            [("-f", POD), ("--server", "{kind: McpServer, spec: 5}")],
            "read McpServer without a name",
        ),
    ] {
        let ran = inject(&files);
        assert_eq!((ran.code.as_str(), ran.out.as_str()), ("error", ""), "{}", ran.err);
        assert!(ran.err.contains(part), "{}", ran.err);
    }
}

#[test]
fn the_definition_is_printed() {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let words = ["mcpulse-operator", "crd"].map(OsString::from);
    cli::run(words, &mut out, &mut err).unwrap();
    let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/../crds/mcpservers.mcpulse.io.yaml");
    assert_eq!(String::from_utf8(out).unwrap(), fs::read_to_string(committed).unwrap());
}

#[test]
fn the_policy_is_printed_for_the_namespace_of_the_release() {
    let ran = |words: &[&str]| {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let words = ["mcpulse-operator", "policy"].iter().chain(words).map(OsString::from);
        cli::run(words, &mut out, &mut err).unwrap();
        (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    };
    let parts = ["injection", "refusal", "guard"].map(|part| {
        let committed =
            format!("{}/../policies/{part}.mcpulse.io.yaml", env!("CARGO_MANIFEST_DIR"));
        let committed = fs::read_to_string(committed).unwrap();
        assert_eq!(ran(&[part]).0, committed);
        committed
    });
    assert_eq!(ran(&[]).0, parts.join("---\n"));
    assert!(ran(&["--namespace", "elsewhere"]).0.contains("kube-node-lease, 'elsewhere']"));
    for wrong in ["", "a'b", "A", "-a", "a-"] {
        let (out, err) = ran(&[&format!("--namespace={wrong}")]);
        assert!(out.is_empty() && err.contains("write a name"), "{wrong}: {err}");
    }
}
