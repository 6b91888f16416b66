//! Events, on the `McpServer` and on what owns its pods: once for each thing that happens.

use k8s_openapi::{api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::Condition};
use kube::{
    Client, Resource,
    runtime::events::{Event, EventType, Recorder, Reporter},
};

use super::gather::{Gathered, Owner};
use crate::{answer::why, crd::condition::ConditionType};

/// Longest note that the API server takes, in bytes.
const NOTE: usize = 1024;

/// Writes events.
#[derive(Clone)]
pub(super) struct Teller {
    recorder: Recorder,
}

impl Teller {
    /// Writes as this replica.
    pub(super) fn new(client: Client, identity: &str) -> Self {
        let reporter = Reporter {
            controller: "mcpulse-operator".to_owned(),
            instance: Some(identity.to_owned()),
        };
        Self { recorder: Recorder::new(client, reporter) }
    }

    /// Tells what has come to hold, or not to hold any more.
    pub(super) async fn changes(
        &self,
        gathered: &Gathered,
        before: &[Condition],
        now: &[Condition],
    ) {
        let mut told: Vec<&str> = Vec::new();
        for condition in now {
            let same = |one: &&Condition| one.type_ == condition.type_;
            let unchanged = before.iter().find(same).is_some_and(|earlier| {
                earlier.status == condition.status && earlier.reason == condition.reason
            });
            // The others say the same once more.
            let stalled = condition.type_ == ConditionType::Stalled.to_string();
            let degraded = condition.type_ == ConditionType::Degraded.to_string();
            let ready = condition.type_ == ConditionType::Ready.to_string();
            let good = (condition.status == "True") != degraded;
            if unchanged || stalled || good != ready || told.contains(&condition.reason.as_str()) {
                continue;
            }
            told.push(&condition.reason);
            let type_ = if good { EventType::Normal } else { EventType::Warning };
            let note = if good { "all is as the spec asks" } else { condition.message.as_str() };
            self.server(gathered, type_, &condition.reason, "Reconcile", note).await;
        }
    }

    /// Tells the `McpServer`.
    pub(super) async fn server(
        &self,
        gathered: &Gathered,
        type_: EventType,
        reason: &str,
        action: &str,
        note: &str,
    ) {
        self.publish(&gathered.server.object_ref(&()), type_, reason, action, note).await;
    }

    /// Tells it, and what owns the pods.
    pub(super) async fn both(
        &self,
        gathered: &Gathered,
        owner: &Owner,
        type_: EventType,
        reason: &str,
        action: &str,
        note: &str,
    ) {
        self.server(gathered, type_, reason, action, note).await;
        let reference = gathered.groups.get(owner).and_then(|group| group.reference.clone());
        let Some(one) = reference else { return };
        let reference = ObjectReference {
            api_version: Some(one.api_version),
            kind: Some(one.kind),
            name: Some(one.name),
            namespace: Some(gathered.namespace.clone()),
            uid: Some(one.uid),
            ..ObjectReference::default()
        };
        self.publish(&reference, type_, reason, action, note).await;
    }

    async fn publish(
        &self,
        about: &ObjectReference,
        type_: EventType,
        reason: &str,
        action: &str,
        note: &str,
    ) {
        let mut end = note.len().min(NOTE);
        while !note.is_char_boundary(end) {
            end -= 1;
        }
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note[..end].to_owned()),
            action: action.to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, about).await {
            tracing::warn!(reason, "write an event: {}", why(&error));
        }
    }
}
