//! What quotes and brackets enclose, also within strings within strings.

use std::{iter, ops::Range};

/// A quote at the beginning of a text.
#[derive(Clone, Copy)]
pub(super) struct Quote {
    pub(super) mark: char,
    pub(super) backslashes: usize,
}

pub(super) fn quote(text: &str) -> Option<Quote> {
    let backslashes = text.bytes().take_while(|byte| *byte == b'\\').count();
    let mark = text[backslashes..].chars().next()?;
    matches!(mark, '"' | '\'').then_some(Quote { mark, backslashes })
}

impl Quote {
    /// What it encloses; without a closing quote, everything.
    pub(super) fn inside(self, text: &str) -> (usize, usize) {
        let open = self.backslashes + 1;
        let mut run = 0;
        for (at, c) in text.bytes().enumerate().skip(open) {
            let deeper = run >= self.backslashes
                && ((run - self.backslashes) / (self.backslashes + 1)) % 2 == 1;
            if char::from(c) == self.mark && !deeper {
                return (open, at - run.min(self.backslashes));
            }
            run = if c == b'\\' { run + 1 } else { 0 };
        }
        (open, text.len())
    }
}

/// How long the bracketed text at the beginning is; without a closing bracket, all of it.
pub(super) fn bracketed(text: &str) -> usize {
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
            '[' | '{' | '(' => depth += 1,
            ']' | '}' | ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return end;
        }
    }
    text.len()
}

/// The characters of a string's inside, each with the length that it has there.
fn characters(raw: &str) -> impl Iterator<Item = (char, usize)> {
    let mut rest = raw;
    iter::from_fn(move || {
        let first = rest.chars().next()?;
        let (c, length) = match rest.as_bytes() {
            [b'\\', b'n', ..] => ('\n', 2),
            [b'\\', b'r', ..] => ('\r', 2),
            [b'\\', b't', ..] => ('\t', 2),
            [b'\\', b'u', ..] => code(rest.get(2..6), 6).unwrap_or((first, 1)),
            [b'\\', b'x', ..] => code(rest.get(2..4), 4).unwrap_or((first, 1)),
            [b'\\', b'"' | b'\'' | b'\\' | b'/', ..] => (char::from(rest.as_bytes()[1]), 2),
            _ => (first, first.len_utf8()),
        };
        rest = &rest[length..];
        Some((c, length))
    })
}

fn code(digits: Option<&str>, length: usize) -> Option<(char, usize)> {
    let code = u32::from_str_radix(digits?, 16).ok()?;
    Some((char::from_u32(code)?, length))
}

/// What a string's inside stands for.
pub(super) fn unescaped(raw: &str) -> String {
    let mut plain = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(escape) = rest.find('\\') {
        plain.push_str(&rest[..escape]);
        rest = &rest[escape..];
        let Some((c, length)) = characters(rest).next() else { break };
        plain.push(c);
        rest = &rest[length..];
    }
    plain.push_str(rest);
    plain
}

/// Where stretches of what a string's inside stands for, in their order, are in it.
pub(super) fn escaped(raw: &str, stretches: &[Range<usize>]) -> Vec<Range<usize>> {
    let (mut plain, mut at) = (0, 0);
    let mut characters = characters(raw);
    let mut place = |target: usize| {
        while plain < target {
            let Some((c, length)) = characters.next() else { break };
            plain += c.len_utf8();
            at += length;
        }
        at
    };
    stretches.iter().map(|stretch| place(stretch.start)..place(stretch.end)).collect()
}
