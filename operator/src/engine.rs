//! Which of the two engines injects: the policy, once a pod that was tried came back injected by
//! it, or the webhook.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Pod;
use kube::{Client, Resource, api::PostParams, core::Request};
use serde_json::Value;
use tokio::{
    sync::watch,
    time::{self, Instant},
};

use crate::{
    crd::{
        McpServer,
        injection::{PROBE, REVISION},
    },
    servers::Servers,
    witness,
};

/// How long a policy has to show what it does before the webhook comes in.
const GRACE: Duration = Duration::from_secs(10);
/// Between two looks at a policy that has not shown it.
const SOON: Duration = Duration::from_secs(1);
const LATER: Duration = Duration::from_mins(1);
/// Between two looks for a policy where there was none.
const SELDOM: Duration = Duration::from_mins(10);
/// How many `McpServer`s are tried at a time.
const TRIED: usize = 5;

/// How the engine is chosen.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The policy, once a pod that was tried came back injected by it; the webhook until then,
    /// and where there is no policy
    #[default]
    Auto,
    /// The policy, whatever it does
    Policy,
    /// The webhook
    Webhook,
}

/// What injects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Not known yet; nothing has to be injected so far.
    Undecided,
    /// The policy.
    Policy,
    /// The webhook, and the policy if it does after all.
    Webhook,
    /// Nothing: the policy is there, and somebody deleted its binding.
    Off,
}

/// What there is of the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Installed {
    /// It is not there, or the API server knows no such thing.
    Nothing,
    /// It is there, and its binding is not.
    Unbound,
    /// Both are there.
    Bound,
}

/// Chooses by what the API server does with the policy of this name. Tells `chosen`, the first time as soon as it is known
/// that there is something to inject. Returns when the policy has been chosen, which is for good:
/// deleting its binding stops all injection.
pub async fn choose(
    client: Client,
    choice: Choice,
    policy: &str,
    mut servers: Servers,
    chosen: &watch::Sender<Engine>,
) {
    match choice {
        Choice::Auto => {}
        Choice::Policy => return tell(chosen, Engine::Policy),
        Choice::Webhook => return tell(chosen, Engine::Webhook),
    }
    // Since when there is something for a bound policy to do.
    let mut since = None;
    loop {
        let pause = match installed(&client, policy).await {
            Ok(Installed::Nothing) => {
                tell(chosen, Engine::Webhook);
                SELDOM
            }
            Ok(Installed::Unbound) => {
                tell(chosen, Engine::Off);
                SELDOM
            }
            Ok(Installed::Bound) => match proven(&client, &servers.all()).await {
                Some(true) => return tell(chosen, Engine::Policy),
                // There is nothing that it could show it by.
                None => SELDOM,
                Some(false) => {
                    let waits = since.get_or_insert_with(Instant::now).elapsed();
                    if waits < GRACE {
                        SOON
                    } else {
                        tell(chosen, Engine::Webhook);
                        LATER
                    }
                }
            },
            Err(error) => {
                tracing::warn!("look for the policy: {error}");
                SOON
            }
        };
        tokio::select! {
            true = servers.changed() => time::sleep(SOON).await,
            () = time::sleep(pause) => {}
        }
    }
}

fn tell(chosen: &watch::Sender<Engine>, engine: Engine) {
    let changed = chosen.send_if_modified(|known| {
        let changed = *known != engine;
        *known = engine;
        changed
    });
    if !changed {
        return;
    }
    match engine {
        Engine::Off => tracing::warn!(
            "nothing is injected: the policy is there and its binding is not; to inject again, \
             apply what mcpulse-operator policy injection prints, or upgrade the Helm release"
        ),
        engine => tracing::info!(?engine, "injecting"),
    }
}

/// What there is of the policy.
async fn installed(client: &Client, policy: &str) -> kube::Result<Installed> {
    if !is_there(client, "mutatingadmissionpolicies", policy).await? {
        return Ok(Installed::Nothing);
    }
    let bound = is_there(client, "mutatingadmissionpolicybindings", policy).await?;
    Ok(if bound { Installed::Bound } else { Installed::Unbound })
}

async fn is_there(client: &Client, resource: &str, name: &str) -> kube::Result<bool> {
    let path = format!("/apis/admissionregistration.k8s.io/v1/{resource}/{name}");
    let request = http::Request::get(path).body(Vec::new());
    let request = request.map_err(kube::Error::HttpError)?;
    match client.request::<Value>(request).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether the policy injects a pod that is only tried, and that the webhook is not asked about;
/// nothing where no `McpServer` could show it.
async fn proven(client: &Client, servers: &[Arc<McpServer>]) -> Option<bool> {
    let mut tried = None;
    let rendered = servers.iter().filter_map(|server| {
        let injection = server.status.as_ref()?.known_injection()?;
        Some((server.metadata.namespace.as_deref()?, injection))
    });
    for (namespace, injection) in rendered.take(TRIED) {
        let mut pod = witness::pod(&injection);
        // By which the webhook leaves it to the policy.
        pod["metadata"]["labels"][PROBE] = "policy".into();
        match dry_run(client, namespace, &pod).await {
            Ok(pod) if pod["metadata"]["annotations"][REVISION] == injection.revision.as_str() => {
                return Some(true);
            }
            Ok(_) => {}
            // Such as a quota that is used up: it says nothing about the policy.
            Err(error) => tracing::debug!("try a pod in {namespace}: {error}"),
        }
        tried = Some(false);
    }
    tried
}

/// The pod as the API server would create it.
pub(crate) async fn dry_run(client: &Client, namespace: &str, pod: &Value) -> kube::Result<Value> {
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let body = serde_json::to_vec(pod).map_err(kube::Error::SerdeError)?;
    let request = Request::new(Pod::url_path(&(), Some(namespace))).create(&params, body);
    client.request(request.map_err(kube::Error::BuildRequest)?).await
}
