//! The configuration of the sidecar: the proxy's own type, so that what is rendered is what the
//! proxy parses.

use std::{fmt::Display, time::Duration};

use mcpulse_proxy::config::{
    Capture, Command, Config, Header, HostHeader, Listen, LogFormat, Mcpulse, Remote, Secret,
    Server, Sessions, Upstream,
    setting::{self, Setting},
    units,
};
use serde_yaml::Value;

use super::{Defaults, places, takeover};
use crate::crd::{
    Finding, McpServer,
    condition::{ConditionType, Reason},
    telemetry,
    transport::{self, Http, PortRef, Spoken, Stdio},
};

/// The configuration of a server's sidecars. It is valid as it is; what differs from pod to pod
/// (the server's port, the sidecar's) comes in variables, which win over files.
///
/// # Errors
/// Every value that the proxy would refuse, by its place in the spec.
pub fn config(server: &McpServer, spoken: &Spoken, defaults: &Defaults) -> Result<Config, Finding> {
    let spec = &server.spec;
    let mut wrong = Vec::new();
    let mut config = Config::new(id(server), upstream(spoken, &mut wrong));
    let address = match spoken {
        Spoken::Http(..) => takeover::FIRST_CANDIDATE,
        Spoken::Stdio(stdio) => stdio.listen_port,
    };
    let mut listen = Listen::new(format!(":{address}"));
    listen.drain_timeout = Duration::from_secs(spec.proxy.termination_drain_seconds.into());
    if let Spoken::Http(http, _) = spoken {
        for origin in &http.allowed_origins {
            listen.allowed_origins.push(origin.clone());
            check("allowed-origin", "transport.http.allowedOrigins", origin, &mut wrong);
        }
    }
    config.listen = Some(listen);
    config.metrics_listen = Some(format!(":{}", spec.telemetry.prometheus.port));
    config.mcpulse = mcpulse(&spec.telemetry.mcpulse, defaults, &mut wrong);
    if let Some(endpoint) = &spec.telemetry.otlp.endpoint {
        check("otel-endpoint", "telemetry.otlp.endpoint", endpoint, &mut wrong);
        let has_scheme = endpoint.contains("://");
        config.otel.endpoint =
            Some(if has_scheme { endpoint.clone() } else { format!("http://{endpoint}") });
        config.otel.headers = headers(&spec.telemetry.otlp, &mut wrong);
    }
    config.otel.sample = spec.telemetry.otlp.sample;
    config.limits.tools =
        usize::try_from(spec.telemetry.prometheus.max_tools).unwrap_or(usize::MAX);
    check("log-level", "proxy.logLevel", &spec.proxy.log_level, &mut wrong);
    config.log.level.clone_from(&spec.proxy.log_level);
    config.log.format = LogFormat::Json;
    if matches!(spoken, Spoken::Stdio(_)) {
        config.install_shim = Some(places::SHIM.into());
    }
    if wrong.is_empty() { Ok(config) } else { Err(invalid(&wrong.join("; "))) }
}

/// The configuration as the file that the proxy reads, without what is its default: a proxy of
/// another version knows fewer keys, or has better defaults.
pub(super) fn text(config: &Config) -> Result<String, serde_yaml::Error> {
    let mut tree = serde_yaml::to_value(config)?;
    let mut defaults = setting::defaults();
    let is_sse = |server: &Server| matches!(server.upstream, Upstream::Sse(_));
    if config.served.all().iter().any(is_sse)
        && let Some(upstream) = defaults.get_mut("upstream")
    {
        upstream["sse"] = upstream["http"].clone();
    }
    prune(&mut tree, &defaults);
    serde_yaml::to_string(&tree)
}

/// Takes out what is equal to a default, and what is empty then.
fn prune(tree: &mut Value, defaults: &Value) {
    let Value::Mapping(map) = tree else { return };
    map.retain(|key, value| {
        let default = defaults.get(key).unwrap_or(&Value::Null);
        if value == default {
            return false;
        }
        prune(value, default);
        !matches!(value, Value::Mapping(inner) if inner.is_empty())
    });
}

/// The name under which MCPulse knows the server: its namespace and its name.
fn id(server: &McpServer) -> String {
    let parts = [&server.metadata.namespace, &server.metadata.name].into_iter().flatten();
    parts.map(String::as_str).collect::<Vec<_>>().join("/")
}

fn upstream(spoken: &Spoken, wrong: &mut Vec<String>) -> Upstream {
    match spoken {
        Spoken::Http(http, legacy) => {
            let remote = remote(http, wrong);
            if *legacy { Upstream::Sse(remote) } else { Upstream::Http(remote) }
        }
        Spoken::Stdio(stdio) => Upstream::Stdio(program(stdio, wrong)),
    }
}

fn remote(http: &Http, wrong: &mut Vec<String>) -> Remote {
    let port = match http.port {
        PortRef::Number(number) => format!(":{number}"),
        PortRef::Name(_) => String::new(),
    };
    let url = format!("http://127.0.0.1{port}{}", http.path.as_deref().unwrap_or("/"));
    check("remote-url", "transport.http.path", &url, wrong);
    let mut remote = Remote::new(url);
    remote.host_header = match http.host_header {
        transport::HostHeader::Rewrite => HostHeader::Upstream,
        transport::HostHeader::Preserve => HostHeader::Preserve,
    };
    remote
}

fn program(stdio: &Stdio, wrong: &mut Vec<String>) -> Command {
    let mut sessions = Sessions {
        limit: usize::try_from(stdio.max_processes).unwrap_or(usize::MAX),
        warm: usize::try_from(stdio.prestart).unwrap_or(usize::MAX),
        ..Sessions::default()
    };
    match units::parse_duration(&stdio.idle_timeout) {
        Ok(time) => sessions.idle_timeout = time,
        Err(why) => wrong.push(format!("transport.stdio.idleTimeout {why}")),
    }
    Command { socket: Some(places::SOCKET.into()), sessions, ..Command::default() }
}

fn mcpulse(said: &telemetry::Mcpulse, defaults: &Defaults, wrong: &mut Vec<String>) -> Mcpulse {
    let url = match (said.enabled, &said.url) {
        (false, _) => Mcpulse::OFF,
        (true, Some(url)) => url,
        (true, None) => &defaults.mcpulse_url,
    };
    check("mcpulse-url", "telemetry.mcpulse.url", url, wrong);
    let key = places::mcpulse_key(said, defaults);
    Mcpulse {
        url: url.to_owned(),
        api_key: key.map(|_| Secret::Awaited(places::api_key().into())),
        capture: match said.capture {
            telemetry::Capture::None => Capture::None,
            telemetry::Capture::Redacted => Capture::Redacted,
            telemetry::Capture::Full => Capture::Full,
        },
        ..Mcpulse::default()
    }
}

fn headers(otlp: &telemetry::Otlp, wrong: &mut Vec<String>) -> Vec<Header> {
    let mut headers = Vec::new();
    for one in &otlp.headers {
        match Header::new(&one.name, Secret::Awaited(places::header(&one.name).into())) {
            Ok(header) => headers.push(header),
            Err(why) => wrong.push(format!("telemetry.otlp.headers {why}")),
        }
    }
    headers
}

/// Reads a value as the proxy will.
fn check(flag: &str, place: &str, value: &str, wrong: &mut Vec<String>) {
    let kind = Setting::with_flag(flag).map(|setting| setting.kind);
    if let Some(Err(why)) = kind.map(|kind| kind.parse(value)) {
        wrong.push(format!("{place} {why}"));
    }
}

/// A configuration that the proxy would refuse.
pub(super) fn invalid(why: &impl Display) -> Finding {
    Finding::new(ConditionType::Accepted, Reason::InvalidConfiguration, why.to_string())
}
