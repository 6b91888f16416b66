//! Turns a `McpServer` into what is put into its pods. Pure: the same input, the same
//! [`Injection`], byte for byte.

use k8s_openapi::api::core::v1::{LimitRange, Service};

use crate::{
    crd::{
        Finding, Injection, McpServer, Selector,
        injection::{self, ByClass, Limits, Mount, Quantities},
        proxy::Resources,
        selector::Labels,
        telemetry::SecretKey,
        transport::{Spoken, Stdio},
    },
    target::Target,
    version::Version,
};

mod config;
mod limits;
mod places;
mod revision;
mod sidecar;
mod takeover;

pub use config::config;

/// What holds for all of a cluster: where a `McpServer` says nothing, and whatever it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// The image of the sidecar.
    pub image: String,
    /// The address of MCPulse: `HOST:PORT`, a URL, or `none`.
    pub mcpulse_url: String,
    /// The entry of Secrets of the pods' namespaces with the key of that MCPulse.
    pub mcpulse_key: Option<SecretKey>,
    /// Whether pods are annotated for a Prometheus that goes by `prometheus.io/*`.
    pub annotated: bool,
    /// The user of the sidecar where the pod would have it be root.
    pub user: u32,
    /// What the sidecar gets in Guaranteed pods where the `McpServer` names no limits:
    /// processor time and memory.
    pub guaranteed: (String, String),
    /// What Kubernetes can do.
    pub kubernetes: Version,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            image: concat!("ghcr.io/mcpulse/mcpulse-proxy:", env!("CARGO_PKG_VERSION")).to_owned(),
            mcpulse_url: "mcpulse.mcpulse-system:50051".to_owned(),
            mcpulse_key: None,
            annotated: false,
            user: 65532,
            guaranteed: ("100m".to_owned(), "64Mi".to_owned()),
            kubernetes: Version::NEWEST,
        }
    }
}

/// All that a rendering depends on.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// The resource.
    pub server: &'a McpServer,
    /// Its pods.
    pub target: &'a Target,
    /// The selectors of older `McpServer`s of the namespace.
    pub older: &'a [Selector],
    /// The Services of the namespace.
    pub services: &'a [Service],
    /// The LimitRanges of the namespace.
    pub limits: &'a [LimitRange],
    /// What holds for all of the cluster.
    pub defaults: &'a Defaults,
}

/// What is to be put into the pods.
///
/// # Errors
/// Why nothing can be, and what to do.
pub fn render(order: Order<'_>) -> Result<Injection, Finding> {
    let Order { server, target, older, services, limits, defaults } = order;
    let spec = &server.spec;
    let spoken = spec.transport.spoken();
    let port = match &spoken {
        Spoken::Http(http, _) => Some(takeover::rule(http, target, services, defaults.kubernetes)?),
        Spoken::Stdio(_) => None,
    };
    let config = config(server, &spoken, defaults)?;
    let live = config::text(&config).map_err(|error| config::invalid(&error))?;
    let older = older.iter().filter(|older| older.may_overlap(&target.selector));
    let name = server.metadata.name.clone().unwrap_or_default();
    let (command, argv, mounts) = match &spoken {
        Spoken::Http(..) => (Vec::new(), Vec::new(), Vec::new()),
        Spoken::Stdio(stdio) => (
            shim(spec.proxy.termination_drain_seconds),
            stdio.command.clone(),
            vec![Mount { name: places::RUN.to_owned(), mount_path: places::RUN_AT.to_owned() }],
        ),
    };
    let mut injection = Injection {
        format: injection::FORMAT,
        revision: String::new(),
        selector: target.selector.clone(),
        except: older.cloned().collect(),
        container: spec.container.clone(),
        ports: port.as_ref().map(|rule| takeover::candidates(rule.mode)).unwrap_or_default(),
        command,
        argv,
        mounts,
        volumes: places::volumes(server, &spoken, defaults),
        image_pull_secrets: spec.proxy.image_pull_secrets.clone(),
        sidecar: sidecar::container(server, &spoken, port.as_ref(), defaults),
        user: defaults.user,
        resources: resources(&spec.proxy.resources, defaults),
        limits: Limits::default(),
        labels: Labels::from([
            (injection::INJECTED.to_owned(), "true".to_owned()),
            (injection::SERVER.to_owned(), name),
        ]),
        annotations: Labels::from([(injection::CONFIG.to_owned(), live)]),
        default_annotations: Labels::new(),
        port,
    };
    let revision = revision::of(&injection);
    injection.annotations.insert(injection::REVISION.to_owned(), revision.clone());
    injection.revision = revision;
    // Behind the revision: a LimitRange or a PodMonitor that comes or goes is no reason to restart
    // anything.
    (injection.resources, injection.limits) = limits::fit(injection.resources, limits);
    let prometheus = &spec.telemetry.prometheus;
    if prometheus.annotations.unwrap_or(defaults.annotated) {
        let port = prometheus.port.to_string();
        let entries = [("scrape", "true"), ("port", &port), ("path", "/metrics")];
        injection.default_annotations =
            entries.map(|(key, value)| (format!("prometheus.io/{key}"), value.to_owned())).into();
    }
    Ok(injection)
}

/// What is put before the command of a server on standard streams. How many sessions there may be
/// the sidecar decides, whose configuration is live: the shim's bound is what any `McpServer` may
/// ask for.
fn shim(drain_seconds: u32) -> Vec<String> {
    let most = Stdio::MOST_PROCESSES;
    vec![
        places::SHIM.to_owned(),
        format!("--max-sessions={most}"),
        format!("--drain-timeout={drain_seconds}s"),
        "--".to_owned(),
    ]
}

fn resources(resources: &Resources, defaults: &Defaults) -> ByClass {
    let both = |cpu: &str, memory: &str| {
        [("cpu", cpu), ("memory", memory)]
            .map(|(name, quantity)| (name.to_owned(), quantity.to_owned()))
            .into()
    };
    let Resources { requests, limits } = resources;
    let named = [("cpu", &limits.cpu), ("memory", &limits.memory)];
    let named =
        named.into_iter().filter_map(|(name, limit)| Some((name.to_owned(), limit.clone()?)));
    let cpu = limits.cpu.as_ref().unwrap_or(&defaults.guaranteed.0);
    let memory = limits.memory.as_ref().unwrap_or(&defaults.guaranteed.1);
    ByClass {
        best_effort: Quantities::default(),
        burstable: Quantities {
            requests: both(&requests.cpu, &requests.memory),
            limits: named.collect(),
        },
        guaranteed: Quantities { requests: both(cpu, memory), limits: both(cpu, memory) },
    }
}

/// What is rendered of a `McpServer` that nothing else has to do with.
#[cfg(test)]
pub(crate) fn alone(server: &McpServer) -> Injection {
    let (target, defaults) = (crate::target::resolve(server, None).unwrap(), Defaults::default());
    let order = Order {
        server,
        target: &target,
        older: &[],
        services: &[],
        limits: &[],
        defaults: &defaults,
    };
    render(order).unwrap()
}

#[cfg(test)]
mod tests;
