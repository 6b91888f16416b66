//! Lays flags over variables over files over defaults, and keeps where each value came from.
//! Every problem is found, not only the first.

use std::{collections::BTreeMap, fmt};

use serde_yaml::{Mapping, Value};

use crate::config::{
    Config, Mode, Problem,
    kind::Kind,
    setting::{ALL, Setting},
};

/// Where a value came from; the order is the precedence, weakest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A file, and the line where that is known.
    File(String, Option<usize>),
    /// A variable.
    Variable(String),
    /// A flag, with its dashes.
    Flag(String),
}

impl Source {
    fn rank(&self) -> u8 {
        match self {
            Self::File(..) => 0,
            Self::Variable(_) => 1,
            Self::Flag(_) => 2,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file, Some(line)) => write!(f, "file {file} line {line}"),
            Self::File(file, None) => write!(f, "file {file}"),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// A setting, the value that somebody gave it, and who.
#[derive(Clone, Debug)]
pub(super) struct Given {
    /// The setting.
    pub setting: &'static Setting,
    /// Its value in the form that [`Config`] deserialises, or what is wrong with it.
    pub value: Result<Value, String>,
    /// Who gave it.
    pub source: Source,
}

/// Where the values of a configuration came from, by their place in it.
pub(super) type Origins = BTreeMap<String, String>;

/// The strongest givens of every place in a configuration.
#[derive(Debug)]
pub(super) struct Layers {
    mode: Mode,
    listens: bool,
    chosen: BTreeMap<String, Vec<Given>>,
}

impl Layers {
    /// Lays the givens over each other. What does not apply to the mode is a problem when a
    /// flag says it, and nothing otherwise.
    pub(super) fn new(mode: Mode, givens: Vec<Given>, problems: &mut Vec<Problem>) -> Self {
        let listens = givens.iter().any(|given| given.setting.key == "listen.address");
        let mut givens: Vec<Given> = givens.into_iter().flat_map(split_command).collect();
        givens.sort_by_key(|given| given.source.rank());
        let mut layers = Self { mode, listens, chosen: BTreeMap::new() };
        for given in givens {
            if given.setting.scope.covers(mode, listens) {
                problems.extend(layers.lay(given));
            } else if matches!(given.source, Source::Flag(_)) {
                let scope = given.setting.scope.words();
                let (name, mode) = (given.name(), mode.name());
                let text = format!("{name} does not apply to {mode}; it is for {scope}");
                problems.push(Problem::usage(text));
            }
        }
        let values = layers.chosen.values().flatten();
        problems.extend(values.filter_map(|given| {
            let text = format!("{} {}", given.name(), given.value.as_ref().err()?);
            Some(given.problem(text))
        }));
        layers
    }

    /// Puts one given over those that are weaker.
    fn lay(&mut self, given: Given) -> Option<Problem> {
        let at = self.chosen.entry(given.setting.path(self.mode)).or_default();
        if given.setting.kind.adds_up() {
            at.push(given);
            return None;
        }
        let equal = at.iter().find(|other| other.source.rank() == given.source.rank());
        let problem = equal.map(|other| {
            given.problem(format!("{} and {} are both given; keep one", other.name(), given.name()))
        });
        *at = vec![given];
        problem
    }

    /// The whole configuration, and where its values came from.
    ///
    /// # Errors
    /// Everything that is missing.
    pub(super) fn settle(self) -> Result<(Config, Origins), Vec<Problem>> {
        let missing = missing(self.mode, &self.chosen).into_iter();
        let problems: Vec<Problem> =
            missing.chain(bridge(self.mode, self.listens)).map(Problem::configuration).collect();
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut tree = Value::Mapping(Mapping::new());
        let mut origins = Origins::new();
        for (path, givens) in self.chosen {
            let sources: Vec<_> = givens.iter().map(|given| given.source.to_string()).collect();
            origins.insert(path.clone(), sources.join(", "));
            let values = givens.into_iter().filter_map(|given| given.value.ok());
            place(&mut tree, &path, values.reduce(added).unwrap_or_default());
        }
        let config = serde_yaml::from_value(tree)
            .map_err(|error| vec![Problem::configuration(format!("read the settings: {error}"))])?;
        Ok((config, origins))
    }
}

impl Given {
    /// How the person who gave it knows it.
    pub(super) fn name(&self) -> String {
        match &self.source {
            Source::File(..) => format!("{} ({})", self.setting.key, self.source),
            Source::Variable(name) | Source::Flag(name) => name.clone(),
        }
    }

    fn problem(&self, text: String) -> Problem {
        Problem { usage: matches!(self.source, Source::Flag(_)), text }
    }
}

/// `--command` says both the program and its arguments.
fn split_command(given: Given) -> Vec<Given> {
    let arguments = ALL.iter().find(|setting| setting.kind == Kind::Args);
    match (given.value, arguments) {
        (Ok(Value::Sequence(words)), Some(arguments)) if given.setting.kind == Kind::Words => {
            let mut words = words.into_iter();
            let program = words.next().unwrap_or_default();
            let source = given.source;
            let args = words.collect();
            vec![
                Given { setting: given.setting, value: Ok(program), source: source.clone() },
                Given { setting: arguments, value: Ok(args), source },
            ]
        }
        (value, _) => vec![Given { value, ..given }],
    }
}

fn missing(mode: Mode, chosen: &BTreeMap<String, Vec<Given>>) -> Vec<String> {
    let mut missing = Vec::new();
    let mut demand = |flag: &str, example: &str| {
        let Some(setting) = Setting::flagged(flag) else { return };
        if !chosen.contains_key(&setting.path(mode)) {
            let variable = setting.variable();
            missing
                .push(format!("--{flag} is missing: write --{flag} {example}, or set {variable}"));
        }
    };
    demand("server-id", "NAME");
    match mode {
        Mode::Stdio => demand("command", "\"python server.py\""),
        Mode::Http => demand("remote-url", "https://api.example.com/mcp"),
        Mode::Sse => demand("remote-url", "https://api.example.com/sse"),
    }
    match (chosen.contains_key("listen.tls.cert"), chosen.contains_key("listen.tls.key")) {
        (true, false) => demand("tls-key", "FILE"),
        (false, true) => demand("tls-cert", "FILE"),
        _ => {}
    }
    missing
}

/// Pairs of transports that only a bridge can join.
fn bridge(mode: Mode, listens: bool) -> Option<String> {
    let (lacks, instead) = match (mode, listens) {
        (Mode::Stdio, true) => (
            "clients over HTTP (--listen) in front of a stdio server",
            "leave out --listen (and MCPULSE_PROXY_LISTEN)",
        ),
        (Mode::Http | Mode::Sse, false) => (
            "clients over stdio in front of a remote server",
            "add --listen 127.0.0.1:8080 and let clients connect there",
        ),
        _ => return None,
    };
    Some(format!(
        "this needs a bridge between stdio and HTTP, which this version does not have yet: {lacks}; {instead}"
    ))
}

/// Lists one after the other, a later entry of the same name in place of an earlier one.
fn added(weaker: Value, stronger: Value) -> Value {
    match (weaker, stronger) {
        (Value::Sequence(mut all), Value::Sequence(more)) => {
            let name = |entry: &Value| {
                entry.get("name").and_then(Value::as_str).map(str::to_ascii_lowercase)
            };
            all.retain(|entry| !more.iter().any(|other| name(other) == name(entry)));
            all.extend(more);
            Value::Sequence(all)
        }
        (Value::Mapping(mut all), Value::Mapping(more)) => {
            all.extend(more);
            Value::Mapping(all)
        }
        (_, stronger) => stronger,
    }
}

fn place(tree: &mut Value, path: &str, value: Value) {
    match path.split_once('.') {
        Some((first, rest)) => {
            if let Value::Mapping(map) = tree {
                let inner =
                    map.entry(first.into()).or_insert_with(|| Value::Mapping(Mapping::new()));
                place(inner, rest, value);
            }
        }
        None => {
            if let Value::Mapping(map) = tree {
                map.insert(path.into(), value);
            }
        }
    }
}
