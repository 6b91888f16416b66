//! What is rendered, and that the proxy reads it back.

use std::{ffi::OsString, fs};

use k8s_openapi::api::core::v1::{Container, Service, Volume};
use mcpulse_proxy::{
    cli::{self, Environment, Request},
    config::{Config, Upstream},
};
use serde_json::Value;

use super::*;
use crate::{
    crd::{condition::Reason, injection::PortMode},
    target,
};

fn server(spec: &str) -> McpServer {
    let text = format!("{{selector: {{matchLabels: {{app: weather}}}}, {spec}}}");
    let mut server = McpServer::new("weather", serde_yaml::from_str(&text).unwrap());
    server.metadata.namespace = Some("shop".to_owned());
    server
}

fn rendered(server: &McpServer, services: &str) -> Result<Injection, Finding> {
    rendered_by(Version::NEWEST, server, services)
}

fn rendered_by(
    kubernetes: Version,
    server: &McpServer,
    services: &str,
) -> Result<Injection, Finding> {
    rendered_with(&Defaults { kubernetes, ..Defaults::default() }, server, services)
}

fn rendered_with(
    defaults: &Defaults,
    server: &McpServer,
    services: &str,
) -> Result<Injection, Finding> {
    let services: Vec<Service> = serde_yaml::from_str(services).unwrap();
    let target = target::resolve(server, None).unwrap();
    let order =
        Order { server, target: &target, older: &[], services: &services, limits: &[], defaults };
    render(order)
}

fn injection(spec: &str) -> Injection {
    rendered(&server(spec), "[]").unwrap()
}

/// What the proxy makes of the rendered file, in a pod to which no key has come yet.
fn read_back(injection: &Injection, variables: &[(&str, &str)]) -> Config {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = &injection.annotations["mcpulse.io/config"];
    fs::write(file.path(), text).unwrap();
    let words = ["mcpulse-proxy", "run", "--config", file.path().to_str().unwrap()];
    let mut environment = Environment::default();
    let variables = variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
    environment.variables.extend(variables);
    match cli::read(words.map(OsString::from), &environment) {
        Ok(Request::Serve(start)) => {
            assert_eq!(start.notices, Vec::<String>::new());
            *start.config
        }
        other => panic!("{other:?}\n{text}"),
    }
}

const EVERYTHING: &str = "
    container: server,
    transport: {type: SSE, http: {port: 8000, path: /events, hostHeader: Preserve,
      takeover: NamedPort, allowedOrigins: ['https://app.example.com']}},
    proxy: {image: 'a/b:1', imagePullSecrets: [{name: registry}], logLevel: debug,
      terminationDrainSeconds: 5, resources: {requests: {cpu: 20m}, limits: {memory: 128Mi}}},
    telemetry: {prometheus: {port: 19500, maxTools: 50},
      otlp: {endpoint: 'otel.observe:4317', sample: 0.25,
        headers: [{name: X-Tenant, secretRef: {name: otel, key: tenant}}]},
      mcpulse: {url: 'https://mcpulse.example.com', capture: None,
        apiKeySecretRef: {name: mcpulse, key: key}}}";

const PROGRAM: &str = "transport: {type: Stdio, stdio: {command: [node], listenPort: 9000, \
                       maxProcesses: 7, prestart: 2, idleTimeout: 1h30m}}";

#[test]
fn the_proxy_reads_back_every_field_that_is_rendered() {
    let off = "telemetry: {mcpulse: {enabled: false}}";
    for spec in ["", EVERYTHING, PROGRAM, off] {
        let server = server(spec);
        let spoken = server.spec.transport.spoken();
        let told = config(&server, &spoken, &Defaults::default()).unwrap();
        assert_eq!(read_back(&rendered(&server, "[]").unwrap(), &[]), told, "{spec}");
    }
}

#[test]
fn every_field_of_the_resource_is_in_the_configuration() {
    let text = |spec: &str| {
        let config = read_back(&injection(spec), &[]);
        serde_yaml::to_string(&config).unwrap()
    };
    let (everything, program) = (text(EVERYTHING), text(PROGRAM));
    for part in ["address: :9000", "limit: 7", "warm: 2", "idleTimeout: 1h 30m"] {
        assert!(program.contains(part), "{part} is not in\n{program}");
    }
    for part in [
        "serverId: shop/weather",
        "url: http://127.0.0.1:8000/events",
        "hostHeader: preserve",
        "- https://app.example.com",
        "drainTimeout: 5s",
        "metricsListen: :19500",
        "tools: 50",
        "url: https://mcpulse.example.com",
        "capture: none",
        "file: /var/run/mcpulse/secrets/mcpulse-api-key",
        "endpoint: http://otel.observe:4317",
        "file: /var/run/mcpulse/secrets/otlp-x-tenant",
        "sample: 0.25",
        "level: debug",
        "format: json",
    ] {
        assert!(everything.contains(part), "{part} is not in\n{everything}");
    }
}

#[test]
fn the_variables_of_a_pod_win_over_the_file() {
    let variables = [
        ("MCPULSE_PROXY_REMOTE_URL", "http://127.0.0.1:8000/mcp"),
        ("MCPULSE_PROXY_LISTEN", ":19483"),
    ];
    let config = read_back(&injection(""), &variables);
    let Upstream::Http(remote) = &config.served.all()[0].upstream else { panic!("{config:?}") };
    assert_eq!(remote.url, "http://127.0.0.1:8000/mcp");
    assert_eq!(config.listen.unwrap().address, ":19483");
}

#[test]
fn pods_of_either_ip_version_listen_on_their_own_address() {
    let injection = injection("transport: {http: {port: 8000, takeover: PodIP}}");
    for (ip, address) in [("10.0.0.7", "10.0.0.7:8000"), ("fd00:10::7", "[fd00:10::7]:8000")] {
        let known = [("POD_IP", ip), ("MCPULSE_APP_PORT", "8000"), ("MCPULSE_LISTEN_PORT", "8000")];
        // As the kubelet does.
        let expand = |text: &str| {
            let filled = known.iter().fold(text.to_owned(), |text, (name, value)| {
                text.replace(&format!("$({name})"), value)
            });
            assert!(!filled.contains("$("), "{filled}");
            filled
        };
        let env = injection.sidecar["env"].as_array().unwrap().iter();
        let ours = env.filter(|one| one["name"].as_str().unwrap().starts_with("MCPULSE_PROXY_"));
        let variables =
            ours.map(|one| (one["name"].as_str().unwrap(), expand(one["value"].as_str().unwrap())));
        let variables: Vec<_> = variables.collect();
        let variables: Vec<_> = variables.iter().map(|(name, it)| (*name, it.as_str())).collect();
        let config = read_back(&injection, &variables);
        assert_eq!(config.listen.unwrap().address, address);
    }
}

#[test]
fn what_is_the_default_is_not_in_the_file() {
    let text = &injection("").annotations["mcpulse.io/config"];
    assert!(!text.contains("limits") && !text.contains("otel"), "{text}");
    assert!(text.lines().count() < 20, "{text}");
}

#[test]
fn what_the_proxy_would_refuse_is_refused_by_its_place() {
    let spec = "proxy: {logLevel: 'a=b=c'}, \
                telemetry: {mcpulse: {url: 'ftp://a'}, otlp: {endpoint: nowhere}}";
    let finding = rendered(&server(spec), "[]").unwrap_err();
    assert_eq!(finding.reason, Reason::InvalidConfiguration);
    for place in ["telemetry.mcpulse.url is", "telemetry.otlp.endpoint is", "proxy.logLevel"] {
        assert!(finding.message.contains(place), "{finding}");
    }
}

#[test]
fn the_sidecar_and_its_volumes_are_what_kubernetes_knows() {
    let injection = injection(EVERYTHING);
    let sidecar: Container = serde_json::from_value(injection.sidecar.clone()).unwrap();
    // What the type does not know would be lost on the way back.
    assert_eq!(serde_json::to_value(&sidecar).unwrap(), injection.sidecar);
    for volume in &injection.volumes {
        let typed: Volume = serde_json::from_value(volume.clone()).unwrap();
        assert_eq!(&serde_json::to_value(typed).unwrap(), volume);
    }
    let mounted = sidecar.volume_mounts.unwrap();
    let named = |name: &str| injection.volumes.iter().any(|volume| volume["name"] == name);
    assert!(mounted.iter().all(|mount| named(&mount.name)), "{mounted:?}");
    let token = "/var/run/secrets/kubernetes.io/serviceaccount";
    assert!(mounted.iter().any(|mount| mount.mount_path == token), "{mounted:?}");
}

#[test]
fn the_revision_changes_with_what_needs_another_pod_and_with_nothing_else() {
    let revision = |spec: &str| injection(spec).revision;
    let plain = revision("");
    for live in [
        "proxy: {image: 'other:1'}",
        "proxy: {logLevel: debug}",
        "telemetry: {mcpulse: {capture: None}}",
        "rollout: {paused: true}",
    ] {
        assert_eq!(revision(live), plain, "{live}");
    }
    for fixed in [
        "container: server",
        "transport: {http: {path: /other}}",
        "transport: {http: {takeover: None}}",
        "telemetry: {mcpulse: {apiKeySecretRef: {name: a, key: b}}}",
        "telemetry: {prometheus: {port: 19500}}",
        "proxy: {resources: {limits: {memory: 1Gi}}}",
    ] {
        assert_ne!(revision(fixed), plain, "{fixed}");
    }
    let server = server("");
    let target = target::resolve(&server, None).unwrap();
    let older = [Selector::labels([("tier".to_owned(), "x".to_owned())].into())];
    let defaults = Defaults::default();
    let order = Order {
        server: &server,
        target: &target,
        older: &older,
        services: &[],
        limits: &[],
        defaults: &defaults,
    };
    let shared = render(order).unwrap();
    assert_eq!((shared.revision, shared.except.len()), (plain, 1));
}

/// Services as a list, each with this selector and these ports.
fn service(selector: &str, ports: &str) -> String {
    format!("[{{metadata: {{name: front}}, spec: {{selector: {selector}, ports: {ports}}}}}]")
}

fn takeover(spec: &str, services: &str) -> Result<PortMode, String> {
    let injection = rendered(&server(spec), services);
    injection.map(|injection| injection.port.unwrap().mode).map_err(|finding| {
        assert_eq!(finding.reason, Reason::NumericTargetPort);
        finding.message
    })
}

#[test]
fn auto_takes_the_name_where_every_service_uses_it() {
    let named = service("{app: weather}", "[{port: 80, targetPort: mcp}]");
    assert_eq!(takeover("", &named), Ok(PortMode::NamedPort));
    assert_eq!(takeover("", "[]"), Ok(PortMode::NamedPort));
    let with_metrics =
        service("{app: weather}", "[{port: 80, targetPort: mcp}, {port: 9090, targetPort: 9090}]");
    assert_eq!(takeover("", &with_metrics), Ok(PortMode::NamedPort));
    let of_others = service("{app: other}", "[{port: 80, targetPort: 8000}]");
    assert_eq!(takeover("", &of_others), Ok(PortMode::NamedPort));
    let other_port = service("{app: weather}", "[{port: 80, targetPort: 9000}]");
    assert_eq!(takeover("transport: {http: {port: 8000}}", &other_port), Ok(PortMode::NamedPort));
}

#[test]
fn a_service_that_uses_the_number_is_named_with_both_remedies() {
    for ports in ["[{port: 80, targetPort: 8000}]", "[{port: 8000}]"] {
        for spec in ["", "transport: {http: {port: 8000}}"] {
            let message = takeover(spec, &service("{app: weather}", ports)).unwrap_err();
            for part in ["Service front", "port 8000", "targetPort: mcp", "movePort.env"] {
                assert!(message.contains(part), "{message}");
            }
        }
    }
}

#[test]
fn what_is_asked_for_is_done_whatever_services_say() {
    let numeric = service("{app: weather}", "[{port: 8000}]");
    for (takeover_said, mode) in [
        ("takeover: NamedPort", PortMode::NamedPort),
        ("takeover: MovePort, movePort: {env: PORT}", PortMode::MovePort),
        ("takeover: PodIP", PortMode::PodIp),
        ("takeover: None", PortMode::None),
    ] {
        let spec = format!("transport: {{http: {{{takeover_said}}}}}");
        assert_eq!(takeover(&spec, &numeric), Ok(mode));
    }
}

#[test]
fn no_service_is_led_to_a_name_by_which_it_does_not_find_the_sidecar() {
    let named = service("{app: weather}", "[{port: 80, targetPort: mcp}]");
    let numeric = service("{app: weather}", "[{port: 80, targetPort: 8000}]");
    let moved = "takeover: MovePort, movePort: {env: PORT}";
    let by_number = format!("port: 8000, {moved}");
    for (minor, http, services, unsupported) in [
        (32, "", "[]", true),
        (32, "", &named, true),
        (32, "", &numeric, true),
        (32, "takeover: NamedPort", &named, true),
        (32, moved, &named, true),
        (32, moved, &numeric, false),
        (32, &by_number, &named, true),
        (32, &by_number, &numeric, false),
        (32, "takeover: PodIP", &named, false),
        (32, "takeover: None", &named, false),
        (33, "", &named, false),
        (33, moved, &named, false),
    ] {
        let server = server(&format!("transport: {{http: {{{http}}}}}"));
        let rendered = rendered_by(Version::minor(minor), &server, services);
        let found = rendered.as_ref().err().map(|finding| finding.reason);
        let wanted = unsupported.then_some(Reason::NamedPortUnsupported);
        assert_eq!(found, wanted, "1.{minor}: {http} with {services}");
        for part in ["Kubernetes 1.33", "takeover: PodIP", "movePort.env", "targetPort"] {
            let message = rendered.as_ref().err().map(|finding| finding.message.as_str());
            assert!(message.is_none_or(|message| message.contains(part)), "{message:?}");
        }
    }
}

#[test]
fn a_dollar_in_a_path_is_not_expanded() {
    let injection = injection("transport: {http: {path: '/$(HOME)'}}");
    let env = injection.sidecar["env"].as_array().unwrap().clone();
    let url = env.iter().find(|one| one["name"] == "MCPULSE_PROXY_REMOTE_URL").unwrap();
    assert_eq!(url["value"], Value::from("http://127.0.0.1:$(MCPULSE_APP_PORT)/$$(HOME)"));
}

#[test]
fn the_key_of_the_operators_own_mcpulse_is_for_no_other() {
    let key = |name: &str| SecretKey { name: name.to_owned(), key: "key".to_owned() };
    let defaults = Defaults { mcpulse_key: Some(key("common")), ..Defaults::default() };
    for (said, wanted) in [
        ("{}", Some("common")),
        ("{apiKeySecretRef: {name: own, key: key}}", Some("own")),
        ("{url: 'https://elsewhere.example.com'}", None),
        ("{enabled: false}", None),
    ] {
        let server = server(&format!("telemetry: {{mcpulse: {said}}}"));
        let injection = rendered_with(&defaults, &server, "[]").unwrap();
        let projected = injection.volumes.iter().find_map(|volume| volume.get("projected"));
        let secret = projected.map(|it| &it["sources"][0]["secret"]["name"]);
        assert_eq!(secret.and_then(Value::as_str), wanted, "{said}");
        let config = &injection.annotations["mcpulse.io/config"];
        assert_eq!(config.contains("mcpulse-api-key"), wanted.is_some(), "{config}");
    }
}

#[test]
fn annotations_for_prometheus_are_as_said_and_no_reason_to_restart() {
    let rendered = |annotated: bool, said: &str| {
        let defaults = Defaults { annotated, ..Defaults::default() };
        let server = server(&format!("telemetry: {{prometheus: {{port: 19500{said}}}}}"));
        rendered_with(&defaults, &server, "[]").unwrap()
    };
    let (with, without) = (rendered(true, ""), rendered(false, ""));
    assert_eq!(with.default_annotations["prometheus.io/port"], "19500");
    assert_eq!(with.default_annotations.len(), 3);
    assert!(without.default_annotations.is_empty());
    assert_eq!(with.revision, without.revision);
    assert!(rendered(true, ", annotations: false").default_annotations.is_empty());
    assert_eq!(rendered(false, ", annotations: true"), with);
}
