//! The `McpServer`s of the cluster as they were last seen, by the one watch that a replica has of
//! them.

use std::{pin::pin, sync::Arc};

use futures_util::StreamExt;
use kube::{
    Api,
    runtime::{
        WatchStreamExt,
        reflector::{self, Store, store::Writer},
        watcher::{self, Event},
    },
};
use tokio::sync::watch;

use crate::crd::McpServer;

/// The `McpServer`s as they were last seen.
#[derive(Clone, Debug)]
pub struct Servers {
    store: Store<McpServer>,
    changes: watch::Receiver<u64>,
}

/// What keeps them up to date.
pub struct Watch {
    api: Api<McpServer>,
    writer: Writer<McpServer>,
    changes: watch::Sender<u64>,
}

impl Servers {
    /// Those of `api`, once what keeps them up to date runs.
    pub fn new(api: Api<McpServer>) -> (Self, Watch) {
        let (store, writer) = reflector::store();
        let (sender, changes) = watch::channel(0);
        (Self { store, changes }, Watch { api, writer, changes: sender })
    }

    /// These, for ever.
    #[cfg(test)]
    pub(crate) fn known(servers: Vec<McpServer>) -> Self {
        let (store, mut writer) = reflector::store();
        for server in servers {
            writer.apply_watcher_event(&Event::Apply(server));
        }
        Self { store, changes: watch::channel(0).1 }
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<McpServer>> {
        self.store.state()
    }

    /// Those of a namespace.
    pub fn of(&self, namespace: &str) -> Vec<Arc<McpServer>> {
        self.store.state_filter(|server| server.metadata.namespace.as_deref() == Some(namespace))
    }

    /// Where they are kept.
    pub(crate) fn store(&self) -> &Store<McpServer> {
        &self.store
    }

    /// Completes when something has changed since the last time, the first time once all are
    /// known; false when nothing ever will again.
    pub async fn changed(&mut self) -> bool {
        self.changes.changed().await.is_ok()
    }
}

impl Watch {
    /// Keeps them up to date until dropped. Tells `failed` whenever it begins anew.
    pub async fn run(mut self, failed: impl Fn()) {
        let events = watcher::watcher(self.api.clone(), watcher::Config::default());
        let mut events = pin!(events.default_backoff());
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    let event = event.modify(strip);
                    self.writer.apply_watcher_event(&event);
                    if !matches!(event, Event::Init | Event::InitApply(_)) {
                        self.changes.send_modify(|count| *count += 1);
                    }
                }
                Err(error) => {
                    failed();
                    tracing::warn!("watch McpServers: {error}; it begins anew");
                }
            }
        }
    }
}

/// Takes out what nobody asks for.
fn strip(server: &mut McpServer) {
    server.metadata.managed_fields = None;
    server.metadata.annotations = None;
}
