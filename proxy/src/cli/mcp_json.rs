//! `--config mcp.json`: the files in which MCP clients keep their servers.
//!
//! Read are `mcpServers` (Claude Desktop, Claude Code, Cursor), `servers` (VS Code's
//! `mcp.json`) and `mcp.servers` (its `settings.json`), with comments and trailing commas.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use jsonc_parser::{
    CollectOptions, ParseOptions,
    ast::{Object, Value as Json},
    parse_to_ast,
};
use serde_yaml::{Mapping, Value};

use super::{
    Environment,
    found::Found,
    layer::{Given, Source},
};
use crate::config::{Mode, Problem, nearest::nearest, setting::Setting, shown};

mod entry;
mod env_file;
mod expand;
mod itself;

use entry::{Entry, Reader, Text};
use expand::Expander;
use itself::Started;

/// What the file says of the server of that name, or of the only one; its name is its id.
/// What is `replaced`, by the keys of its settings, is not looked at.
pub(super) fn read(
    path: &Path,
    name: Option<&str>,
    mode: Mode,
    environment: &Environment,
    replaced: &[&str],
) -> Found {
    let file = shown::path(path);
    let refused = |text: String| Found { mode: Some(mode), ..Found::unreadable(text) };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return refused(format!("read --config {file}: {error}")),
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut reader = Reader { file: text, problems: Vec::new() };
    let json = match parse_to_ast(text, &CollectOptions::default(), &options()) {
        Ok(parsed) => parsed.value,
        Err(error) => {
            let (line, what) = (error.line_display(), error.kind());
            let text = format!("{file} line {line}: this is not JSON: {what}{}", yaml_hint(path));
            return refused(text);
        }
    };
    let (name, entry, line) = match choose(json.as_ref(), name, &reader) {
        Ok(chosen) => chosen,
        Err(wrong) => return refused(format!("{file} {wrong}")),
    };
    let entry = Entry::read(entry, &mut reader);
    let mut expander = Expander::new(environment, workspace(path));
    let fits = fits(&entry, mode);
    let entry = entry.sifted(replaced);
    let mut values = match fits {
        Ok(()) if mode == Mode::Stdio => {
            local(&entry, path, &mut expander, environment, &mut reader.problems)
        }
        Ok(()) => remote(&entry, mode, &mut expander),
        Err(wrong) => {
            let at = entry.kind.as_ref().map_or(line, |kind| kind.line);
            reader.problems.push((at, wrong));
            Vec::new()
        }
    };
    reader.problems.extend(expander.unresolved);
    reader.problems.sort_by_key(|(line, _)| *line);
    // One remedy mends all places that need it.
    let mut said = BTreeSet::new();
    reader.problems.retain(|(_, wrong)| said.insert(wrong.clone()));
    let whole = reader.problems.is_empty();
    let problem = |(line, wrong)| {
        Problem::configuration(format!("{file} line {line}: server '{name}': {wrong}"))
    };
    let problems = reader.problems.into_iter().map(problem).collect();
    let given = |(key, value, line): Said| {
        let setting = Setting::at(&key, mode)?;
        let source = Source::File(file.clone(), Some(line));
        let value = setting.kind.check(&value).map_err(|wrong| wrong.to_string());
        Some(Given { setting, value, source })
    };
    values.push(("serverId".to_owned(), name.as_str().into(), line));
    let givens = values.into_iter().filter_map(given).collect();
    Found {
        mode: Some(mode),
        server: Some(name.clone()),
        givens,
        problems,
        whole,
        ..Found::default()
    }
}

/// A key of the configuration, its value, and the line that says so.
type Said = (String, Value, usize);

/// The server of that name, or the only one; with its name and line.
fn choose<'v, 'a>(
    json: Option<&'v Json<'a>>,
    name: Option<&str>,
    reader: &Reader<'_>,
) -> Result<(String, &'v Object<'a>, usize), String> {
    let object = |json: Option<&'v Json<'a>>| json.and_then(Json::as_object);
    let member = |of: Option<&'v Object<'a>>, key| object(of?.get(key).map(|found| &found.value));
    let top = object(json);
    let of_settings = member(member(top, "mcp"), "servers");
    let found = [member(top, "mcpServers"), member(top, "servers"), of_settings];
    if found.iter().all(Option::is_none) {
        return Err("has no mapping of servers under mcpServers or servers".to_owned());
    }
    let servers: Vec<_> = found.into_iter().flatten().flat_map(|map| &map.properties).collect();
    let mut names: Vec<&str> = servers.iter().map(|server| server.name.as_str()).collect();
    names.sort_unstable();
    let listed = names.join(", ");
    let name = match (name, &names[..]) {
        (Some(name), _) => name,
        (None, [only]) => only,
        (None, []) => return Err("has no server under mcpServers or servers".to_owned()),
        (None, _) => {
            return Err(format!("has several servers; choose one with --server: {listed}"));
        }
    };
    let server = servers.iter().rfind(|server| server.name.as_str() == name);
    let server = server.ok_or_else(|| {
        let meant = nearest(name, names.iter().map(|&name| (name, name)));
        let meant = meant.map(|name| format!("did you mean {name}? ")).unwrap_or_default();
        format!("has no server of the name of --server; {meant}it has: {listed}")
    })?;
    let line = reader.line(server.range.start);
    let entry = server.value.as_object();
    let entry = entry.ok_or_else(|| format!("line {line}: server '{name}' is no mapping"))?;
    Ok((name.to_owned(), entry, line))
}

/// The folder that an editor has open whose own settings this file is among.
fn workspace(path: &Path) -> Option<PathBuf> {
    let folder = path.canonicalize().ok()?.parent()?.to_owned();
    let is_settings = [".vscode", ".cursor"].iter().any(|name| folder.ends_with(name));
    is_settings.then(|| folder.parent().map(Path::to_owned)).flatten()
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
    let kind = match entry.kind.as_ref().map(|kind| kind.value.as_str()) {
        None => None,
        Some("stdio") => Some(Mode::Stdio),
        Some("sse") => Some(Mode::Sse),
        Some("http" | "streamable-http" | "streamableHttp" | "streamable_http") => Some(Mode::Http),
        Some(_) => return Err("it has an unknown type; write stdio, http or sse".to_owned()),
    };
    let is = match (kind, &entry.command, &entry.url) {
        (_, None, None) => return Err("it has neither a command nor a url".to_owned()),
        (Some(Mode::Stdio), None, _) => {
            return Err("it is of type stdio without a command".to_owned());
        }
        (Some(Mode::Http | Mode::Sse), _, None) => {
            return Err("it is of a remote type without a url".to_owned());
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
    let what = if is == Mode::Stdio { "it has a command" } else { "it is remote" };
    let (is, mode) = (is.name(), mode.name());
    Err(format!("{what}; observe it with 'mcpulse-proxy {is}', not '{mode}'"))
}

fn local(
    entry: &Entry,
    path: &Path,
    expander: &mut Expander<'_>,
    environment: &Environment,
    problems: &mut Vec<(usize, String)>,
) -> Vec<Said> {
    let key = |key: &str| format!("upstream.stdio.{key}");
    let mut started = Started::default();
    let words = entry.command.iter().chain(&entry.args);
    started.words = words.map(|word| expander.expand(word)).collect();
    started.cwd = entry.cwd.as_ref().and_then(|cwd| expander.whole(cwd));

    let mut env = Mapping::new();
    if let Some(file) = &entry.env_file {
        env.extend(variables_of(file, expander, problems));
    }
    env.extend(
        entry.env.iter().map(|(name, text)| (name.as_str().into(), expander.expand(text).into())),
    );
    let variable = env.get("MCPULSE_PROXY_CONFIG").and_then(Value::as_str);
    started.variable = variable.map(str::to_owned);
    if let Some(command) = &entry.command
        && itself::is_itself(&started, path, environment)
    {
        let text = "it starts mcpulse-proxy on this same file, which would start itself for ever; \
                    give --config a copy of the file that has the server's own command";
        problems.push((command.line, text.to_owned()));
    }

    let mut values = Vec::new();
    if let Some(command) = &entry.command {
        let mut words = started.words.into_iter().map(Value::from);
        let line = entry.args.first().map_or(command.line, |arg| arg.line);
        values.push((key("program"), words.next().unwrap_or_default(), command.line));
        values.push((key("args"), words.collect(), line));
    }
    let first = entry.env.first().map(|(_, text)| text).or(entry.env_file.as_ref());
    if let Some(first) = first.filter(|_| !env.is_empty()) {
        values.push((key("env"), env.into(), first.line));
    }
    values.extend(
        started.cwd.zip(entry.cwd.as_ref()).map(|(cwd, text)| (key("cwd"), cwd.into(), text.line)),
    );
    values
}

/// The variables of an `envFile`.
fn variables_of(
    file: &Text,
    expander: &mut Expander<'_>,
    problems: &mut Vec<(usize, String)>,
) -> Vec<(Value, Value)> {
    let Some(name) = expander.whole(file) else { return Vec::new() };
    let path = expander.folder().join(name);
    let name = shown::path(&path);
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let (variables, bad) = env_file::read(&text);
            let wrong = |line| format!("line {line} of its envFile {name} is not NAME=VALUE");
            problems.extend(bad.into_iter().map(|line| (file.line, wrong(line))));
            variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
        }
        Err(error) => {
            problems.push((file.line, format!("read its envFile {name}: {error}")));
            Vec::new()
        }
    }
}

fn remote(entry: &Entry, mode: Mode, expander: &mut Expander<'_>) -> Vec<Said> {
    let key = |key: &str| format!("upstream.{}.{key}", mode.name());
    let url = entry.url.as_ref();
    let url = url.and_then(|url| Some((key("url"), expander.whole(url)?.into(), url.line)));
    let mut values: Vec<Said> = url.into_iter().collect();
    let header = |(name, text): &(String, Text)| -> Value {
        let header = [("name", name.clone()), ("value", expander.expand(text))];
        let header = header.into_iter().map(|(key, text)| (key.into(), text.into()));
        Value::Mapping(header.collect())
    };
    let headers: Vec<Value> = entry.headers.iter().map(header).collect();
    if let Some((_, first)) = entry.headers.first() {
        values.push((key("headers"), Value::Sequence(headers), first.line));
    }
    values
}

#[cfg(test)]
mod tests;
