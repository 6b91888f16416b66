//! One server in `mcp.json`, as its file spells it: but for the command, numbers and switches count as their text,
//! `null` as nothing, of equal keys the last, and keys that only a client needs are passed over.

use jsonc_parser::ast::{Object, Value};

use crate::config::shown;

/// A text and the line on which it stands.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) value: String,
    pub(super) line: usize,
}

/// What matters here of a server.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) command: Option<Text>,
    pub(super) args: Vec<Text>,
    pub(super) url: Option<Text>,
    pub(super) kind: Option<Text>,
    pub(super) headers: Vec<(String, Text)>,
    pub(super) env: Vec<(String, Text)>,
    pub(super) env_file: Option<Text>,
    pub(super) cwd: Option<Text>,
}

impl Entry {
    pub(super) fn read(entry: &Object<'_>, reader: &mut Reader<'_>) -> Self {
        Self {
            command: reader.command(entry),
            args: reader.texts(entry, "args"),
            url: reader.text(entry, "url"),
            kind: reader.text(entry, "type"),
            headers: reader.by_name(entry, "headers"),
            env: reader.by_name(entry, "env"),
            env_file: reader.text(entry, "envFile"),
            cwd: reader.text(entry, "cwd"),
        }
    }

    /// Without what is of no use, and what settings of these keys replace.
    pub(super) fn sifted(mut self, replaced: &[&str]) -> Self {
        if replaced.contains(&"upstream.stdio.program") {
            (self.command, self.args) = (None, Vec::new());
        }
        self.command = self.command.filter(|command| !command.value.is_empty());
        self.cwd = self.cwd.filter(|_| !replaced.contains(&"upstream.stdio.cwd"));
        self.url = self.url.filter(|_| !replaced.contains(&"upstream.$.url"));
        self
    }
}

/// Reads members, and keeps the lines and texts of what is wrong. No value is shown.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    /// The whole file.
    pub(super) file: &'a str,
    pub(super) problems: Vec<(usize, String)>,
}

impl Reader<'_> {
    /// The line of a byte of the file.
    pub(super) fn line(&self, at: usize) -> usize {
        1 + self.file.bytes().take(at).filter(|&byte| byte == b'\n').count()
    }

    fn text(&mut self, entry: &Object<'_>, key: &str) -> Option<Text> {
        let (value, line) = self.member(entry, key)?;
        self.scalar(value, line, || format!("{key} is no text"))
    }

    /// The program, for which no number stands; empty when it is something else.
    fn command(&mut self, entry: &Object<'_>) -> Option<Text> {
        let (value, line) = self.member(entry, "command")?;
        let value = match value {
            Value::StringLit(text) => text.value.clone().into_owned(),
            _ => String::new(),
        };
        if value.is_empty() {
            self.problems.push((line, "command is no text that names a program".to_owned()));
        }
        Some(Text { value, line })
    }

    fn texts(&mut self, entry: &Object<'_>, key: &str) -> Vec<Text> {
        let Some((value, line)) = self.member(entry, key) else { return Vec::new() };
        let Value::Array(list) = value else {
            self.problems.push((line, format!("{key} is no list of texts")));
            return Vec::new();
        };
        let text = |value| {
            let line = self.line(range(value).start);
            self.scalar(value, line, || format!("{key} has something in it that is no text"))
        };
        list.elements.iter().filter_map(text).collect()
    }

    fn by_name(&mut self, entry: &Object<'_>, key: &str) -> Vec<(String, Text)> {
        let Some((value, line)) = self.member(entry, key) else { return Vec::new() };
        let Value::Object(map) = value else {
            self.problems.push((line, format!("{key} is no mapping of texts")));
            return Vec::new();
        };
        let given = map.properties.iter().filter(|property| !is_null(&property.value));
        let named = given.filter_map(|property| {
            let (name, line) = (property.name.as_str(), self.line(property.range.start));
            let text = self.scalar(&property.value, line, || {
                let name = shown::key(name).unwrap_or("a value");
                format!("{name} in {key} is no text")
            })?;
            Some((name.to_owned(), text))
        });
        named.collect()
    }

    fn member<'v, 'a>(&self, entry: &'v Object<'a>, key: &str) -> Option<(&'v Value<'a>, usize)> {
        let property = entry.properties.iter().rfind(|property| property.name.as_str() == key)?;
        let line = self.line(property.range.start);
        (!is_null(&property.value)).then_some((&property.value, line))
    }

    fn scalar(
        &mut self,
        value: &Value<'_>,
        line: usize,
        wrong: impl FnOnce() -> String,
    ) -> Option<Text> {
        let value = match value {
            Value::StringLit(text) => text.value.clone().into_owned(),
            Value::NumberLit(number) => number.value.to_owned(),
            Value::BooleanLit(switch) => switch.value.to_string(),
            Value::Object(_) | Value::Array(_) | Value::NullKeyword(_) => {
                self.problems.push((line, wrong()));
                return None;
            }
        };
        Some(Text { value, line })
    }
}

fn range(value: &Value<'_>) -> jsonc_parser::common::Range {
    jsonc_parser::common::Ranged::range(value)
}

fn is_null(value: &Value<'_>) -> bool {
    matches!(value, Value::NullKeyword(_))
}
