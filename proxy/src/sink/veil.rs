//! Hides secrets that are not marked as such: in the words of a command, in URLs and in
//! attributes, by the names before them and by their shapes.

use super::redact::{REDACTED, Redactor};
use crate::config::{Config, Upstream, secret::without_query};

const VEIL: &str = "***";

/// Words in names of arguments whose values are secrets, besides those of [`Redactor`]: here
/// are no data that somebody would miss.
const TELLTALES: [&str; 8] =
    ["key", "token", "secret", "passw", "auth", "credential", "cookie", "bearer"];

/// The configuration as it may be shown.
pub(crate) fn config(mut config: Config) -> Config {
    let redactor = Redactor::new();
    let text = |text: &str| shaped(&redactor, text);
    let url = |url: &str| text(&without_query(url));
    match &mut config.upstream {
        Upstream::Stdio(command) => {
            let mut words = vec![std::mem::take(&mut command.program)];
            words.append(&mut command.args);
            let mut words = veiled(words.iter().map(String::as_str), &text).into_iter();
            command.program = words.next().unwrap_or_default();
            command.args = words.collect();
        }
        Upstream::Http(remote) | Upstream::Sse(remote) => remote.url = url(&remote.url),
    }
    config.mcpulse.url = url(&config.mcpulse.url);
    config.otel.endpoint = config.otel.endpoint.as_deref().map(url);
    for (name, value) in &mut config.otel.resource_attributes {
        *value = if tells(name) { VEIL.to_owned() } else { url(value) };
    }
    config
}

/// The program of a command as it may be shown: with a variable before it, or as a URL, it may
/// hold a secret.
pub(crate) fn program(program: &str) -> String {
    let redactor = Redactor::new();
    veiled([program].into_iter(), &|text: &str| shaped(&redactor, text)).concat()
}

fn shaped(redactor: &Redactor, text: &str) -> String {
    redactor.text(text).replace(REDACTED, VEIL)
}

/// The words without what looks like a secret: what follows `--api-key` or `--token=`, the
/// value of `API_KEY=…`, what follows `Bearer`, and what `shape` finds; also in a word that is
/// a command line of its own.
fn veiled<'w>(
    words: impl Iterator<Item = &'w str>,
    shape: &impl Fn(&str) -> String,
) -> Vec<String> {
    let mut hide_next = false;
    let veil = |word: &'w str| {
        let hide = std::mem::take(&mut hide_next);
        hide_next =
            (word.starts_with('-') || is_bearer(word)) && tells(word) && !word.contains('=');
        match word.split_once(['=', ':', ' ']) {
            _ if hide && !word.starts_with('-') => {
                hide_next = is_bearer(word);
                VEIL.to_owned()
            }
            Some((name, _)) if !name.contains(char::is_whitespace) && tells(name) => {
                hide_next = word.ends_with(':');
                format!("{}{VEIL}", &word[..=name.len()])
            }
            _ if word.contains(' ') => veiled(word.split(' '), shape).join(" "),
            _ => shape(&without_query(word)),
        }
    };
    words.map(veil).collect()
}

fn is_bearer(word: &str) -> bool {
    word.eq_ignore_ascii_case("bearer")
}

fn tells(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    Redactor::is_secret(name) || TELLTALES.iter().any(|telltale| lower.contains(telltale))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Command, Remote};

    fn shown(words: &[&str]) -> String {
        let mut words = words.iter().map(|&word| word.to_owned());
        let command =
            Command { program: words.next().unwrap(), args: words.collect(), ..Command::default() };
        let Upstream::Stdio(command) = config(Config::new("x", Upstream::Stdio(command))).upstream
        else {
            panic!()
        };
        [vec![command.program], command.args].concat().join(" ")
    }

    #[test]
    fn what_looks_like_a_secret_is_hidden_and_nothing_else() {
        for (words, seen) in [
            (&["p", "--api-key", "hunter2", "-v"][..], "p --api-key *** -v"),
            (&["p", "--token=hunter2"], "p --token=***"),
            (&["p", "--password", "hunter2"], "p --password ***"),
            (&["p", "--pwd", "hunter2"], "p --pwd ***"),
            (&["p", "-e", "GITHUB_TOKEN=hunter2"], "p -e GITHUB_TOKEN=***"),
            (&["p", "--header", "Authorization: Bearer hunter2"], "p --header Authorization:***"),
            (&["p", "--header", "X-Id: Bearer hunter2"], "p --header X-Id: Bearer ***"),
            (&["p", "https://a/mcp?key=hunter2"], "p https://a/mcp?***"),
            (&["p", "postgres://u:hunter2@h/db"], "p postgres://u:***@h/db"),
            (&["p", "ghp_hunter2hunter2hunter2"], "p ***"),
            (&["p", "-x", "sk-hunter2hunter2"], "p -x ***"),
            (&["p", "--conn=Server=a;Password=hunter2;"], "p --conn=Server=a;Password=***;"),
            (&["sh", "-c", "p --token hunter2 -v | q"], "sh -c p --token *** -v | q"),
            (&["sh", "-c", "API_KEY=hunter2 p Authorization: Bearer hunter2"], "sh -c API_KEY=***"),
            (&["API_KEY=hunter2", "p"], "API_KEY=*** p"),
            (&["p", "--no-auth", "--port", "80"], "p --no-auth --port 80"),
            (&["run", "server.py", "a=b", "C:\\x"], "run server.py a=b C:\\x"),
        ] {
            let found = shown(words);
            assert!(!found.contains("hunter2"), "{found}");
            assert_eq!(found, seen);
        }
    }

    #[test]
    fn urls_and_attributes_are_veiled_too() {
        let remote = Remote::new("https://a.example/s/ghp_hunter2hunter2hunter2/mcp?key=hunter2");
        let mut open = Config::new("x", Upstream::Http(remote));
        open.mcpulse.url = "https://a.example/?token=hunter2".to_owned();
        open.otel.endpoint = Some("https://c.example/?token=hunter2".to_owned());
        open.otel.resource_attributes =
            [("api.key", "hunter2"), ("dsn", "https://u:hunter2@h"), ("service.namespace", "shop")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into();
        let shown = format!("{:?}", config(open));
        assert!(!shown.contains("hunter2") && shown.contains("shop"), "{shown}");
    }
}
