//! The headers in which a message of the era without sessions is mirrored, so that those between
//! need not read it (2026-07-28, transports, "Request Metadata"). Which arguments of a tool are,
//! is learned from the lists of tools that pass: a client on standard output need not know.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

use super::said::Said;
use crate::mcp::method;

const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
/// Most tools that are remembered.
const MOST_TOOLS: usize = 10_000;
/// Deepest nesting of a mirrored argument.
const DEEPEST: usize = 32;

/// What was learned of the tools of a server.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    tools: Mutex<HashMap<String, Arc<[Mirrored]>>>,
}

/// An argument that goes into a header.
#[derive(Debug, PartialEq, Eq)]
struct Mirrored {
    header: HeaderName,
    /// The keys that lead to it.
    path: Vec<String>,
}

/// The part of a request that may be mirrored.
#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    params: Option<Params<'a>>,
}

#[derive(Deserialize)]
struct Params<'a> {
    name: Option<Value>,
    uri: Option<Value>,
    #[serde(rename = "taskId")]
    task: Option<Value>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Answer {
    result: Listed,
}

#[derive(Deserialize)]
struct Listed {
    tools: Vec<Tool>,
}

#[derive(Deserialize)]
struct Tool {
    name: String,
    #[serde(rename = "inputSchema", default)]
    schema: Value,
}

impl Mirror {
    /// Puts in the headers of a message that states its `version`.
    pub(super) fn put(&self, said: &Said, version: &HeaderValue, headers: &mut HeaderMap) {
        headers.insert(PROTOCOL_VERSION, version.clone());
        let Some(name) = &said.method else { return };
        headers.extend(encoded(name).map(|value| (METHOD, value)));
        // What cannot be read gets no header: the server says what is wrong with it.
        let params = serde_json::from_slice(&said.text).ok().and_then(|it: Request<'_>| it.params);
        let Some(params) = params else { return };
        let named = match &**name {
            method::TOOLS_CALL | "prompts/get" => &params.name,
            "resources/read" => &params.uri,
            name if name.starts_with(method::TASKS) => &params.task,
            _ => return,
        };
        let Some(Value::String(named)) = named else { return };
        headers.extend(encoded(named).map(|value| (NAME, value)));
        if !said.is(method::TOOLS_CALL) {
            return;
        }
        let Some(mirrored) = self.lock().get(named).cloned() else { return };
        let arguments = params.arguments.map(RawValue::get).unwrap_or_default();
        let arguments: Value = serde_json::from_str(arguments).unwrap_or_default();
        for Mirrored { header, path } in &*mirrored {
            let value = path.iter().try_fold(&arguments, |value, key| value.get(key));
            let text = match value {
                Some(Value::String(text)) => text.clone(),
                Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
                _ => continue,
            };
            headers.extend(encoded(&text).map(|value| (header.clone(), value)));
        }
    }

    /// Takes in the answer to `tools/list`. Returns whether anything is new.
    pub(super) fn learn(&self, answer: &[u8]) -> bool {
        let Ok(answer) = serde_json::from_slice::<Answer>(answer) else { return false };
        let mut news = false;
        for tool in answer.result.tools {
            let mirrored: Arc<[Mirrored]> = match mirrored(&tool.schema) {
                Ok(mirrored) => mirrored.into(),
                Err(fault) => {
                    let tool = &*tool.name;
                    tracing::warn!(tool, "its arguments are not mirrored in headers: {fault}");
                    Arc::default()
                }
            };
            let mut tools = self.lock();
            let full = tools.len() >= MOST_TOOLS;
            match tools.get_mut(&tool.name) {
                Some(known) if **known == *mirrored => {}
                Some(known) => {
                    news = true;
                    *known = mirrored;
                }
                None if mirrored.is_empty() || full => {}
                None => {
                    news = true;
                    tools.insert(tool.name, mirrored);
                }
            }
        }
        news
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<[Mirrored]>>> {
        self.tools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a schema marks to be mirrored.
fn mirrored(schema: &Value) -> Result<Vec<Mirrored>, String> {
    let mut found = Vec::new();
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        collect(properties, &mut Vec::new(), &mut found)?;
    }
    let mut names = HashSet::new();
    match found.iter().find(|mirrored| !names.insert(&mirrored.header)) {
        Some(twice) => Err(format!("two of them have the header {}", twice.header)),
        None => Ok(found),
    }
}

fn collect(
    properties: &Map<String, Value>,
    path: &mut Vec<String>,
    found: &mut Vec<Mirrored>,
) -> Result<(), String> {
    if path.len() >= DEEPEST {
        return Ok(());
    }
    for (key, schema) in properties {
        path.push(key.clone());
        if let Some(mark) = schema.get("x-mcp-header") {
            let header = mark
                .as_str()
                .filter(|mark| !mark.is_empty())
                .and_then(|mark| format!("mcp-param-{mark}").parse().ok())
                .ok_or_else(|| format!("x-mcp-header of '{key}' is no name of a header: {mark}"))?;
            let kind = schema.get("type").and_then(Value::as_str);
            if !matches!(kind, Some("string" | "integer" | "boolean")) {
                return Err(format!("'{key}' is no string, integer or boolean"));
            }
            found.push(Mirrored { header, path: path.clone() });
        }
        if let Some(inner) = schema.get("properties").and_then(Value::as_object) {
            collect(inner, path, found)?;
        }
        path.pop();
    }
    Ok(())
}

/// A value as headers carry it: as it is where it can be, else in Base64 between markers.
fn encoded(text: &str) -> Option<HeaderValue> {
    let visible = text.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
    let marked = text.starts_with("=?base64?") && text.ends_with("?=");
    if visible && text.trim() == text && !marked {
        return HeaderValue::from_str(text).ok();
    }
    HeaderValue::from_str(&format!("=?base64?{}?=", BASE64_STANDARD.encode(text))).ok()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;

    fn headers(mirror: &Mirror, method: &str, params: &Value) -> HashMap<String, String> {
        let line = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let said = Said::read(Bytes::from(line.to_string())).unwrap().unwrap();
        let mut headers = HeaderMap::new();
        mirror.put(&said, &HeaderValue::from_static("2026-07-28"), &mut headers);
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
        let mirror = Mirror::default();
        for (method, params, name) in [
            ("tools/call", json!({ "name": "t" }), Some("t")),
            ("prompts/get", json!({ "name": "p", "uri": "no" }), Some("p")),
            ("resources/read", json!({ "uri": "file:///a b" }), Some("file:///a b")),
            ("tasks/get", json!({ "taskId": "7" }), Some("7")),
            ("tools/list", json!({ "name": "no" }), None),
            ("tools/call", json!({ "name": 7 }), None),
        ] {
            let headers = headers(&mirror, method, &params);
            assert_eq!(headers["mcp-protocol-version"], "2026-07-28");
            assert_eq!(headers["mcp-method"], method);
            assert_eq!(headers.get("mcp-name").map(String::as_str), name, "{method} {params}");
        }
    }

    /// The examples of the specification, and what it says in words.
    #[test]
    fn values_are_encoded_where_a_header_could_not_carry_them() {
        for (value, header) in [
            ("us-west1", "us-west1"),
            ("us west 1", "us west 1"),
            ("", ""),
            ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
            (" padded ", "=?base64?IHBhZGRlZCA=?="),
            ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
            ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
        ] {
            assert_eq!(encoded(value).unwrap(), header, "{value:?}");
        }
    }

    #[test]
    fn marked_arguments_get_headers_of_their_own() {
        let mirror = Mirror::default();
        let schema = json!({ "type": "object", "properties": {
            "region": { "type": "string", "x-mcp-header": "Region" },
            "count": { "type": "integer", "x-mcp-header": "Count" },
            "plain": { "type": "string" },
            "in": { "type": "object", "properties": {
                "deep": { "type": "boolean", "x-mcp-header": "Deep" },
            } },
        } });
        assert!(mirror.learn(&list(&schema)));
        assert!(!mirror.learn(&list(&schema)), "known already");
        let arguments = json!({
            "region": "eu", "count": 42, "plain": "no", "in": { "deep": false },
        });
        let found = headers(&mirror, "tools/call", &json!({ "name": "t", "arguments": arguments }));
        assert_eq!(found["mcp-param-region"], "eu");
        assert_eq!(found["mcp-param-count"], "42");
        assert_eq!(found["mcp-param-deep"], "false");
        assert!(!found.contains_key("mcp-param-plain"));
        let arguments = json!({ "region": null, "in": "no object" });
        let found = headers(&mirror, "tools/call", &json!({ "name": "t", "arguments": arguments }));
        assert!(!found.keys().any(|name| name.starts_with("mcp-param-")), "{found:?}");
        assert!(mirror.learn(&list(&json!({}))), "no longer");
    }

    #[test]
    fn a_schema_that_breaks_the_rules_mirrors_nothing() {
        for properties in [
            json!({ "a": { "type": "string", "x-mcp-header": "" } }),
            json!({ "a": { "type": "string", "x-mcp-header": "My Region" } }),
            json!({ "a": { "type": "string", "x-mcp-header": "Région" } }),
            json!({ "a": { "type": "string", "x-mcp-header": 7 } }),
            json!({ "a": { "type": "number", "x-mcp-header": "A" } }),
            json!({ "a": { "type": "object", "x-mcp-header": "A" } }),
            json!({
                "a": { "type": "string", "x-mcp-header": "Same" },
                "b": { "type": "string", "x-mcp-header": "same" },
            }),
        ] {
            assert!(mirrored(&json!({ "properties": properties })).is_err(), "{properties}");
        }
    }
}
