//! Where the value of a name begins and ends.

use std::ops::Range;

use super::{Link, Walk, bracketed, indent, is_name, is_of_query, names, quote};

/// Words before a secret that tell how it is to be read.
const SCHEMES: [&str; 8] =
    ["basic", "bearer", "negotiate", "token", "apikey", "api-key", "api_key", "key"];

impl Walk<'_> {
    /// The value that begins behind `after`; none where nothing stands.
    pub(super) fn value(
        &self,
        name: &str,
        start: usize,
        end: usize,
        after: usize,
        in_query: bool,
    ) -> Option<Range<usize>> {
        let value = self.reach(name, start, end, after, in_query)?;
        (value.start < value.end).then_some(value)
    }

    fn reach(
        &self,
        name: &str,
        start: usize,
        end: usize,
        after: usize,
        in_query: bool,
    ) -> Option<Range<usize>> {
        let enclosed = self.string.contains(&start);
        let whole = enclosed && self.string.start == start && end < self.string.end;
        let line_end = |at: usize| self.run(at, |byte| !matches!(byte, b'\n' | b'\r'));
        let begin = self.spaces(after);
        if begin >= self.text.len() || whole && after >= self.string.end {
            return None;
        }
        // What stands no deeper than the name on the next lines belongs to something else.
        let lines = self.lines(start).filter(|_| !whole && self.byte(end) == b':');
        let marked =
            self.run(begin, |byte| matches!(byte, b'|' | b'>' | b'+' | b'-' | b'0'..=b'9'));
        let is_block =
            matches!(self.byte(begin), b'|' | b'>') && matches!(self.byte(marked), b'\n' | b'\r');
        if is_block {
            let block = line_end(begin);
            return Some(self.spaces(block)..self.deeper(block, self.column(start)));
        }
        if self.text[after..begin].contains('\n') {
            let deeper = self.deeper(line_end(after), self.column(start));
            let has_quote = quote(&self.text[begin..]).is_some();
            if !has_quote && deeper > begin {
                return Some(begin..deeper);
            }
            let word = self.run(begin, is_name);
            if !has_quote && !matches!(self.link(word), Link::None) {
                return None;
            }
        }
        let rest = &self.text[begin..];
        // `Some("…")`, `b'…'`, `&[…]`, `Secret { … }`
        let opening = self.run(begin, |byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'&' | b'$' | b'@' | b'_' | b':')
        });
        if quote(&self.text[opening..]).is_some_and(|_| opening <= begin + 2)
            && !(enclosed && opening == self.string.end)
        {
            let (from, to) = quote(&self.text[opening..])?.inside(&self.text[opening..]);
            return Some(opening + from..opening + to);
        }
        let bracket = match self.byte(opening) {
            b'(' | b'[' | b'{' => Some(opening),
            b' ' if opening > begin && self.byte(opening + 1) == b'{' => Some(opening + 1),
            _ => None,
        };
        let bound = if begin < self.string.end { self.string.end } else { self.text.len() };
        if let Some(bracket) = bracket {
            let close = bracket + bracketed(&self.text[bracket..]);
            return Some(begin..self.run(close, is_inner).max(begin));
        }
        // A number or a word of JSON.
        let literal = self
            .run(begin, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+'));
        let is_literal = matches!(&self.text[begin..literal], "true" | "false" | "null")
            || rest[..literal - begin].parse::<f64>().is_ok();
        if is_literal && matches!(self.byte(literal), b',' | b'}' | b']' | b'"' | b'\\') {
            return Some(begin..literal);
        }
        if whole {
            return Some(self.scheme(begin)..bound);
        }
        if in_query {
            return Some(begin..self.run(begin, is_of_query).min(bound));
        }
        let secret = self.scheme(begin);
        if names::is_header(name) && secret == begin {
            return Some(begin..line_end(begin).min(bound));
        }
        if let Some(column) = lines.filter(|_| secret == begin) {
            return Some(begin..self.deeper(line_end(begin), column).min(bound));
        }
        Some(secret..self.word(secret).min(bound))
    }

    /// Behind a scheme such as `Bearer`, if one stands here.
    fn scheme(&self, at: usize) -> usize {
        let end = self.run(at, is_name);
        let known = SCHEMES.iter().any(|scheme| scheme.eq_ignore_ascii_case(&self.text[at..end]));
        let secret = self.run(end, |byte| byte == b' ' || byte == b'\t');
        if known && secret > end && secret < self.text.len() { secret } else { at }
    }

    /// The end of the word here; what is quoted in it belongs to it.
    pub(super) fn word(&self, at: usize) -> usize {
        let bytes = self.text.as_bytes();
        let mut end = at;
        while let Some(byte) = bytes.get(end) {
            if byte.is_ascii_whitespace() {
                break;
            }
            end += match quote(&self.text[end..]) {
                Some(quote) if matches!(self.before(end), b'=' | b':') => {
                    (quote.inside(&self.text[end..]).1).max(1)
                }
                _ => self.text[end..].chars().next().map_or(1, char::len_utf8),
            };
        }
        at + self.text[at..end].trim_end_matches([';', ',']).len()
    }

    /// The column of a name at the beginning of its line.
    fn column(&self, start: usize) -> usize {
        let before = self.text.get(self.line.end..start).unwrap_or_default();
        let first = matches!(before, "" | "\"" | "'" | "- " | "- \"" | "- '");
        if first { start - self.line.start } else { self.line.len() }
    }

    /// The same, where the text has lines and this name is the first of one.
    fn lines(&self, start: usize) -> Option<usize> {
        let before = self.text.get(self.line.end..start)?;
        (matches!(before, "" | "- ") && self.text.contains('\n')).then(|| start - self.line.start)
    }

    /// The end of the lines that follow the end of one and are deeper than this column.
    fn deeper(&self, line_end: usize, column: usize) -> usize {
        let mut end = line_end;
        let mut next = line_end;
        while next < self.text.len() {
            let begin = self.run(next, |byte| matches!(byte, b'\n' | b'\r'));
            let depth = indent(&self.text[begin..]);
            if depth <= column || begin + depth >= self.text.len() {
                break;
            }
            next = self.run(begin + depth, |byte| !matches!(byte, b'\n' | b'\r'));
            end = next;
        }
        end
    }
}

fn is_inner(byte: u8) -> bool {
    !byte.is_ascii_whitespace() && !b",;}])\"'&<>\\".contains(&byte)
}
