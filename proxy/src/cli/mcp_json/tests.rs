use std::path::PathBuf;

use super::*;

fn environment(variables: &[(&str, &str)]) -> Environment {
    let variables = variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
    Environment { variables: variables.collect(), program: None }
}

struct Written {
    path: PathBuf,
    _directory: tempfile::TempDir,
}

fn written(text: &str) -> Written {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mcp.json");
    std::fs::write(&path, text).unwrap();
    Written { path, _directory: directory }
}

fn values(text: &str, name: Option<&str>, mode: Mode) -> Result<(String, String), String> {
    let file = written(text);
    let environment = environment(&[("TOKEN", "hunter2")]);
    match read(&file.path, name, mode, &environment) {
        Ok((name, givens)) => {
            let line = |given: Given| {
                let value = serde_yaml::to_value(given.value.unwrap()).unwrap();
                format!("{} {}", given.setting.key, serde_json::to_string(&value).unwrap())
            };
            Ok((name, givens.into_iter().map(line).collect::<Vec<_>>().join("\n")))
        }
        Err(problems) => {
            assert!(problems.iter().all(|problem| !problem.usage));
            Err(problems.into_iter().map(|problem| problem.text).collect::<Vec<_>>().join("\n"))
        }
    }
}

const CLAUDE: &str = r#"{
    // comments, unknown keys and trailing commas are fine
    "theme": "dark",
    "mcpServers": {
        "local": {
            "command": "python", "args": ["server.py", "${env:TOKEN}"],
            "env": {"API_KEY": "server-key", "PORT": 80}, "cwd": "/", "disabled": false,
        },
        "cloud": {"url": "https://a.example/mcp", "headers": {"Authorization": "Bearer ${TOKEN}"}},
    },
}"#;

#[test]
fn claude_desktop_and_cursor() {
    let (name, local) = values(CLAUDE, Some("local"), Mode::Stdio).unwrap();
    assert_eq!(name, "local");
    assert_eq!(
        local,
        "upstream.stdio.program \"python\"\n\
         upstream.stdio.args [\"server.py\",\"hunter2\"]\n\
         upstream.stdio.env {\"API_KEY\":\"server-key\",\"PORT\":\"80\"}\n\
         upstream.stdio.cwd \"/\""
    );
    let (_, cloud) = values(CLAUDE, Some("cloud"), Mode::Http).unwrap();
    assert_eq!(
        cloud,
        "upstream.$.url \"https://a.example/mcp\"\n\
         upstream.$.headers [{\"name\":\"Authorization\",\"value\":\"Bearer hunter2\"}]"
    );
}

#[test]
fn vs_code() {
    let file = r#"{"inputs": [{"id": "key"}], "servers": {
        "old": {"type": "sse", "url": "https://a.example/sse"}}}"#;
    let (name, values) = values(file, None, Mode::Sse).unwrap();
    assert_eq!(
        (name.as_str(), values.as_str()),
        ("old", "upstream.$.url \"https://a.example/sse\"")
    );
}

#[test]
fn every_mistake_is_named() {
    let cases = [
        (CLAUDE, None, Mode::Stdio, "--server: cloud, local"),
        (CLAUDE, Some("nope"), Mode::Stdio, "it has: cloud, local"),
        (CLAUDE, Some("cloud"), Mode::Stdio, "is remote; observe it with 'mcpulse-proxy http'"),
        (CLAUDE, Some("local"), Mode::Http, "has a command; observe it with 'mcpulse-proxy stdio'"),
        ("{", None, Mode::Stdio, "is not JSON"),
        ("7", None, Mode::Stdio, "no mapping of servers"),
        ("{}", None, Mode::Stdio, "no server under mcpServers"),
        (r#"{"servers": {"a": {}}}"#, None, Mode::Stdio, "neither a command nor a url"),
        (
            r#"{"servers": {"a": {"type": "ws", "url": "x"}}}"#,
            None,
            Mode::Http,
            "unknown type 'ws'",
        ),
        (
            r#"{"servers": {"a": {"type": "sse", "url": "x"}}}"#,
            None,
            Mode::Http,
            "'mcpulse-proxy sse'",
        ),
        (
            r#"{"servers": {"a": {"command": "x", "args": "hunter2"}}}"#,
            None,
            Mode::Stdio,
            "misshapen",
        ),
        (
            r#"{"servers": {"a": {"command": "x", "env": {"K": "${input:key}"}}}}"#,
            None,
            Mode::Stdio,
            "${input:key}",
        ),
    ];
    for (file, name, mode, part) in cases {
        let error = values(file, name, mode).unwrap_err();
        assert!(error.contains(part), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn an_entry_that_starts_the_proxy_on_its_own_file_is_refused() {
    let start = |command: &str, config: &str| {
        let file = written("{}");
        let config = config.replace("FILE", file.path.to_str().unwrap());
        let text = format!(
            r#"{{"mcpServers": {{"a": {{"command": "{command}", "args": ["stdio", {config}]}}}}}}"#
        );
        std::fs::write(&file.path, text).unwrap();
        let mut environment = environment(&[]);
        environment.program = std::env::current_exe().ok();
        read(&file.path, None, Mode::Stdio, &environment)
    };
    let this = std::env::current_exe().unwrap();
    let this = this.to_str().unwrap();
    for command in ["mcpulse-proxy", "/usr/bin/mcpulse-proxy", this] {
        for config in [r#""--config", "FILE""#, r#""--config=FILE""#] {
            let problems = start(command, config).unwrap_err();
            assert!(problems[0].text.contains("for ever"), "{problems:?}");
        }
        assert!(start(command, r#""--command", "python server.py""#).is_ok());
    }
    assert!(start("python", r#""--config", "FILE""#).is_ok());
}
