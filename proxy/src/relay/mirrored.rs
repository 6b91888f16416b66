//! What requests of the era without sessions say in headers as well as in their body
//! (2026-07-28, streamable HTTP), so that those between can go by it: which members, under which
//! names, in which spelling.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

use crate::mcp::method;

/// What the headers of arguments begin with.
const ARGUMENT: &str = "mcp-param-";
/// What a value begins and ends with that no header could carry as it is.
const ENCODED: (&str, &str) = ("=?base64?", "?=");
/// Most tools that are remembered.
const MOST_TOOLS: usize = 10_000;
/// Most arguments of one tool that have headers.
const MOST_ARGUMENTS: usize = 64;
/// Deepest nesting of one of them.
const DEEPEST: usize = 32;

/// The members of a request that headers repeat.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Params<'a> {
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    uri: Option<&'a RawValue>,
    #[serde(borrow)]
    task_id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) arguments: Option<&'a RawValue>,
}

/// The member that the header [`NAME`](crate::mcp::header::NAME) repeats for this method, if there is one.
fn member(method: &str) -> Option<for<'p, 'a> fn(&'p Params<'a>) -> Option<&'a RawValue>> {
    match method {
        method::TOOLS_CALL | "prompts/get" => Some(|params| params.name),
        "resources/read" => Some(|params| params.uri),
        "tasks/get" | "tasks/update" | "tasks/cancel" => Some(|params| params.task_id),
        _ => None,
    }
}

impl<'a> Params<'a> {
    /// Reads those of a message of this method; none where headers repeat nothing.
    ///
    /// # Errors
    /// Also when a member is there twice: of which of them headers and server speak is open.
    pub(super) fn of(message: &'a [u8], method: &str) -> serde_json::Result<Option<Self>> {
        #[derive(Deserialize)]
        struct Message<'a> {
            #[serde(borrow)]
            params: Option<Params<'a>>,
        }
        if member(method).is_none() {
            return Ok(None);
        }
        serde_json::from_slice(message).map(|it: Message<'a>| it.params)
    }

    /// What the header [`NAME`](crate::mcp::header::NAME) repeats for this method.
    pub(super) fn named(&self, method: &str) -> Option<String> {
        serde_json::from_str(member(method)?(self)?.get()).ok()
    }
}

/// Which arguments of which tools have headers, as far as lists of tools told.
#[derive(Debug, Default)]
pub(super) struct Tools(Mutex<HashMap<String, Arc<[Mirrored]>>>);

/// An argument that has a header.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mirrored {
    pub(super) header: HeaderName,
    /// The names of the property and of those that it lies in, from the outside.
    path: Vec<String>,
}

impl Mirrored {
    /// Its value among these arguments.
    pub(super) fn value<'v>(&self, arguments: &'v Value) -> Option<&'v Value> {
        self.path.iter().try_fold(arguments, |value, key| value.get(key))
    }
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
#[serde(rename_all = "camelCase")]
struct Tool {
    name: String,
    #[serde(default)]
    input_schema: Value,
}

impl Tools {
    /// Those of this tool; none while no list said so.
    pub(super) fn arguments(&self, tool: &str) -> Option<Arc<[Mirrored]>> {
        self.lock().get(tool).cloned()
    }

    /// Takes in the answer to `tools/list`. Returns whether anything is new.
    pub(super) fn learn(&self, answer: &[u8]) -> bool {
        // What cannot be read asks for nothing.
        let Ok(answer) = serde_json::from_slice::<Answer>(answer) else { return false };
        let mut news = false;
        for Tool { name, input_schema } in answer.result.tools {
            let mirrored: Arc<[Mirrored]> = match mirrored(&input_schema) {
                Ok(mirrored) => mirrored.into(),
                Err(fault) => {
                    let tool = &*name;
                    tracing::warn!(tool, "its arguments are not mirrored in headers: {fault}");
                    Arc::default()
                }
            };
            let mut tools = self.lock();
            let full = tools.len() >= MOST_TOOLS;
            match tools.get_mut(&name) {
                Some(known) if **known == *mirrored => {}
                Some(known) => {
                    news = true;
                    *known = mirrored;
                }
                None if mirrored.is_empty() || full => {}
                None => {
                    news = true;
                    tools.insert(name, mirrored);
                }
            }
        }
        news
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<[Mirrored]>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a schema marks to be mirrored.
fn mirrored(schema: &Value) -> Result<Vec<Mirrored>, String> {
    let mut found = Vec::new();
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        collect(properties, &mut Vec::new(), &mut found)?;
    }
    if found.len() > MOST_ARGUMENTS {
        return Err(format!("more than {MOST_ARGUMENTS} of them have headers"));
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
                .and_then(|mark| format!("{ARGUMENT}{mark}").parse().ok())
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
pub(super) fn encoded(text: &str) -> Option<HeaderValue> {
    let (begin, end) = ENCODED;
    let visible = text.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
    let marked = text.starts_with(begin) && text.ends_with(end);
    if visible && text.trim() == text && !marked {
        return HeaderValue::from_str(text).ok();
    }
    HeaderValue::from_str(&format!("{begin}{}{end}", BASE64_STANDARD.encode(text))).ok()
}

/// What a header carries; none if that is no text.
pub(super) fn decoded(value: &HeaderValue) -> Option<Cow<'_, str>> {
    let (begin, end) = ENCODED;
    let value = str::from_utf8(value.as_bytes()).ok()?;
    match value.strip_prefix(begin).and_then(|rest| rest.strip_suffix(end)) {
        None => Some(value.into()),
        Some(encoded) => {
            let text = BASE64_STANDARD.decode(encoded).ok()?;
            String::from_utf8(text).ok().map(Cow::Owned)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
            assert_eq!(decoded(&HeaderValue::from_str(header).unwrap()).unwrap(), value);
        }
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
