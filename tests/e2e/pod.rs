//! What the proxy does for the pod in which it is a sidecar: the shim is there before the server
//! starts, nothing begins once the pod ends, and reports say which pod they are of.

use std::{fs, process::Stdio};

use http::Method;
use mcpulse_tests::{Proxy, collector::attribute, eventually, program};
use tempfile::TempDir;

use crate::{
    faults::{
        Ends, PATIENCE, call, result,
        upstream::{Front, Upstream, answer},
    },
    web::Web,
};

#[tokio::test]
#[cfg(unix)]
async fn the_shim_is_there_once_the_proxy_is_alive() {
    use std::os::unix::fs::PermissionsExt as _;

    let directory = TempDir::new().expect("a directory");
    let place = directory.path().join("shim");
    fs::write(&place, "an older one").expect("a file");
    let place_text = place.display().to_string();
    let flags = ["--install-shim", &place_text];
    let front = Front::of(Upstream::silent().await.address(), &flags).await;
    // It answers nothing before.
    front.proxy.metrics_address().await;
    let (copy, shim) = (fs::read(&place), fs::read(program("mcpulse-shim")));
    assert!(copy.expect("a file") == shim.expect("a file"));
    let mode = fs::metadata(&place).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o555);
    let started = std::process::Command::new(&place).stderr(Stdio::null()).status();
    assert_eq!(started.expect("it starts").code(), Some(64), "it wants a command");

    let nowhere = directory.path().join("missing/shim").display().to_string();
    let args = ["http", "--server-id", "x", "--remote-url", "http://127.0.0.1:1/mcp"];
    let more = ["--listen", "127.0.0.1:0", "--mcpulse-url", "none", "--install-shim", &nowhere];
    let mut proxy = Proxy::start(args.into_iter().chain(more));
    assert_eq!(proxy.wait(PATIENCE).await.code(), Some(1));
    proxy.wait_for_stderr("is its directory there and writable?").await;
}

#[tokio::test]
async fn a_proxy_that_drains_lets_nothing_begin_and_calls_go_on() {
    let said = answer("application/json", &result("1"));
    let upstream = Upstream::saying(said).await;
    let front = Front::of(upstream.address(), &[]).await;
    front.proxy.wait_until_ready(true).await;
    assert_eq!(front.call("1").await.status, 200);

    let admin = front.proxy.metrics_address().await.to_string();
    let args = ["drain", "http", "--server-id", "x", "--remote-url", "http://x/mcp"];
    let mut asking = Proxy::start(args.into_iter().chain(["--metrics-listen", &admin]));
    assert!(asking.wait(PATIENCE).await.success());
    assert!(front.proxy.wait_until_ready(false).await.contains("process: draining"));
    eventually("no session begins", PATIENCE, async || {
        (front.call("1").await.status == 503).then_some(())
    })
    .await;
    let web = Web::of(format!("http://{}", front.address()));
    let of_session = |method| web.request(method, "/mcp", Some("one"));
    let going_on = web.exchange(of_session(Method::POST), call("1")).await;
    assert_eq!((going_on.status, going_on.body), (200, result("1")));
    assert_eq!(web.exchange(of_session(Method::GET), "").await.status, 503);
    assert!(front.counted("mcpulse_http_refused_total", ("reason", "draining")).await >= 2);

    let mut nobody = Proxy::start(args.into_iter().chain(["--metrics-listen", "127.0.0.1:1"]));
    assert_eq!(nobody.wait(PATIENCE).await.code(), Some(1));
}

#[tokio::test]
async fn reports_say_of_which_pod_they_are() {
    let ends = Ends::start().await;
    let upstream = Upstream::saying(answer("application/json", &result("1"))).await;
    let url = format!("http://{}/mcp", upstream.address());
    let mut command = Proxy::command(["http", "--listen", "127.0.0.1:0", "--remote-url", &url]);
    command.args(ends.flags());
    let attributes = "k8s.namespace.name=shop,k8s.pod.name=my-weather-6d4cf-x7k2p,k8s.node.name=n1,\
                      team=not%20ours";
    command.env("OTEL_RESOURCE_ATTRIBUTES", attributes).env("POD_TEMPLATE_HASH", "6d4cf");
    let front = Front::run(ends, command).await;
    assert_eq!(front.call("1").await.status, 200);
    front.assert_settled(&[("ok", 1)], &[]).await;

    let scrape = front.proxy.scrape().await;
    let pod = &scrape.find("target_info", &[]).next().expect("a pod").labels;
    for (label, value) in [
        ("k8s_namespace_name", "shop"),
        ("k8s_pod_name", "my-weather-6d4cf-x7k2p"),
        ("k8s_node_name", "n1"),
        ("k8s_deployment_name", "my-weather"),
        ("k8s_job_name", ""),
    ] {
        assert_eq!(pod[label], value, "{label}");
    }
    let exported = front.ends.collector.exported();
    let resource = exported[0].resource.as_ref().expect("a resource");
    let workload = attribute(&resource.attributes, "k8s.deployment.name");
    assert_eq!(workload.as_deref(), Some("my-weather"));
    let told = "k8s.deployment.name=my%2Dweather,k8s.namespace.name=shop,k8s.node.name=n1,\
                k8s.pod.name=my%2Dweather%2D6d4cf%2Dx7k2p";
    assert_eq!(front.ends.resources(), [Some(told.to_owned())]);
}
