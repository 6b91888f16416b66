use std::{collections::BTreeMap, path::PathBuf};

use super::*;
use crate::config::{
    AcceptEncoding, Capture, Command, ErrorStatus, Header, HostHeader, Listen, Log, LogFormat,
    Remote, Secret, ServerTls, Sessions, Upstream, setting::Setting,
};

mod page;
mod problems;
mod readme;
mod secrets;
mod settings;
mod several;

/// What the proxy makes of a command line as a shell would split it, with these variables.
fn ask(line: &str, variables: &[(&str, &str)]) -> Result<Request, Refusal> {
    let words = shlex::split(line).unwrap();
    let variables = variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
    let environment = Environment { variables: variables.collect(), program: None };
    read(words.into_iter().map(OsString::from), &environment)
}

fn config(line: &str, variables: &[(&str, &str)]) -> Config {
    match ask(line, variables) {
        Ok(Request::Serve(start)) => *start.config,
        other => panic!("{line}: {other:?}"),
    }
}

fn refused(line: &str, variables: &[(&str, &str)]) -> (bool, String) {
    let refusal = ask(line, variables).unwrap_err();
    let usage =
        format!("{:?}", refusal.exit_code()) == format!("{:?}", std::process::ExitCode::from(64));
    (usage, refusal.to_string())
}

fn shown(line: &str, variables: &[(&str, &str)]) -> String {
    match ask(line, variables) {
        Ok(Request::Show(text)) => text,
        other => panic!("{line}: {other:?}"),
    }
}

/// A directory with files in it.
struct Files(tempfile::TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        Self(directory)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }
}

#[test]
fn flags_win_over_variables_and_variables_over_files() {
    let files = Files::new(&[(
        "p.yaml",
        "serverId: of-file\nupstream: {http: {url: https://file.example/mcp}}\n\
         listen: {address: ':1'}\nworkers: 3\nmcpulse: {url: 'file:1'}\n",
    )]);
    let run = format!("mcpulse-proxy run --config {}", files.text("p.yaml"));
    let of_file = config(&run, &[]);
    assert_eq!((of_file.served.all()[0].server_id.as_str(), of_file.workers), ("of-file", 3));
    let variables = [("MCPULSE_PROXY_SERVER_ID", "of-variable"), ("MCPULSE_URL", "variable:1")];
    let of_variable = config(&run, &variables);
    assert_eq!(of_variable.served.sole_id(), Some("of-variable"));
    assert_eq!((of_variable.mcpulse.url.as_str(), of_variable.workers), ("variable:1", 3));
    let of_flag = config(&format!("{run} --server-id of-flag --mcpulse-url none"), &variables);
    assert_eq!(of_flag.served.sole_id(), Some("of-flag"));
    assert!(!of_flag.mcpulse.enabled());
}

#[test]
fn headers_add_to_those_of_the_file_by_name_and_flags_win_over_variables() {
    let files = Files::new(&[(
        "mcp.json",
        r#"{"servers": {"a": {"url": "https://a/mcp", "headers": {"A": "file", "B": "file"}}}}"#,
    )]);
    let line = format!("mcpulse-proxy http --config {} --listen :1", files.text("mcp.json"));
    let headers = |line: &str| -> Vec<String> {
        let config = config(line, &[("MCPULSE_PROXY_HEADERS", "C:variable,A:variable")]);
        let Upstream::Http(remote) = &config.served.all()[0].upstream else { panic!() };
        let text =
            |header: &Header| format!("{}={}", header.name(), header.value().reveal().unwrap());
        remote.headers.iter().map(text).collect()
    };
    assert_eq!(headers(&line), ["b=file", "c=variable", "a=variable"]);
    let flags = format!("{line} --header 'a: flag, too' --header 'D: flag'");
    assert_eq!(headers(&flags), ["b=file", "a=flag, too", "d=flag"]);
}

#[test]
fn the_server_name_is_the_default_id_and_mcpulse_server_is_not_it() {
    let variables = [("MCPULSE_SERVER", "host:1"), ("MCPULSE_PROXY_SERVER", "named")];
    let line = "mcpulse-proxy stdio --command x";
    let config_of = |line: &str, variables| {
        let config = config(line, variables);
        (config.served.sole_id().unwrap().to_owned(), config.mcpulse.url)
    };
    assert_eq!(config_of(line, &variables), ("named".to_owned(), "host:1".to_owned()));
    let flag = format!("{line} --server other");
    assert_eq!(config_of(&flag, &variables).0, "other");
    let id = format!("{flag} --server-id id");
    assert_eq!(config_of(&id, &variables).0, "id");
    assert!(refused(line, &variables[..1]).1.contains("--server-id is missing"));
}

#[test]
fn a_variable_for_another_mode_is_ignored_and_a_flag_is_not() {
    let variables = [
        ("MCPULSE_PROXY_REMOTE_URL", "nonsense"),
        ("MCPULSE_PROXY_BEARER_TOKEN", "t"),
        ("MCPULSE_PROXY_HEADERS", "nonsense"),
        ("MCPULSE_PROXY_TLS_CERT", "/no/such/file"),
    ];
    config("mcpulse-proxy stdio --server-id x --command y", &variables);
    for (line, part) in [
        ("stdio --command y --remote-url https://a", "--remote-url does not apply to stdio"),
        ("stdio --command y --bearer-token t", "--bearer-token does not apply to stdio without"),
        (
            "stdio --command y --drain-timeout 1s",
            "--drain-timeout does not apply to stdio without --listen",
        ),
        ("http --listen :1 --remote-url https://a --command y", "--command does not apply to http"),
        ("http --listen :1 --remote-url https://a -- y", "after -- does not apply to http"),
    ] {
        let (usage, text) = refused(&format!("mcpulse-proxy {line} --server-id x"), &[]);
        assert!(usage && text.contains(part), "{text}");
    }
}

#[test]
fn a_command_is_split_as_a_shell_would_or_given_as_words() {
    let command = |line: &str| {
        let config = config(&format!("mcpulse-proxy stdio --server-id x {line}"), &[]);
        let Upstream::Stdio(command) = &config.served.all()[0].upstream else { panic!() };
        [vec![command.program.clone()], command.args.clone()].concat()
    };
    assert_eq!(command(r#"--command "a 'b c' \"d\" \$E *""#), ["a", "b c", "d", "$E", "*"]);
    assert_eq!(command("-- a --server-id 'b c' -- d"), ["a", "--server-id", "b c", "--", "d"]);
    let (usage, text) = refused("mcpulse-proxy stdio --server-id x --command y -- z", &[]);
    assert!(usage && text.matches("keep one").count() == 1, "{text}");
    let (_, text) = refused("mcpulse-proxy stdio --server-id x --command \"y 'z\"", &[]);
    assert!(text.contains("--command has a quote that is not closed"), "{text}");
}

#[test]
fn help_and_version_are_where_people_look_for_them() {
    for (line, part) in [
        ("--help", "Commands:"),
        ("-h", "Commands:"),
        ("help", "Commands:"),
        ("help stdio", "--command <COMMAND>"),
        ("stdio -h", "--command <COMMAND>"),
        ("stdio --sever-id x --help", "--command <COMMAND>"),
        ("check http --help", "--remote-url <URL>"),
        ("check help http", "--remote-url <URL>"),
        ("--version", env!("CARGO_PKG_VERSION")),
        ("-V", env!("CARGO_PKG_VERSION")),
    ] {
        let text = shown(&format!("mcpulse-proxy {line}"), &[]);
        assert!(text.contains(part), "{line}: {text}");
    }
}

#[test]
fn flags_that_are_no_settings_have_variables_too() {
    let files = Files::new(&[
        ("mcp.json", r#"{"servers": {"a": {"command": "p"}, "b": {"command": "q"}}}"#),
        ("p.yaml", "serverId: x\nupstream: {stdio: {program: p}}\n"),
    ]);
    let (json, yaml) = (files.text("mcp.json"), files.text("p.yaml"));
    let of_json = [("MCPULSE_PROXY_CONFIG", &*json), ("MCPULSE_PROXY_SERVER", "b")];
    let stdio = config("mcpulse-proxy stdio", &of_json);
    assert_eq!(stdio.served.sole_id(), Some("b"));
    let of_yaml = [("MCPULSE_PROXY_CONFIG", &*yaml), ("MCPULSE_PROXY_SERVER", "b")];
    assert_eq!(config("mcpulse-proxy run", &of_yaml).served.sole_id(), Some("x"));
    let asks = |word| [("MCPULSE_PROXY_PRINT_CONFIG", word)];
    let line = "mcpulse-proxy stdio --server-id x --command y";
    assert!(shown(line, &asks("true")).contains("serverId: x"));
    config(line, &asks("0"));
    let (usage, text) = refused(line, &asks("maybe"));
    assert!(!usage && text.contains("MCPULSE_PROXY_PRINT_CONFIG is neither"), "{text}");
}

#[test]
fn the_effective_configuration_says_where_each_value_came_from() {
    let files = Files::new(&[("mcp.json", r#"{"servers": {"a": {"command": "p", "cwd": "/"}}}"#)]);
    let path = files.text("mcp.json");
    let line = format!("mcpulse-proxy stdio --config {path} --workers 7 --print-config");
    let text = shown(&line, &[("MCPULSE_API_KEY", "k"), ("MCPULSE_PROXY_CAPTURE", "full")]);
    for expected in [
        format!("serverId: a  # file {path} line 1\n"),
        format!("    program: p  # file {path} line 1\n"),
        "  apiKey: '***'  # variable MCPULSE_API_KEY\n".to_owned(),
        "  capture: full  # variable MCPULSE_PROXY_CAPTURE\n".to_owned(),
        "  url: localhost:50051  # default\n".to_owned(),
        "workers: 7  # flag --workers\n".to_owned(),
    ] {
        assert!(text.contains(&expected), "{text}");
    }
}

/// A configuration in which no value is the default, and the files that it names.
fn unusual(files: &Files, upstream: Upstream, listens: bool) -> Config {
    let secret = || Secret::File(files.path("secret"));
    let file = || Some(files.path("file"));
    let mut config = Config::new("x y", upstream);
    config.listen = listens.then(|| Listen {
        address: "[::1]:0".to_owned(),
        allowed_hosts: vec!["a".to_owned(), "b:1".to_owned()],
        allowed_origins: vec!["https://a".to_owned()],
        tls: Some(ServerTls { cert: files.path("file"), key: files.path("file") }),
        public_url: Some("https://a".to_owned()),
        max_body: 1000,
        max_header: 9 << 10,
        read_timeout: std::time::Duration::from_millis(1500),
        drain_timeout: std::time::Duration::ZERO,
    });
    let mcpulse = &mut config.mcpulse;
    mcpulse.url = "https://a:1".to_owned();
    mcpulse.api_key = Some(secret());
    mcpulse.tls = Some(false);
    mcpulse.ca_file = file();
    mcpulse.capture = Capture::Full;
    mcpulse.batch_size = 7;
    mcpulse.batch_max = 8;
    mcpulse.queue_calls = 9;
    mcpulse.queue_bytes = 100_000;
    mcpulse.spool_dir = Some("/spool".into());
    mcpulse.spool_limit = 1 << 30;
    let otel = &mut config.otel;
    otel.endpoint = Some("http://c:4317".to_owned());
    otel.ca_file = file();
    otel.headers = vec![Header::new("k", secret()).unwrap()];
    otel.service_name = Some("true".to_owned());
    otel.resource_attributes = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
    otel.sample = 0.1;
    otel.follow_parent = false;
    otel.keep_failed = false;
    otel.own_spans = true;
    config.metrics_listen = Some(":0".to_owned());
    config.call_log = Some("-".to_owned());
    config.limits.tap_bytes = 1 << 20;
    config.limits.pending_for = std::time::Duration::from_secs(90);
    config.limits.tools = 1;
    config.log = Log { level: "warn,mcpulse_proxy=debug".to_owned(), format: LogFormat::Json };
    config.install_shim = Some("/shim".into());
    config.workers = 9;
    config
}

#[test]
fn every_field_comes_back_from_yaml() {
    let pem = "-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\n";
    let files = Files::new(&[("file", pem), ("secret", "s")]);
    let sessions = Sessions {
        limit: 7,
        rate: 3,
        programs: Some(9),
        warm: 2,
        shared: 5,
        idle_timeout: std::time::Duration::from_secs(61),
    };
    let remote = Remote {
        bearer_token: Some(Secret::File(files.path("secret"))),
        headers: vec![Header::new("A", Secret::File(files.path("secret"))).unwrap()],
        ca_file: Some(files.path("file")),
        host_header: HostHeader::Preserve,
        accept_encoding: AcceptEncoding::Preserve,
        connect_timeout: std::time::Duration::from_millis(1),
        response_timeout: Some(std::time::Duration::from_secs(61)),
        idle_timeout: std::time::Duration::ZERO,
        error_status: ErrorStatus::Ok,
        sessions: sessions.clone(),
        ..Remote::new("https://a/mcp")
    };
    let command = Command {
        program: "p q".to_owned(),
        args: vec!["a b".to_owned(), "1".to_owned(), String::new(), "null".to_owned()],
        env: BTreeMap::from([("K".to_owned(), Secret::File(files.path("secret")))]),
        cwd: Some("/".into()),
        ..Command::default()
    };
    let served = Command {
        bearer_token: Some(Secret::File(files.path("secret"))),
        sessions,
        ..command.clone()
    };
    let of_shim = Command { socket: Some("/mcp.sock".into()), ..Command::default() };
    for (upstream, listens) in [
        (Upstream::Stdio(command), false),
        (Upstream::Stdio(of_shim), true),
        (Upstream::Stdio(served), true),
        (Upstream::Http(remote.clone()), true),
        (Upstream::Sse(remote), true),
    ] {
        let written = unusual(&files, upstream, listens);
        std::fs::write(files.path("p.yaml"), serde_yaml::to_string(&written).unwrap()).unwrap();
        let run = format!("mcpulse-proxy run --config {}", files.text("p.yaml"));
        assert_eq!(config(&run, &[]), written);
        std::fs::write(files.path("p.yaml"), shown(&format!("{run} --print-config"), &[])).unwrap();
        assert_eq!(config(&run, &[]), written);
    }
}

#[test]
fn check_and_drain_take_what_the_mode_takes() {
    let request = ask("mcpulse-proxy check stdio --server-id x --command y", &[]).unwrap();
    let Request::Check(start) = request else { panic!() };
    let served = config("mcpulse-proxy stdio --server-id x --command y", &[]);
    assert_eq!(*start.config, served);
    let request = ask("mcpulse-proxy drain stdio --server-id x --command y", &[]).unwrap();
    assert_eq!(request, Request::Drain(Box::new(served)));
}
