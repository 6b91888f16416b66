//! `--config mcp.json`: the files in which MCP clients keep their servers.
//!
//! Read are `mcpServers` (Claude Desktop, Claude Code, Cursor) and `servers` (VS Code), with
//! comments and trailing commas; keys that only a client needs are passed over.

use std::{collections::BTreeMap, path::Path};

use jsonc_parser::ParseOptions;
use serde::Deserialize;
use serde_yaml::{Mapping, Value};

use super::{
    Environment,
    layer::{Given, Source},
};
use crate::config::{Mode, Problem, setting::Setting};

mod expand;
mod itself;

use expand::Expander;

#[derive(Deserialize)]
struct File {
    #[serde(default, rename = "mcpServers")]
    mcp_servers: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    servers: BTreeMap<String, serde_json::Value>,
}

/// One server, with the keys that matter here.
#[derive(Deserialize)]
struct Entry {
    command: Option<String>,
    #[serde(default)]
    args: Vec<String>,
    url: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    env: BTreeMap<String, serde_json::Value>,
    cwd: Option<String>,
}

/// The server of that name, or the only one, as givens; with its name.
pub(super) fn read(
    path: &Path,
    name: Option<&str>,
    mode: Mode,
    environment: &Environment,
) -> Result<(String, Vec<Given>), Vec<Problem>> {
    let (name, entry) = choose(path, name).map_err(|text| vec![Problem::configuration(text)])?;
    let problem = |text: String| {
        Problem::configuration(format!("server '{name}' of {} {text}", path.display()))
    };
    fits(&entry, mode).map_err(|text| vec![problem(text)])?;
    if itself::started_by(&entry, path, environment) {
        let text = "starts mcpulse-proxy on this same file, which would start itself for ever; \
                    give --config a copy of the file that has the server's own command";
        return Err(vec![problem(text.to_owned())]);
    }
    let mut expander = Expander::new(environment);
    let values = match mode {
        Mode::Stdio => local(&entry, &mut expander),
        Mode::Http | Mode::Sse => remote(&entry, mode, &mut expander),
    };
    let unresolved: Vec<Problem> = expander.unresolved.into_iter().map(problem).collect();
    if !unresolved.is_empty() {
        return Err(unresolved);
    }
    let given = |(key, value): (String, Value)| {
        let setting = Setting::at(&key, mode)?;
        let source = Source::File(path.display().to_string(), None);
        Some(Given { setting, value: setting.kind.check(&value), source })
    };
    Ok((name, values.into_iter().filter_map(given).collect()))
}

fn choose(path: &Path, name: Option<&str>) -> Result<(String, Entry), String> {
    let file = path.display();
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("read --config {file}: {error}"))?;
    let json: serde_json::Value = jsonc_parser::parse_to_serde_value(&text, &options())
        .map_err(|error| format!("{file} is not JSON: {error}{}", yaml_hint(path)))?;
    // What serde says is not passed on: it may show a value.
    let found: File = serde_json::from_value(json)
        .map_err(|_| format!("{file} has no mapping of servers under mcpServers or servers"))?;
    let mut servers = found.mcp_servers;
    servers.extend(found.servers);
    let names = servers.keys().cloned().collect::<Vec<_>>().join(", ");
    let name = match name {
        Some(name) => name.to_owned(),
        None if servers.len() == 1 => names.clone(),
        None if servers.is_empty() => {
            return Err(format!("{file} has no server under mcpServers or servers"));
        }
        None => {
            return Err(format!("{file} has several servers; choose one with --server: {names}"));
        }
    };
    let entry = servers.remove(&name);
    let entry = entry.ok_or_else(|| format!("{file} has no server '{name}'; it has: {names}"))?;
    let entry = serde_json::from_value(entry).map_err(|_| {
        format!(
            "server '{name}' of {file} is misshapen: command, url, type and cwd are texts, \
             args is a list of texts, env and headers are mappings of texts"
        )
    })?;
    Ok((name, entry))
}

fn options() -> ParseOptions {
    ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    }
}

fn yaml_hint(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("yaml" | "yml") => "; for YAML, write mcpulse-proxy run --config",
        _ => "",
    }
}

/// Whether the entry is of this mode; else, which command it is for.
fn fits(entry: &Entry, mode: Mode) -> Result<(), String> {
    let kind = match entry.kind.as_deref() {
        None => None,
        Some("stdio") => Some(Mode::Stdio),
        Some("sse") => Some(Mode::Sse),
        Some("http" | "streamable-http" | "streamableHttp" | "streamable_http") => Some(Mode::Http),
        Some(other) => {
            return Err(format!("has the unknown type '{other}'; write stdio, http or sse"));
        }
    };
    let is = match (kind, &entry.command, &entry.url) {
        (_, None, None) => return Err("has neither a command nor a url".to_owned()),
        (Some(Mode::Stdio), None, _) => return Err("is of type stdio without a command".to_owned()),
        (Some(Mode::Http | Mode::Sse), _, None) => {
            return Err("is of a remote type without a url".to_owned());
        }
        (Some(kind), ..) => kind,
        (None, Some(_), _) => Mode::Stdio,
        // The file does not say which; the command line does.
        (None, None, Some(_)) if mode == Mode::Sse => Mode::Sse,
        (None, None, Some(_)) => Mode::Http,
    };
    if is == mode {
        return Ok(());
    }
    let what = if is == Mode::Stdio { "has a command" } else { "is remote" };
    let (is, mode) = (is.name(), mode.name());
    Err(format!("{what}; observe it with 'mcpulse-proxy {is}', not '{mode}'"))
}

fn local(entry: &Entry, expander: &mut Expander<'_>) -> Vec<(String, Value)> {
    let key = |key: &str| format!("upstream.stdio.{key}");
    let mut values = Vec::new();
    if let Some(command) = &entry.command {
        values.push((key("program"), expander.expand(command).into()));
        let args = entry.args.iter().map(|arg| Value::from(expander.expand(arg))).collect();
        values.push((key("args"), args));
    }
    let mut env = Mapping::new();
    for (name, value) in &entry.env {
        let value = match value {
            serde_json::Value::String(text) => expander.expand(text),
            serde_json::Value::Null => continue,
            other => other.to_string(),
        };
        env.insert(name.as_str().into(), value.into());
    }
    if !env.is_empty() {
        values.push((key("env"), Value::Mapping(env)));
    }
    if let Some(cwd) = &entry.cwd {
        values.push((key("cwd"), expander.expand(cwd).into()));
    }
    values
}

fn remote(entry: &Entry, mode: Mode, expander: &mut Expander<'_>) -> Vec<(String, Value)> {
    let key = |key: &str| format!("upstream.{}.{key}", mode.name());
    let mut values = Vec::new();
    if let Some(url) = &entry.url {
        values.push((key("url"), expander.expand(url).into()));
    }
    let header = |(name, value): (&String, &String)| -> Value {
        let header = [("name", name.clone()), ("value", expander.expand(value))];
        let header = header.into_iter().map(|(key, text)| (key.into(), text.into()));
        Value::Mapping(header.collect())
    };
    let headers: Vec<Value> = entry.headers.iter().map(header).collect();
    if !headers.is_empty() {
        values.push((key("headers"), Value::Sequence(headers)));
    }
    values
}

#[cfg(test)]
mod tests;
