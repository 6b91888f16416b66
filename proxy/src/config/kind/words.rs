//! Splits a command into words, as people write them on their system. No shell takes part:
//! nothing is expanded.

/// How words are quoted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rules {
    /// As a POSIX shell has it.
    Posix,
    /// As people write on Windows: double quotes group, and backslashes are what paths have.
    Windows,
}

impl Rules {
    /// Those of this system.
    pub(super) const HERE: Self = if cfg!(windows) { Self::Windows } else { Self::Posix };
}

/// The words; none when a quote is not closed.
pub(super) fn split(text: &str, rules: Rules) -> Option<Vec<String>> {
    match rules {
        Rules::Posix => shlex::split(text),
        Rules::Windows => in_double_quotes(text),
    }
}

/// Whether a word can be a program: what only a shell understands may hold secrets, and starts
/// nothing.
pub(super) fn program(word: &str) -> Result<(), String> {
    let name = word.split_once('=').map_or("", |(name, _)| name);
    if !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err("begins with a variable, which takes a shell; write env before it".to_owned());
    }
    if word.contains("://") {
        return Err(
            "is a URL and no program; for a server behind a URL, write mcpulse-proxy http \
                    --remote-url"
                .to_owned(),
        );
    }
    if word.is_empty() { Err("names no program".to_owned()) } else { Ok(()) }
}

fn in_double_quotes(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let (mut word, mut quoted) = (None::<String>, false);
    for c in text.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            c if c.is_whitespace() && !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    (!quoted).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_no_program_is_told_apart() {
        for (word, part) in
            [("TOKEN=hunter2", "a variable"), ("https://hunter2@h", "a URL"), ("", "no program")]
        {
            let error = program(word).unwrap_err();
            assert!(error.contains(part) && !error.contains("hunter2"), "{error}");
        }
        for word in ["python", "/opt/a=b/p", "./a=b", "a b"] {
            assert_eq!(program(word), Ok(()));
        }
    }

    #[test]
    fn words_are_those_of_the_system() {
        for (text, posix, windows) in [
            (
                "python server.py",
                Some(&["python", "server.py"][..]),
                Some(&["python", "server.py"][..]),
            ),
            (
                r"C:\py\python.exe s.py",
                Some(&["C:pypython.exe", "s.py"]),
                Some(&[r"C:\py\python.exe", "s.py"]),
            ),
            (
                r#""C:\Program Files\node.exe" "a b"c"#,
                Some(&[r"C:\Program Files\node.exe", "a bc"]),
                Some(&[r"C:\Program Files\node.exe", "a bc"]),
            ),
            (r"'a b' c\ d", Some(&["a b", "c d"]), Some(&["'a", "b'", r"c\", "d"])),
            (r#"a "" b"#, Some(&["a", "", "b"]), Some(&["a", "", "b"])),
            ("it's", None, Some(&["it's"])),
            ("\"open", None, None),
        ] {
            let owned = |words: Option<&[&str]>| {
                words.map(|words| words.iter().map(ToString::to_string).collect::<Vec<_>>())
            };
            assert_eq!(split(text, Rules::Posix), owned(posix), "{text}");
            assert_eq!(split(text, Rules::Windows), owned(windows), "{text}");
        }
    }
}
