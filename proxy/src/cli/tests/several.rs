//! A list of servers in the file of `run`.

use super::*;
use crate::config::{Served, Server};

const FILE: &str = "\
servers:
  - serverId: files
    upstream:
      stdio: {program: p, args: [a], env: {KEY: hunter2}}
  - serverId: api.v2
    upstream: {http: {url: https://a.example/mcp, bearerToken: hunter2}}
listen: {address: ':8080'}
workers: 3
";

fn with_file<T>(text: &str, read: impl FnOnce(&str) -> T) -> T {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    read(&format!("mcpulse-proxy run --config {}", file.path().display()))
}

fn problems(text: &str, flags: &str, variables: &[(&str, &str)]) -> String {
    with_file(text, |line| refused(&format!("{line} {flags}"), variables).1)
}

#[test]
fn each_entry_is_a_server_and_the_rest_is_shared() {
    let config = with_file(FILE, |line| config(line, &[]));
    let Served::Several { servers } = &config.served else { panic!("{config:?}") };
    let ids: Vec<_> = servers.iter().map(|server| &*server.server_id).collect();
    assert_eq!((ids, config.workers), (vec!["files", "api.v2"], 3));
    let Server { upstream: Upstream::Http(remote), .. } = &servers[1] else { panic!() };
    assert_eq!(remote.bearer_token, Some("hunter2".into()));
    assert_eq!(config.listen, Some(Listen::new(":8080")));
}

#[test]
fn what_is_shown_can_be_read_again_and_says_where_it_came_from() {
    let text = with_file(FILE, |line| shown(&format!("{line} --print-config"), &[]));
    assert!(!text.contains("hunter2"), "{text}");
    assert!(
        text.contains("\nservers:\n  - serverId: files  # file ")
            || text.starts_with("servers:\n  - serverId: files  # file "),
        "{text}"
    );
    assert!(text.contains(" line 5\n"), "{text}");
    // But for its secrets, which are stars.
    let again = text.replace("'***'", "x");
    let config = with_file(&again, |line| config(line, &[]));
    assert_eq!(config.served.all().len(), 2);
    assert_eq!(
        with_file(&again, |line| shown(&format!("{line} --print-config"), &[])).lines().count(),
        text.lines().count()
    );
}

#[test]
fn what_would_be_about_all_servers_is_about_none() {
    let refused = problems(FILE, "--bearer-token hunter3", &[]);
    assert!(refused.starts_with("--bearer-token does not apply to a list of servers"), "{refused}");
    let variables = [("MCPULSE_PROXY_BEARER_TOKEN", "hunter3"), ("MCPULSE_PROXY_SERVER_ID", "x")];
    let config = with_file(FILE, |line| config(line, &variables));
    assert_eq!(config, with_file(FILE, |line| super::config(line, &[])));
}

#[test]
fn entries_are_told_apart_by_their_lines() {
    for (text, said) in [
        ("servers: []\nlisten: {address: ':1'}\n", "line 1: servers is no list with an entry"),
        (
            "servers:\n  - {serverId: a, upstream: {stdio: {program: p}}}\n",
            "--listen is missing; write --listen",
        ),
        (
            "listen: {address: ':1'}\nservers:\n  - {serverId: .., upstream: {stdio: {program: p}}}\n",
            "line 3) is the path of its server",
        ),
        (
            "listen: {address: ':1'}\nservers:\n  - {serverId: a, upstream: {stdio: {program: p}}}\n  \
             - serverId: a\n    upstream: {stdio: {program: q}}\n",
            "line 3 as well; give each server its own",
        ),
        (
            "listen: {address: ':1'}\nservers:\n  - serverId: a\n    upstream: {stdio: {cwd: /}}\n",
            "line 3: upstream.stdio.program is missing in this entry; write e.g. python",
        ),
        (
            "listen: {address: ':1'}\nserver:\n  - serverId: a\n",
            "line 2: server is no setting; did you mean servers?",
        ),
    ] {
        let problems = problems(text, "", &[]);
        assert!(problems.contains(said), "{text}: {problems}");
    }
}
