//! Secrets that a text introduces by their name: assignments, headers, members of JSON and of
//! what prints like it, lines of YAML, elements of XML, parameters of a query, flags, prose.
//!
//! One walk over the text, which knows no grammar: a name of [`super::names`], what links it to
//! its value, and where a value of that look ends. Whatever was looked at to find an end is
//! redacted or of one word, so that the walk takes as long as the text.

mod value;

use std::ops::Range;

use super::{
    DEEPEST, Redactor,
    command::Command,
    harmless::{is_after_bearer, is_harmless, is_prose},
    names,
    quote::{bracketed, escaped, quote, unescaped},
};

/// What a name is bound to its value by.
enum Link {
    Assigned(usize),
    /// The second of two in brackets: `("password", "…")`
    Paired(usize),
    None,
}

/// What the brackets around the current place hold.
#[derive(Clone, Default)]
struct Frame {
    /// The last label named a secret.
    labelled: bool,
    /// A value whose label may yet come.
    value: Option<Range<usize>>,
}

/// What the walk has found so far, and where it is.
pub(super) struct Walk<'t> {
    redactor: &'t Redactor,
    depth: usize,
    text: &'t str,
    found: Vec<Range<usize>>,
    /// The inside of the outermost string, and the end of its closing quote.
    string: Range<usize>,
    closed: usize,
    line: Range<usize>,
    frames: Vec<Frame>,
    frame: Frame,
    command: Command,
    /// Within a tag: whether what the element holds is a secret.
    tag: Option<Element>,
    /// Where the last closing tag begins.
    last_end: Option<usize>,
}

#[derive(Clone, Copy, PartialEq)]
enum Element {
    Secret,
    Label,
    Value,
    Other,
}

impl<'t> Walk<'t> {
    pub(super) fn new(redactor: &'t Redactor, text: &'t str, depth: usize) -> Self {
        Self {
            redactor,
            depth,
            text,
            found: Vec::new(),
            string: 0..0,
            closed: 0,
            line: 0..indent(text),
            frames: Vec::new(),
            frame: Frame::default(),
            command: Command::default(),
            tag: None,
            last_end: text.rfind("</"),
        }
    }

    /// Where secrets are.
    pub(super) fn found(mut self) -> Vec<Range<usize>> {
        let bytes = self.text.as_bytes();
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            at = match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | 0x80.. => self.name(at),
                b'"' | b'\'' | b'\\' => self.quoted(at),
                b'-' if self.begins_word(at) => self.flag(at),
                b'<' => self.open_tag(at),
                b'>' => self.close_tag(at),
                b'\n' => self.next_line(at),
                b'{' | b'[' | b'(' | b'}' | b']' | b')' | b'|' | b';' => self.bracket(at, byte),
                _ => at + 1,
            };
        }
        self.found
    }

    fn byte(&self, at: usize) -> u8 {
        self.text.as_bytes().get(at).copied().unwrap_or_default()
    }

    fn before(&self, at: usize) -> u8 {
        at.checked_sub(1).map_or(b' ', |before| self.byte(before))
    }

    fn begins_word(&self, at: usize) -> bool {
        matches!(self.before(at), b' ' | b'\t' | b'\n' | b'"' | b'\'' | b'[' | b'(' | b',' | b'`')
    }

    /// The end of the run of such bytes.
    fn run(&self, at: usize, of: impl Fn(u8) -> bool) -> usize {
        let at = at.min(self.text.len());
        let rest = &self.text.as_bytes()[at..];
        at + rest.iter().position(|byte| !of(*byte)).unwrap_or(rest.len())
    }

    fn spaces(&self, at: usize) -> usize {
        self.run(at, |byte| byte.is_ascii_whitespace())
    }

    fn name(&mut self, start: usize) -> usize {
        let end = self.run(start, is_name);
        let name = &self.text[start..end];
        let (next, second) = (self.byte(end), self.byte(end + 1));
        if next == b' ' && second.is_ascii_alphanumeric() {
            return self.word_of_prose(start, end);
        }
        if matches!(next, b' ' | b'"' | b'\'' | b'\\') {
            self.command.read_program(name);
        } else {
            self.command.begin();
        }
        // `\n` before a name that no string holds
        let bare = match self.before(start) {
            b'\\' => name.strip_prefix(['n', 'r', 't']),
            _ => None,
        };
        match self.link(end) {
            Link::Assigned(value) => self.assigned(&[Some(name), bare], start, end, value),
            Link::Paired(value) => self.paired(name, start, end, value),
            Link::None => end,
        }
    }

    fn link(&self, end: usize) -> Link {
        let closed = self.run(end, |byte| matches!(byte, b'\\' | b'"' | b'\'' | b']'));
        if closed == end && self.byte(end) == b'(' && quote(&self.text[end + 1..]).is_some() {
            return Link::Assigned(end);
        }
        let at = self.spaces(closed);
        let (second, third) = (self.byte(at + 1), self.byte(at + 2));
        match (self.byte(at), second) {
            (b'=', b'=') => {
                let value = self.spaces(at + if third == b'=' { 3 } else { 2 });
                match quote(self.text.get(value..).unwrap_or_default()) {
                    Some(_) => Link::Assigned(value),
                    None => Link::None,
                }
            }
            (b'=', b'~') | (b':', b':') => Link::None,
            (b'=', b'>') | (b':', b'=') => Link::Assigned(at + 2),
            (b'=' | b':', _) => Link::Assigned(at + 1),
            (b',', _) if closed > end => Link::Paired(at + 1),
            _ => Link::None,
        }
    }

    fn assigned(
        &mut self,
        names: &[Option<&str>],
        start: usize,
        end: usize,
        after: usize,
    ) -> usize {
        let mut named = names.iter().flatten();
        let Some(&name) = named.clone().next() else { return end };
        let joined = self.byte(end) == b'=';
        let in_query = joined && matches!(self.before(start), b'?' | b'&' | b'#');
        let in_parameters = in_query || joined && self.before(start) == b';';
        if named.any(|name| names::is_secret(name)) || in_parameters && names::is_query(name) {
            let in_query = in_query || in_parameters && names::is_query(name);
            let Some(value) = self.value(name, start, end, after, in_query) else { return end };
            let text = &self.text[value.clone()];
            let quoted = matches!(self.before(value.start), b'"' | b'\'');
            // `auth=letmein` is no sentence, `auth: letmein` may be one.
            let harmless = !in_query && !quoted && is_harmless(name, text, !joined);
            let next = value.end.max(end);
            if !harmless && !Redactor::is_plain(name, text) {
                self.find(value);
            }
            return next;
        }
        // What a bracket holds is looked at once, on the walk.
        let bracket = matches!(self.byte(self.spaces(after)), b'{' | b'[' | b'(');
        if names::is_label(name) && !bracket {
            if let Some(value) = self.value("", start, end, after, in_query) {
                let secret = names::is_secret(&self.text[value]);
                self.label(secret);
                self.tag = self.tag.map(|tag| if secret { Element::Secret } else { tag });
            }
        } else if names::is_value(name) && (self.frame.labelled || !bracket) {
            let Some(value) = self.value("", start, end, after, in_query) else { return end };
            if self.frame.labelled {
                let next = value.end.max(end);
                self.find(value);
                return next;
            }
            self.frame.value = Some(value);
        }
        end
    }

    fn label(&mut self, secret: bool) {
        self.frame.labelled = secret;
        if let Some(value) = self.frame.value.take_if(|_| secret) {
            self.find(value);
        }
    }

    /// The second of two, where they are alone in their brackets.
    fn paired(&mut self, name: &str, start: usize, end: usize, after: usize) -> usize {
        let before = self.text[..start].trim_end_matches(['\\', '"', '\'']).as_bytes();
        if before.len() == start || !matches!(before.last(), Some(b'(' | b'[' | b'{')) {
            return end;
        }
        let open = self.spaces(after);
        let (value, closed) = self.inside(open).unwrap_or_else(|| {
            let to = self.run(open, is_name);
            (open..to, to)
        });
        let last = self.spaces(closed.min(self.text.len()));
        let alone = last >= self.text.len() || matches!(self.byte(last), b')' | b']' | b'}');
        if !alone || !names::is_secret(name) {
            return end;
        }
        let next = value.end;
        self.find(value);
        next.max(end)
    }

    /// The inside of the string that opens here, and the end of its closing quote.
    fn inside(&self, at: usize) -> Option<(Range<usize>, usize)> {
        let text = self.text.get(at..)?;
        let quote = quote(text)?;
        let (from, to) = quote.inside(text);
        Some((at + from..at + to, at + to + quote.backslashes + 1))
    }

    fn find(&mut self, secret: Range<usize>) {
        if !secret.is_empty() {
            self.found.push(secret);
        }
    }

    fn word_of_prose(&mut self, start: usize, end: usize) -> usize {
        let name = &self.text[start..end];
        self.command.read_program(name);
        let next = &self.text[end + 1..];
        if !matches!(self.byte(end + 1), b'i' | b'w') && name.len() != "bearer".len() {
            return end + 1;
        }
        if name.eq_ignore_ascii_case("bearer") {
            let secret = end + 1..self.run(end + 1, is_of_query);
            if !is_after_bearer(&self.text[secret.clone()]) {
                let next = secret.end;
                self.find(secret);
                return next;
            }
        }
        for verb in ["is ", "was ", "is: "] {
            if next.starts_with(verb) && names::is_secret(name) {
                let at = self.spaces(end + 1 + verb.len());
                let value = self.inside(at).map_or_else(
                    || {
                        let word = &self.text[at..self.run(at, |byte| !byte.is_ascii_whitespace())];
                        let word = word.trim_end_matches(['.', ',', ';', ':', '!', ')', '"', '\'']);
                        let harmless = is_prose(word, 20) || is_harmless(name, word, true);
                        at..at + if harmless { 0 } else { word.len() }
                    },
                    |(value, _)| value,
                );
                let next = value.end.max(end);
                self.find(value);
                return next;
            }
        }
        end
    }

    fn flag(&mut self, start: usize) -> usize {
        let end = self.run(start, |byte| {
            !byte.is_ascii_whitespace()
                && !matches!(byte, b'"' | b'\'' | b'\\' | b',' | b']' | b')')
        });
        let name = self.run(start, |byte| byte == b'-');
        if let Some(begin) = self.command.secret_in(&self.text[start..end]) {
            let secret = start + begin..self.word(start).max(end);
            let bound = if start < self.string.end { self.string.end } else { self.text.len() };
            let secret = secret.start..secret.end.min(bound);
            let next = secret.end;
            self.find(secret);
            return next;
        }
        if self.command.expects() {
            let closed = self.run(end, |byte| matches!(byte, b'\\' | b'"' | b'\''));
            let value = self.run(closed, |byte| byte.is_ascii_whitespace() || byte == b',');
            let range = match self.inside(value).filter(|_| value > closed) {
                Some((inside, _)) => inside,
                None if closed > end && value == closed => value..value,
                None => value..self.word(value),
            };
            let bound = if value < self.string.end { self.string.end } else { self.text.len() };
            let range = range.start..range.end.min(bound).max(range.start);
            if !range.is_empty()
                && value > end
                && let Some(begin) = self.command.secret_in(&self.text[range.clone()])
            {
                let next = range.end;
                self.find(range.start + begin..range.end);
                return next;
            }
            self.command.forget();
        }
        name
    }

    fn quoted(&mut self, at: usize) -> usize {
        let Some(quote) = quote(&self.text[at..]) else {
            return self.run(at, |byte| byte == b'\\');
        };
        let next = at + quote.backslashes + 1;
        let apostrophe = quote.backslashes == 0 && self.before(at).is_ascii_alphanumeric();
        if at < self.closed || apostrophe || !(quote.backslashes + 1).is_power_of_two() {
            return next;
        }
        let (from, to) = quote.inside(&self.text[at..]);
        self.string = at + from..at + to;
        self.closed = self.string.end + next - at;
        let raw = &self.text[self.string.clone()];
        if self.depth < DEEPEST && raw.contains('\\') {
            let mut plain = unescaped(raw);
            let found = self.redactor.stretches(&plain, self.depth + 1);
            let offset = self.string.start;
            let found = if found.is_empty() { found } else { escaped(raw, &found) };
            self.found.extend(found.iter().map(|it| offset + it.start..offset + it.end));
            if raw.len() < 200 {
                while plain.contains('\\') && unescaped(&plain) != plain {
                    plain = unescaped(&plain);
                }
                if let Link::Assigned(value) = self.link(self.string.end) {
                    let end = self.string.end;
                    return self.assigned(&[Some(&plain)], at + from, end, value).max(next);
                }
            }
        }
        next
    }

    fn bracket(&mut self, at: usize, byte: u8) -> usize {
        match byte {
            b'[' | b'|' | b';' => self.command = Command::default(),
            _ => {}
        }
        if at >= self.closed {
            match byte {
                b'{' | b'[' | b'(' => self.frames.push(std::mem::take(&mut self.frame)),
                b'}' | b']' | b')' => self.frame = self.frames.pop().unwrap_or_default(),
                _ => {}
            }
        }
        at + 1
    }

    fn next_line(&mut self, at: usize) -> usize {
        let next = at + 1;
        self.line = next..next + indent(&self.text[next..]);
        if !matches!(self.before(at), b',' | b'\\') {
            self.command = Command::default();
        }
        if self.text[self.line.end..].starts_with("- ") {
            self.frame = Frame::default();
        }
        next
    }

    fn open_tag(&mut self, at: usize) -> usize {
        let end = self.run(at + 1, |byte| is_name(byte) || byte == b':');
        if end == at + 1 || (self.before(at).is_ascii_alphanumeric() || self.before(at) == b']') {
            return at + 1;
        }
        let name = self.text[at + 1..end].rsplit(':').next().unwrap_or_default();
        self.tag = Some(match name {
            name if names::is_secret(name) => Element::Secret,
            name if names::is_label(name) => Element::Label,
            name if names::is_value(name) => Element::Value,
            _ => Element::Other,
        });
        end
    }

    fn close_tag(&mut self, at: usize) -> usize {
        let begin = at + 1;
        let Some(tag) = self.tag.take().filter(|_| self.before(at) != b'/') else { return begin };
        let inner = begin..self.run(begin, |byte| byte != b'<');
        match tag {
            Element::Label => self.label(names::is_secret(self.text[inner].trim())),
            Element::Value if !self.frame.labelled => self.frame.value = Some(inner),
            Element::Secret | Element::Value => {
                let end = match self.last_end {
                    Some(last) if last >= begin => {
                        self.text[begin..].find("</").map(|end| begin + end)
                    }
                    _ => None,
                };
                // Cut off, or no element at all.
                let end = end.unwrap_or_else(|| {
                    self.run(begin, |byte| !byte.is_ascii_whitespace() && byte != b'<')
                });
                self.find(begin..end);
                return end;
            }
            Element::Other => {}
        }
        begin
    }
}

fn indent(text: &str) -> usize {
    text.bytes().take_while(|byte| matches!(byte, b' ' | b'\t')).count()
}

/// Bytes of names.
const OF_NAMES: [bool; 256] = {
    let mut of_names = [false; 256];
    let mut c = u8::MAX;
    while c > 0 {
        of_names[c as usize] =
            c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'.' | 0x80..);
        c -= 1;
    }
    of_names
};

fn is_name(byte: u8) -> bool {
    OF_NAMES[usize::from(byte)]
}

fn is_of_query(byte: u8) -> bool {
    !byte.is_ascii_whitespace() && !b"\"'\\,;&<>".contains(&byte)
}
