//! No way leads a secret into what is shown.

use super::*;
use crate::{
    config::{Mode, kind::Kind},
    sink::veil,
};

/// What the proxy shows when it is asked this.
fn output(line: &str, variables: &[(&str, &str)]) -> String {
    match ask(&format!("mcpulse-proxy {line}"), variables) {
        Ok(Request::Show(text)) => text,
        Ok(Request::Serve(start)) => {
            // The arguments of the server are its own affair.
            format!("{:?} {:?}", veil::config(&start.config), start.notices)
        }
        Ok(Request::Check(_) | Request::Drain(_)) => unreachable!(),
        Err(refusal) => format!("{refusal} {refusal:?}"),
    }
}

#[test]
fn no_setting_shows_a_value_that_belongs_elsewhere() {
    let files = Files::new(&[]);
    for setting in Setting::flagged() {
        let mode = if setting.scope.covers(Mode::Http, true) { "http" } else { "stdio" };
        let base = match mode {
            "http" => "http --server-id x --listen :1 --remote-url https://a",
            _ => "stdio --server-id x --command p",
        };
        let flag = setting.flag;
        let base = base.replace(&format!(" --{flag} "), " --workers 1 --no-");
        for value in [
            "hunter2",
            "hunter2 x",
            "https://hunter2@h",
            "https://u:hunter2@h:1/x",
            "https://h/x?hunter2",
            "https://h/x#hunter2",
            "ftp://hunter2@h",
            "DSN=hunter2 x",
            "u:hunter2@h:1",
            "1hunter2",
            "x\nhunter2",
        ] {
            // Names, which are there to be shown, may be anything; attributes are told by theirs.
            let is_name = match setting.kind {
                Kind::Text(_) | Kind::Path | Kind::NewDirectory => !value.contains("://"),
                Kind::Words | Kind::Hosts => !value.contains("://") && !value.contains('='),
                Kind::Pairs => value.starts_with("DSN="),
                _ => false,
            };
            let yaml = format!("{}: '{value}'", setting.key.rsplit('.').next().unwrap());
            std::fs::write(files.path("p.yaml"), &yaml).unwrap();
            for (line, variables) in [
                (format!("{base} --{flag}='{value}' --print-config"), vec![]),
                (base.clone(), vec![(setting.variable(), value)]),
                (format!("{base} --{flag}{value}").replace('\n', ""), vec![]),
                (format!("{base} '--{}{value}'", &flag[..flag.len() - 1]), vec![]),
                (format!("run --config {}", files.text("p.yaml")), vec![]),
            ] {
                let named: Vec<_> = variables.iter().map(|(name, v)| (&**name, *v)).collect();
                let shown = output(&line, &named);
                let fine = !shown.contains("hunter2") || is_name && !shown.contains("problem");
                assert!(fine, "{line} {variables:?}: {shown}");
            }
        }
    }
}

#[test]
fn no_file_shows_what_is_wrong_in_it() {
    for text in [
        r#"{"servers": {"a": {"command": hunter2}}}"#,
        r#"{"servers": {"a": {"command": "p" hunter2}}}"#,
        r#"{"servers": {"a": {"command": "hunter2}}}"#,
        r#"{"servers": {"a": {"type": "hunter2", "url": "https://hunter2@h"}}}"#,
        r#"{"servers": {"a": {"command": "DSN=hunter2 p"}}}"#,
        r#"{"servers": {"a": {"url": "https://u:hunter2@h"}}}"#,
        r#"{"servers": {"a": {"url": "https://h", "headers": {"A": "${A:hunter2}\n"}}}}"#,
        r#"{"servers": {"a": {"command": "p", "env": {"hunter2": [1], "envFile": "hunter2"}}}}"#,
        r#"{"servers": {"a": {"command": "p", "cwd": "hunter2", "envFile": "hunter2"}}}"#,
        "a: *hunter2",
        "a: \"hunter2",
        "a: !hunter2 x",
        "%hunter2",
        "a: [hunter2",
        "\thunter2",
        "hunter2",
        "hunter2: 1",
        "hunter2: 1\nhunter2: 2",
        "upstream: {http: {bearerToken:hunter2, url: hunter2}}",
        "upstream: {http: {bearerToken: {hunter2: 1}}}",
        "upstream: {stdio: {program: DSN=hunter2, env: {A: [hunter2]}}}",
        "upstream: {hunter2: {}}\nlog: {level: hunter2}",
    ] {
        let files = Files::new(&[("file.json", text)]);
        let file = files.text("file.json");
        for line in [
            format!("stdio --config {file}"),
            format!("http --listen :1 --config {file}"),
            format!("run --config {file}"),
            format!("stdio --config {file} --server hunter2 --server-id x"),
        ] {
            let shown = output(&line, &[]);
            assert!(!shown.contains("hunter2"), "{line} {text}: {shown}");
        }
    }
}

#[test]
fn no_secret_is_ever_shown() {
    const SECRET: &str = "hunter2";
    let files = Files::new(&[
        (
            "mcp.json",
            r#"{"mcpServers": {"a": {"command": "p", "args": ["--api-key", "hunter2"],
                "env": {"KEY": "hunter2"}}, "b": {"url": "hunter2://", "headers": {"A": "hunter2\n"}}}}"#,
        ),
        (
            "p.yaml",
            "serverId: x\nupstream:\n  http:\n    url: https://a/?key=hunter2\n    \
             bearerToken: hunter2\n    headers: [{name: A, value: hunter2}]\n\
             listen: {address: ':1'}\nmcpulse: {apiKey: hunter2}\n\
             otel: {headers: [{name: A, value: hunter2}]}\n",
        ),
        (
            "bad.yaml",
            "upstream: {http: {bearerToken: [hunter2], headers: hunter2}}\nmcpulse: hunter2\n",
        ),
    ]);
    let (json, yaml, bad) = (files.text("mcp.json"), files.text("p.yaml"), files.text("bad.yaml"));
    let http = "http --server-id x --remote-url https://a --listen :1";
    let variables = [
        ("MCPULSE_API_KEY", SECRET),
        ("MCPULSE_PROXY_BEARER_TOKEN", SECRET),
        ("MCPULSE_PROXY_HEADERS", "A:hunter2"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=hunter2"),
    ];
    let bad_variables = [
        ("MCPULSE_API_KEY", "hunter2\u{7f}"),
        ("MCPULSE_PROXY_BEARER_TOKEN", "hunter2\u{7f}"),
        ("MCPULSE_PROXY_HEADERS", "hunter2"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2"),
        ("MCPULSE_PROXY_HUNTER", SECRET),
    ];
    for line in [
        format!("{http} --bearer-token hunter2 --headers A:hunter2 --header 'B: hunter2'"),
        format!("{http} --mcpulse-api-key hunter2 --remote-url2=hunter2"),
        format!("{http} --bearer-tokn hunter2"),
        format!("{http} --bearer-tokn=hunter2"),
        format!("{http} '--bearer-token hunter2'"),
        format!("{http} '--bearer-tokn hunter2=x'"),
        format!("{http} '--header Authorization: Bearer hunter2'"),
        format!("{http} --bearer-token:hunter2"),
        format!("{http} --auth-token:hunter2"),
        format!("{http} --mcpulse-api-keyhunter2"),
        format!("{http} hunter2"),
        format!("{http} --bearer-toknhunter2"),
        format!("{http} --bearer-token-file hunter2 --ca-file hunter2 --config hunter2"),
        format!("{http} --allowed-origin https://u:hunter2@h --allowed-host u:hunter2@h"),
        "stdio --server-id x --command 'DSN=hunter2 p'".to_owned(),
        "stdio --server-id x --command https://hunter2@h".to_owned(),
        "stdio --server-id x -- DSN=hunter2 p".to_owned(),
        format!("{http} -hunter2"),
        format!("{http} --bearer-token hunter2 --bearer-token hunter2"),
        format!("{http} --bearer-token hunter2 --bearer-token-file /no/such/file"),
        format!("{http} --bearer-token 'hunter2\u{7f}' --mcpulse-url https://u:hunter2@a"),
        format!("{http} --headers hunter2 --header 'A: hunter2\u{7f}' --otel-headers hunter2"),
        "stdio --server-id x --command 'p --api-key hunter2'".to_owned(),
        "stdio --server-id x --command \"p 'hunter2\"".to_owned(),
        "stdio --server-id x -- p TOKEN=hunter2".to_owned(),
        format!("stdio --config {json} --server a"),
        format!("http --config {json} --server b --listen :1"),
        format!("run --config {yaml}"),
        format!("run --config {bad}"),
        http.to_owned(),
        "stdio --help".to_owned(),
    ] {
        for variables in [&variables[..], &bad_variables] {
            for print in ["", " --print-config"] {
                // What comes after -- belongs to the server.
                let line = match line.split_once(" -- ") {
                    Some((flags, program)) => format!("{flags}{print} -- {program}"),
                    None => format!("{line}{print}"),
                };
                let output = output(&line, variables);
                assert!(!output.contains(SECRET), "{line}: {output}");
            }
        }
    }
}
