//! What the leader remembers from one look at a `McpServer` to the next. Losing it costs a dry
//! run or an event, never a restart.

use std::collections::{BTreeMap, HashSet};

use k8s_openapi::jiff::Timestamp;

use super::gather::Owner;
use crate::crd::{Finding, Injection, McpServer, McpServerStatus};

/// What is remembered of a `McpServer`.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Of which this is, should another come to have the name.
    uid: Option<String>,
    /// The last status that was written, and the version of the resource that it was written over:
    /// while that is what watches show, they have not seen it yet.
    written: Option<(Option<String>, McpServerStatus)>,
    /// Pods that were missed, by their unique ids.
    pub(super) missed: HashSet<String>,
    /// When pods of an owner were last made anew for having been missed.
    pub(super) healed: BTreeMap<Owner, Timestamp>,
    /// Why a pod that was tried did not get the sidecar, and how often in a row.
    pub(super) unproven: Option<(Finding, u32)>,
    /// The owners whose pods were seen to get the sidecar, of which revision.
    pub(super) proven: BTreeMap<Owner, String>,
    /// What was last tried in a pod.
    pub(super) tried: Option<Tried>,
}

/// What was tried in a pod.
#[derive(Debug)]
pub(super) struct Tried {
    pub(super) injection: Injection,
    /// What has fewer pods than it wants, for which it was tried again.
    pub(super) short: Option<Owner>,
    /// What the API server had against it.
    pub(super) finding: Option<Finding>,
    pub(super) at: Timestamp,
}

impl Memory {
    /// This, or nothing if it is of another resource.
    pub(super) fn of(self, server: &McpServer) -> Self {
        if self.uid == server.metadata.uid {
            return self;
        }
        Self { uid: server.metadata.uid.clone(), ..Self::default() }
    }

    /// The status as it is now.
    pub(super) fn status(&mut self, server: &McpServer) -> McpServerStatus {
        self.written.take_if(|(over, _)| *over != server.metadata.resource_version);
        let written = self.written.as_ref().map(|(_, status)| status);
        written.or(server.status.as_ref()).cloned().unwrap_or_default()
    }

    /// A status was written.
    pub(super) fn written(&mut self, server: &McpServer, status: McpServerStatus) {
        self.written = Some((server.metadata.resource_version.clone(), status));
    }
}
