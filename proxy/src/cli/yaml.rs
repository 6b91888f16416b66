//! `run --config FILE.yaml`: the whole configuration, where unknown keys are problems, each with
//! its line and the nearest key.

use std::{fmt, path::Path};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_yaml::{Mapping, Value};

use super::{
    layer::{Given, Source},
    nearest::nearest,
};
use crate::config::{
    Mode, Problem,
    setting::{ALL, Setting},
};

/// What the file says, and the mode that follows from it.
pub(super) fn read(path: &Path) -> Result<(Mode, Vec<Given>), Vec<Problem>> {
    let file = path.display().to_string();
    let one = |text: String| vec![Problem::configuration(text)];
    let text = std::fs::read_to_string(path)
        .map_err(|error| one(format!("read --config {file}: {error}")))?;
    let tree: Value =
        serde_yaml::from_str(&text).map_err(|error| one(format!("{file} is not YAML: {error}")))?;
    let Value::Mapping(map) = tree else {
        return Err(one(format!("{file} is no mapping of settings")));
    };
    if map.contains_key("mcpServers") || map.contains_key("servers") {
        return Err(one(format!(
            "{file} is an mcp.json; read it with mcpulse-proxy stdio --config {file} --server NAME"
        )));
    }
    let mode = mode(&map);
    let mut reader = Reader {
        text: &text,
        file,
        mode: mode.clone().unwrap_or(Mode::Stdio),
        givens: Vec::new(),
        problems: Vec::new(),
    };
    reader.walk(&map, &mut Vec::new());
    match mode {
        Ok(mode) if reader.problems.is_empty() => Ok((mode, reader.givens)),
        Ok(_) => Err(reader.problems),
        Err(wrong) => {
            reader.problem(&wrong, None);
            Err(reader.problems)
        }
    }
}

fn mode(map: &Mapping) -> Result<Mode, String> {
    let upstream = map.get("upstream").and_then(Value::as_mapping);
    let keys = upstream.into_iter().flat_map(Mapping::keys);
    let mut modes = keys.filter_map(|key| Mode::named(key.as_str()?));
    match (modes.next(), modes.next()) {
        (Some(mode), None) => Ok(mode),
        (Some(_), Some(_)) => {
            Err("upstream has more than one of stdio, http and sse; keep one".to_owned())
        }
        (None, _) => Err("upstream has none of stdio, http and sse; write e.g. \
                          upstream: {http: {url: https://api.example.com/mcp}}"
            .to_owned()),
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
            above.push(match key {
                Value::String(key) => key.clone(),
                other => serde_yaml::to_string(other).unwrap_or_default().trim_end().to_owned(),
            });
            let path = above.join(".");
            let line = line_of(self.text, above);
            match (Setting::at(&path, self.mode), value) {
                // A key without a value is as good as absent.
                (Some(_), Value::Null) => {}
                (Some(setting), value) => {
                    let source = Source::File(self.file.clone(), line);
                    let value = setting.kind.check(value);
                    self.givens.push(Given { setting, value, source });
                }
                (None, value) if self.is_section(&path) => match value {
                    Value::Mapping(inner) => self.walk(inner, above),
                    Value::Null => {}
                    _ => self.problem(&format!("{path} has settings below it, not a value"), line),
                },
                (None, _) if self.is_other_upstream(&path) => {}
                (None, _) => {
                    let remedy = match self.meant(&path) {
                        Some(meant) => format!("did you mean {meant}?"),
                        None => "mcpulse-proxy.example.yaml has them all".to_owned(),
                    };
                    self.problem(&format!("{path} is no setting; {remedy}"), line);
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
        self.paths().any(|known| known.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
    }

    /// A second upstream, which [`mode`] has something to say about.
    fn is_other_upstream(&self, path: &str) -> bool {
        path.strip_prefix("upstream.").and_then(Mode::named).is_some_and(|mode| mode != self.mode)
    }

    fn paths(&self) -> impl Iterator<Item = String> {
        ALL.iter().map(|setting| setting.path(self.mode))
    }

    /// The known key that an unknown one was probably meant to be: one that looks like it in
    /// the same place, or else its like in another.
    fn meant(&self, path: &str) -> Option<String> {
        let sections = |known: String| -> Vec<String> {
            known
                .match_indices('.')
                .map(|(at, _)| known[..at].to_owned())
                .chain([known.clone()])
                .collect()
        };
        let known: Vec<String> = self.paths().flat_map(sections).collect();
        let above =
            |path: &str| path.rsplit_once('.').map_or(String::new(), |(above, _)| above.to_owned());
        let beside = known.iter().filter(|known| above(known) == above(path));
        nearest(leaf(path), beside.map(|known| (leaf(known), known)))
            .or_else(|| nearest(leaf(path), known.iter().map(|known| (leaf(known), known))))
            .cloned()
    }
}

fn leaf(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let problems = read(file.path()).unwrap_err();
        let shown = file.path().display().to_string();
        let text = |problem: Problem| problem.text.replace(&shown, "FILE");
        problems.into_iter().map(text).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn every_unknown_key_is_named_with_its_line_and_what_was_meant() {
        let text = "server-id: x\n\
                    upstream:\n  http:\n    url: https://a.example/mcp\n    bearertoken: t\n\
                    \n\
                    apiKey: k\n\
                    mcpulse:\n  # a comment\n  timout: 5s\n\
                    nonsense: {a: 1}\n\
                    limits: 7\n";
        assert_eq!(
            problems(text),
            "FILE line 1: server-id is no setting; did you mean serverId?\n\
             FILE line 5: upstream.http.bearertoken is no setting; \
             did you mean upstream.http.bearerToken?\n\
             FILE line 7: apiKey is no setting; did you mean mcpulse.apiKey?\n\
             FILE line 10: mcpulse.timout is no setting; did you mean mcpulse.timeout?\n\
             FILE line 11: nonsense is no setting; mcpulse-proxy.example.yaml has them all\n\
             FILE line 12: limits has settings below it, not a value"
        );
    }

    #[test]
    fn an_upstream_is_demanded_and_only_one() {
        let upstram = "upstram: {http: {url: https://a.example}}\n";
        let all = problems(upstram);
        assert!(all.contains("line 1: upstram is no setting; did you mean upstream?"), "{all}");
        assert!(all.contains("none of stdio, http and sse"), "{all}");
        let both = "upstream: {http: {url: https://a}, stdio: {program: x}}\n";
        assert_eq!(
            problems(both),
            "FILE: upstream has more than one of stdio, http and sse; keep one"
        );
    }

    #[test]
    fn other_files_are_told_apart() {
        assert!(problems("{\"mcpServers\": {}}").contains("is an mcp.json"));
        assert!(problems("a: [").contains("is not YAML"));
        assert!(problems("text").contains("no mapping"));
    }

    #[test]
    fn values_know_their_lines() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "serverId: x\nupstream:\n  stdio:\n    program: p\n    args:\n      - a\n";
        std::fs::write(file.path(), text).unwrap();
        let (mode, givens) = read(file.path()).unwrap();
        assert_eq!(mode, Mode::Stdio);
        let line = |given: &Given| match given.source {
            Source::File(_, line) => line,
            _ => None,
        };
        assert_eq!(givens.iter().map(line).collect::<Vec<_>>(), [Some(1), Some(4), Some(5)]);
    }
}
