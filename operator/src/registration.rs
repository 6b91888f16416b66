//! Which pods API servers ask the webhook about: those that a `McpServer` means, and no others.
//! Without a `McpServer` there is no webhook, and nothing that could be in anybody's way.

use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhook, MutatingWebhookConfiguration};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::{sync::watch, time};

use crate::{engine::Engine, servers::Servers};

mod entries;

pub use entries::{Reach, entries};

/// The field manager of the configuration's webhooks.
const MANAGER: &str = "mcpulse-operator-webhook";
/// Changes that come together are written together.
const TOGETHER: Duration = Duration::from_millis(100);
/// The pause after something could not be written, and the longest one.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A `MutatingWebhookConfiguration`.
pub struct Registration {
    api: Api<MutatingWebhookConfiguration>,
    name: String,
    reach: Reach,
    /// The namespace of the operator itself.
    release: String,
}

impl Registration {
    /// The one of this name, by which API servers reach the webhook. Pods of the namespace
    /// `release` are left alone.
    pub fn new(client: Client, name: &str, reach: Reach, release: &str) -> Self {
        let api = Api::all(client);
        Self { api, name: name.to_owned(), reach, release: release.to_owned() }
    }

    /// Follows the `McpServer`s, whom to trust and which engine injects, until dropped. Before
    /// these are known, nothing changes.
    pub async fn follow(
        &self,
        mut servers: Servers,
        mut bundle: watch::Receiver<Option<String>>,
        mut engine: watch::Receiver<Engine>,
    ) {
        let mut applied = None;
        let mut pause = PAUSE;
        loop {
            let known = bundle.borrow_and_update().clone();
            let engine_now = *engine.borrow_and_update();
            let entries = match (engine_now, known) {
                (Engine::Undecided, _) | (Engine::Webhook, None) => None,
                (Engine::Policy | Engine::Off, _) => Some(Vec::new()),
                (Engine::Webhook, Some(bundle)) => {
                    Some(entries(&servers.all(), &self.reach, &self.release, &bundle))
                }
            };
            if let Some(entries) = entries.filter(|entries| applied.as_ref() != Some(entries)) {
                match self.apply(&entries).await {
                    Ok(()) => (applied, pause) = (Some(entries), PAUSE),
                    Err(error) => {
                        tracing::warn!("write the webhooks of {}: {error}", self.name);
                        time::sleep(pause).await;
                        pause = LONGEST_PAUSE.min(pause * 2);
                        continue;
                    }
                }
            }
            let more = tokio::select! {
                more = servers.changed() => more,
                more = bundle.changed() => more.is_ok(),
                more = engine.changed() => more.is_ok(),
            };
            if !more {
                return;
            }
            time::sleep(TOGETHER).await;
        }
    }

    /// Writes the webhooks, and nothing else of the configuration. One that is not there is not
    /// made for nothing.
    async fn apply(&self, webhooks: &[MutatingWebhook]) -> kube::Result<()> {
        if webhooks.is_empty() && self.api.get_opt(&self.name).await?.is_none() {
            return Ok(());
        }
        let configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": self.name},
            "webhooks": webhooks,
        });
        let params = PatchParams::apply(MANAGER).force();
        self.api.patch(&self.name, &params, &Patch::Apply(configuration)).await?;
        tracing::info!(webhooks = webhooks.len(), "wrote {}", self.name);
        Ok(())
    }
}
