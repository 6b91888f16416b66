//! Answers API servers that ask what to do with a new pod: the splice behind HTTPS, for clusters
//! whose API servers cannot inject by themselves.
//!
//! It never refuses a pod. Whatever goes wrong, the pod starts as it is, and a warning, an event
//! and a counter say so.

use std::time::Instant;

use kube::core::{
    DynamicObject, Status,
    admission::{AdmissionRequest, AdmissionResponse, AdmissionReview},
};
use serde_json::Value;

use crate::servers::Servers;

mod counters;
mod notices;
mod server;
mod verdict;

pub use counters::Counters;
pub use notices::{Notice, Notices, publish};
pub use server::{PATH, serve};

use verdict::Verdict;

/// Longest warning that API servers pass on as it is.
const LONGEST_WARNING: usize = 256;

/// What answers the questions.
#[derive(Debug)]
pub struct Webhook {
    servers: Servers,
    counters: Counters,
    notices: Notices,
}

impl Webhook {
    /// Answers by what is in `servers`.
    pub fn new(servers: Servers, counters: Counters, notices: Notices) -> Self {
        Self { servers, counters, notices }
    }

    /// Answers a review, written as JSON.
    fn answer(&self, body: &[u8]) -> AdmissionReview<DynamicObject> {
        let begun = Instant::now();
        let (response, verdict) = match read(body) {
            Ok(request) => self.review(&request),
            Err((uid, why)) => {
                // The only way to make a response without a request that can be read.
                let mut response = AdmissionResponse::invalid("");
                (response.uid, response.allowed) = (uid, true);
                response.result = Status::default();
                (response, Verdict::Failed(why))
            }
        };
        self.counters.count(verdict.result(), verdict.reason(), begun.elapsed());
        let response = warned(response, &verdict);
        if let Verdict::Failed(why) = &verdict {
            tracing::warn!("a pod starts without the sidecar: {why}");
        }
        response.into_review()
    }

    fn review(&self, request: &AdmissionRequest<DynamicObject>) -> (AdmissionResponse, Verdict) {
        let response = AdmissionResponse::from(request);
        let Some(pod) = request.object.as_ref().and_then(|pod| serde_json::to_value(pod).ok())
        else {
            let why = "the API server asked about a pod and did not send it".to_owned();
            return (response, Verdict::Failed(why));
        };
        let namespace = request.namespace.as_deref().unwrap_or_default();
        let servers = self.servers.of(namespace);
        let (server, verdict) = verdict::of(&servers, &pod);
        let (response, verdict) = match verdict {
            Verdict::Injected(patch) => match response.clone().with_patch(patch.clone()) {
                Ok(patched) => (patched, Verdict::Injected(patch)),
                Err(error) => (response, Verdict::Failed(format!("write the patch: {error}"))),
            },
            other => (response, other),
        };
        if let (Some(server), Some(note), false) = (server, verdict.note(), request.dry_run) {
            self.notices.tell(Notice::new(namespace, &pod, server, verdict.reason(), note));
        }
        (response, verdict)
    }
}

/// The request of a review; or its id, as far as it is known, and what is wrong.
fn read(body: &[u8]) -> Result<AdmissionRequest<DynamicObject>, (String, String)> {
    let wrong = |uid: &str, why: String| (uid.to_owned(), why);
    let review: Value = serde_json::from_slice(body)
        .map_err(|error| wrong("", format!("read what the API server asks: {error}")))?;
    let uid = review["request"]["uid"].as_str().unwrap_or_default().to_owned();
    let review: AdmissionReview<DynamicObject> = serde_json::from_value(review)
        .map_err(|error| wrong(&uid, format!("read what the API server asks: {error}")))?;
    review.try_into().map_err(|_| wrong(&uid, "a review without a request".to_owned()))
}

/// The response with what the author of the pod should know.
fn warned(mut response: AdmissionResponse, verdict: &Verdict) -> AdmissionResponse {
    if let Some(note) = verdict.note() {
        let mut warning = format!("mcpulse: {note}");
        if warning.len() > LONGEST_WARNING {
            warning.truncate(warning.floor_char_boundary(LONGEST_WARNING - '…'.len_utf8()));
            warning.push('…');
        }
        response.warnings = Some(vec![warning]);
    }
    response
}

#[cfg(test)]
mod tests;
