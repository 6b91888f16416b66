//! What is wrong is said, all of it, with the right exit code.

use super::*;

#[test]
fn every_problem_is_said_at_once() {
    let variables = [("MCPULSE_PROXY_WORKERS", "many")];
    let line = "mcpulse-proxy http --listen 8080 --capture some --remote-url ftp://a \
                --mcpulse-ca-file /no/such/file";
    let (usage, text) = refused(line, &variables);
    assert!(usage);
    for part in [
        "6 problems:",
        "--listen is no address",
        "--capture is none of none, redacted, full",
        "--remote-url is no http:// or https:// URL",
        "--mcpulse-ca-file names the file /no/such/file",
        "MCPULSE_PROXY_WORKERS is no whole number",
        "--server-id is missing; write --server-id NAME, or set MCPULSE_PROXY_SERVER_ID",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn no_kind_of_problem_hides_another() {
    let files = Files::new(&[
        (
            "p.yaml",
            "serverId: x\nserverId: y\nnonsense: 1\nworkers: many\n\
             upstream: {http: {hostHeader: mine}}\nlisten: {address: ':1', maxBody: big}\n",
        ),
        ("no-upstream.yaml", "workers: many\nlisten: {address: ':1'}\n"),
    ]);
    let run = |name: &str| format!("run --config {}", files.text(name));
    let cases = [
        (
            format!("{} --otel-timout 5s --capture some x --batch-size 2000", run("p.yaml")),
            &[
                "10 problems",
                "no flag --otel-timout; did you mean --otel-timeout?",
                "a value without a flag before it",
                "line 2: serverId stands in its mapping twice",
                "line 3: nonsense is no setting",
                "line 4) is no whole number",
                "line 5) is none of upstream, preserve",
                "line 6) is no size",
                "--capture is none of",
                "--remote-url is missing",
                "--batch-size (2000) is above --batch-max",
            ][..],
        ),
        (
            format!("{} --drain-timeout soon --command x", run("no-upstream.yaml")),
            &[
                "4 problems",
                "upstream has none of stdio, http and sse",
                "workers (file",
                "--drain-timeout is no duration",
                "--server-id is missing",
            ],
        ),
        (
            "run --config /no/such/file --capture some --servr x".to_owned(),
            &["3 problems", "read --config", "--capture is", "there is no flag --servr"],
        ),
        (
            "stdio --one --two=hunter2 --three hunter2 --config /no/such/file --workers".to_owned(),
            &[
                "5 problems",
                "argument 2 is no flag",
                "argument 3 is no flag",
                "argument 4 is no flag",
                "--workers needs",
                "read --config",
            ],
        ),
        (
            "sse --server-id x --batch-size 5000".to_owned(),
            &["2 problems", "is above --batch-max", "--remote-url is missing"],
        ),
    ];
    for (line, parts) in cases {
        let (_, text) = refused(&format!("mcpulse-proxy {line}"), &[]);
        for part in parts {
            assert!(text.contains(part), "{line}: '{part}' is not in {text}");
        }
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn words_that_are_not_utf_8_are_counted_with_the_rest() {
    use std::os::unix::ffi::OsStringExt as _;
    let words = ["mcpulse-proxy", "stdio", "--server-id"].map(OsString::from);
    let words = words.into_iter().chain([OsString::from_vec(b"\xff".to_vec())]);
    let text = read(words, &Environment::default()).unwrap_err().to_string();
    assert!(text.contains("2 problems") && text.contains("argument 3 is not UTF-8"), "{text}");
}

#[test]
fn what_cannot_be_meant_is_a_usage_error_and_what_cannot_work_is_one_of_configuration() {
    for (line, part) in [
        ("", "the command is missing; write mcpulse-proxy stdio"),
        ("sdtio", "did you mean stdio?"),
        ("stdio --sever-id x", "there is no flag --sever-id; did you mean --server-id?"),
        (
            "stdio --nonsense",
            "argument 2 is no flag, nor like one; mcpulse-proxy stdio --help lists",
        ),
        ("stdio --bearer-toknsecret x", "argument 2 is no flag"),
        ("stdio --bearer-tokensecret x", "no flag --bearer-token… (the rest may be a secret)"),
        ("stdio '--cwd /srv'", "no flag --cwd… (the rest may be a secret); did you mean --cwd?"),
        ("stdio --cwd:/srv", "--cwd? a value is a word of its own, or stands after ="),
        ("stdio --mcpulse-api-key-fle x", "--mcpulse-api-key…"),
        ("stdio --mcpulse-api-key-fle x", "did you mean --mcpulse-api-key-file?"),
        ("stdio --server-id", "--server-id needs a value"),
        ("stdio --server-id --command x", "--server-id needs a value"),
        ("stdio --print-config=no", "--print-config takes no value"),
        ("http --bearer-token --listen :0", "--bearer-token needs a value; write --bearer-token="),
        ("http --header --listen=:0", "--header needs a value"),
        ("stdio --server-id x --server-id y", "--server-id is given more than once; keep one"),
        ("stdio --config x --config y", "--config is given more than once; keep one"),
        ("http --bearer-token x --auth-token y", "--bearer-token is given more than once"),
        ("--server-id x stdio", "stdio, http, sse, run, check or drain first, then the flags"),
        ("stdio python server.py", "write the server's program after --"),
        ("run", "--config is missing; write run --config FILE.yaml"),
        ("run --server x", "--server does not apply to run"),
    ] {
        let (usage, text) = refused(&format!("mcpulse-proxy {line}"), &[]);
        assert!(usage && text.contains(part), "{line}: {text}");
    }
    for (line, part) in [
        ("stdio --server-id x", "--command is missing"),
        ("http --server-id x --listen :1", "--remote-url is missing"),
        ("run --config /no/such/file", "read --config /no/such/file"),
        ("stdio --config /no/such/file", "read --config /no/such/file"),
        ("stdio --server-id x --command y --batch-size 5000", "is above --batch-max"),
        ("sse --server-id x", "--remote-url is missing"),
    ] {
        let (usage, text) = refused(&format!("mcpulse-proxy {line}"), &[]);
        assert!(!usage && text.contains(part), "{line}: {text}");
    }
}

#[test]
fn an_address_that_cannot_be_dialled_is_a_problem_like_the_others() {
    for (flag, remedy) in [
        ("--mcpulse-url http://host:1/path", "has a path, and gRPC has none"),
        ("--mcpulse-url https://host?x", "has a path"),
        ("--mcpulse-url http://host:99999", "has no valid port"),
        ("--otel-endpoint http://host:99999", "has no valid port"),
        ("--otel-endpoint ftp://foo", "write e.g. http://localhost:4317"),
        ("--otel-endpoint http://u:p@h:1", "--otel-headers"),
        ("--mcpulse-url https://u:p@h:1", "--mcpulse-api-key"),
        ("--mcpulse-url ftp://h:1", "write e.g. https://mcpulse.example.com"),
        ("--mcpulse-url http://:1", "has no host"),
        ("--mcpulse-url h:0", "is neither HOST:PORT nor a URL"),
        ("--mcpulse-url http://h:0", "has the port 0"),
        ("--otel-endpoint h:0", "is no URL"),
    ] {
        let line = format!("mcpulse-proxy stdio --server-id x --command y --workers 0 {flag}");
        let (usage, text) = refused(&format!("{line} --print-config"), &[]);
        assert!(usage && text.contains("2 problems") && text.contains(remedy), "{flag}: {text}");
        assert!(!text.contains("api.example.com"), "{text}");
    }
    let (usage, _) = refused(
        "mcpulse-proxy stdio --server-id x --command y",
        &[("MCPULSE_URL", "http://host:1/path")],
    );
    assert!(!usage);
}

#[test]
fn every_wrong_entry_of_a_list_is_named_by_its_place() {
    let http = "mcpulse-proxy http --server-id x --remote-url https://a --listen :1";
    for (flags, wrong) in [
        (
            "--headers 'A:1,bad one:hunter2,:hunter2'",
            "--headers entry 2 has a name that no HTTP header can have; \
             entry 3 has a name that no HTTP header can have",
        ),
        (
            "--header hunter2 --header 'bad name: hunter2' --header 'A: 1'",
            "--header entry 1 has no colon; write Name:value, and values that have commas with \
             --header; entry 2 has a name that no HTTP header can have",
        ),
        (
            "--header 'B: 1' --header 'A: 1\n2'",
            "--header entry 2 has a character that no HTTP header can have",
        ),
        ("--header hunter2", "--header has no colon; write Name:value, and values"),
        (
            "--otel-headers a=1,hunter2,b=%ff",
            "--otel-headers entry 2 has no '='; write name=value; entry 3 is not UTF-8",
        ),
    ] {
        let (usage, text) = refused(&format!("{http} {flags}"), &[]);
        assert!(usage && text.contains(wrong) && !text.contains("hunter2"), "{flags}: {text}");
    }
}

#[test]
fn wrong_keys_below_a_setting_are_named_with_the_nearest() {
    let files = Files::new(&[(
        "p.yaml",
        "serverId: x\nlisten: {address: ':1'}\nupstream:\n  http:\n    url: https://a\n    \
         bearerToken: {fil: /hunter2}\n    headers:\n      - {name: A, value: hunter2, valu: z}\n      \
         - {nme: X}\n      - {name: A, value: {hunter2: 1}}\n",
    )]);
    let (usage, text) =
        refused(&format!("mcpulse-proxy run --config {}", files.text("p.yaml")), &[]);
    for part in [
        "2 problems",
        "upstream.http.bearerToken (file ",
        "line 6) has the unknown key fil; did you mean file?",
        "upstream.http.headers (file ",
        "line 7) in line 8: entry 1 has the unknown key valu; did you mean value?",
        "in line 9: entry 2 has the unknown key nme; did you mean name?",
        "in line 10: entry 3 has an unknown key; known are: file, optional",
    ] {
        assert!(text.contains(part), "'{part}' is not in {text}");
    }
    assert!(!usage && !text.contains('$') && !text.contains("hunter2"), "{text}");
}

#[test]
fn an_entry_of_mcp_json_has_no_false_problems() {
    let files = Files::new(&[(
        "mcp.json",
        r#"{"servers": {"a": {"url": "https://a", "headers": {"A": "${input:tk}"}},
            "b": {"command": "${env:NONE}", "args": ["${env:NONE}"]}, "c": {"command": 5}}}"#,
    )]);
    let json = files.text("mcp.json");
    let http = format!("mcpulse-proxy http --listen :1 --config {json} --server a");
    let (_, text) = refused(&http, &[]);
    assert!(text.contains("${input:tk}") && !text.contains("problems"), "{text}");
    let stdio = format!("mcpulse-proxy stdio --config {json} --server b");
    let (_, text) = refused(&stdio, &[]);
    assert!(!text.contains("problems") && text.contains("variable NONE"), "{text}");
    config(&format!("{stdio} --command 'p q'"), &[]);
    config(&stdio, &[("MCPULSE_PROXY_COMMAND", "p q")]);
    config(&format!("{stdio} -- p q"), &[]);
    let (_, text) = refused(&format!("mcpulse-proxy stdio --config {json} --server c"), &[]);
    assert!(text.contains("command is no text") && !text.contains("problems"), "{text}");
}

#[test]
fn a_header_that_is_the_proxys_own_is_a_problem_like_the_others() {
    let files = Files::new(&[
        (
            "p.yaml",
            "serverId: x\nlisten: {address: ':1'}\notel: {headers: [{name: te, value: x}]}\n\
             upstream:\n  http:\n    url: https://a\n    headers: [{name: Host, value: x}]\n",
        ),
        ("mcp.json", r#"{"servers": {"a": {"url": "https://a", "headers": {"Upgrade": "x"}}}}"#),
    ]);
    let http = "http --server-id x --remote-url https://a --listen :1";
    let (yaml, json) = (files.text("p.yaml"), files.text("mcp.json"));
    for (line, code, parts) in [
        (
            format!("{http} --header 'A: 1' --header 'Host: x' --workers 0"),
            true,
            &["2 problems", "--header entry 2 names host", "--host-header"][..],
        ),
        (format!("{http} --headers Content-Length:5"), true, &["--headers names content-length"]),
        (
            format!("run --config {yaml}"),
            false,
            &["2 problems", "line 3) names te", "line 7) names host"],
        ),
        (
            format!("http --listen :1 --config {json}"),
            false,
            &["line 1) names upgrade, which is of one connection only"],
        ),
    ] {
        for print in ["", " --print-config"] {
            let (usage, text) = refused(&format!("mcpulse-proxy {line}{print}"), &[]);
            assert_eq!(usage, code, "{text}");
            for part in parts {
                assert!(text.contains(part), "'{part}' is not in {text}");
            }
        }
    }
}

#[test]
fn one_cause_is_one_problem() {
    let files = Files::new(&[(
        "mcp.json",
        "{\"servers\": {\"a\": {\"url\": \"https://${input:x}\",\n \
         \"headers\": {\"A\": \"${input:x}\"}}}}",
    )]);
    for line in [
        "stdio --server-id --command x".to_owned(),
        "run --config".to_owned(),
        format!("http --listen :1 --config {}", files.text("mcp.json")),
    ] {
        let (_, text) = refused(&format!("mcpulse-proxy {line}"), &[]);
        assert!(!text.contains("problems"), "{line}: {text}");
    }
}

#[test]
fn a_slip_in_a_word_is_told_what_was_meant() {
    let stdio = "mcpulse-proxy stdio --server-id x --command y";
    for (flag, meant) in [
        ("--log-level inof", "--log-level is no log level; did you mean info?"),
        ("--capture redactd", "did you mean redacted?"),
    ] {
        let (usage, text) = refused(&format!("{stdio} {flag}"), &[]);
        assert!(usage && text.contains(meant), "{text}");
    }
    let Request::Serve(start) = ask(stdio, &[("RUST_LOG", "inof")]).unwrap() else { panic!() };
    assert_eq!(start.config.log.level, "info");
    assert!(start.notices[0].contains("RUST_LOG is passed over"), "{:?}", start.notices);
}

#[test]
fn a_server_that_the_shim_starts_has_no_command_here() {
    let line = "mcpulse-proxy stdio --server-id x --shim-socket /mcpulse/mcp.sock";
    let started = config(&format!("{line} --listen :1"), &[]);
    let Upstream::Stdio(command) = &started.served.all()[0].upstream else { panic!("{started:?}") };
    assert_eq!(command.socket.as_deref(), Some(std::path::Path::new("/mcpulse/mcp.sock")));
    assert_eq!(command.program, "");

    let (usage, text) = refused(&format!("{line} --listen :1 --command 'python x.py'"), &[]);
    assert!(usage && text.contains("--command stands beside the socket of a shim"), "{text}");
    assert!(!text.contains("problems"), "one for both halves: {text}");
    let (_, text) = refused(line, &[]);
    assert!(text.contains("--shim-socket does not apply to stdio"), "{text}");
    let list = "servers:\n- serverId: x\n  upstream: {stdio: {socket: /a, cwd: /}}\nlisten: {address: ':1'}\n";
    let files = Files::new(&[("list.yaml", list)]);
    let (_, text) =
        refused(&format!("mcpulse-proxy run --config {}", files.text("list.yaml")), &[]);
    assert!(text.contains("line 3) stands beside the socket of a shim"), "{text}");
}
