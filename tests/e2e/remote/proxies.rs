//! Servers that are reached through a forward proxy, as the usual variables say.

use std::process::Stdio;

use mcpulse_tests::{ForwardProxy, Identity, Proxy, eventually, forward::Asked as Passed};
use serde_json::json;

use super::{
    PATIENCE,
    faults::{ok, reported},
    script::{Script, Talk},
};
use crate::faults::{
    result,
    upstream::{Front, Upstream, answer},
};

async fn plain() -> Script {
    Script::start(|asked, _| async move { asked.usual("one") }).await
}

async fn secure(identity: &Identity) -> Script {
    Script::start_secure(identity, |asked, _| async move { asked.usual("one") }).await
}

fn passed(method: &str, target: &str) -> Passed {
    Passed { method: method.to_owned(), target: target.to_owned(), admitted: true }
}

/// Two calls of a session that goes this way.
async fn hold(talk: &mut Talk) {
    talk.begin().await;
    talk.call(1).await;
    assert_eq!(talk.hear().await["result"], json!({ "content": [] }));
    assert_eq!(reported(talk).await, ok());
}

#[tokio::test]
async fn servers_with_tls_are_reached_through_a_tunnel() {
    let identity = Identity::default();
    let script = secure(&identity).await;
    let forward = ForwardProxy::to(script.address(), Some("me:hunter:2")).await;
    let url = script.url_at("mcp.test");
    let proxy = format!("http://me:hunter%3A2@{}", forward.address());
    for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
        let variables = [(name, &*proxy), ("HTTP_PROXY", "http://127.0.0.1:1")];
        let ca = identity.cert();
        let mut talk = Talk::among("http", &url, &["--ca-file", &ca], &variables).await;
        hold(&mut talk).await;
        let said = talk.proxy.stderr();
        let shown = format!("http://***@{}", forward.address());
        assert!(said.contains(&shown) && !said.contains("hunter"), "{said}");
    }
    let target = format!("mcp.test:{}", script.address().port());
    let asked = forward.asked();
    assert!(asked.iter().all(|asked| *asked == passed("CONNECT", &target)), "{asked:?}");
    // One connection carries a session: over HTTP/2 as without a proxy.
    assert_eq!(asked.len(), 3);
}

#[tokio::test]
async fn servers_without_tls_are_asked_for_by_their_url() {
    let script = plain().await;
    let forward = ForwardProxy::to(script.address(), Some("me:hunter2")).await;
    let url = script.url_at("mcp.test");
    let proxy = format!("me:hunter2@{}", forward.address());
    let mut talk = Talk::among("http", &url, &[], &[("HTTP_PROXY", &proxy)]).await;
    hold(&mut talk).await;
    talk.close();
    assert!(talk.end(PATIENCE).await.success());
    let asked = forward.asked();
    let target = |asked: &Passed| asked.target == url && asked.admitted;
    assert!(asked.len() >= 3 && asked.iter().all(target), "{asked:?}");
    // What is for the proxy stays there.
    for asked in script.asked() {
        assert_eq!(asked.header("host"), url.split('/').nth(2).expect("a host"));
        assert_eq!(asked.header("proxy-authorization"), "");
    }
}

#[tokio::test]
async fn socks_is_spoken_too() {
    let identity = Identity::default();
    let (open, closed) = (plain().await, secure(&identity).await);
    for script in [&open, &closed] {
        for login in [None, Some("me:hunter2")] {
            let forward = ForwardProxy::to(script.address(), login).await;
            let login = login.map(|login| format!("{login}@")).unwrap_or_default();
            let proxy = format!("socks5h://{login}{}", forward.address());
            let variables = [("all_proxy", &*proxy)];
            let url = script.url_at("mcp.test");
            let ca = identity.cert();
            let mut talk = Talk::among("http", &url, &["--ca-file", &ca], &variables).await;
            hold(&mut talk).await;
            let target = format!("mcp.test:{}", script.address().port());
            assert_eq!(forward.asked()[0], passed("SOCKS5", &target));
        }
    }
}

/// Flags, variables, and the name of the server.
type Direct<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a str);

#[tokio::test]
async fn what_is_excepted_is_dialled_directly() {
    let script = plain().await;
    let nobody = ForwardProxy::to(script.address(), None).await;
    let proxy = format!("http://{}", nobody.address());
    let through = [("HTTP_PROXY", &*proxy)];
    let cases: [Direct<'_>; 4] = [
        (&[], &through, "127.0.0.1"),
        (&[], &through, "localhost"),
        (&["--proxy", "none"], &through, "mcp.test"),
        (&[], &[("HTTP_PROXY", &proxy), ("NO_PROXY", "example.com, .test")], "mcp.test"),
    ];
    for (flags, variables, host) in cases {
        let mut talk = Talk::among("http", &script.url_at(host), flags, variables).await;
        talk.call(1).await;
        let answer = talk.hear().await;
        if host == "mcp.test" {
            // There is no such name but for the proxy.
            let message = answer["error"]["message"].as_str().expect("a message");
            assert!(message.contains("mcp.test") && !message.contains("proxy"), "{message}");
        } else {
            assert_eq!(answer["result"], json!({ "content": [] }));
        }
    }
    assert_eq!(nobody.asked(), []);
}

#[tokio::test]
async fn a_proxy_that_leads_nowhere_is_named_without_its_secrets() {
    let identity = Identity::default();
    let (open, closed) = (plain().await, secure(&identity).await);
    let gone = ForwardProxy::to(open.address(), None).await.address();
    let nowhere = ForwardProxy::to(gone, None).await;
    let guarded = ForwardProxy::to(open.address(), Some("me:right")).await;
    let (nowhere, guarded) = (nowhere.address(), guarded.address());
    let cases = [
        (&open, format!("http://me:hunter2@{gone}"), "is it running there?"),
        (&closed, format!("http://me:hunter2@{gone}"), "is it running there?"),
        (&closed, format!("http://me:hunter2@{nowhere}"), "502"),
        (&open, format!("http://{guarded}"), "NAME:PASSWORD@"),
        (&closed, format!("http://{guarded}"), "NAME:PASSWORD@"),
        (&open, format!("http://me:hunter2@{guarded}"), "does not take the name"),
        (&closed, format!("http://me:hunter2@{guarded}"), "does not take the name"),
        (&closed, format!("socks5://me:hunter2@{guarded}"), "SOCKS"),
    ];
    for (script, proxy, part) in cases {
        let ca = identity.cert();
        let url = script.url_at("mcp.test");
        let flags = ["--ca-file", &ca, "--proxy", &proxy];
        let mut talk = Talk::with(&url, &flags).await;
        talk.call(1).await;
        let answer = talk.hear().await;
        let message = answer["error"]["message"].as_str().expect("a message");
        let host = proxy.rsplit(['@', '/']).next().expect("a host");
        assert!(message.contains(part) && message.contains(host), "{proxy}: {message}");
        let said = talk.proxy.stderr();
        assert!(!message.contains("hunter2") && !said.contains("hunter2"), "{said}");
        assert_eq!(reported(&talk).await.1, "transport");

        // With a listener it is an answer of the gateway, and no demand for a login.
        let front = Front::before(&url, &flags).await;
        let answer = front.call("1").await;
        let text = answer.body.clone();
        assert!(answer.status == 502 && text.contains(part), "{proxy}: {answer:?}");
    }
}

/// A connection to the proxy tells nothing of a server to which it passes on each request.
#[tokio::test]
async fn what_the_proxy_answers_for_the_server_tells_whether_it_is_ready() {
    let address = Upstream::silent().await.address();
    let forward = ForwardProxy::to(address, None).await;
    let proxy = format!("http://{}", forward.address());
    let front = Front::before("http://mcp.test/mcp", &["--proxy", &proxy]).await;
    front.proxy.wait_until_ready(true).await;
    assert_eq!(front.call("1").await.status, 502, "the answer is the client's");
    let said = front.proxy.wait_until_ready(false).await;
    assert!(said.contains("502") && said.contains(&proxy), "{said}");
    let looks = || forward.asked().iter().filter(|asked| asked.method == "OPTIONS").count();
    let looked = async || (looks() >= 3).then_some(());
    eventually("it looks again and again", PATIENCE, looked).await;
    front.proxy.wait_until_ready(false).await;
    let back = answer("application/json", &result("2"));
    let _server = Upstream::at(address, Some(back.into())).await;
    front.proxy.wait_until_ready(true).await;
    // It is asked for nothing while all is well.
    let before = looks();
    assert_eq!(front.call("2").await.status, 200);
    assert_eq!(looks(), before);

    let guarded = ForwardProxy::to(address, Some("me:right")).await;
    let proxy = format!("http://me:hunter2@{}", guarded.address());
    let front = Front::before("http://mcp.test/mcp", &["--proxy", &proxy]).await;
    assert_eq!(front.call("1").await.status, 502, "no demand for a login");
    let said = front.proxy.wait_until_ready(false).await;
    assert!(said.contains("407") && !said.contains("hunter2"), "{said}");
}

/// The same way is taken by the relay and by the look before it.
#[tokio::test]
async fn every_mode_goes_by_the_proxy() {
    let identity = Identity::default();
    let script = secure(&identity).await;
    let forward = ForwardProxy::to(script.address(), None).await;
    let proxy = format!("http://{}", forward.address());
    let url = script.url_at("mcp.test");
    let ca = identity.cert();
    let front = Front::before(&url, &["--ca-file", &ca, "--proxy", &proxy]).await;
    assert_eq!(front.call("1").await.status, 200);

    let before = forward.asked().len();
    let flags = ["--server-id", "x", "--mcpulse-url", "none", "--remote-url", &url];
    let mut command = Proxy::command(["check", "http", "--ca-file", &ca]);
    command.args(flags).env("HTTPS_PROXY", &proxy).stdin(Stdio::null());
    let output = command.output().await.expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(forward.asked().len() > before, "{said}");
}

#[tokio::test]
async fn where_the_proxy_comes_from_is_shown() {
    let print = async |variables: &[(&str, &str)]| {
        let flags = ["http", "--server-id", "x", "--remote-url", "https://a.example/mcp"];
        let mut command = Proxy::command(flags.into_iter().chain(["--print-config"]));
        let output = command.envs(variables.iter().copied()).output().await.expect("it starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    };
    let (code, said) = print(&[("ALL_PROXY", "http://me:hunter2@p.example")]).await;
    let line = "    proxy: http://***@p.example:80  # variable ALL_PROXY";
    assert!(code == Some(0) && said.lines().any(|it| it == line), "{said}");
    let (_, said) = print(&[]).await;
    assert!(said.lines().any(|it| it == "    proxy: none  # default"), "{said}");
    let (code, said) = print(&[("HTTPS_PROXY", "https://me:hunter2@p.example")]).await;
    assert!(code == Some(78) && said.contains("HTTPS_PROXY"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}
