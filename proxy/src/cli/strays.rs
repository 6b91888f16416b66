//! Takes out of a command line what clap would stop at, so that all of it is said at once.

use super::own;
use crate::config::{Problem, kind::Kind, nearest::nearest, setting::Setting, shown};

/// The words behind a command.
#[derive(Debug)]
pub(super) struct Sifted {
    /// What clap can read, each flag in one word with its value.
    pub(super) kept: Vec<String>,
    /// The flags without the value that they need.
    pub(super) valueless: Vec<String>,
    /// What is wrong with the others.
    pub(super) problems: Vec<Problem>,
}

/// Sifts the words behind a command, the first of which has the place `first` in its line. No
/// value is shown: it may be a secret.
pub(super) fn sift(command: &str, first: usize, words: Vec<String>) -> Sifted {
    let (mut kept, mut valueless, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    let mut say = |text: String| {
        let problem = Problem::usage(text);
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    };
    let mut words = (first..).zip(words).peekable();
    while let Some((place, word)) = words.next() {
        if word == "--" {
            kept.push(word);
            kept.extend(words.map(|(_, word)| word));
            break;
        }
        if word == "-h" {
            kept.push(word);
            continue;
        }
        let Some(flag) = word.strip_prefix("--") else {
            say("there is a value without a flag before it; quote values that have spaces, and \
                 write the server's program after --"
                .to_owned());
            continue;
        };
        let (name, joined) = match flag.split_once('=') {
            Some((name, _)) => (name, true),
            None => (flag, !flag.chars().all(is_of_names)),
        };
        match Takes::of(name) {
            Some(Takes::Nothing) if joined => say(format!("--{name} takes no value")),
            Some(Takes::Nothing) if kept.contains(&word) => {}
            Some(Takes::Nothing) => kept.push(word),
            Some(_) if joined => kept.push(word),
            Some(takes) => {
                if let Some((_, value)) = words.next_if(|(_, next)| takes.may_be(next)) {
                    kept.push(format!("{word}={value}"));
                    continue;
                }
                // A setting says so itself, where it applies.
                if own::ALL.iter().any(|own| own.flag == name) {
                    say(format!("--{name} {}", self::valueless(name)));
                }
                valueless.push(name.to_owned());
            }
            None => {
                say(unknown(place, name, command));
                if !joined {
                    words.next_if(|(_, next)| !is_flag(next));
                }
            }
        }
    }
    Sifted { kept, valueless, problems }
}

/// What is wrong with a flag without its value.
pub(super) fn valueless(flag: &str) -> String {
    format!("needs a value; write --{flag}=VALUE for one that begins with dashes")
}

/// What may follow a flag.
#[derive(PartialEq)]
enum Takes {
    Nothing,
    /// A word that is no flag.
    Value,
    /// A word that may begin with dashes, as secrets do, but is none of the flags.
    Secret,
}

impl Takes {
    fn of(flag: &str) -> Option<Self> {
        let setting = Setting::flagged()
            .find(|setting| setting.flag == flag || setting.alias == Some(flag))
            .map(|setting| match setting.kind {
                Kind::Secret | Kind::Header | Kind::Headers => Self::Secret,
                _ => Self::Value,
            });
        let own = || match own::ALL.iter().find(|own| own.flag == flag)?.placeholder {
            None => Some(Self::Nothing),
            Some(_) => Some(Self::Value),
        };
        setting.or_else(own).or_else(|| (flag == "help").then_some(Self::Nothing))
    }

    fn may_be(&self, word: &str) -> bool {
        let name = |word: &str| Some(word.strip_prefix("--")?.split('=').next()?.to_owned());
        let is_ours = || name(word).is_some_and(|name| Self::of(&name).is_some());
        word != "--" && (!is_flag(word) || *self == Self::Secret && word != "-h" && !is_ours())
    }
}

fn is_flag(word: &str) -> bool {
    word.starts_with("--") || word == "-h"
}

/// Whether this stands in names of flags, also as people misspell them.
fn is_of_names(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_')
}

/// What to say of such a flag. One that is no mere slip is not shown: a value may have grown
/// together with its name.
fn unknown(place: usize, flag: &str, command: &str) -> String {
    let flag = flag.split(|c| !is_of_names(c)).next().unwrap_or_default();
    let settings = Setting::flagged().flat_map(|setting| [Some(setting.flag), setting.alias]);
    let known: Vec<&str> = settings.flatten().chain(own::ALL.iter().map(|own| own.flag)).collect();
    let meant = nearest(flag, known.iter().map(|&known| (known, known)));
    let named = match shown::misspelt(flag, known.iter().copied()) {
        Some(flag) => format!("there is no flag --{flag}"),
        None => format!("argument {place} is no flag"),
    };
    let begins = known.into_iter().filter(|known| flag.starts_with(known));
    if let Some(known) = begins.max_by_key(|known| known.len()) {
        let meant = meant.unwrap_or(known);
        return format!(
            "there is no flag --{known}… (the rest may be a secret); did you mean --{meant}? a \
             value is a word of its own, or stands after ="
        );
    }
    match meant {
        Some(meant) => format!("{named}; did you mean --{meant}?"),
        None => format!("{named}, nor like one; mcpulse-proxy {command} --help lists them"),
    }
}
