//! Lays flags over variables over files over defaults, and keeps where each value came from.
//! Every problem is found, not only the first.

use std::{collections::BTreeMap, fmt};

use serde_yaml::{Mapping, Value};

use super::demands;
use crate::config::{
    Config, Mode, Problem,
    kind::Kind,
    setting::{ALL, Scope, Setting},
};

/// Where a value came from.
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
    /// The precedence, weakest first.
    pub(super) fn rank(&self) -> u8 {
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

impl Given {
    /// How the person who gave it knows it.
    pub(super) fn name(&self, mode: Mode) -> String {
        match &self.source {
            Source::File(..) => format!("{} ({})", self.setting.path(mode), self.source),
            Source::Variable(name) | Source::Flag(name) => name.clone(),
        }
    }

    /// A problem with it: its name, then what is wrong.
    pub(super) fn problem(&self, wrong: &str, mode: Mode) -> Problem {
        let text = format!("{} {wrong}", self.name(mode));
        Problem { usage: matches!(self.source, Source::Flag(_)), text }
    }

    /// `--command` says both the program and its arguments.
    fn split(self) -> Vec<Self> {
        let arguments = ALL.iter().find(|setting| setting.kind == Kind::Args);
        match (self.value, arguments) {
            (Ok(Value::Sequence(words)), Some(arguments)) if self.setting.kind == Kind::Words => {
                let mut words = words.into_iter();
                let program = words.next().unwrap_or_default();
                let of = |setting, value| Self {
                    setting,
                    value: Ok(value),
                    source: self.source.clone(),
                };
                vec![of(self.setting, program), of(arguments, words.collect())]
            }
            (value, _) => vec![Self { value, ..self }],
        }
    }
}

/// Where the values of a configuration came from, by their place in it.
pub(super) type Origins = BTreeMap<String, String>;

/// Whether one of them is where clients connect.
pub(super) fn listens(givens: &[Given]) -> bool {
    givens.iter().any(|given| given.setting.key == "listen.address")
}

/// The strongest givens for every place in a configuration; several where they add up.
#[derive(Debug)]
pub(super) struct Layers {
    mode: Option<Mode>,
    chosen: BTreeMap<String, Vec<Given>>,
}

impl Layers {
    /// Lays the givens over each other. One that does not apply to the mode, with or without a
    /// listener, is a problem, but for a variable: it may be there for another. While no mode is
    /// known, all apply but variables that would depend on it.
    pub(super) fn new(
        mode: Option<Mode>,
        listens: bool,
        givens: Vec<Given>,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut givens: Vec<Given> = givens.into_iter().flat_map(Given::split).collect();
        givens.sort_by_key(|given| given.source.rank());
        let mut layers = Self { mode, chosen: BTreeMap::new() };
        for given in givens {
            let is_variable = matches!(given.source, Source::Variable(_));
            let scope = given.setting.scope;
            let problem = match mode {
                Some(mode) if !scope.covers(mode, listens) => {
                    (!is_variable).then(|| given.problem(&scope.objection(mode), mode))
                }
                None if is_variable && scope != Scope::Any => None,
                _ => layers.lay(given),
            };
            // The two halves of a command have the same to say.
            problems.extend(problem.filter(|problem| !problems.contains(problem)));
        }
        let mode = layers.paths();
        for given in layers.chosen.values().flatten() {
            problems.extend(given.value.as_ref().err().map(|wrong| given.problem(wrong, mode)));
        }
        layers
    }

    /// The mode by which places are named, also while none is known.
    fn paths(&self) -> Mode {
        self.mode.unwrap_or(Mode::Http)
    }

    /// Puts one given over those that are weaker.
    fn lay(&mut self, given: Given) -> Option<Problem> {
        let mode = self.paths();
        let at = self.chosen.entry(given.setting.path(mode)).or_default();
        if given.setting.kind.adds_up() {
            // To what a file says; a flag stands in place of a variable as anywhere.
            if matches!(given.source, Source::Flag(_)) {
                at.retain(|other| !matches!(other.source, Source::Variable(_)));
            }
            at.push(given);
            return None;
        }
        let equal = at.iter().find(|other| other.source.rank() == given.source.rank());
        let beside = equal
            .map(|other| format!("is given beside {}; keep one", other.name(mode)))
            .map(|wrong| given.problem(&wrong, mode));
        *at = vec![given];
        beside
    }

    /// Whether somebody gave what belongs to this place.
    pub(super) fn has(&self, path: &str) -> bool {
        self.chosen.contains_key(path)
    }

    /// What decides over this place.
    pub(super) fn at(&self, path: &str) -> Option<&Given> {
        self.chosen.get(path)?.last()
    }

    /// What nobody gave, though it must be there.
    pub(super) fn missing(&self) -> Vec<Problem> {
        demands::missing(self.mode, |path| self.has(path))
    }

    /// What cannot stand together.
    pub(super) fn contradictions(&self) -> Vec<Problem> {
        let (beside, wrong) = demands::beside_socket(|path| self.has(path));
        let mut problems = demands::contradictions(|path| self.number(path));
        problems
            .extend(beside.filter_map(|path| Some(self.at(path)?.problem(wrong, self.paths()))));
        // The two halves of a command have the same to say.
        problems.dedup();
        problems
    }

    /// The whole configuration, and where its values came from.
    ///
    /// # Errors
    /// The problems found before, and what contradicts itself.
    pub(super) fn settle(
        self,
        mut problems: Vec<Problem>,
    ) -> Result<(Config, Origins), Vec<Problem>> {
        problems.extend(self.contradictions());
        if !problems.is_empty() {
            return Err(problems);
        }
        let (tree, origins) = self.tree();
        Ok((config(tree)?, origins))
    }

    /// The values at their places, and where they came from.
    pub(super) fn tree(self) -> (Mapping, Origins) {
        let mut tree = Mapping::new();
        let mut origins = Origins::new();
        for (path, givens) in self.chosen {
            let sources: Vec<_> = givens.iter().map(|given| given.source.to_string()).collect();
            let values = givens.into_iter().filter_map(|given| given.value.ok());
            place(&mut tree, &path, values.reduce(added).unwrap_or_default());
            origins.insert(path, sources.join(", "));
        }
        (tree, origins)
    }

    /// The number that was given for this place.
    fn number(&self, path: &str) -> Option<u64> {
        self.at(path)?.value.as_ref().ok()?.as_u64()
    }
}

/// The configuration of which the values make up this tree.
pub(super) fn config(tree: Mapping) -> Result<Config, Vec<Problem>> {
    serde_yaml::from_value(Value::Mapping(tree))
        .map_err(|error| vec![Problem::configuration(format!("read the settings: {error}"))])
}

/// Both lists or mappings as one, a stronger entry in place of a weaker one of its name.
fn added(weaker: Value, stronger: Value) -> Value {
    match (weaker, stronger) {
        (Value::Sequence(mut all), Value::Sequence(more)) => {
            let name = |entry: &Value| Some(entry.get("name")?.as_str()?.to_ascii_lowercase());
            all.retain(|entry| more.iter().all(|other| name(other) != name(entry)));
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

/// Puts a value at its place in a tree.
pub(super) fn place(tree: &mut Mapping, path: &str, value: Value) {
    match path.split_once('.') {
        Some((first, rest)) => {
            let section = tree.entry(first.into());
            if let Value::Mapping(section) = section.or_insert_with(|| Mapping::new().into()) {
                place(section, rest, value);
            }
        }
        None => {
            tree.insert(path.into(), value);
        }
    }
}
