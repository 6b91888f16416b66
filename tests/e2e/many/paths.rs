//! Who is at which path, and under which name what is done there is reported.

use std::collections::BTreeMap;

use http::Method;
use mcpulse_tests::{
    Client, Tools,
    client::{Call, Target},
    collector::attribute,
    eventually,
    remote::{Kind, Remote},
    scrape,
};
use serde_json::json;

use super::{INITIALIZE, Scene, of_program, of_remote};
use crate::faults::{PATIENCE, balanced, by};

#[tokio::test]
async fn real_clients_of_three_kinds_of_servers_are_reported_apart() {
    let Some(tools) = Tools::with(&["node"]) else { return };
    let (remote, legacy) = tokio::join!(
        Remote::start(tools, Kind::Everything),
        Remote::start(tools, Kind::EverythingSse)
    );
    let scene = Scene::of(&[
        of_program("local", "example_server", &[]),
        of_remote("remote", "http", &remote.url_at(remote.address())),
        of_remote("legacy", "sse", &legacy.url_at(legacy.address())),
    ])
    .await;
    let at = |path: &str| scene.web.url(path);
    let calls = |message: &str| {
        ["1", "2", "3"].map(|n| Call::new("echo", json!({ "message": format!("{message} {n}") })))
    };
    let (of_local, of_remote, of_legacy) = (calls("local"), calls("remote"), calls("legacy"));
    let (at_local, at_remote, at_legacy) = (
        Target::Http(at("/local/mcp")),
        Target::Http(at("/remote/mcp")),
        Target::Sse(at("/legacy/sse")),
    );
    let sessions = tokio::join!(
        Client::Rmcp.hold(tools, &at_local, &of_local),
        Client::Client2.hold(tools, &at_remote, &of_remote),
        Client::Sdk1.hold(tools, &at_legacy, &of_legacy),
    );
    for (session, server) in
        [(&sessions.0, "local"), (&sessions.1, "remote"), (&sessions.2, "legacy")]
    {
        let calls = session.outcomes()["calls"].as_array().expect("outcomes");
        assert_eq!(calls.len(), 3);
        for (at, outcome) in calls.iter().enumerate() {
            let said = format!("{server} {}", at + 1);
            assert!(outcome["ok"].to_string().contains(&said), "{outcome} lacks {said}");
        }
    }
    let each: BTreeMap<_, _> =
        ["legacy", "local", "remote"].map(|id| (id.to_owned(), 3)).into_iter().collect();
    eventually("every call is delivered", PATIENCE, async || {
        let scrape = balanced(&scene.proxy).await;
        let delivered = scrape.sum("mcpulse_reports_total", &[("result", "delivered")]);
        (delivered > 26.5).then_some(())
    })
    .await;
    let scrape = balanced(&scene.proxy).await;
    assert_eq!(by(&scrape, "mcpulse_calls_total", "mcpulse_server_id"), each);
    for id in each.keys() {
        let labels = [("mcpulse_server_id", id.as_str())];
        assert!(scrape.sum("mcpulse_http_requests_total", &labels) > 3.5, "{id}");
        let has_programs = scrape.sum("mcpulse_bridge_sessions", &labels) > 0.5;
        assert_eq!(has_programs, id == "local");
    }

    let mut reported = BTreeMap::new();
    for call in scene.mcpulse.metrics() {
        *reported.entry(call.server_id).or_insert(0) += 1;
    }
    assert_eq!(reported, each);
    // Each server is a service of its own.
    let mut services = BTreeMap::new();
    for group in scene.collector.exported() {
        let name = attribute(&group.resource.expect("a resource").attributes, "service.name");
        let spans = group.scope_spans.iter().map(|scope| scope.spans.len()).sum::<usize>();
        *services.entry(name.expect("a name")).or_insert(0) += spans as u64;
    }
    assert_eq!(services, each);
    for session in [sessions.0, sessions.1, sessions.2] {
        session.close().await;
    }
}

#[tokio::test]
async fn a_path_of_nobody_tells_of_no_server_and_each_has_its_own_token() {
    let entry = |id: &str, token: &str| {
        let entry = of_program(id, "example_server", &[]);
        entry.replace("{program", &format!("{{bearerToken: {token}, program"))
    };
    let scene = Scene::of(&[entry("one", "token-of-one"), entry("two", "token-of-two")]).await;
    for path in ["/mcp", "/three/mcp", "/", "/One/mcp", "/%6fne/mcp", "/.well-known/x/three/mcp"] {
        let answer = scene.post(path, None, INITIALIZE).await;
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
        assert!(!answer.body.contains("one") && !answer.body.contains("two"), "{answer:?}");
    }
    let refused = [("mcpulse_server_id", ""), ("reason", "path")];
    assert!((scene.figure("mcpulse_http_refused_total", &refused).await - 6.0).abs() < 0.5);
    // A page learns not even that.
    for path in ["/three/mcp", "/one/mcp"] {
        let page = scene.request(Method::POST, path, None).header("origin", "https://evil.example");
        assert_eq!(scene.exchange(page, INITIALIZE).await.status, 403, "{path}");
    }
    for (path, token, status) in [
        ("/one/mcp", "token-of-one", 200),
        ("/one/mcp", "token-of-two", 401),
        ("/two/mcp", "token-of-two", 200),
    ] {
        let request = scene.request(Method::POST, path, None);
        let request = request.header("authorization", format!("Bearer {token}"));
        assert_eq!(scene.exchange(request, INITIALIZE).await.status, status, "{path} {token}");
    }
}

#[tokio::test]
async fn readiness_names_the_server_that_is_away() {
    let scene = Scene::of(&[
        of_program("local", "example_server", &[]),
        of_remote("away", "http", "http://127.0.0.1:1/mcp"),
    ])
    .await;
    let admin = scene.proxy.metrics_address().await;
    let closed = eventually("only one gate is closed", PATIENCE, async || {
        let (status, text) = scrape::get(admin, "/readyz").await;
        (status == 503 && !text.contains("local: ")).then_some(text)
    })
    .await;
    assert!(closed.starts_with("away: ") && closed.lines().count() == 1, "{closed}");
}

#[tokio::test]
async fn a_line_of_the_first_transport_is_led_below_the_prefix() {
    let scene = Scene::of(&[of_program("local", "example_server", &[])]).await;
    let response = scene.send(scene.request(Method::GET, "/local/sse", None), "").await;
    let mut stream = super::Stream::of(response);
    let target = stream.endpoint().await;
    assert!(target.starts_with("/local/message?sessionId="), "{target}");
    assert_eq!(scene.post(&target, None, INITIALIZE).await.status, 202);
    assert!(stream.next().await.expect("an answer").contains("serverInfo"));
}
