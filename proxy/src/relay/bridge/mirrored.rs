//! What a request of the era without sessions says in its headers as well as in its body: both
//! have to say the same.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName};
use serde_json::{Value, value::RawValue};

use super::splice::Said;
use crate::{
    mcp::{
        header::{METHOD, NAME, PROTOCOL_VERSION},
        method,
    },
    relay::mirrored::{Params, Tools, decoded},
};

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

/// Compares the headers of a request or notification with its body. Tools that were not listed
/// are not checked.
pub(super) fn check(headers: &HeaderMap, said: &Said, tools: &Tools) -> Result<(), Mismatch> {
    if let Some(version) = &said.version {
        same(headers, &PROTOCOL_VERSION, version)?;
    }
    let method = said.gist.method.as_deref().unwrap_or_default();
    same(headers, &METHOD, method)?;
    let params = Params::of(&said.line, method).map_err(|error| unreadable(&error))?;
    // What has no name is for the server to refuse.
    let Some(params) = params else { return Ok(()) };
    let Some(name) = params.named(method) else { return Ok(()) };
    same(headers, &NAME, &name)?;
    if method == method::TOOLS_CALL {
        arguments(headers, tools, &name, params.arguments)?;
    }
    Ok(())
}

fn unreadable(error: &serde_json::Error) -> Mismatch {
    Mismatch::Unreadable(error.to_string())
}

/// Whether a header says just this.
fn same(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> Result<(), Mismatch> {
    match value(headers, name)? {
        None => Err(Mismatch::Missing(name.clone())),
        Some(said) if said == wanted => Ok(()),
        Some(_) => Err(Mismatch::Differs(name.clone())),
    }
}

/// What a header says; an error if it says two things, or nothing that can be read.
fn value<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<Cow<'a, str>>, Mismatch> {
    let differs = || Mismatch::Differs(name.clone());
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(differs());
    }
    decoded(value).map(Some).ok_or_else(differs)
}

fn arguments(
    headers: &HeaderMap,
    tools: &Tools,
    tool: &str,
    arguments: Option<&RawValue>,
) -> Result<(), Mismatch> {
    let Some(mirrored) = tools.arguments(tool) else { return Ok(()) };
    let arguments = arguments.map(|it| serde_json::from_str::<Value>(it.get())).transpose();
    let arguments = arguments.map_err(|error| unreadable(&error))?;
    for mirrored in mirrored.iter() {
        let header = &mirrored.header;
        let argument = arguments.as_ref().and_then(|arguments| mirrored.value(arguments));
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
