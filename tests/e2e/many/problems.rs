//! A file that cannot be used: everything that is wrong with it is said at once, at the start and
//! while the servers of an earlier one go on.

use std::time::Duration;

use mcpulse_tests::{Proxy, eventually};

use super::{INITIALIZE, Scene, list, of_program};
use crate::faults::PATIENCE;

/// What is wrong with the file, by line and in words; 20 in all.
const WRONG: [(usize, &str); 20] = [
    (2, "serverId stands beside servers"),
    (4, "is the path of its server"),
    (5, "did you mean upstream?"),
    (4, "upstream has none of stdio, http and sse"),
    (8, "upstream.http.url"),
    (9, "did you mean upstream.http.bearerToken?"),
    (10, "upstream.http.connectTimeout"),
    (11, "holds for all servers"),
    (13, "upstream.stdio.sessions.limit"),
    (13, "did you mean upstream.stdio.cwd?"),
    (12, "serverId is missing"),
    (14, "an entry of servers is no mapping"),
    (16, "is that of"),
    (15, "upstream.sse.url is missing"),
    (18, "did you mean listen?"),
    (19, "did you mean otel.timeout?"),
    (20, "workers"),
    (21, "limits.pending"),
    (22, "did you mean log.level?"),
    (23, "metricsListen"),
];

const FILE: &str = "\
# several things are wrong here
serverId: x
servers:
  - serverId: a/b
    upstrem: {http: {url: https://a.example}}
  - serverId: b
    upstream:
      http: {url: 'ftp://a.example',
        bearertoken: t,
        connectTimeout: never}
    limits: {tools: 3}
  - upstream:
      stdio: {program: python, sessions: {limit: 0}, cdw: /}
  - just text
  - upstream: {sse: {headers: []}}
    serverId: b
mcpulse: {url: none}
lisen: {address: '127.0.0.1:0'}
otel: {timout: 5s}
workers: many
limits: {pending: -1}
log: {levl: info}
metricsListen: nowhere
";

#[tokio::test]
async fn twenty_problems_are_said_at_once_and_the_servers_go_on() {
    let scene = Scene::of(&[of_program("local", "example_server", &[])]).await;
    let before = scene.post("/local/mcp", None, INITIALIZE).await;
    let session = before.session.expect("a session");
    scene.replace(FILE);
    eventually("the file is refused", PATIENCE, async || {
        let refused = scene.figure("mcpulse_config_reloads_total", &[("result", "refused")]).await;
        (refused > 0.5).then_some(())
    })
    .await;
    scene.proxy.wait_for_stderr("metricsListen").await;
    let said = scene.proxy.stderr();
    let lines: Vec<&str> =
        said.lines().filter(|line| line.contains("the configuration stays as it was")).collect();
    for (at, words) in WRONG {
        let is_it = |line: &&&str| line.contains(&format!("line {at}")) && line.contains(words);
        assert_eq!(lines.iter().filter(is_it).count(), 1, "line {at}, {words}: {said}");
    }
    assert!(lines.iter().any(|line| line.contains("--listen is missing")), "{said}");
    assert!(scene.figure("mcpulse_config_last_reload_successful", &[]).await < 0.5);
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    assert_eq!(scene.post("/local/mcp", Some(&session), ping).await.status, 200);

    // At the start the same is a reason not to.
    let mut refused = Proxy::start(["run", "--config", scene.file().to_str().expect("text")]);
    assert_eq!(refused.wait(Duration::from_secs(30)).await.code(), Some(78));
    for (_, words) in WRONG {
        refused.wait_for_stderr(words).await;
    }

    scene.replace(&scene.text(&list(&[of_program("other", "example_server", &[])])));
    scene.proxy.wait_for_stderr("began other; ends local").await;
    let applied = [("result", "applied")];
    assert!(scene.figure("mcpulse_config_reloads_total", &applied).await > 0.5);
    assert!(scene.figure("mcpulse_config_last_reload_successful", &[]).await > 0.5);
    assert_eq!(scene.post("/other/mcp", None, INITIALIZE).await.status, 200);
}
