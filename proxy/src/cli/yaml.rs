//! `run --config FILE.yaml`: the whole configuration, where unknown keys are problems, each with
//! its line and the nearest key.

use std::path::Path;

use serde_yaml::{Mapping, Value};

use super::{
    found::Found,
    layer::{Given, Source},
    several::{self, Entry},
};
use crate::config::{
    Mode, Problem,
    kind::Step,
    nearest::nearest,
    setting::{ALL, Setting},
    shown,
};

mod tree;

/// Where a file has its servers, when there may be several.
const SERVERS: &str = "servers";
/// What to do about a file in which nothing can be found.
const BEGIN: &str = "begin with a copy of mcpulse-proxy.example.yaml";

/// What the file says, and the mode that follows from it.
pub(super) fn read(path: &Path) -> Found {
    let file = shown::path(path);
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return Found::unreadable(format!("read --config {file}: {error}")),
    };
    if text.lines().all(|line| matches!(line.trim_start().chars().next(), None | Some('#'))) {
        return Found::unreadable(format!("{file} is empty; {BEGIN}"));
    }
    let (map, again) = match tree::read(&text) {
        Ok((Value::Mapping(map), again)) => (map, again),
        Ok(_) => return Found::unreadable(format!("{file} is no mapping of settings; {BEGIN}")),
        Err(error) => return Found::unreadable(format!("{file} is not YAML: {error}")),
    };
    let is_of_clients = map.get(SERVERS).is_some_and(Value::is_mapping);
    if map.contains_key("mcpServers") || is_of_clients {
        return Found::unreadable(format!(
            "{file} is an mcp.json; read it with mcpulse-proxy stdio --config {file} --server NAME; \
             the servers of a file of the proxy's own are a list"
        ));
    }
    let listed = map.contains_key(SERVERS);
    let (mode, wrong) = if listed { (None, None) } else { mode(&map) };
    let mut reader = Reader {
        text: &text,
        file,
        part: if listed { Part::Shared } else { Part::Whole },
        base: Vec::new(),
        mode: mode.unwrap_or(Mode::Http),
        givens: Vec::new(),
        problems: Vec::new(),
    };
    for (key, line) in again {
        let key = shown::key(&key).unwrap_or("a key");
        reader.problem(&format!("{key} stands in its mapping twice; keep one"), line);
    }
    reader.walk(&map, &mut Vec::new());
    if let Some(wrong) = wrong {
        reader.problem(&wrong, None);
    }
    let givens = std::mem::take(&mut reader.givens);
    let entries = map.get(SERVERS).map(|list| reader.entries(list));
    Found { mode, givens, entries, problems: reader.problems, whole: true, ..Found::default() }
}

/// The mode, and what is wrong about it.
fn mode(map: &Mapping) -> (Option<Mode>, Option<String>) {
    let upstream = map.get("upstream").and_then(Value::as_mapping);
    let keys = upstream.into_iter().flat_map(Mapping::keys);
    let mut modes = keys.filter_map(|key| Mode::named(key.as_str()?));
    let mode = modes.next();
    let wrong = match (mode, modes.next()) {
        (Some(_), None) => None,
        (Some(_), Some(_)) => {
            Some("upstream has more than one of stdio, http and sse; keep one".to_owned())
        }
        (None, _) => Some(
            "upstream has none of stdio, http and sse; write e.g. \
             upstream: {http: {url: https://api.example.com/mcp}}"
                .to_owned(),
        ),
    };
    (mode, wrong)
}

/// What a mapping of the file is about, and so which settings it has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// One server and all else.
    Whole,
    /// All but the servers, which are in a list.
    Shared,
    /// One of that list.
    Entry,
}

impl Part {
    fn has(self, setting: &Setting) -> bool {
        match self {
            Self::Whole => true,
            Self::Shared => !setting.is_of_server(),
            Self::Entry => setting.is_of_server(),
        }
    }

    /// Where a setting belongs that is known and not one of these.
    fn elsewhere(self) -> &'static str {
        match self {
            Self::Entry => "holds for all servers; write it beside servers, not in an entry",
            Self::Whole | Self::Shared => {
                "stands beside servers; write it in an entry of that list"
            }
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    file: String,
    part: Part,
    /// Where the mapping stands whose keys are read.
    base: Vec<Step>,
    mode: Mode,
    givens: Vec<Given>,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    /// The list of servers, each entry with its settings.
    fn entries(&mut self, list: &Value) -> Vec<Entry> {
        let at_list = [Step::Key(SERVERS.to_owned())];
        let entries: &[Value] = match list {
            Value::Sequence(entries) if !entries.is_empty() => entries,
            _ => {
                let line = tree::line_of(self.text, &at_list);
                let text = "servers is no list with an entry; write e.g. \
                            servers: [{serverId: a, upstream: {stdio: {program: python}}}]";
                self.problem(text, line);
                &[]
            }
        };
        self.part = Part::Entry;
        let read = |(at, entry): (usize, &Value)| {
            self.base = vec![at_list[0].clone(), Step::Entry(at)];
            let line = tree::line_of(self.text, &self.base);
            let Value::Mapping(map) = entry else {
                self.problem(
                    "an entry of servers is no mapping; write serverId and upstream",
                    line,
                );
                return None;
            };
            let (mode, wrong) = mode(map);
            if let Some(wrong) = wrong {
                self.problem(&wrong, line);
            }
            self.mode = mode.unwrap_or(Mode::Http);
            self.walk(map, &mut Vec::new());
            let (givens, place) = (std::mem::take(&mut self.givens), self.place(line));
            Some(Entry { mode, givens, place })
        };
        entries.iter().enumerate().filter_map(read).collect()
    }

    fn walk(&mut self, map: &Mapping, above: &mut Vec<String>) {
        for (key, value) in map {
            above.push(match key {
                Value::String(key) => key.clone(),
                other => serde_yaml::to_string(other).unwrap_or_default().trim_end().to_owned(),
            });
            let path = above.join(".");
            let steps = above.iter().cloned().map(Step::Key);
            let place: Vec<Step> = self.base.iter().cloned().chain(steps).collect();
            let line = tree::line_of(self.text, &place);
            match (Setting::at(&path, self.mode), value) {
                // The list is read by itself.
                _ if self.part == Part::Shared && path == SERVERS => {}
                _ if self.is_elsewhere(&path) => {
                    self.problem(&format!("{path} {}", self.part.elsewhere()), line);
                }
                // A key without a value is as good as absent.
                (Some(_), Value::Null) => {}
                (Some(setting), value) => {
                    let source = Source::File(self.file.clone(), line);
                    // A place of which the line is the setting's own needs none beside it.
                    let line_of = |below: &[Step]| {
                        let place = [&place[..], below].concat();
                        tree::line_of(self.text, &place).filter(|found| Some(*found) != line)
                    };
                    let value = setting.kind.check(value).map_err(|wrong| wrong.told(line_of));
                    let value = value.and_then(|value| self.checked(setting, value));
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
                        _ if leaf(&path) == "<<" => {
                            "; merge keys are not read: write out what is merged".to_owned()
                        }
                        Some(meant) => format!("; did you mean {meant}?"),
                        None => {
                            ", nor like one; mcpulse-proxy.example.yaml has them all".to_owned()
                        }
                    };
                    let path = match (path.rsplit_once('.'), shown::key(leaf(&path))) {
                        (_, Some(_)) => path.as_str(),
                        _ if leaf(&path) == "<<" => path.as_str(),
                        (Some((above, _)), None) => &format!("a key below {above}"),
                        (None, None) => "this key",
                    };
                    self.problem(&format!("{path} is no setting{remedy}"), line);
                }
            }
            above.pop();
        }
    }

    fn problem(&mut self, text: &str, line: Option<usize>) {
        self.problems.push(Problem::configuration(format!("{}: {text}", self.place(line))));
    }

    fn place(&self, line: Option<usize>) -> String {
        let line = line.map(|line| format!(" line {line}")).unwrap_or_default();
        format!("{}{line}", self.file)
    }

    /// The value, if it is also good for an entry of a list.
    fn checked(&self, setting: &Setting, value: Value) -> Result<Value, String> {
        if let (Part::Entry, "serverId", Some(id)) = (self.part, setting.key, value.as_str()) {
            several::check_id(id)?;
        }
        Ok(value)
    }

    /// Whether a key is one that the file may have, and not here.
    fn is_elsewhere(&self, path: &str) -> bool {
        let is_at = |setting: &&Setting| {
            let known = setting.path(self.mode);
            known.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let mut known = ALL.iter().filter(is_at).peekable();
        known.peek().is_some() && known.all(|setting| !self.part.has(setting))
    }

    fn is_section(&self, path: &str) -> bool {
        self.paths().any(|known| known.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
    }

    /// A second upstream, which [`mode`] has something to say about.
    fn is_other_upstream(&self, path: &str) -> bool {
        path.strip_prefix("upstream.").and_then(Mode::named).is_some_and(|mode| mode != self.mode)
    }

    fn paths(&self) -> impl Iterator<Item = String> {
        let here = ALL.iter().filter(|setting| self.part.has(setting));
        let list = (self.part != Part::Entry).then(|| SERVERS.to_owned());
        here.map(|setting| setting.path(self.mode)).chain(list)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let problems = read(file.path()).problems;
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
             FILE line 11: nonsense is no setting, nor like one; \
             mcpulse-proxy.example.yaml has them all\n\
             FILE line 12: limits has settings below it, not a value"
        );
    }

    #[test]
    fn a_key_that_stands_there_twice_is_named_with_its_line_at_any_depth() {
        let text = "serverId: x\n\
                    upstream:\n  stdio:\n    program: p\n    env:\n      A: 1\n      A: 2\n\
                    mcpulse: {url: 'a:1',\n  url: 'b:1'}\n\
                    otel:\n  headers:\n    - name: a\n      name: b\n      value: c\n\
                    serverId: y\nwrokers: 3\n";
        assert_eq!(
            problems(text),
            "FILE line 7: A stands in its mapping twice; keep one\n\
             FILE line 9: url stands in its mapping twice; keep one\n\
             FILE line 13: name stands in its mapping twice; keep one\n\
             FILE line 15: serverId stands in its mapping twice; keep one\n\
             FILE line 16: wrokers is no setting; did you mean workers?"
        );
    }

    #[test]
    fn anchors_are_read_and_merge_keys_are_not() {
        let text = "x-a: &a {timeout: 5s}\n\
                    upstream: {http: {url: &u 'https://a.example/mcp'}}\n\
                    mcpulse:\n  <<: *a\n\
                    otel:\n  endpoint: *u\n";
        assert_eq!(
            problems(text),
            "FILE line 1: x-a is no setting, nor like one; \
             mcpulse-proxy.example.yaml has them all\n\
             FILE line 4: mcpulse.<< is no setting; \
             merge keys are not read: write out what is merged"
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
        for empty in ["", "# only this\n"] {
            assert!(problems(empty).contains("FILE is empty; begin with a copy of"), "{empty}");
        }
    }

    #[test]
    fn values_know_their_lines() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "serverId: x\nupstream:\n  stdio:\n    program: p\n    args:\n      - a\n";
        std::fs::write(file.path(), text).unwrap();
        let Found { mode, givens, .. } = read(file.path());
        assert_eq!(mode, Some(Mode::Stdio));
        let line = |given: &Given| match given.source {
            Source::File(_, line) => line,
            _ => None,
        };
        assert_eq!(givens.iter().map(line).collect::<Vec<_>>(), [Some(1), Some(4), Some(5)]);
    }
}
