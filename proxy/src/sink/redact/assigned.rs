//! Secrets that a text introduces by their name: assignments, headers, members of JSON,
//! parameters of a query, flags of a command line.

use std::{borrow::Cow, iter};

use regex::{Captures, Regex};

use super::REDACTED;

/// What introduces a secret; each group stands for another way in which the secret ends.
pub(super) const INTRODUCED: &str = concat!(
    // A parameter of a query.
    r"(?P<query>[?&#][A-Za-z0-9_.-]*(?i-u:password|passwd|pwd|secret|token|api[_-]?key",
    r"|access[_-]?key(?:[_-]?id)?|signature|credential)[A-Za-z0-9_-]*=",
    r"|[?&;#](?i-u:key|sig|auth|jwt)=)",
    // A header whose scheme may stay.
    r"|(?P<header>(?i-u:authorization|auth[_-]?header)\\*[\x22']?\s*(?:=>|:=|[:=])\s*",
    r"(?P<scheme>(?i-u:basic|bearer|negotiate|token|api[_-]?key|key)\s+)?)",
    // Under a name, as in DB_PASSWORD=, "apiKey": and tokens: [.
    r"|(?P<name>(?:(?i-u:password|passwd|passphrase|passcode|pwd|secret|token|credential|signature",
    r"|(?:api|access|account|private|secret)[_-]?key(?:[_-]?id)?)",
    r"|(?-u:\b|_)(?i-u:pass))",
    r"(?P<many>s)?(?i-u:[_-]?(?:value|hash))?[_-]?[0-9]*",
    r"\\*[\x22']?\s*(?:=>|:=|[:=])\s*(?:(?i-u:basic|bearer|digest|negotiate|token)\s+)?)",
    // Behind a flag, or the word bearer.
    r"|(?P<flag>--[A-Za-z0-9_-]*(?i-u:password|passwd|passphrase|secret|token|api-?key)\s+)",
    r"|(?P<bearer>(?-u:\b)(?i-u:bearer)\s+)",
    // With a user's name before it.
    r"|(?P<user>(?:^|\s)(?:-u|--user)[\s=]+[\x22']?[^\s:\x22']+:)",
);

/// The text without the secrets that `regex` says are introduced in it.
pub(super) fn without<'t>(text: &'t str, regex: &Regex) -> Cow<'t, str> {
    let (mut marked, mut copied) = (String::new(), 0);
    for found in regex.captures_iter(text) {
        let Some(introduction) = found.get(0) else { continue };
        let begin = introduction.end();
        let secret = &text[begin..];
        // The quotes stay, for what reads them.
        let inside = quote(secret).map(|quote| quote.inside(secret));
        if introduction.start() < copied {
            // Within a secret, which ends no earlier than what is quoted in it.
            copied = copied.max(inside.map_or(0, |(_, end)| begin + end));
            continue;
        }
        let (open, end) = inside.unwrap_or_else(|| (0, length(&found, secret)));
        if open < end {
            marked.push_str(&text[copied..begin + open]);
            marked.push_str(REDACTED);
            copied = begin + end;
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    marked.push_str(&text[copied..]);
    Cow::Owned(marked)
}

/// How long the secret at the beginning of `text` is.
fn length(found: &Captures<'_>, text: &str) -> usize {
    let until = |end: fn(char) -> bool| text.find(end).unwrap_or(text.len());
    let word = || text[..until(char::is_whitespace)].trim_end_matches([';', ',']).len();
    let has = |group| found.name(group).is_some();
    if has("query") || has("bearer") {
        return until(|c| c.is_whitespace() || "\"'\\,;&<>".contains(c));
    }
    if has("flag") {
        return if text.starts_with('-') { 0 } else { word() };
    }
    if has("user") {
        return if text.starts_with("//") { 0 } else { word() };
    }
    // A count of tokens is no secret.
    let number = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let counted =
        text[number..].chars().next().is_none_or(|c| c.is_whitespace() || ",;.}])".contains(c));
    if has("many") && number > 0 && counted {
        return 0;
    }
    if text.starts_with(['[', '{']) {
        return bracketed(text);
    }
    // A header of an unknown scheme may have any number of words.
    if has("header") && !has("scheme") { until(|c| "\r\n".contains(c)) } else { word() }
}

/// A quote at the beginning of a text, perhaps within strings within strings.
struct Quote {
    mark: char,
    backslashes: usize,
}

fn quote(text: &str) -> Option<Quote> {
    let backslashes = text.len() - text.trim_start_matches('\\').len();
    let mark = text[backslashes..].chars().next()?;
    matches!(mark, '"' | '\'').then_some(Quote { mark, backslashes })
}

impl Quote {
    /// What it encloses; without a closing quote, everything.
    fn inside(&self, text: &str) -> (usize, usize) {
        let open = self.backslashes + 1;
        let mut run = 0;
        for (at, c) in text[open..].char_indices() {
            let deeper = run >= self.backslashes
                && ((run - self.backslashes) / (self.backslashes + 1)) % 2 == 1;
            if c == self.mark && !deeper {
                return (open, open + at - run.min(self.backslashes));
            }
            run = if c == '\\' { run + 1 } else { 0 };
        }
        (open, text.len())
    }
}

/// How long the bracketed text at the beginning is; without a closing bracket, all of it.
fn bracketed(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    let steps = iter::from_fn(|| {
        let rest = &text[at..];
        let c = rest.chars().next()?;
        at += match quote(rest) {
            Some(quote) => quote.inside(rest).1 + quote.backslashes + 1,
            None => c.len_utf8(),
        };
        at = at.min(text.len());
        Some((c, at))
    });
    for (c, end) in steps {
        match c {
            '[' | '{' => depth += 1,
            ']' | '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return end;
        }
    }
    text.len()
}
