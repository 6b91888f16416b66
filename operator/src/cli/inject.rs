//! `inject`: what would happen to a pod, and why not.

use std::{io::Write, path::PathBuf, sync::Arc};

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::{LimitRange, Service};
use serde_json::Value;

use super::documents::{self, Document};
use crate::{
    crd::{Injection, McpServer, TargetKind, TargetRef, selector::Labels},
    render::{self, Defaults, Order},
    splice,
    target::{self, Workload},
    version::Version,
};

/// What to inject into what.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Pods, or workloads whose pods are meant; several documents, - for standard input
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    filename: Vec<PathBuf>,
    /// McpServers, the older ones first
    #[arg(long, value_name = "FILE", required = true)]
    server: Vec<PathBuf>,
    /// The Services and LimitRanges of the namespace
    #[arg(long, value_name = "FILE")]
    services: Vec<PathBuf>,
    /// Image of the sidecar where the McpServer names none
    #[arg(long, value_name = "IMAGE", default_value_t = Defaults::default().image)]
    proxy_image: String,
    /// MCPulse where the McpServer names none
    #[arg(long, value_name = "HOST:PORT", default_value_t = Defaults::default().mcpulse_url)]
    mcpulse_url: String,
    /// Version of Kubernetes of the cluster, such as 1.32; one that can do everything unless given
    #[arg(long, value_name = "VERSION")]
    kubernetes: Option<Version>,
}

/// Prints each pod as it would come out, and on standard error why one would not change.
/// Whether all were injected.
pub(super) fn run(
    arguments: &Arguments,
    out: &mut impl Write,
    err: &mut impl Write,
) -> anyhow::Result<bool> {
    let manifests = documents::read_all(&arguments.filename)?;
    let defaults = Defaults {
        image: arguments.proxy_image.clone(),
        mcpulse_url: arguments.mcpulse_url.clone(),
        kubernetes: arguments.kubernetes.unwrap_or(Version::NEWEST),
        ..Defaults::default()
    };
    let injections = injections(arguments, &manifests, &defaults)?;
    let mut all = true;
    let mut pods = 0;
    for manifest in &manifests {
        let Some(mut pod) = pod(manifest) else { continue };
        pods += 1;
        match inject(&pod, &injections) {
            Ok(patch) => json_patch::patch(&mut pod, &patch)
                .with_context(|| format!("change {}", manifest.called()))?,
            Err(why) => {
                all = false;
                writeln!(err, "{}: {why}", manifest.called()).context("write to standard error")?;
            }
        }
        let text = serde_yaml::to_string(&pod).context("write the pod")?;
        write!(out, "---\n{text}").context("write to standard output")?;
    }
    if pods == 0 {
        bail!(
            "there is no pod in the files of -f, nor a workload that makes pods; write one there"
        );
    }
    Ok(all)
}

/// What each `McpServer` puts into its pods, or why nothing.
type Rendered = Vec<(McpServer, Result<Injection, String>)>;

fn injections(
    arguments: &Arguments,
    manifests: &[Document],
    defaults: &Defaults,
) -> anyhow::Result<Rendered> {
    let of_kind = |documents: Vec<Document>, kind: &str| {
        documents.into_iter().filter(|one| one.kind() == kind).collect::<Vec<_>>()
    };
    let around = documents::read_all(&arguments.services)?;
    let services = of_kind(around.clone(), "Service");
    let services: Vec<Service> = services.iter().map(Document::read).collect::<Result<_, _>>()?;
    let limits = of_kind(around, "LimitRange");
    let limits: Vec<LimitRange> = limits.iter().map(Document::read).collect::<Result<_, _>>()?;
    let servers = of_kind(documents::read_all(&arguments.server)?, "McpServer");
    if servers.is_empty() {
        bail!("there is no McpServer in the files of --server; write one there");
    }
    let mut older = Vec::new();
    let mut rendered = Vec::new();
    for document in servers {
        let server: McpServer = document.read()?;
        let workload = match &server.spec.target_ref {
            Some(named) => workload(named, manifests)?,
            None => None,
        };
        let injection = target::resolve(&server, workload.as_ref()).and_then(|target| {
            let order = Order {
                server: &server,
                target: &target,
                older: &older,
                services: &services,
                limits: &limits,
                defaults,
            };
            let injection = render::render(order);
            older.push(target.selector);
            injection
        });
        rendered.push((server, injection.map_err(|finding| finding.to_string())));
    }
    Ok(rendered)
}

fn workload(named: &TargetRef, manifests: &[Document]) -> anyhow::Result<Option<Workload>> {
    let found = manifests.iter().find(|one| {
        one.kind() == named.kind.name() && one.value["metadata"]["name"] == named.name.as_str()
    });
    let Some(found) = found else { return Ok(None) };
    Ok(Some(match named.kind {
        TargetKind::Deployment => Workload::Deployment(Arc::new(found.read()?)),
        TargetKind::StatefulSet => Workload::StatefulSet(Arc::new(found.read()?)),
        TargetKind::DaemonSet => Workload::DaemonSet(Arc::new(found.read()?)),
        TargetKind::CronJob => Workload::CronJob(Arc::new(found.read()?)),
    }))
}

/// A pod, or the one that a workload makes.
fn pod(manifest: &Document) -> Option<Value> {
    let spec = &manifest.value["spec"];
    let template = match manifest.kind() {
        "Pod" => return Some(manifest.value.clone()),
        "CronJob" => &spec["jobTemplate"]["spec"]["template"],
        _ => &spec["template"],
    };
    let mut pod = template.as_object()?.clone();
    pod.insert("apiVersion".to_owned(), "v1".into());
    pod.insert("kind".to_owned(), "Pod".into());
    let mut pod = Value::Object(pod);
    if let Some(name) = manifest.value["metadata"]["name"].as_str() {
        pod["metadata"]["generateName"] = format!("{name}-").into();
    }
    Some(pod)
}

fn inject(pod: &Value, rendered: &Rendered) -> Result<json_patch::Patch, String> {
    let labels: Labels =
        serde_json::from_value(pod["metadata"]["labels"].clone()).unwrap_or_default();
    let mut why = Vec::new();
    for (server, injection) in rendered {
        let name = server.metadata.name.as_deref().unwrap_or("without a name");
        match injection {
            Ok(injection) if injection.selects(&labels) => {
                let skip = |skip: splice::Skip| format!("{}: {skip}", skip.reason());
                return splice::splice(pod, injection).map_err(skip);
            }
            Ok(injection) if injection.selector.matches(&labels) => {
                why.push(format!("McpServer {name} leaves it to an older one"));
            }
            Ok(_) => why.push(format!(
                "McpServer {name} does not select it; give the pod the labels that spec.selector \
                 (or the workload of spec.targetRef) asks for"
            )),
            Err(finding) => why.push(format!("McpServer {name} injects nothing: {finding}")),
        }
    }
    Err(why.join("; "))
}
