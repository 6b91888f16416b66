//! TLS to MCPulse and to the collector: it takes the authority that was named, and one that is
//! missing costs reports, never a call.

use mcpulse_tests::Collector;
use tempfile::TempDir;

use super::*;

/// An end of every sink that speaks TLS, with a certificate that only its own authority, which
/// is itself, makes trusted.
struct Ends {
    mcpulse: Receiver,
    collector: Collector,
    authorities: TempDir,
}

impl Ends {
    async fn start() -> Self {
        let signed =
            || rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let (own, other) = (signed(), signed());
        let authorities = tempdir().expect("a directory");
        for (name, authority) in [("own", &own), ("other", &other)] {
            let path = authorities.path().join(name);
            fs::write(path, authority.cert.pem()).expect("write the authority");
        }
        let (certificate, key) = (own.cert.pem(), own.signing_key.serialize_pem());
        Self {
            mcpulse: Receiver::start_tls(&certificate, &key).await,
            collector: Collector::start_tls(&certificate, &key).await,
            authorities,
        }
    }

    /// A session whose proxy trusts this authority, if any, besides those that all trust.
    async fn session(&self, authority: Option<&str>) -> Session {
        let url = |port: u16| format!("https://localhost:{port}");
        let collector = url(self.collector.address().port());
        let mut flags = vec!["--otel-endpoint", &collector, "--metrics-listen", "127.0.0.1:0"];
        let path = authority.map(|authority| self.authorities.path().join(authority));
        if let Some(path) = path.as_deref().and_then(Path::to_str) {
            flags.extend(["--mcpulse-ca-file", path, "--otel-ca-file", path]);
        }
        Session::start(&url(self.mcpulse.address().port()), &flags).await
    }
}

/// Waits until both sinks have `delivered` and `queued` so many calls.
async fn until(proxy: &Proxy, delivered: u32, queued: u32) {
    let found = async || {
        let scrape = proxy.scrape().await;
        assert_eq!(scrape.assert_balanced(), ["mcpulse", "otel"]);
        let of = |name: &str, labels: &[(&str, &str)]| scrape.sum(name, labels);
        let all = ["mcpulse", "otel"].into_iter().all(|sink| {
            let (sink, done) = (("sink", sink), ("result", "delivered"));
            let counts = (
                of("mcpulse_reports_total", &[sink, done]),
                of("mcpulse_report_queue_length", &[sink]),
            );
            counts == (delivered.into(), queued.into())
        });
        all.then_some(())
    };
    eventually(&format!("{delivered} delivered and {queued} queued"), PATIENCE, found).await;
}

#[tokio::test]
async fn an_authority_that_is_named_is_trusted() {
    let ends = Ends::start().await;
    let mut session = ends.session(Some("own")).await;
    for n in 0..5 {
        session.call(&format!("message {n}")).await;
    }
    until(&session.proxy, 5, 0).await;
    assert_eq!(ends.mcpulse.metrics().len(), 5);
    assert_eq!(ends.collector.spans().len(), 5);
}

#[tokio::test]
async fn an_authority_that_is_missing_is_said_and_costs_no_call() {
    // The other one has the name of the right one, as after it was replaced.
    for authority in [None, Some("other")] {
        let ends = Ends::start().await;
        let mut session = ends.session(authority).await;
        session.call("first").await;
        for flag in ["--mcpulse-ca-file", "--otel-ca-file"] {
            let remedy = format!("name the authority of its certificate: {flag}");
            session.proxy.wait_for_stderr(&remedy).await;
        }
        for n in 0..5 {
            session.call(&format!("message {n}")).await;
        }
        until(&session.proxy, 0, 6).await;
        assert_eq!((ends.mcpulse.attempts(), ends.collector.spans().len()), (0, 0));
    }
}

#[tokio::test]
async fn an_end_that_wants_tls_is_said() {
    let ends = Ends::start().await;
    let collector = format!("http://{}", ends.collector.address());
    let mut session = Session::start(&ends.mcpulse.url(), &["--otel-endpoint", &collector]).await;
    session.call("message").await;
    session.proxy.wait_for_stderr("does it want TLS? then: --mcpulse-tls true").await;
    session.proxy.wait_for_stderr("want TLS? then: https:// in --otel-endpoint").await;
}

#[tokio::test]
async fn an_end_that_speaks_no_tls_is_said() {
    let (mcpulse, collector) = (Receiver::start().await, Collector::start().await);
    let url = |address: std::net::SocketAddr| format!("https://localhost:{}", address.port());
    let (mcpulse, collector) = (url(mcpulse.address()), url(collector.address()));
    let mut session = Session::start(&mcpulse, &["--otel-endpoint", &collector]).await;
    session.call("message").await;
    session.proxy.wait_for_stderr("does it speak TLS? if not: --mcpulse-tls false").await;
    session.proxy.wait_for_stderr("does it speak TLS? if not: http:// in --otel-endpoint").await;
}
