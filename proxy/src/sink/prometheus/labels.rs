//! Label values that come from the wire, reduced to bounded sets: a peer chooses what it
//! sends, never how many series it makes.

use std::{borrow::Cow, collections::BTreeSet};

use crate::record::Outcome;

/// Stands for every method, protocol version and error type without a series of its own.
pub(super) const OTHER: &str = "_OTHER";
/// Stands for every tool without a series of its own.
pub(super) const OTHER_TOOL: &str = "__other__";
/// The method of tool calls.
pub(super) const TOOL_CALL: &str = "tools/call";
/// Longest tool name with a series of its own, in bytes; the specification asks for at most
/// 128 characters (2025-11-25, server/tools, "Tool Names").
pub(super) const TOOL_NAME_LIMIT: usize = 256;

/// Every request of every revision up to 2026-07-28, in either direction.
const METHODS: [&str; 23] = [
    TOOL_CALL,
    "tools/list",
    "initialize",
    "ping",
    "server/discover",
    "resources/list",
    "resources/read",
    "resources/templates/list",
    "resources/subscribe",
    "resources/unsubscribe",
    "subscriptions/listen",
    "prompts/list",
    "prompts/get",
    "completion/complete",
    "logging/setLevel",
    "sampling/createMessage",
    "elicitation/create",
    "roots/list",
    "tasks/get",
    "tasks/result",
    "tasks/list",
    "tasks/cancel",
    "tasks/update",
];

const VERSIONS: [&str; 5] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"];

/// JSON-RPC's own codes and those of MCP.
const CODES: [i64; 12] = [
    -32700, -32600, -32601, -32602, -32603, -32000, -32001, -32002, -32020, -32021, -32022, -32042,
];

const STATUSES: [u16; 19] =
    [400, 401, 403, 404, 405, 406, 408, 409, 410, 413, 415, 421, 422, 429, 500, 501, 502, 503, 504];

/// Error codes and statuses beyond the known ones that get a value of their own.
const FURTHER_ERRORS: usize = 32;

/// The method, or [`OTHER`].
pub(super) fn method(method: &str) -> &'static str {
    METHODS.into_iter().find(|known| *known == method).unwrap_or(OTHER)
}

/// The protocol version, [`OTHER`], or nothing where none is known.
pub(super) fn version(version: Option<&str>) -> &'static str {
    version
        .map_or("", |version| VERSIONS.into_iter().find(|known| *known == version).unwrap_or(OTHER))
}

/// Error types that were admitted so far beyond the known ones.
#[derive(Debug, Default)]
pub(super) struct ErrorTypes {
    further: BTreeSet<Cow<'static, str>>,
}

impl ErrorTypes {
    /// The error type, [`OTHER`], or nothing where nothing failed.
    pub(super) fn label(&mut self, outcome: Outcome) -> Cow<'static, str> {
        let known = match outcome {
            Outcome::RpcError(code) => CODES.contains(&code),
            Outcome::HttpError(status) => STATUSES.contains(&status),
            _ => true,
        };
        let Some(label) = outcome.error_type() else { return Cow::Borrowed("") };
        if known || self.further.contains(&label) {
            label
        } else if self.further.len() < FURTHER_ERRORS {
            self.further.insert(label.clone());
            label
        } else {
            Cow::Borrowed(OTHER)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values_pass_and_others_share_one() {
        assert_eq!(method("tools/call"), "tools/call");
        assert_eq!(method("tools/call "), OTHER);
        assert_eq!(version(Some("2025-06-18")), "2025-06-18");
        assert_eq!(version(Some("2099-01-01")), OTHER);
        assert_eq!(version(None), "");
    }

    #[test]
    fn known_errors_pass_even_after_a_flood_of_unknown_ones() {
        let mut errors = ErrorTypes::default();
        let labels: BTreeSet<_> =
            (0..10_000).map(|code| errors.label(Outcome::RpcError(code))).collect();
        assert_eq!(labels.len(), FURTHER_ERRORS + 1);
        assert!(labels.contains(OTHER));
        assert_eq!(errors.label(Outcome::RpcError(-32602)), "-32602");
        assert_eq!(errors.label(Outcome::HttpError(502)), "http_502");
        assert_eq!(errors.label(Outcome::HttpError(599)), OTHER);
        assert_eq!(errors.label(Outcome::RpcError(0)), "0", "admitted once, admitted for good");
        assert_eq!(errors.label(Outcome::ToolError), "tool_error");
        assert_eq!(errors.label(Outcome::Ok), "");
    }
}
