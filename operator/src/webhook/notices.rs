//! Events about pods that start without the sidecar. No pod waits for them: they are queued, and
//! left out when the queue is full.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Resource,
    runtime::events::{Event, EventType, Recorder},
};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::crd::McpServer;

/// Notices that wait to be published.
const QUEUE: usize = 256;
/// Longest note of an event, in bytes (events.k8s.io/v1).
const LONGEST_NOTE: usize = 1024;

/// A pod that starts without the sidecar.
#[derive(Debug)]
pub struct Notice {
    /// What made the pod, if it is known: there may be no pod for an event to be about.
    owner: ObjectReference,
    server: ObjectReference,
    reason: &'static str,
    note: String,
}

impl Notice {
    pub(super) fn new(
        namespace: &str,
        pod: &Value,
        server: &McpServer,
        reason: &'static str,
        mut note: String,
    ) -> Self {
        note.truncate(note.floor_char_boundary(LONGEST_NOTE));
        let server =
            ObjectReference { namespace: Some(namespace.to_owned()), ..server.object_ref(&()) };
        let owners = pod["metadata"]["ownerReferences"].as_array().into_iter().flatten();
        let owner = owners.clone().find(|owner| owner["controller"] == true).map(|owner| {
            let text = |key: &str| owner[key].as_str().map(str::to_owned);
            ObjectReference {
                api_version: text("apiVersion"),
                kind: text("kind"),
                name: text("name"),
                uid: text("uid"),
                namespace: Some(namespace.to_owned()),
                ..ObjectReference::default()
            }
        });
        Self { owner: owner.unwrap_or_else(|| server.clone()), server, reason, note }
    }
}

/// Where notices are left.
#[derive(Clone, Debug)]
pub struct Notices(mpsc::Sender<Notice>);

impl Notices {
    /// A place to leave notices, and where they come out again.
    pub fn new() -> (Self, mpsc::Receiver<Notice>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self(sender), receiver)
    }

    pub(super) fn tell(&self, notice: Notice) {
        if self.0.try_send(notice).is_err() {
            tracing::debug!("too many pods without the sidecar at once for an event each");
        }
    }
}

/// Publishes notices as events until nobody can leave one any more.
pub async fn publish(recorder: Recorder, mut notices: mpsc::Receiver<Notice>) {
    while let Some(notice) = notices.recv().await {
        let event = Event {
            type_: EventType::Warning,
            reason: notice.reason.to_owned(),
            note: Some(notice.note),
            action: "Inject".to_owned(),
            secondary: Some(notice.server),
        };
        if let Err(error) = recorder.publish(&event, &notice.owner).await {
            tracing::warn!("publish an event about a pod without the sidecar: {error}");
        }
    }
}
