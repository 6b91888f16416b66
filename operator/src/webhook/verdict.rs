//! What becomes of a pod: which `McpServer` means it, and what the splice makes of it.

use std::sync::Arc;

use json_patch::Patch;
use serde_json::Value;

use crate::{
    crd::{McpServer, selector::Labels},
    splice::{Skip, splice},
};

/// What becomes of a pod.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It gets the sidecar.
    Injected(Patch),
    /// It stays as it is, for a reason that lies in it.
    Skipped(Skip),
    /// No `McpServer` means it, or the one that does is not rendered yet.
    NotSelected,
    /// It stays as it is because something is wrong here.
    Failed(String),
}

impl Verdict {
    /// What is counted.
    pub(super) fn result(&self) -> &'static str {
        match self {
            Self::Injected(_) => "injected",
            Self::Skipped(_) | Self::NotSelected => "skipped",
            Self::Failed(_) => "failed",
        }
    }

    /// Why, in one word; nothing for what is injected.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Injected(_) => "",
            Self::Skipped(skip) => skip.reason(),
            Self::NotSelected => "NotSelected",
            Self::Failed(_) => "Failed",
        }
    }

    /// What the author of the pod should know; nothing where all is as was asked for.
    pub(super) fn note(&self) -> Option<String> {
        match self {
            Self::Injected(_)
            | Self::NotSelected
            | Self::Skipped(Skip::AlreadyInjected | Skip::OptedOut) => None,
            Self::Skipped(skip) => Some(format!("no sidecar ({}): {skip}", skip.reason())),
            Self::Failed(why) => Some(format!("no sidecar: {why}")),
        }
    }
}

/// What becomes of a pod among the `McpServer`s of its namespace, and by which of them. The
/// renderings of older and newer ones exclude each other; while they do not yet, the oldest wins.
pub(super) fn of<'a>(
    servers: &'a [Arc<McpServer>],
    pod: &Value,
) -> (Option<&'a McpServer>, Verdict) {
    let labels = pod["metadata"]["labels"].as_object().into_iter().flatten();
    let labels: Labels =
        labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect();
    let selecting = servers.iter().filter_map(|server| {
        let injection = server.status.as_ref()?.known_injection()?;
        injection.selects(&labels).then_some((server.as_ref(), injection))
    });
    let oldest = selecting.min_by_key(|(server, _)| {
        let metadata = &server.metadata;
        (metadata.creation_timestamp.as_ref().map(|time| time.0), metadata.name.as_deref())
    });
    let Some((server, injection)) = oldest else { return (None, Verdict::NotSelected) };
    let verdict = match splice(pod, &injection) {
        Ok(patch) => Verdict::Injected(patch),
        Err(skip) => Verdict::Skipped(skip),
    };
    (Some(server), verdict)
}
