//! What a request of the era without sessions says in its headers as well as in its body, so that
//! those between can go by it: both have to say the same.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderName};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{exchange::PROTOCOL_VERSION, splice::Said};
use crate::mcp::method;

const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
/// What the headers of parameters begin with.
const PARAMETER: &str = "mcp-param-";
/// Most tools with such parameters that are remembered.
const MOST_TOOLS: usize = 1000;
/// Most of them in one tool.
const MOST_PARAMETERS: usize = 64;
/// The largest integer that every peer reads exactly.
const EXACT: f64 = 9_007_199_254_740_991.0;

/// How headers and body differ.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Mismatch {
    #[error("the header {0} is missing; send what the body says")]
    Missing(HeaderName),
    #[error("the header {0} differs from the body")]
    Differs(HeaderName),
    #[error("the header {0} is sent, but the body does not have the parameter")]
    Unexpected(HeaderName),
    #[error("the body cannot be compared with the headers: {0}")]
    Unreadable(String),
}

/// Which parameters of which tools have headers, as far as lists of tools told. One that was not
/// listed is not checked.
#[derive(Debug, Default)]
pub(super) struct Mirrors(Mutex<HashMap<String, Arc<[Mirror]>>>);

#[derive(Debug, PartialEq, Eq)]
struct Mirror {
    /// The names of the property and of those that it lies in, from the outside.
    path: Vec<String>,
    header: HeaderName,
}

/// The members of a request that headers repeat.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    params: Option<Params<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Params<'a> {
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    uri: Option<&'a RawValue>,
    #[serde(borrow)]
    task_id: Option<&'a RawValue>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

/// Compares the headers of a request or notification with its body.
pub(super) fn check(headers: &HeaderMap, said: &Said, mirrors: &Mirrors) -> Result<(), Mismatch> {
    if let Some(version) = &said.version {
        same(headers, &PROTOCOL_VERSION, version)?;
    }
    let method = said.gist.method.as_deref().unwrap_or_default();
    same(headers, &METHOD, method)?;
    let named: fn(&Params<'_>) -> Option<String> = match method {
        method::TOOLS_CALL | "prompts/get" => |params| text(params.name?),
        "resources/read" => |params| text(params.uri?),
        "tasks/get" | "tasks/update" | "tasks/cancel" => |params| text(params.task_id?),
        _ => return Ok(()),
    };
    // Refuses members that are there twice: of which of them headers and program speak is open.
    let body: Body<'_> = serde_json::from_slice(&said.line)
        .map_err(|error| Mismatch::Unreadable(error.to_string()))?;
    // What has no name is for the server to refuse.
    let Some(params) = body.params else { return Ok(()) };
    let Some(name) = named(&params) else { return Ok(()) };
    same(headers, &NAME, &name)?;
    if method == method::TOOLS_CALL {
        mirrors.check(headers, &name, params.arguments)?;
    }
    Ok(())
}

fn text(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}

/// Whether a header says just this.
fn same(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> Result<(), Mismatch> {
    match value(headers, name)? {
        None => Err(Mismatch::Missing(name.clone())),
        Some(said) if said == wanted => Ok(()),
        Some(_) => Err(Mismatch::Differs(name.clone())),
    }
}

/// What a header says, decoded; an error if it says two things, or nothing that can be read.
fn value<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<Cow<'a, str>>, Mismatch> {
    let differs = || Mismatch::Differs(name.clone());
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(differs());
    }
    let value = str::from_utf8(value.as_bytes()).map_err(|_| differs())?;
    let encoded = value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?="));
    let Some(encoded) = encoded else { return Ok(Some(value.into())) };
    let decoded = BASE64_STANDARD.decode(encoded).ok().and_then(|it| String::from_utf8(it).ok());
    decoded.map(|text| Some(text.into())).ok_or_else(differs)
}

impl Mirrors {
    /// A list of tools has passed.
    pub(super) fn learn(&self, answer: &[u8]) {
        // What cannot be read asks for nothing.
        let Ok(listed) = serde_json::from_slice::<Listed>(answer) else { return };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for tool in listed.result.tools {
            let mut mirrors = Vec::new();
            let schema = serde_json::from_value::<Schema>(tool.input_schema).unwrap_or_default();
            schema.collect(&mut Vec::new(), &mut mirrors);
            if mirrors.is_empty() {
                known.remove(&tool.name);
            } else if known.len() < MOST_TOOLS || known.contains_key(&tool.name) {
                known.insert(tool.name, mirrors.into());
            }
        }
    }

    fn check(
        &self,
        headers: &HeaderMap,
        tool: &str,
        arguments: Option<&RawValue>,
    ) -> Result<(), Mismatch> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(tool).cloned();
        let Some(mirrors) = known else { return Ok(()) };
        let arguments = arguments.map(|it| serde_json::from_str::<Value>(it.get())).transpose();
        let arguments = arguments.map_err(|error| Mismatch::Unreadable(error.to_string()))?;
        for Mirror { path, header } in mirrors.iter() {
            let argument = path.iter().fold(arguments.as_ref(), |within, name| within?.get(name));
            let argument = argument.filter(|argument| !argument.is_null());
            match (value(headers, header)?, argument) {
                (None, None) => {}
                (None, Some(_)) => return Err(Mismatch::Missing(header.clone())),
                (Some(_), None) => return Err(Mismatch::Unexpected(header.clone())),
                (Some(said), Some(argument)) if is_same(&said, argument) => {}
                (Some(_), Some(_)) => return Err(Mismatch::Differs(header.clone())),
            }
        }
        Ok(())
    }
}

/// Whether a header says what an argument is: text, an integer in any spelling, or a truth value.
fn is_same(said: &str, argument: &Value) -> bool {
    match argument {
        Value::String(text) => said == text,
        Value::Bool(value) => said == if *value { "true" } else { "false" },
        Value::Number(number) => {
            let exact = |number: &f64| number.fract() == 0.0 && number.abs() <= EXACT;
            let said = said.parse().ok().filter(exact);
            said.is_some() && said == number.as_f64().filter(exact)
        }
        _ => false,
    }
}

#[derive(Deserialize)]
struct Listed {
    result: Tools,
}

#[derive(Deserialize)]
struct Tools {
    tools: Vec<Tool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tool {
    name: String,
    #[serde(default)]
    input_schema: Value,
}

#[derive(Default, Deserialize)]
struct Schema {
    #[serde(rename = "x-mcp-header")]
    header: Option<Value>,
    #[serde(default)]
    properties: HashMap<String, Value>,
}

impl Schema {
    fn collect(self, path: &mut Vec<String>, found: &mut Vec<Mirror>) {
        let name = self.header.as_ref().and_then(Value::as_str).unwrap_or_default();
        let header = HeaderName::try_from(format!("{PARAMETER}{}", name.to_ascii_lowercase()));
        if !name.is_empty()
            && !path.is_empty()
            && found.len() < MOST_PARAMETERS
            && let Ok(header) = header
        {
            found.push(Mirror { path: path.clone(), header });
        }
        for (name, property) in self.properties {
            let Ok(property) = serde_json::from_value::<Self>(property) else { continue };
            path.push(name);
            property.collect(path, found);
            path.pop();
        }
    }
}
