//! What tells one rendering from another where pods would have to be made anew.

use ring::digest::{SHA256, digest};

use crate::crd::{Injection, injection::CONFIG};

/// A hash of all but what changes without a new pod: the image, which is changed in place, the
/// live configuration, which the kubelet carries into the pod, and the pods left to others.
pub(super) fn of(injection: &Injection) -> String {
    let mut fixed = injection.clone();
    fixed.annotations.remove(CONFIG);
    fixed.except.clear();
    fixed.revision.clear();
    fixed.sidecar["image"].take();
    // Nothing in it fails to be written, and keys are written in their order.
    let text = serde_json::to_vec(&fixed).unwrap_or_default();
    let hash = digest(&SHA256, &text);
    let start = hash.as_ref().first_chunk().map_or(0, |start| u64::from_be_bytes(*start));
    format!("{start:016x}")
}
