//! The headers of the era without sessions (2026-07-28), which a client on standard streams need
//! not know.

use http::{HeaderMap, HeaderValue};
use serde_json::{Value, value::RawValue};

use super::said::Said;
use crate::{
    mcp::{
        header::{METHOD, NAME, PROTOCOL_VERSION},
        method,
    },
    relay::mirrored::{Params, Tools, encoded},
};

/// Puts in the headers of a message that states its `version`.
pub(super) fn put(tools: &Tools, said: &Said, version: &HeaderValue, headers: &mut HeaderMap) {
    headers.insert(PROTOCOL_VERSION, version.clone());
    let Some(name) = &said.method else { return };
    headers.extend(encoded(name).map(|value| (METHOD, value)));
    // What cannot be read gets no header: the server says what is wrong with it.
    let text = said.text();
    let Ok(Some(params)) = Params::of(&text, name) else { return };
    let Some(named) = params.named(name) else { return };
    headers.extend(encoded(&named).map(|value| (NAME, value)));
    if !said.is(method::TOOLS_CALL) {
        return;
    }
    let Some(mirrored) = tools.arguments(&named) else { return };
    let arguments = params.arguments.map(RawValue::get).unwrap_or_default();
    let arguments: Value = serde_json::from_str(arguments).unwrap_or_default();
    for mirrored in &*mirrored {
        let text = match mirrored.value(&arguments) {
            Some(Value::String(text)) => text.clone(),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
            _ => continue,
        };
        headers.extend(encoded(&text).map(|value| (mirrored.header.clone(), value)));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use bytes::Bytes;
    use serde_json::json;

    use super::*;

    fn headers(tools: &Tools, method: &str, params: &Value) -> HashMap<String, String> {
        let line = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let said = Said::read(Bytes::from(line.to_string())).unwrap().unwrap();
        let mut headers = HeaderMap::new();
        put(tools, &said, &HeaderValue::from_static("2026-07-28"), &mut headers);
        let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
        headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
    }

    fn list(schema: &Value) -> Vec<u8> {
        json!({ "id": 1, "result": { "tools": [{ "name": "t", "inputSchema": schema }] } })
            .to_string()
            .into_bytes()
    }

    #[test]
    fn every_kind_of_request_is_named() {
        let tools = Tools::default();
        for (method, params, name) in [
            ("tools/call", json!({ "name": "t" }), Some("t")),
            ("prompts/get", json!({ "name": "p", "uri": "no" }), Some("p")),
            ("resources/read", json!({ "uri": "file:///a b" }), Some("file:///a b")),
            ("tasks/get", json!({ "taskId": "7" }), Some("7")),
            ("tools/list", json!({ "name": "no" }), None),
            ("tools/call", json!({ "name": 7 }), None),
        ] {
            let headers = headers(&tools, method, &params);
            assert_eq!(headers["mcp-protocol-version"], "2026-07-28");
            assert_eq!(headers["mcp-method"], method);
            assert_eq!(headers.get("mcp-name").map(String::as_str), name, "{method} {params}");
        }
    }

    #[test]
    fn marked_arguments_get_headers_of_their_own() {
        let tools = Tools::default();
        let schema = json!({ "type": "object", "properties": {
            "region": { "type": "string", "x-mcp-header": "Region" },
            "count": { "type": "integer", "x-mcp-header": "Count" },
            "plain": { "type": "string" },
            "in": { "type": "object", "properties": {
                "deep": { "type": "boolean", "x-mcp-header": "Deep" },
            } },
        } });
        assert!(tools.learn(&list(&schema)));
        assert!(!tools.learn(&list(&schema)), "known already");
        let arguments = json!({
            "region": "eu", "count": 42, "plain": "no", "in": { "deep": false },
        });
        let found = headers(&tools, "tools/call", &json!({ "name": "t", "arguments": arguments }));
        assert_eq!(found["mcp-param-region"], "eu");
        assert_eq!(found["mcp-param-count"], "42");
        assert_eq!(found["mcp-param-deep"], "false");
        assert!(!found.contains_key("mcp-param-plain"));
        let arguments = json!({ "region": null, "in": "no object" });
        let found = headers(&tools, "tools/call", &json!({ "name": "t", "arguments": arguments }));
        assert!(!found.keys().any(|name| name.starts_with("mcp-param-")), "{found:?}");
        assert!(tools.learn(&list(&json!({}))), "no longer");
    }
}
