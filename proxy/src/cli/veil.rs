//! Hides secrets that are not marked as such: in the arguments of a command
//! and in the query of a URL.

use crate::config::{Config, Upstream, secret::without_query};

const VEIL: &str = "***";

/// Words in names of arguments whose values are secrets.
const TELLTALES: [&str; 7] = ["key", "token", "secret", "password", "passwd", "auth", "credential"];

/// The configuration as it may be shown.
pub(super) fn config(mut config: Config) -> Config {
    match &mut config.upstream {
        Upstream::Stdio(command) => command.args = arguments(&command.args),
        Upstream::Http(remote) | Upstream::Sse(remote) => remote.url = without_query(&remote.url),
    }
    config.mcpulse.url = without_query(&config.mcpulse.url);
    config.otel.endpoint = config.otel.endpoint.as_deref().map(without_query);
    config
}

/// The words of a command, without what looks like a secret: what follows `--api-key` or
/// `--token=`, the value of `API_KEY=…`, and what follows `Bearer`.
fn arguments(words: &[String]) -> Vec<String> {
    let mut hide_next = false;
    let mut veiled = Vec::with_capacity(words.len());
    for word in words {
        let hide = std::mem::take(&mut hide_next);
        veiled.push(match word.split_once(['=', ':', ' ']) {
            _ if hide && !word.starts_with('-') => VEIL.to_owned(),
            Some((name, _)) if tells(name) => format!("{}{VEIL}", &word[..=name.len()]),
            _ if word.contains("://") => without_query(word),
            _ => word.clone(),
        });
        hide_next = word.starts_with('-') && tells(word) && !word.contains('=');
    }
    veiled
}

fn tells(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name == "bearer" || TELLTALES.iter().any(|telltale| name.contains(telltale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_hidden_and_nothing_else() {
        let veiled = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            arguments(&words).join(" ")
        };
        assert_eq!(veiled(&["--api-key", "hunter2", "-v"]), "--api-key *** -v");
        assert_eq!(veiled(&["--token=hunter2"]), "--token=***");
        assert_eq!(veiled(&["-e", "GITHUB_TOKEN=hunter2"]), "-e GITHUB_TOKEN=***");
        assert_eq!(
            veiled(&["--header", "Authorization: Bearer hunter2"]),
            "--header Authorization:***"
        );
        assert_eq!(veiled(&["https://a/mcp?key=hunter2"]), "https://a/mcp?***");
        assert_eq!(veiled(&["--no-auth", "--port", "80"]), "--no-auth --port 80");
        assert_eq!(veiled(&["run", "server.py", "a=b"]), "run server.py a=b");
    }
}
