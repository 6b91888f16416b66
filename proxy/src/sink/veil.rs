//! Hides secrets that are not marked as such: in the words of a command, in URLs, in attributes
//! and in what others say, by the names before them and by their shapes. Every value that is
//! shown comes through here.

use serde_yaml::Value;

use super::redact::{REDACTED, Redactor};
use crate::config::{
    Config, Secret, Server, Upstream,
    shown::{VEIL, url},
};

/// Words in names of arguments whose values are secrets, besides those of [`Redactor`]: here
/// are no data that somebody would miss.
const TELLTALES: [&str; 8] =
    ["key", "token", "secret", "passw", "auth", "credential", "cookie", "bearer"];

/// The configuration as it may be shown, in the form that files have.
pub(crate) fn config(config: &Config) -> Value {
    let mut config = config.clone();
    let redactor = Redactor::new();
    let shape = |text: &str| shaped(&redactor, text);
    for server in config.served.all_mut() {
        let Upstream::Stdio(command) = &mut server.upstream else { continue };
        // An argument may be what follows the one before it.
        let words = std::iter::once(&command.program).chain(&command.args);
        let mut words = veiled(words.map(String::as_str), &shape).into_iter();
        command.program = words.next().unwrap_or_default();
        command.args = words.collect();
    }
    for (name, value) in &mut config.otel.resource_attributes {
        if tells(name) {
            VEIL.clone_into(value);
        }
    }
    let mut tree = serde_yaml::to_value(config).unwrap_or_default();
    every_text(&mut tree, &|text| shape(&url(text)));
    tree
}

fn every_text(value: &mut Value, shown: &impl Fn(&str) -> String) {
    match value {
        Value::String(text) => *text = shown(text),
        Value::Sequence(items) => items.iter_mut().for_each(|item| every_text(item, shown)),
        Value::Mapping(map) => map.values_mut().for_each(|value| every_text(value, shown)),
        _ => {}
    }
}

/// The program of a command as it may be shown.
pub(crate) fn program(program: &str) -> String {
    let redactor = Redactor::new();
    veiled([program].into_iter(), &|text: &str| shaped(&redactor, text)).concat()
}

/// A URL as it may be shown.
pub(crate) fn address(address: &str) -> String {
    shaped(&Redactor::new(), &url(address))
}

/// What somebody else says, who may repeat the secrets of the configuration.
pub(crate) fn said(text: &str, config: &Config) -> String {
    let headers = config.otel.headers.iter().map(crate::config::Header::value);
    let own = config.mcpulse.api_key.iter().chain(headers);
    let of_servers = config.served.all().iter().flat_map(of_server);
    let secrets = own.chain(of_servers);
    let secrets = secrets.filter_map(|secret| secret.reveal().ok());
    // Shorter ones are no secrets but switches and numbers, as variables often have.
    let secrets = secrets.filter(|secret| secret.len() > 5);
    let text = secrets.fold(text.to_owned(), |text, secret| text.replace(&secret, VEIL));
    shaped(&Redactor::new(), &text)
}

fn of_server(server: &Server) -> Vec<&Secret> {
    match &server.upstream {
        Upstream::Stdio(command) => command.env.values().chain(&command.bearer_token).collect(),
        Upstream::Http(remote) | Upstream::Sse(remote) => {
            let headers = remote.headers.iter().map(crate::config::Header::value);
            headers.chain(&remote.bearer_token).collect()
        }
    }
}

/// The text without what has the shape of a secret.
fn shaped(redactor: &Redactor, text: &str) -> String {
    let text = redactor.text(text).replace(REDACTED, VEIL);
    let parts = text.split_inclusive(['/', ' ', ':', '@', ',', '=']);
    // Paths of files have long names; those of URLs, often keys.
    if text.contains('/') && !text.contains("://") {
        return text;
    }
    parts.map(|part| if is_opaque(part) { veiled_part(part) } else { part.to_owned() }).collect()
}

fn veiled_part(part: &str) -> String {
    let end = part.chars().last().filter(|c| "/ :@,=".contains(*c));
    std::iter::once(VEIL.to_owned()).chain(end.map(String::from)).collect()
}

/// Whether a word is long, and letters and digits go through each other as in no name.
fn is_opaque(word: &str) -> bool {
    let word = word.trim_end_matches(['/', ' ', ':', '@', ',', '=']).as_bytes();
    let changes = word.windows(2).filter(|pair| {
        pair[0].is_ascii_digit() && pair[1].is_ascii_alphabetic()
            || pair[0].is_ascii_alphabetic() && pair[1].is_ascii_digit()
    });
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'+');
    word.len() >= 20 && word.iter().all(fits) && changes.count() >= 4
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
            Some((name, _)) if is_assigned(word, name) => {
                hide_next = word.ends_with(':');
                format!("{}{VEIL}", &word[..=name.len()])
            }
            _ if word.contains(' ') => veiled(word.split(' '), shape).join(" "),
            _ => shape(&url(word)),
        }
    };
    words.map(veil).collect()
}

/// Whether a word gives a secret to this name, or a variable its value.
fn is_assigned(word: &str, name: &str) -> bool {
    let is_upper = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let is_variable = word[name.len()..].starts_with('=') && name.chars().all(is_upper);
    !name.contains(char::is_whitespace) && (is_variable || tells(name))
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
        let shown = config(&Config::new("x", Upstream::Stdio(command)));
        let command = &shown["upstream"]["stdio"];
        let args = command["args"].as_sequence().into_iter().flatten();
        let words = std::iter::once(&command["program"]).chain(args);
        words.map(|word| word.as_str().unwrap()).collect::<Vec<_>>().join(" ")
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
            (&["p", "postgres://u:hunter2@h/db"], "p postgres://***@h/db"),
            (&["p", "https://hunter2@h/x#hunter2"], "p https://***@h/x#***"),
            (&["p", "-e", "DSN=hunter2", "-e", "PORT=80"], "p -e DSN=*** -e PORT=***"),
            (&["p", "NTY3hunter2a1b2c3d4e5f6"], "p ***"),
            (
                &["p", "claude-sonnet-4-20250514", "my-server-2024-v2"],
                "p claude-sonnet-4-20250514 my-server-2024-v2",
            ),
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
        let remote = Remote::new(
            "https://a.example/s/ghp_hunter2hunter2hunter2/a1b2hunter2c3d4e5f6a7b8/mcp?key=hunter2",
        );
        let mut open = Config::new("x", Upstream::Http(remote));
        open.mcpulse.url = "https://a.example/?token=hunter2".to_owned();
        open.otel.endpoint = Some("https://c.example/?token=hunter2".to_owned());
        open.otel.resource_attributes =
            [("api.key", "hunter2"), ("dsn", "https://u:hunter2@h"), ("service.namespace", "shop")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into();
        let shown = format!("{:?}", config(&open));
        assert!(!shown.contains("hunter2") && shown.contains("shop"), "{shown}");
    }

    #[test]
    fn what_others_repeat_is_hidden() {
        let mut remote = Remote::new("https://a");
        remote.bearer_token = Some("hunter2".into());
        let config = Config::new("x", Upstream::Http(remote));
        assert_eq!(said("no such key: hunter2", &config), "no such key: ***");
    }
}
