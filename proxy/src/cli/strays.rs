//! Takes out of a command line what clap would stop at, so that all of it is said at once.

use super::own;
use crate::config::{Problem, kind::Kind, nearest::nearest, setting::Setting};

/// The words behind a command that clap can read, each flag in one word with its value, and
/// what is wrong with the others. No value is shown: it may be a secret.
pub(super) fn sift(command: &str, words: Vec<String>) -> (Vec<String>, Vec<Problem>) {
    let (mut kept, mut problems) = (Vec::new(), Vec::new());
    let mut say = |text: String| {
        let problem = Problem::usage(text);
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    };
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        if word == "--" {
            kept.push(word);
            kept.extend(words);
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
            Some(takes) => match words.next_if(|next| takes.may_be(next)) {
                Some(value) => kept.push(format!("{word}={value}")),
                None => say(format!(
                    "--{name} needs a value; write --{name}=VALUE for one that begins with dashes"
                )),
            },
            None => {
                say(unknown(name, command));
                if !joined {
                    words.next_if(|next| !is_flag(next));
                }
            }
        }
    }
    (kept, problems)
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

/// What to say of such a flag. A value that has grown together with a flag's name is not shown.
fn unknown(flag: &str, command: &str) -> String {
    let flag = flag.split(|c| !is_of_names(c)).next().unwrap_or_default();
    let settings = Setting::flagged().flat_map(|setting| [Some(setting.flag), setting.alias]);
    let known: Vec<&str> = settings.flatten().chain(own::ALL.iter().map(|own| own.flag)).collect();
    let meant = nearest(flag, known.iter().map(|&known| (known, known)));
    let begins = known.into_iter().filter(|known| flag.starts_with(known));
    if let Some(known) = begins.max_by_key(|known| known.len()) {
        let meant = meant.unwrap_or(known);
        return format!(
            "there is no flag --{known}… (the rest may be a secret); did you mean --{meant}? a \
             value is a word of its own, or stands after ="
        );
    }
    match meant {
        Some(meant) => format!("there is no flag --{flag}; did you mean --{meant}?"),
        None => format!(
            "there is no flag --{flag}, nor one like it; mcpulse-proxy {command} --help lists them"
        ),
    }
}
