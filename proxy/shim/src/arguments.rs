//! What the command line says: `mcpulse-shim [OPTION VALUE]… -- COMMAND [ARGUMENT]…`.

use std::{ffi::OsString, path::PathBuf, time::Duration};

/// How the shim is to run. Every value has a default, but the command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// The socket on which sessions are opened: `--listen`.
    pub listen: PathBuf,
    /// Most sessions at a time, those that wait for their sidecar included: `--max-sessions`.
    pub max_sessions: usize,
    /// Most bytes of a session, each way, that were not passed on: `--window`.
    pub window: usize,
    /// How long a session waits for a sidecar whose connection broke: `--resume-for`.
    pub resume_for: Duration,
    /// How long calls may take to finish after SIGTERM: `--drain-timeout`.
    pub drain_timeout: Duration,
    /// From closing a program's input until SIGTERM to its group: `--terminate-after`.
    pub terminate_after: Duration,
    /// From that until SIGKILL: `--kill-after`.
    pub kill_after: Duration,
    /// The program of a session, and its arguments.
    pub command: Vec<OsString>,
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            listen: "/mcpulse/mcp.sock".into(),
            max_sessions: 32,
            window: 256 << 10,
            resume_for: Duration::from_secs(30),
            // With the time until SIGKILL within the 30 s that Kubernetes gives a pod.
            drain_timeout: Duration::from_secs(20),
            terminate_after: Duration::from_secs(2),
            kill_after: Duration::from_secs(5),
            command: Vec::new(),
        }
    }
}

impl Arguments {
    /// Reads the words behind the program's own name.
    ///
    /// # Errors
    /// Everything that is wrong with them, at once.
    pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let mut words = words.into_iter();
        let mut read = Self::default();
        let mut wrong = Vec::new();
        while let Some(word) = words.next() {
            let word = word.to_string_lossy().into_owned();
            if word == "--" {
                read.command = words.by_ref().collect();
                break;
            }
            let (option, value) = match word.split_once('=') {
                Some((option, value)) => (option, Some(value.into())),
                None => (&*word, None),
            };
            if !OPTIONS.contains(&option) {
                let known = OPTIONS.join(", ");
                wrong.push(format!("{option} is none of {known}; the command goes behind --"));
            } else if let Some(value) = value.or_else(|| words.next()) {
                wrong.extend(read.set(option, value).map(|why| format!("{option} {why}")));
            } else {
                wrong.push(format!("{option} wants a value"));
            }
        }
        if read.command.is_empty() {
            wrong.push("there is no command; it goes behind --".to_owned());
        }
        if wrong.is_empty() { Ok(read) } else { Err(wrong.join("; ")) }
    }

    /// Takes the value of an option, or says why not.
    fn set(&mut self, option: &str, value: OsString) -> Option<String> {
        if option == "--listen" {
            self.listen = value.into();
            return None;
        }
        let value = value.to_string_lossy();
        let outcome = match option {
            "--max-sessions" => number(&value, 1, 10_000).map(|read| self.max_sessions = read),
            "--window" => number(&value, 4 << 10, 64 << 20).map(|read| self.window = read),
            "--resume-for" => duration(&value).map(|read| self.resume_for = read),
            "--drain-timeout" => duration(&value).map(|read| self.drain_timeout = read),
            "--terminate-after" => duration(&value).map(|read| self.terminate_after = read),
            _ => duration(&value).map(|read| self.kill_after = read),
        };
        outcome.err()
    }
}

const OPTIONS: [&str; 7] = [
    "--listen",
    "--max-sessions",
    "--window",
    "--resume-for",
    "--drain-timeout",
    "--terminate-after",
    "--kill-after",
];

fn number(text: &str, least: usize, most: usize) -> Result<usize, String> {
    let read = text.parse().ok().filter(|read| (least..=most).contains(read));
    read.ok_or_else(|| format!("is {text:?}, and a number from {least} to {most} is wanted"))
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: Option<u64> = match &text[digits.len()..] {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        _ => None,
    };
    // A day is more than any pod is given, and no sum of such overflows.
    let read = digits.parse::<u64>().ok().zip(unit).and_then(|(n, unit)| n.checked_mul(unit));
    let read = read.filter(|read| *read <= 86_400_000).map(Duration::from_millis);
    read.ok_or_else(|| format!("is {text:?}, and a time such as 500ms, 30s or 2m is wanted"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Arguments, String> {
        Arguments::parse(words.iter().map(Into::into))
    }

    #[test]
    fn what_stands_behind_the_dashes_is_the_command_as_it_is() {
        let read = parse(&["--", "python", "--", "--listen=x"]).expect("arguments");
        let command = ["python", "--", "--listen=x"].map(OsString::from).to_vec();
        assert_eq!(read, Arguments { command, ..Arguments::default() });
    }

    #[test]
    fn options_are_taken_in_both_forms() {
        let read =
            parse(&["--listen", "/a", "--max-sessions=7", "--kill-after", "250ms", "--", "x"]);
        let read = read.expect("arguments");
        assert_eq!((read.listen, read.max_sessions), (PathBuf::from("/a"), 7));
        assert_eq!(read.kill_after, Duration::from_millis(250));
    }

    #[test]
    fn everything_wrong_is_said_at_once() {
        let said = parse(&["--window", "1", "--resume-for=soon", "--verbose"]).expect_err("words");
        for part in
            ["--window is \"1\"", "--resume-for is \"soon\"", "--verbose is none", "no command"]
        {
            assert!(said.contains(part), "{part} in {said}");
        }
        assert!(parse(&["--window"]).is_err_and(|said| said.contains("--window wants a value")));
        assert!(parse(&["--drain-timeout", "99999999999999999999s", "--", "x"]).is_err());
    }
}
