//! Takes secrets out of what is reported: by the name under which a value stands, and by its
//! shape, in every string at every depth.
//!
//! A superset of what the MCPulse SDKs do. In doubt it redacts: a report that says too little
//! can be lived with.

use std::{borrow::Cow, ops::Range, sync::OnceLock};

use regex::{Regex, RegexBuilder};

use crate::record::ERROR_TEXT_LIMIT;

mod assigned;
mod command;
mod harmless;
mod names;
mod quote;
mod shapes;

use self::harmless::is_harmless;

pub(crate) use self::command::Command;

/// What stands in the place of a secret.
pub(crate) const REDACTED: &str = "[REDACTED]";

/// Strings within strings that are looked into.
const DEEPEST: usize = 16;

/// States that a search may remember before it starts over, in bytes; the default is 2 MiB.
const SEARCH_CACHE: usize = 256 << 10;

/// Redacts keys and texts.
#[derive(Debug)]
pub(crate) struct Redactor {
    rules: [Rule; 4],
    /// What a text needs to be walked.
    parts: Rule,
}

/// A pattern, compiled when a text first needs it: that takes a millisecond and a good part of
/// a megabyte, which a start should not wait for and a proxy without calls never pays.
#[derive(Debug)]
struct Rule {
    pattern: &'static str,
    /// Without this in it, no text matches.
    needs: &'static str,
    regex: OnceLock<Option<Regex>>,
}

impl Rule {
    fn new(pattern: &'static str, needs: &'static str) -> Self {
        Self { pattern, needs, regex: OnceLock::new() }
    }

    fn regex(&self) -> Option<&Regex> {
        let build = || RegexBuilder::new(self.pattern).dfa_size_limit(SEARCH_CACHE).build();
        self.regex.get_or_init(|| build().ok()).as_ref()
    }

    /// Where secrets are: what the group encloses, or else all that matches.
    fn stretches(&self, text: &str) -> Vec<Range<usize>> {
        if !text.contains(self.needs) {
            return Vec::new();
        }
        let whole = 0..text.len();
        match self.regex() {
            // Never: patterns are constants. But should it happen, nothing may leak.
            None => Vec::from([whole]),
            Some(regex) if regex.captures_len() == 1 => {
                regex.find_iter(text).map(|found| found.range()).collect()
            }
            Some(regex) => regex
                .captures_iter(text)
                .filter_map(|all| {
                    let group = all.iter().skip(1).flatten().next()?;
                    let harmless = all.name("bare").is_some()
                        && is_harmless("", group.as_str(), false)
                        || all.name("spoken").is_some()
                            && is_harmless("token", group.as_str(), true);
                    (!harmless).then(|| group.range())
                })
                .collect(),
        }
    }
}

impl Redactor {
    pub(crate) fn new() -> Self {
        let rules = [
            Rule::new(shapes::USERINFO, "://"),
            Rule::new(shapes::USERNAME, "://"),
            Rule::new(shapes::SHAPES, ""),
            Rule::new(shapes::PHRASES, ""),
        ];
        Self { rules, parts: Rule::new(names::PARTS, "") }
    }

    /// The text without what looks like a secret.
    pub(crate) fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let stretches = self.stretches(text, 0);
        if stretches.is_empty() {
            return Cow::Borrowed(text);
        }
        let (mut marked, mut copied) = (String::with_capacity(text.len()), 0);
        for stretch in stretches {
            marked.push_str(&text[copied..stretch.start]);
            marked.push_str(REDACTED);
            copied = stretch.end;
        }
        marked.push_str(&text[copied..]);
        Cow::Owned(marked)
    }

    /// Where secrets are, in their order and apart; `depth` strings enclose the text.
    fn stretches(&self, text: &str, depth: usize) -> Vec<Range<usize>> {
        let mut found = match self.parts.regex() {
            Some(parts) if !parts.is_match(text) => Vec::new(),
            _ => assigned::Walk::new(self, text, depth).found(),
        };
        for rule in &self.rules {
            found.append(&mut rule.stretches(text));
        }
        found.sort_unstable_by_key(|stretch| stretch.start);
        found.dedup_by(|next, last| {
            let meets = next.start <= last.end;
            if meets {
                last.end = last.end.max(next.end);
            }
            meets
        });
        found
    }

    /// The text of an error that a call carries, likewise. One that was cut may end in half a
    /// secret, whose shape nobody knows: its last word goes.
    pub(crate) fn error_text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        // A cut between characters leaves up to three bytes less.
        if text.len() < ERROR_TEXT_LIMIT - 3 {
            return self.text(text);
        }
        text.rfind(char::is_whitespace).map_or(REDACTED.into(), |end| self.text(&text[..end]))
    }

    /// Whether whatever stands under this name is a secret.
    pub(crate) fn is_secret(name: &str) -> bool {
        names::is_secret(name)
    }

    /// Whether a member of this name tells of what its sibling, [`Self::is_value`], is a value.
    pub(crate) fn is_label(name: &str) -> bool {
        names::is_label(name)
    }

    /// Whether a member of this name holds what its sibling, [`Self::is_label`], names.
    pub(crate) fn is_value(name: &str) -> bool {
        names::is_value(name)
    }

    /// Whether this JSON under such a name is none: whether there is one, or how many.
    pub(crate) fn is_plain(name: &str, json: &str) -> bool {
        matches!(json, "true" | "false" | "null")
            || name.to_ascii_lowercase().ends_with("tokens") && json.parse::<u64>().is_ok()
    }
}

#[cfg(test)]
mod tests;
