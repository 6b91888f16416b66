//! `envFile`, as VS Code has it: a line is `NAME=VALUE`, with `export` before it or not; a value
//! may be quoted; `#` begins a comment.

/// The variables, and the lines that are none. No value is shown.
pub(super) fn read(text: &str) -> (Vec<(String, String)>, Vec<usize>) {
    let (mut variables, mut bad) = (Vec::new(), Vec::new());
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (line, text) in (1..).zip(text.lines()) {
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        match variable(text) {
            Some(variable) => variables.push(variable),
            None => bad.push(line),
        }
    }
    (variables, bad)
}

fn variable(line: &str) -> Option<(String, String)> {
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    let is_name = !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '"');
    is_name.then_some((name.to_owned(), self::value(value)?))
}

fn value(text: &str) -> Option<String> {
    let (value, rest) = match text.chars().next() {
        Some('\'') => text[1..].split_once('\'').map(|(value, rest)| (value.to_owned(), rest))?,
        Some('"') => quoted(&text[1..])?,
        // A # within a word belongs to it.
        _ => return Some(text.split(" #").next().unwrap_or_default().trim_end().to_owned()),
    };
    let rest = rest.trim_start();
    (rest.is_empty() || rest.starts_with('#')).then_some(value)
}

/// What stands before the closing quote, and what stands behind it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                c @ ('"' | '\\' | '$') => value.push(c),
                c => value.extend(['\\', c]),
            },
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_variables_comments_or_bad() {
        let text = "\u{feff}# a comment\n\nA=1\r\n export B = two words # not this\n\
                    C='a # b' # c\nD=\"a \\\"b\\\"\\nc \\d\"\nE=a#b\nF=\nG=x=y\n\
                    nonsense\n=x\nH='open\nI=\"a\" b\nJ K=1\n";
        let (variables, bad) = read(text);
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(
            variables,
            [
                ("A", "1"),
                ("B", "two words"),
                ("C", "a # b"),
                ("D", "a \"b\"\nc \\d"),
                ("E", "a#b"),
                ("F", ""),
                ("G", "x=y"),
            ]
        );
        assert_eq!(bad, [10, 11, 12, 13, 14]);
    }
}
