//! Every example of the page that described the original proxy.

use super::*;

fn command(program: &str, args: &[&str]) -> Upstream {
    let args = args.iter().map(|&arg| arg.to_owned()).collect();
    Upstream::Stdio(Command { program: program.to_owned(), args, ..Command::default() })
}

fn remote(url: &str, token: Option<&str>) -> Remote {
    Remote { bearer_token: token.map(Secret::from), ..Remote::new(url) }
}

#[test]
fn local_servers() {
    for (line, id, upstream) in [
        (
            "mcpulse-proxy stdio --server-id my-server --command \"python server.py\"",
            "my-server",
            command("python", &["server.py"]),
        ),
        (
            "mcpulse-proxy stdio \\\n--server-id weather-server \\\n--command \"uv run weather_server.py\"",
            "weather-server",
            command("uv", &["run", "weather_server.py"]),
        ),
        (
            "mcpulse-proxy stdio --server-id database-server --command \"npx tsx database_server.ts\"",
            "database-server",
            command("npx", &["tsx", "database_server.ts"]),
        ),
    ] {
        assert_eq!(config(line, &[]), Config::new(id, upstream), "{line}");
    }
}

#[test]
fn the_environment_of_claude_desktop() {
    let variables = [
        ("MCPULSE_URL", "localhost:50051"),
        ("MCPULSE_API_KEY", "your-api-key"),
        ("OPENWEATHER_API_KEY", "your-weather-key"),
    ];
    let line = "mcpulse-proxy stdio --server-id my-server --command 'python server.py'";
    let mut expected = Config::new("my-server", command("python", &["server.py"]));
    expected.mcpulse.api_key = Some("your-api-key".into());
    assert_eq!(config(line, &variables), expected);
}

#[test]
fn remote_servers_behind_a_listener() {
    let listen = |mut expected: Config| {
        expected.listen = Some(Listen::new(":8080"));
        expected
    };
    let line = "mcpulse-proxy http --server-id my-server --remote-url https://api.example.com/mcp \
                --bearer-token secret123 --listen :8080";
    let upstream = Upstream::Http(remote("https://api.example.com/mcp", Some("secret123")));
    assert_eq!(config(line, &[]), listen(Config::new("my-server", upstream.clone())));
    let alias = line.replace("--bearer-token", "--auth-token");
    assert_eq!(config(&alias, &[]), config(line, &[]));

    let line = "mcpulse-proxy sse --server-id my-server --remote-url https://api.example.com/sse \
                --bearer-token your_token --listen :8080";
    let upstream = Upstream::Sse(remote("https://api.example.com/sse", Some("your_token")));
    assert_eq!(config(line, &[]), listen(Config::new("my-server", upstream)));

    let line = "mcpulse-proxy http --server-id production-api \
                --mcpulse-url analytics.example.com:443 --listen :8080 \
                --remote-url https://api.example.com/mcp --bearer-token sk_prod_token";
    assert_eq!(config(line, &[]).mcpulse.url, "analytics.example.com:443");
}

#[test]
fn custom_headers_by_flag_and_by_variable() {
    let line = "mcpulse-proxy http --server-id my-server --listen :8080 \
                --remote-url https://api.example.com/mcp";
    let headers = "X-API-Key:abc123,X-Client-ID:myapp";
    let by_flag = config(&format!("{line} --headers \"{headers}\""), &[]);
    let Upstream::Http(remote) = &by_flag.served.all()[0].upstream else { panic!() };
    let header = |name: &str, value: &str| Header::new(name, value).unwrap();
    assert_eq!(remote.headers, [header("X-API-Key", "abc123"), header("X-Client-ID", "myapp")]);
    assert_eq!(config(line, &[("MCPULSE_PROXY_HEADERS", headers)]), by_flag);
}

#[test]
fn every_variable() {
    let mcpulse = [("MCPULSE_SERVER", "localhost:50051"), ("MCPULSE_API_KEY", "your-api-key")];
    let local = [
        ("MCPULSE_PROXY_SERVER_ID", "my-server"),
        ("MCPULSE_PROXY_COMMAND", "python server.py"),
        ("MCPULSE_PROXY_REMOTE_URL", "https://api.example.com/mcp"),
        ("MCPULSE_PROXY_BEARER_TOKEN", "your-token"),
        ("MCPULSE_PROXY_HEADERS", "X-API-Key:abc123"),
    ];
    let all = [&mcpulse[..], &local].concat();
    let mut expected = Config::new("my-server", command("python", &["server.py"]));
    expected.mcpulse.api_key = Some("your-api-key".into());
    assert_eq!(config("mcpulse-proxy stdio", &all), expected);
    assert_eq!(config("mcpulse-proxy stdio --command \"python server.py\"", &all), expected);

    let all = [&all[..], &[("MCPULSE_PROXY_LISTEN", ":8080")]].concat();
    let config = config("mcpulse-proxy http", &all);
    assert_eq!(config.listen, Some(Listen::new(":8080")));
    let Upstream::Http(remote) = &config.served.all()[0].upstream else { panic!() };
    assert_eq!(remote.url, "https://api.example.com/mcp");
    assert_eq!(remote.bearer_token, Some("your-token".into()));
    assert_eq!(remote.headers.len(), 1);
}

#[test]
fn a_config_file_with_and_without_flags() {
    let files = Files::new(&[(
        "mcp.json",
        r#"{
"mcpServers": {
"my-server": {
"command": "python",
"args": ["server.py"],
"env": {
"API_KEY": "server-key"
}
}
}
}"#,
    )]);
    let line =
        format!("mcpulse-proxy stdio --config {} --server my-server", files.text("mcp.json"));
    let mut expected = Config::new("my-server", command("python", &["server.py"]));
    if let Upstream::Stdio(command) = &mut expected.served.all_mut()[0].upstream {
        command.env.insert("API_KEY".to_owned(), "server-key".into());
    }
    assert_eq!(config(&line, &[]), expected);
    expected.mcpulse.url = "production.example.com:443".to_owned();
    assert_eq!(config(&format!("{line} --mcpulse-url production.example.com:443"), &[]), expected);
}

#[test]
fn a_local_server_behind_a_listener() {
    let line = "mcpulse-proxy stdio --server-id my-server --command \"python server.py\" \
                --bearer-token secret123 --listen :8080";
    let upstream = Upstream::Stdio(Command {
        program: "python".to_owned(),
        args: vec!["server.py".to_owned()],
        bearer_token: Some("secret123".into()),
        ..Command::default()
    });
    let mut expected = Config::new("my-server", upstream);
    expected.listen = Some(Listen::new(":8080"));
    assert_eq!(config(line, &[]), expected);
}

#[test]
fn a_remote_server_on_standard_streams() {
    let line = "mcpulse-proxy http --server-id my-server --remote-url \
                https://api.example.com/mcp --bearer-token your_token";
    let streamable = remote("https://api.example.com/mcp", Some("your_token"));
    assert_eq!(config(line, &[]), Config::new("my-server", Upstream::Http(streamable)));
    let line = "mcpulse-proxy sse --server-id my-server --remote-url \
                https://api.example.com/sse --bearer-token your_token";
    let legacy = remote("https://api.example.com/sse", Some("your_token"));
    assert_eq!(config(line, &[]), Config::new("my-server", Upstream::Sse(legacy)));
}
