//! Secrets among the words of a command.

use super::names::is_secret;

/// A program, a flag of it, and how the secret follows.
struct Tool {
    name: &'static str,
    flag: &'static str,
    how: How,
}

/// How a secret follows a flag.
#[derive(Clone, Copy, PartialEq)]
enum How {
    /// As the next word, or attached.
    Either,
    /// Attached only.
    Attached,
    /// Either, behind a user's name and a colon.
    Colon,
    /// As the next word, behind this flag alone.
    Next,
    /// Not at all.
    Never,
}

const TOOLS: [Tool; 16] = [
    Tool { name: "curl", flag: "-u", how: How::Colon },
    Tool { name: "curl", flag: "-U", how: How::Colon },
    Tool { name: "mysql", flag: "-p", how: How::Attached },
    Tool { name: "mysqldump", flag: "-p", how: How::Attached },
    Tool { name: "mysqladmin", flag: "-p", how: How::Attached },
    Tool { name: "mariadb", flag: "-p", how: How::Attached },
    Tool { name: "sshpass", flag: "-p", how: How::Either },
    Tool { name: "mongosh", flag: "-p", how: How::Either },
    Tool { name: "redis-cli", flag: "-a", how: How::Either },
    Tool { name: "ldapsearch", flag: "-w", how: How::Either },
    Tool { name: "http", flag: "-a", how: How::Colon },
    // `docker login`, `helm registry login`
    Tool { name: "login", flag: "-p", how: How::Next },
    Tool { name: "sudo", flag: "--user", how: How::Never },
    Tool { name: "chroot", flag: "--user", how: How::Never },
    Tool { name: "docker", flag: "--user", how: How::Never },
    Tool { name: "podman", flag: "--user", how: How::Never },
];

/// Flags of any program that take `user:password`.
const USER_FLAGS: [&str; 2] = ["--user", "--proxy-user"];

/// Reads the words of a command in their order.
#[derive(Clone, Copy, Default)]
pub(crate) struct Command {
    /// A program with a flag for secrets.
    tool: Option<&'static str>,
    /// Whether any word was there before.
    begun: bool,
    next: Option<How>,
}

impl Command {
    /// Takes note of a word that may be a program.
    pub(super) fn read_program(&mut self, word: &str) {
        self.begun = true;
        let program = word.rsplit('/').next().unwrap_or(word);
        // Most words are none, which two of their letters tell.
        if matches!(
            program.as_bytes(),
            [
                b'c' | b'd' | b'h' | b'l' | b'm' | b'p' | b'r' | b's',
                b'u' | b't' | b'd' | b'h' | b'y' | b'a' | b's' | b'o' | b'e',
                ..
            ]
        ) {
            let known = TOOLS.iter().map(|tool| tool.name).find(|name| *name == program);
            self.tool = known.or(self.tool);
        }
    }

    /// Takes note that words which are no flags came before.
    pub(super) fn begin(&mut self) {
        self.begun = true;
    }

    /// Whether the next word is, or holds, a secret.
    pub(super) fn expects(&self) -> bool {
        self.next.is_some()
    }

    pub(super) fn forget(&mut self) {
        self.next = None;
    }

    /// Where in this word a secret begins.
    pub(crate) fn secret_in(&mut self, word: &str) -> Option<usize> {
        let begun = std::mem::replace(&mut self.begun, true);
        let next = self.next.take();
        if !word.starts_with('-') {
            if let Some(how) = next {
                return secret(word, 0, how);
            }
            self.read_program(word);
            return None;
        }
        let (flag, value) = word.split_once('=').map_or((word, None), |(f, v)| (f, Some(v)));
        // What a lone `-u` belongs to, nobody can tell.
        let tool = self.tool.or((!begun).then_some("curl"));
        let known = TOOLS.iter().find(|it| {
            let is_flag =
                if it.how == How::Next { flag == it.flag } else { word.starts_with(it.flag) };
            tool == Some(it.name) && is_flag
        });
        if known.is_some_and(|known| known.how == How::Never) {
            return None;
        }
        if USER_FLAGS.contains(&flag) {
            let begin = value.map(|_| flag.len() + 1);
            return self.follow(word, begin, How::Colon);
        }
        if let Some(known) = known {
            return self.follow(word, (word.len() > 2).then_some(2), known.how);
        }
        self.next = (value.is_none() && word.len() > 2 && is_secret(word)).then_some(How::Either);
        None
    }

    fn follow(&mut self, word: &str, begin: Option<usize>, how: How) -> Option<usize> {
        if begin.is_none() {
            self.next = (how != How::Attached).then_some(how);
        }
        begin.and_then(|begin| secret(word, begin, how))
    }
}

fn secret(word: &str, begin: usize, how: How) -> Option<usize> {
    let rest = &word[begin..];
    match how {
        How::Either | How::Attached | How::Next => (!rest.is_empty()).then_some(begin),
        How::Never => None,
        How::Colon => {
            let colon = rest.find(':')?;
            let behind = &rest[colon + 1..];
            (!behind.is_empty() && !behind.starts_with("//")).then_some(begin + colon + 1)
        }
    }
}
