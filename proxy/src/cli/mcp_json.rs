//! `--config mcp.json`: the files in which MCP clients keep their servers.
//!
//! Read are `mcpServers` (Claude Desktop, Claude Code, Cursor) and `servers` (VS Code), with
//! comments and trailing commas; keys that only a client needs are ignored.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use jsonc_parser::ParseOptions;
use serde::Deserialize;
use serde_yaml::{Mapping, Value};

use super::{
    Environment,
    layer::{Given, Source},
};
use crate::config::{Mode, Problem, setting::Setting};

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
    let at = format!("server '{name}' of {}", path.display());
    let one = |text: String| vec![Problem::configuration(format!("{at} {text}"))];
    fits(&entry, mode).map_err(one)?;
    if starts_itself(&entry, path, environment) {
        return Err(one("starts mcpulse-proxy on this same file, which would start itself for \
                        ever; write the server's own command there, or name another file"
            .into()));
    }
    let mut expander = Expander { environment, unresolved: Vec::new() };
    let givens = givens(entry, mode, path, &mut expander);
    let problems: Vec<Problem> = expander.unresolved.into_iter().flat_map(one).collect();
    if problems.is_empty() { Ok((name, givens)) } else { Err(problems) }
}

fn choose(path: &Path, name: Option<&str>) -> Result<(String, Entry), String> {
    let shown = path.display();
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("read --config {shown}: {error}"))?;
    let options = ParseOptions {
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
    };
    let value: serde_json::Value = jsonc_parser::parse_to_serde_value(&text, &options)
        .map_err(|error| format!("{shown} is not JSON: {error}"))?;
    let mut file: File = serde_json::from_value(value)
        .map_err(|error| format!("{shown} is no mcp.json: {error}"))?;
    file.mcp_servers.append(&mut file.servers);
    let mut servers = file.mcp_servers;
    let names = servers.keys().cloned().collect::<Vec<_>>().join(", ");
    let name = match name {
        Some(name) => name.to_owned(),
        None if servers.len() == 1 => names.clone(),
        None if servers.is_empty() => {
            return Err(format!("{shown} has no server under mcpServers or servers"));
        }
        None => {
            return Err(format!("{shown} has several servers; choose one with --server: {names}"));
        }
    };
    let entry = servers
        .remove(&name)
        .ok_or_else(|| format!("{shown} has no server '{name}'; it has: {names}"))?;
    let entry = serde_json::from_value(entry)
        .map_err(|error| format!("server '{name}' of {shown} cannot be read: {error}"))?;
    Ok((name, entry))
}

/// Whether the entry is of this mode; else which command it is for.
fn fits(entry: &Entry, mode: Mode) -> Result<(), String> {
    let kind = entry.kind.as_deref().map(|kind| match kind {
        "stdio" => Ok(Mode::Stdio),
        "sse" => Ok(Mode::Sse),
        "http" | "streamable-http" | "streamableHttp" | "streamable_http" => Ok(Mode::Http),
        other => Err(format!("has the unknown type '{other}'; write stdio, http or sse")),
    });
    let (is, fits) = match (kind.transpose()?, &entry.command, &entry.url) {
        (Some(kind), ..) => (kind, kind == mode),
        (None, Some(_), _) => (Mode::Stdio, mode == Mode::Stdio),
        (None, None, Some(_)) => (Mode::Http, mode != Mode::Stdio),
        (None, None, None) => return Err("has neither a command nor a url".to_owned()),
    };
    if fits {
        return Ok(());
    }
    let what = if is == Mode::Stdio { "a command" } else { "a remote server" };
    Err(format!(
        "is {what}; observe it with 'mcpulse-proxy {}' instead of '{}'",
        is.name(),
        mode.name()
    ))
}

fn givens(entry: Entry, mode: Mode, path: &Path, expander: &mut Expander<'_>) -> Vec<Given> {
    let mut values: Vec<(String, Value)> = Vec::new();
    if mode == Mode::Stdio {
        if let Some(command) = entry.command {
            values.push(("upstream.stdio.program".into(), expander.expand(&command).into()));
            let args = entry.args.iter().map(|arg| Value::from(expander.expand(arg))).collect();
            values.push(("upstream.stdio.args".into(), args));
        }
        let env: Mapping = entry
            .env
            .iter()
            .filter_map(|(name, value)| {
                let value = match value {
                    serde_json::Value::String(text) => text.clone(),
                    serde_json::Value::Null => return None,
                    other => other.to_string(),
                };
                Some((Value::from(name.as_str()), expander.expand(&value).into()))
            })
            .collect();
        if !env.is_empty() {
            values.push(("upstream.stdio.env".into(), Value::Mapping(env)));
        }
        if let Some(cwd) = entry.cwd {
            values.push(("upstream.stdio.cwd".into(), expander.expand(&cwd).into()));
        }
    } else {
        let key = |key: &str| format!("upstream.{}.{key}", mode.name());
        if let Some(url) = entry.url {
            values.push((key("url"), expander.expand(&url).into()));
        }
        let headers: Vec<Value> = entry
            .headers
            .iter()
            .map(|(name, value)| {
                let header = [("name", name.clone()), ("value", expander.expand(value))];
                let header = header.map(|(name, value)| (name.into(), value.into()));
                Value::Mapping(header.into_iter().collect())
            })
            .collect();
        if !headers.is_empty() {
            values.push((key("headers"), Value::Sequence(headers)));
        }
    }
    let given = |(key, value): (String, Value)| {
        let setting = Setting::at(&key, mode)?;
        let source = Source::File(path.display().to_string(), None);
        Some(Given { setting, value: setting.kind.check(&value), source })
    };
    values.into_iter().filter_map(given).collect()
}

/// Whether the entry starts this program with this same file as its `--config`.
fn starts_itself(entry: &Entry, file: &Path, environment: &Environment) -> bool {
    let Some(command) = &entry.command else { return false };
    let base = entry.cwd.as_deref().map(PathBuf::from).unwrap_or_default();
    let same = |other: &str| match (base.join(other).canonicalize(), file.canonicalize()) {
        (Ok(other), Ok(file)) => other == file,
        _ => false,
    };
    let mut named = Vec::new();
    let mut words = entry.args.iter();
    while let Some(word) = words.next() {
        if word == "--config" {
            named.extend(words.next().map(String::as_str));
        } else {
            named.extend(word.strip_prefix("--config="));
        }
    }
    named.extend(entry.env.get("MCPULSE_PROXY_CONFIG").and_then(serde_json::Value::as_str));
    is_this_program(command, environment) && named.into_iter().any(same)
}

fn is_this_program(command: &str, environment: &Environment) -> bool {
    let command = Path::new(command);
    if command.file_stem().is_some_and(|stem| stem == "mcpulse-proxy") {
        return true;
    }
    let found = if command.components().count() > 1 {
        command.canonicalize().ok()
    } else {
        let path = environment.get("PATH").unwrap_or_default();
        std::env::split_paths(path).find_map(|folder| folder.join(command).canonicalize().ok())
    };
    let own = environment.program.as_ref().and_then(|program| program.canonicalize().ok());
    found.is_some() && found == own
}

/// Replaces `${env:X}`, `${X}`, `${X:-default}` and `${userHome}`, and keeps what is unknown.
struct Expander<'a> {
    environment: &'a Environment,
    unresolved: Vec<String>,
}

impl Expander<'_> {
    fn expand(&mut self, text: &str) -> String {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            expanded.push_str(before);
            let Some((reference, tail)) = after.split_once('}') else {
                rest = &rest[before.len()..];
                break;
            };
            match self.resolve(reference) {
                Some(value) => expanded.push_str(&value),
                None => self.unresolved.push(remedy(reference)),
            }
            rest = tail;
        }
        expanded.push_str(rest);
        expanded
    }

    fn resolve(&self, reference: &str) -> Option<String> {
        let variable = |name: &str| self.environment.get(name).map(str::to_owned);
        match reference.split_once(':') {
            Some(("env", name)) => variable(name),
            Some((name, default)) if default.starts_with('-') => {
                variable(name).or_else(|| Some(default[1..].to_owned()))
            }
            Some(_) => None,
            None if reference == "userHome" => variable("HOME").or_else(|| variable("USERPROFILE")),
            None => variable(reference),
        }
    }
}

fn remedy(reference: &str) -> String {
    match reference.split_once(':') {
        Some(("env", name)) => format!("needs the variable {name}, which is not set"),
        Some(("input", name)) => format!(
            "asks for ${{input:{name}}}, which only the editor can ask for; \
             write ${{env:NAME}} there and set that variable"
        ),
        _ => format!("has ${{{reference}}}, which is neither a set variable nor known here"),
    }
}
