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
        "--capture 'some' is none of none, redacted, full",
        "--remote-url is no http:// or https:// URL",
        "--mcpulse-ca-file names the file /no/such/file",
        "MCPULSE_PROXY_WORKERS 'many' is no whole number",
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
                "line 4) 'many' is no whole number",
                "line 5) 'mine' is none of upstream, preserve",
                "line 6) 'big' is no size",
                "--capture 'some' is none of",
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
                "--drain-timeout 'soon' is no duration",
                "--server-id is missing",
            ],
        ),
        (
            "run --config /no/such/file --capture some --servr x".to_owned(),
            &["3 problems", "read --config", "--capture 'some'", "there is no flag --servr"],
        ),
        (
            "stdio --one --two=hunter2 --three hunter2 --config /no/such/file --workers".to_owned(),
            &[
                "5 problems",
                "no flag --one",
                "--two",
                "--three",
                "--workers needs",
                "read --config",
            ],
        ),
        (
            "http --server-id x --remote-url https://a --batch-size 5000".to_owned(),
            &["2 problems", "is above --batch-max", "needs a bridge"],
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
        ("stdio --nonsense", "--nonsense, nor one like it; mcpulse-proxy stdio --help lists them"),
        ("stdio '--cwd /srv'", "no flag --cwd… (the rest may be a secret); did you mean --cwd?"),
        ("stdio --cwd:/srv", "--cwd? a value is a word of its own, or stands after ="),
        ("stdio --mcpulse-api-key-fle x", "--mcpulse-api-key…"),
        ("stdio --mcpulse-api-key-fle x", "did you mean --mcpulse-api-key-file?"),
        ("stdio --server-id", "--server-id needs a value"),
        ("stdio --server-id --command x", "--server-id needs a value"),
        ("stdio --print-config=no", "--print-config takes no value"),
        ("stdio --server-id x --server-id y", "--server-id is given more than once; keep one"),
        ("stdio --config x --config y", "--config is given more than once; keep one"),
        ("http --bearer-token x --auth-token y", "--bearer-token is given more than once"),
        ("--server-id x stdio", "stdio, http, sse, run or check first, then the flags"),
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
        ("http --server-id x --remote-url https://a", "needs a bridge"),
        ("sse --server-id x --remote-url https://a", "add --listen"),
    ] {
        let (usage, text) = refused(&format!("mcpulse-proxy {line}"), &[]);
        assert!(!usage && text.contains(part), "{line}: {text}");
    }
}
