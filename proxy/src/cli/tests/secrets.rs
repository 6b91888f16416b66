//! No way leads a secret into what is shown.

use super::*;
use crate::sink::veil;

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
                let output = match ask(&format!("mcpulse-proxy {line}"), variables) {
                    Ok(Request::Show(text)) => text,
                    Ok(Request::Serve(start)) => {
                        // The arguments of the server are its own affair.
                        format!("{:?} {:?}", veil::config(*start.config), start.notices)
                    }
                    Ok(Request::Check(_)) => unreachable!(),
                    Err(refusal) => format!("{refusal} {refusal:?}"),
                };
                assert!(!output.contains(SECRET), "{line}: {output}");
            }
        }
    }
}
