//! Whether pods come with the sidecar, found out by one that is only tried: what `helm test` runs,
//! with the rights that the operator has.

use std::time::Duration;

use anyhow::{Context, bail};
use kube::{Api, Client, api::ListParams};
use serde_json::Value;
use tokio::{
    runtime,
    time::{self, Instant},
};

use crate::{
    answer,
    crd::{
        Injection, McpServer,
        injection::{CONTAINER, REVISION},
    },
    engine, witness,
};

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// What is to be found out.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The McpServer
    name: String,
    /// Its namespace
    #[arg(long, value_name = "NAME", default_value = "default")]
    namespace: String,
    /// How long it may take until its pods come with the sidecar, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
}

/// Waits until a pod that the `McpServer` means would come with the sidecar. What is so, in a line.
///
/// # Errors
/// Why such a pod does not, when the time is up.
pub fn run(options: &Options) -> anyhow::Result<String> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("start the verification")?;
    runtime.block_on(async {
        let client = Client::try_default().await.context(
            "find the cluster; run in a pod with a service account, or set KUBECONFIG to a file",
        )?;
        let until = Instant::now() + Duration::from_secs(options.timeout);
        loop {
            match look(&client, options).await {
                Ok(told) => return Ok(told),
                Err(why) if Instant::now() >= until => {
                    return Err(why.context(format!("within {} s", options.timeout)));
                }
                Err(_) => time::sleep(PAUSE).await,
            }
        }
    })
}

async fn look(client: &Client, options: &Options) -> anyhow::Result<String> {
    let Options { name, namespace, .. } = options;
    let injection = injection(client, namespace, name).await?;
    let pod = engine::dry_run(client, namespace, &witness::pod(&injection)).await;
    let pod = pod.map_err(|error| anyhow::anyhow!(answer::why(&error)));
    let pod: Value = pod.with_context(|| format!("try a pod in {namespace}"))?;
    if pod["metadata"]["annotations"][REVISION] != injection.revision.as_str() {
        bail!(
            "a pod that McpServer {namespace}/{name} means came without {CONTAINER}: neither the \
             policy nor the webhook put it in; the operator's log says which of them should"
        );
    }
    Ok(format!("pods that McpServer {namespace}/{name} means come with {CONTAINER}"))
}

/// What the operator has published for the `McpServer`.
async fn injection(client: &Client, namespace: &str, name: &str) -> anyhow::Result<Injection> {
    // To list them is what the operator may do.
    let named = ListParams::default().fields(&format!("metadata.name={name}"));
    let servers = Api::<McpServer>::namespaced(client.clone(), namespace);
    let found = servers.list(&named).await.map_err(|error| anyhow::anyhow!(answer::why(&error)));
    let found = found.with_context(|| format!("read McpServer {namespace}/{name}"))?;
    let Some(server) = found.items.into_iter().next() else {
        bail!("there is no McpServer {namespace}/{name}; apply it first");
    };
    let status = server.status.unwrap_or_default();
    if let Some(injection) = status.known_injection() {
        return Ok(injection.into_owned());
    }
    let finding = status.conditions.iter().find(|it| it.type_ != "Ready" && it.status == "False");
    match finding {
        Some(finding) => bail!("McpServer {namespace}/{name}: {}", finding.message),
        None => bail!(
            "the operator has published nothing for McpServer {namespace}/{name}; does it run, and \
             does it watch that namespace?"
        ),
    }
}
