//! `run --config FILE.yaml`: the whole configuration, where unknown keys are problems, each with
//! its line and the nearest key.

use std::{fmt, path::Path};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_yaml::{Mapping, Value};

use super::layer::{Given, Source};
use crate::config::{
    Mode, Problem,
    setting::{ALL, Setting},
};

/// What the file says, and the mode that follows from it.
pub(super) fn read(path: &Path) -> Result<(Mode, Vec<Given>), Vec<Problem>> {
    let shown = path.display().to_string();
    let one = |text: String| vec![Problem::configuration(text)];
    let text = std::fs::read_to_string(path)
        .map_err(|error| one(format!("read --config {shown}: {error}")))?;
    let tree: Value = serde_yaml::from_str(&text)
        .map_err(|error| one(format!("{shown} is not YAML: {error}")))?;
    let Value::Mapping(map) = tree else {
        return Err(one(format!("{shown} is no mapping of settings")));
    };
    let mode = mode(&map).map_err(|text| one(format!("{shown}: {text}")))?;
    let mut reader =
        Reader { text: &text, file: shown, mode, givens: Vec::new(), problems: Vec::new() };
    reader.walk(&map, &mut Vec::new());
    if reader.problems.is_empty() { Ok((mode, reader.givens)) } else { Err(reader.problems) }
}

fn mode(map: &Mapping) -> Result<Mode, String> {
    let upstream = map.get("upstream").and_then(Value::as_mapping);
    let mut modes =
        upstream.into_iter().flat_map(Mapping::keys).filter_map(|key| Mode::named(key.as_str()?));
    match (modes.next(), modes.next()) {
        (Some(mode), None) => Ok(mode),
        (None, _) => Err("upstream is missing: write upstream: {stdio: {program: …}}, \
                          {http: {url: …}} or {sse: {url: …}}"
            .to_owned()),
        _ => Err("upstream has more than one of stdio, http and sse; keep one".to_owned()),
    }
}

struct Reader<'a> {
    text: &'a str,
    file: String,
    mode: Mode,
    givens: Vec<Given>,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn walk(&mut self, map: &Mapping, above: &mut Vec<String>) {
        for (key, value) in map {
            above.push(key.as_str().map_or_else(|| format!("{key:?}"), str::to_owned));
            let path = above.join(".");
            let line = line_of(self.text, above);
            let source = Source::File(self.file.clone(), line);
            match (Setting::at(&path, self.mode), value) {
                // As if it were not there.
                (Some(_), Value::Null) => {}
                (Some(setting), value) => {
                    let value = setting.kind.check(value);
                    self.givens.push(Given { setting, value, source });
                }
                (None, Value::Mapping(inner)) if self.is_section(&path) => self.walk(inner, above),
                (None, Value::Null) if self.is_section(&path) => {}
                (None, _) if self.is_section(&path) => {
                    self.problem(&format!("{path} holds settings of its own, not a value"), line);
                }
                (None, _) => {
                    let nearest = self.nearest(&path);
                    self.problem(&format!("{path} is no setting; {nearest}"), line);
                }
            }
            above.pop();
        }
    }

    fn problem(&mut self, text: &str, line: Option<usize>) {
        let line = line.map(|line| format!(" line {line}")).unwrap_or_default();
        self.problems.push(Problem::configuration(format!("{}{line}: {text}", self.file)));
    }

    fn is_section(&self, path: &str) -> bool {
        let inside = |setting: &Setting| {
            setting.path(self.mode).strip_prefix(path).is_some_and(|rest| rest.starts_with('.'))
        };
        ALL.iter().any(inside)
    }

    /// The known key that the wrong one was probably meant to be.
    fn nearest(&self, path: &str) -> String {
        let known = ALL.iter().map(|setting| setting.path(self.mode));
        let best = known.map(|known| (strsim::damerau_levenshtein(&known, path), known)).min();
        match best {
            Some((_, known)) => format!("the nearest is {known}"),
            None => String::new(),
        }
    }
}

/// The line of a key. The parser tells positions only in errors, so it is led to the key and
/// made to fail there.
fn line_of(text: &str, path: &[String]) -> Option<usize> {
    let error = Probe(path).deserialize(serde_yaml::Deserializer::from_str(text)).err()?;
    Some(error.location()?.line())
}

struct Probe<'a>(&'a [String]);

impl<'de> DeserializeSeed<'de> for Probe<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Probe<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((first, rest)) = self.0.split_first() else { return Ok(()) };
        while let Some(found) = map.next_key_seed(Key { wanted: first, last: rest.is_empty() })? {
            if found {
                return map.next_value_seed(Probe(rest));
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

/// Says whether a key is the wanted one; fails on it when it is the last of the path.
struct Key<'a> {
    wanted: &'a str,
    last: bool,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<bool, E> {
        match key == self.wanted {
            true if self.last => Err(E::custom("here")),
            found => Ok(found),
        }
    }
}
