//! The one question that every server answers, and what to make of the answer.

use std::time::Duration;

use serde_json::{Value, json};

/// Longest wait for an answer; `npx` may have to download the server first.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The id of the question.
const ID: &str = "mcpulse-check";

/// `initialize`, as one line. Servers of later revisions answer it with an error, and answer.
pub(super) fn question() -> String {
    let question = json!({
        "jsonrpc": "2.0",
        "id": ID,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "mcpulse-proxy-check", "version": env!("CARGO_PKG_VERSION")},
        },
    });
    question.to_string()
}

/// What a message says, if it is the answer; an error if no client could use it.
pub(super) fn answer(message: &[u8]) -> Option<Result<String, String>> {
    let message: Value = serde_json::from_slice(message).ok()?;
    let is_answer =
        message.get("method").is_none() && (message["id"] == ID || message["id"].is_null());
    if let Some(error) = message.get("error").filter(|_| is_answer) {
        let (code, text) = (&error["code"], error["message"].as_str().unwrap_or_default());
        return Some(Ok(format!("answers, with error {code} to initialize: {text}")));
    }
    let result = message.get("result").filter(|_| is_answer)?;
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let Some(version) = result["protocolVersion"].as_str() else {
        let problem = "answers initialize without a protocolVersion: is it an MCP server?";
        return Some(Err(problem.to_owned()));
    };
    let server = &result["serverInfo"];
    let (name, release) = (text(&server["name"]), text(&server["version"]));
    Some(Ok(format!("answers: {name} {release}, protocol {version}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_who_answers() {
        let result = br#"{"jsonrpc":"2.0","id":"mcpulse-check","result":
            {"protocolVersion":"2025-06-18","serverInfo":{"name":"weather","version":"1.2"}}}"#;
        let said =
            |message| answer(message).map(|said| said.unwrap_or_else(|it| format!("! {it}")));
        assert_eq!(said(result).unwrap(), "answers: weather 1.2, protocol 2025-06-18");
        let error = br#"{"id":"mcpulse-check","error":{"code":-32601,"message":"no"}}"#;
        assert_eq!(said(error).unwrap(), "answers, with error -32601 to initialize: no");
        let other = br#"{"id":"mcpulse-check","result":{"ok":1}}"#;
        assert!(said(other).unwrap().starts_with("! answers initialize without"));
    }

    #[test]
    fn nothing_else_is_an_answer() {
        for other in [
            question().as_bytes(),
            b"Listening on stdio",
            br#"{"id":1,"result":{}}"#,
            br#"{"method":"notifications/message","params":{}}"#,
        ] {
            assert_eq!(answer(other), None);
        }
    }
}
