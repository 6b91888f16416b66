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
    let found = read(&file.path, name, mode, &environment, &[]);
    if !found.problems.is_empty() {
        assert!(found.problems.iter().all(|problem| !problem.usage));
        let shown = file.path.display().to_string();
        let text = |problem: Problem| problem.text.replace(&shown, "FILE");
        return Err(found.problems.into_iter().map(text).collect::<Vec<_>>().join("\n"));
    }
    let line = |given: Given| {
        let Source::File(_, Some(line)) = given.source else { panic!("a line of the file") };
        let value = serde_yaml::to_value(given.value.unwrap()).unwrap();
        format!("{line} {} {}", given.setting.key, serde_json::to_string(&value).unwrap())
    };
    let givens = found.givens.into_iter().filter(|given| given.setting.key != "serverId");
    Ok((found.server.unwrap(), givens.map(line).collect::<Vec<_>>().join("\n")))
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
        "6 upstream.stdio.program \"python\"\n\
         6 upstream.stdio.args [\"server.py\",\"hunter2\"]\n\
         7 upstream.stdio.env {\"API_KEY\":\"server-key\",\"PORT\":\"80\"}\n\
         7 upstream.stdio.cwd \"/\""
    );
    let (_, cloud) = values(CLAUDE, Some("cloud"), Mode::Http).unwrap();
    assert_eq!(
        cloud,
        "9 upstream.$.url \"https://a.example/mcp\"\n\
         9 upstream.$.headers [{\"name\":\"Authorization\",\"value\":\"Bearer hunter2\"}]"
    );
}

#[test]
fn vs_code() {
    let file = r#"{"inputs": [{"id": "key"}], "servers": {
        "old": {"type": "sse", "url": "https://a.example/sse"}}}"#;
    let expected = ("old".to_owned(), "2 upstream.$.url \"https://a.example/sse\"".to_owned());
    assert_eq!(values(file, None, Mode::Sse).unwrap(), expected);
    let settings = format!(r#"{{"editor.fontSize": 12, "mcp": {file}}}"#);
    assert_eq!(values(&settings, None, Mode::Sse).unwrap(), expected);
}

#[test]
fn what_other_clients_let_pass_passes() {
    let file = "\u{feff}{\"mcpServers\": {\"a\": {\"command\": \"p\", \"args\": [1, true, -0.5],\n\
                \"env\": {\"A\": false, \"B\": null}, \"cwd\": null}}}";
    assert_eq!(
        values(file, None, Mode::Stdio).unwrap().1,
        "1 upstream.stdio.program \"p\"\n\
         1 upstream.stdio.args [\"1\",\"true\",\"-0.5\"]\n\
         2 upstream.stdio.env {\"A\":\"false\"}"
    );
    let nulls = r#"{"servers": {"a": {"command": "p", "args": null, "env": null, "url": null}}}"#;
    assert!(values(nulls, None, Mode::Stdio).unwrap().1.contains("args []"));
    let nulls = r#"{"servers": {"a": {"url": "https://a", "headers": null, "command": null}}}"#;
    assert_eq!(values(nulls, None, Mode::Http).unwrap().1, "1 upstream.$.url \"https://a\"");
}

#[test]
fn an_env_file_gives_variables_and_env_wins_over_it() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        std::fs::create_dir_all(folder.path().join(".vscode")).unwrap();
        std::fs::write(folder.path().join(name), text).unwrap();
    };
    write(".env", "A=file\nexport B='hunter 2'\n");
    let entry = |env_file: &str| {
        let text = format!(
            "{{\"servers\": {{\"a\": {{\"command\": \"p\",\n\"envFile\": \"{env_file}\",\n\
             \"env\": {{\"A\": \"entry\"}}}}}}}}"
        );
        write(".vscode/mcp.json", &text);
        read(&folder.path().join(".vscode/mcp.json"), None, Mode::Stdio, &environment(&[]), &[])
    };
    for env_file in ["${workspaceFolder}/.env", ".env"] {
        let found = entry(env_file);
        assert_eq!(found.problems, []);
        let env = found.givens.iter().find(|given| given.setting.key == "upstream.stdio.env");
        let env = serde_json::to_string(env.unwrap().value.as_ref().unwrap()).unwrap();
        assert_eq!(env, r#"{"A":"entry","B":"hunter 2"}"#);
    }
    write(".env", "A=1\nhunter2\n\nC='hunter2\n");
    let problems = entry(".env").problems;
    let all = problems.iter().map(|problem| &*problem.text).collect::<Vec<_>>().join("\n");
    for part in ["mcp.json line 2: ", "line 2 of its envFile", "line 4 of its envFile", "/.env"] {
        assert!(all.contains(part), "{all}");
    }
    assert!(!all.contains("hunter2"), "{all}");
    assert!(entry("none.env").problems[0].text.contains("read its envFile"));
}

#[test]
fn every_mistake_is_named() {
    let cases = [
        (CLAUDE, None, Mode::Stdio, "--server: cloud, local"),
        (CLAUDE, Some("nope"), Mode::Stdio, "it has: cloud, local"),
        (CLAUDE, Some("cloud"), Mode::Stdio, "is remote; observe it with 'mcpulse-proxy http'"),
        (CLAUDE, Some("local"), Mode::Http, "has a command; observe it with 'mcpulse-proxy stdio'"),
        ("{\n\"a\" 1}", None, Mode::Stdio, "FILE line 2: this is not JSON"),
        ("7", None, Mode::Stdio, "no mapping of servers"),
        ("{}", None, Mode::Stdio, "no mapping of servers under mcpServers"),
        (r#"{"servers": {}}"#, None, Mode::Stdio, "no server under mcpServers"),
        ("{\"servers\": {\n\"a\": 7}}", None, Mode::Stdio, "FILE line 2: server 'a' is no mapping"),
        (r#"{"servers": {"a": {}}}"#, None, Mode::Stdio, "neither a command nor a url"),
        (
            r#"{"servers": {"a": {"type": "ws", "url": "x"}}}"#,
            None,
            Mode::Http,
            "it has an unknown type",
        ),
        (
            r#"{"servers": {"a": {"type": "sse", "url": "x"}}}"#,
            None,
            Mode::Http,
            "'mcpulse-proxy sse'",
        ),
        (
            "{\"servers\": {\"a\": {\"command\": \"x\",\n\"args\": \"hunter2\"}}}",
            None,
            Mode::Stdio,
            "FILE line 2: server 'a': args is no list of texts",
        ),
        (
            "{\"servers\": {\"a\": {\"command\": \"x\", \"env\": {\n\"hunter\": [\"hunter2\"]}}}}",
            None,
            Mode::Stdio,
            "FILE line 2: server 'a': hunter in env is no text",
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
fn all_mistakes_of_an_entry_are_named_at_once() {
    let file = "{\"servers\": {\"a\": {\"command\": \"x\",\n\"args\": [[], \"${input:key}\"],\n\
                \"env\": {\"A\": \"${env:NONE}\", \"B\": {}},\n\"envFile\": \"/no/such/file\"}}}";
    let all = values(file, None, Mode::Stdio).unwrap_err();
    let lines: Vec<&str> = all.lines().map(|line| &line[..11]).collect();
    assert_eq!(
        lines,
        ["FILE line 2", "FILE line 2", "FILE line 3", "FILE line 3", "FILE line 4"],
        "{all}"
    );
}

#[test]
fn a_command_is_a_text() {
    let one = values(r#"{"servers": {"a": {"command": 5}}}"#, None, Mode::Stdio).unwrap_err();
    assert_eq!(one, "FILE line 1: server 'a': command is no text that names a program");
    let file = r#"{"servers": {"a": {"command": 5, "args": "x", "env": [1]}}}"#;
    let all = values(file, None, Mode::Stdio).unwrap_err();
    for part in ["command is no text", "args is no list", "env is no mapping"] {
        assert!(all.contains(part), "{all}");
    }
    assert_eq!(all.lines().count(), 3, "{all}");
}

/// What is wrong with the values themselves, besides what is wrong with the entry.
fn false_problems(entry: &str, mode: Mode) -> usize {
    let file = written(&format!(r#"{{"servers": {{"a": {entry}}}}}"#));
    let found = read(&file.path, None, mode, &environment(&[]), &[]);
    assert_eq!(found.problems.len(), 1, "{found:?}");
    found.givens.iter().filter(|given| given.value.is_err()).count()
}

#[test]
fn what_cannot_be_resolved_is_one_problem() {
    for (entry, mode) in [
        (r#"{"url": "https://a", "headers": {"A": "${input:tk}"}}"#, Mode::Http),
        (r#"{"url": "${env:NONE}/mcp"}"#, Mode::Http),
        (r#"{"command": "${env:NONE}"}"#, Mode::Stdio),
        (r#"{"command": "p", "cwd": "${env:NONE}/x"}"#, Mode::Stdio),
        (r#"{"command": "p", "envFile": "${env:NONE}/x"}"#, Mode::Stdio),
    ] {
        assert_eq!(false_problems(entry, mode), 0, "{entry}");
    }
}

#[test]
fn what_is_replaced_needs_no_variable() {
    let stdio = r#"{"servers": {"a": {"command": "${env:NONE}", "args": ["${env:NONE}"],
                    "cwd": "${env:NONE}", "env": {"A": "1"}}}}"#;
    let file = written(stdio);
    let replaced = ["upstream.stdio.program", "upstream.stdio.cwd"];
    let found = read(&file.path, None, Mode::Stdio, &environment(&[]), &replaced);
    assert_eq!(found.problems, []);
    assert_eq!(found.givens.len(), 2, "{found:?}");
    let file = written(r#"{"servers": {"a": {"url": "${env:NONE}"}}}"#);
    let found = read(&file.path, None, Mode::Http, &environment(&[]), &["upstream.$.url"]);
    assert_eq!(found.problems, []);
}

#[test]
fn an_entry_that_starts_the_proxy_on_its_own_file_is_refused() {
    let starts_itself = |entry: &str| {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().canonicalize().unwrap();
        let path = home.join(".vscode/mcp.json");
        std::fs::create_dir(home.join(".vscode")).unwrap();
        let text = format!(r#"{{"mcpServers": {{"a": {entry}}}}}"#);
        std::fs::write(&path, text.replace("FILE", path.to_str().unwrap())).unwrap();
        let mut environment = environment(&[("HOME", home.to_str().unwrap()), ("NAME", "mcp")]);
        environment.program = std::env::current_exe().ok();
        let found = read(&path, None, Mode::Stdio, &environment, &[]);
        assert!(
            found.problems.iter().all(|problem| problem.text.contains("for ever")),
            "{found:?}"
        );
        !found.problems.is_empty()
    };
    let this = std::env::current_exe().unwrap();
    let direct = |command: &str, config: &str| {
        starts_itself(&format!(r#"{{"command": "{command}", "args": ["stdio", {config}]}}"#))
    };
    for command in ["mcpulse-proxy", "/usr/bin/mcpulse-proxy", this.to_str().unwrap()] {
        for config in [r#""--config", "FILE""#, r#""--config=FILE""#] {
            assert!(direct(command, config), "{command} {config}");
        }
        assert!(!direct(command, r#""--command", "python server.py""#));
    }
    assert!(!direct("python", r#""--config", "FILE""#));
    for entry in [
        r#"{"command": "sh", "args": ["-c", "exec mcpulse-proxy stdio --config 'FILE'; exit"]}"#,
        r#"{"command": "sh", "args": ["-c", "cd / && sh -c \"mcpulse-proxy stdio --config FILE\""]}"#,
        r#"{"command": "env", "args": ["X=Y", "mcpulse-proxy", "stdio", "--config", "FILE"]}"#,
        r#"{"command": "env", "args": ["MCPULSE_PROXY_CONFIG=FILE", "mcpulse-proxy", "stdio"]}"#,
        r#"{"command": "npx", "args": ["-y", "@x/mcpulse-proxy@1.2", "stdio", "--config", "FILE"]}"#,
        r#"{"command": "mcpulse-proxy", "args": ["stdio"], "env": {"MCPULSE_PROXY_CONFIG": "FILE"}}"#,
        r#"{"command": "mcpulse-proxy", "args": ["stdio", "--config", "${userHome}/.vscode/${env:NAME}.json"]}"#,
        r#"{"command": "mcpulse-proxy", "args": ["stdio", "--config", "${workspaceFolder}/.vscode/mcp.json"]}"#,
        r#"{"command": "mcpulse-proxy", "args": ["stdio", "--config", "mcp.json"], "cwd": "${workspaceFolder}/.vscode"}"#,
    ] {
        assert!(starts_itself(entry), "{entry}");
    }
    for entry in [
        r#"{"command": "sh", "args": ["-c", "python server.py --config FILE"]}"#,
        r#"{"command": "sh", "args": ["-c", "mcpulse-proxy stdio --config FILE.other"]}"#,
        r#"{"command": "mcpulse-proxy", "args": ["stdio", "--config", "mcp.json"], "cwd": "/"}"#,
    ] {
        assert!(!starts_itself(entry), "{entry}");
    }
}
