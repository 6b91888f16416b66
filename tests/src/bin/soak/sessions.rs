//! Sessions of the official Rust SDK, one after the other in the same place.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use mcpulse_tests::{Proxy, Scrape};
use rmcp::{
    RoleClient, ServiceError, ServiceExt as _,
    model::{CallToolRequestParams, ClientCapabilities, ClientConfig, Implementation, JsonObject},
    service::RunningService,
    transport::StreamableHttpClientTransport,
};
use serde_json::json;

/// Between two calls of a session.
const PAUSE: Duration = Duration::from_millis(100);
/// Sessions of which one is begun and never ended by its client.
const LEFT_ALONE: usize = 8;
/// Places of which one keeps its session from the beginning to the end.
const KEPT: usize = 8;
/// Longest wait for a proxy to end with its client.
const PATIENCE: Duration = Duration::from_secs(30);

type Session = RunningService<RoleClient, ClientConfig>;

/// What the clients did so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    calls: AtomicUsize,
    closed: AtomicUsize,
    left_alone: AtomicUsize,
    scrapes: AtomicUsize,
    over: AtomicBool,
    /// Where the metrics are of the proxies that stay to the end.
    pub(super) kept: Mutex<Vec<SocketAddr>>,
}

impl Tally {
    /// Ends every session after its next call.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// The calls that were answered.
    pub(super) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// Scrapes of proxies before their sessions were closed.
    pub(super) fn scrapes(&self) -> usize {
        self.scrapes.load(Ordering::Relaxed)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        let (calls, closed) = (count(&self.calls), count(&self.closed));
        write!(f, "{calls} calls, {closed} sessions closed, {} left alone", count(&self.left_alone))
    }
}

/// A place for one session at a time.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) number: usize,
    pub(super) tally: Arc<Tally>,
}

impl Place {
    /// Sessions over HTTP, each with a program of its own.
    pub(super) async fn over_http(self, bridge: SocketAddr) {
        let url = format!("http://{bridge}/mcp");
        let mut round = self.number;
        while !self.tally.is_over() {
            round += 1;
            if round.is_multiple_of(LEFT_ALONE) {
                leave_alone(&url).await;
                self.tally.left_alone.fetch_add(1, Ordering::Relaxed);
            }
            let transport = StreamableHttpClientTransport::from_uri(url.as_str());
            let session = client().serve(transport).await.expect("a session over HTTP");
            let tools = ["echo", "slow", "fail", "break_down"];
            self.talk(&session, &tools, Some(60 + round * 7 % 60)).await;
            session.cancel().await.expect("its end");
            self.tally.closed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Sessions on standard streams, each with a proxy of its own.
    pub(super) async fn on_streams(self, command: Vec<String>) {
        let mut round = self.number;
        while !self.tally.is_over() {
            round += 1;
            let mut proxy = Proxy::start(&command);
            let streams = (proxy.stdout(), proxy.stdin());
            let session = client().serve(streams).await.expect("a session on standard streams");
            let metrics = proxy.metrics_address().await;
            let kept = self.number.is_multiple_of(KEPT);
            if kept {
                self.tally.kept.lock().unwrap_or_else(PoisonError::into_inner).push(metrics);
            }
            let calls = (!kept).then_some(60 + round * 7 % 60);
            self.talk(&session, &["greet", "log"], calls).await;
            Scrape::of(metrics).await.assert_balanced();
            self.tally.scrapes.fetch_add(1, Ordering::Relaxed);
            session.cancel().await.expect("its end");
            let status = proxy.wait(PATIENCE).await;
            assert!(status.success(), "{status}: {}", proxy.stderr());
            self.tally.closed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// So many calls, or calls until the end.
    async fn talk(&self, session: &Session, tools: &[&'static str], calls: Option<usize>) {
        let mut made = 0;
        while !self.tally.is_over() && calls.is_none_or(|calls| made < calls) {
            let tool = tools[made % tools.len()];
            let arguments = json!({ "message": "hello", "milliseconds": 20, "name": "a" });
            let arguments = arguments.as_object().cloned().unwrap_or_else(JsonObject::new);
            let params = CallToolRequestParams::new(tool).with_arguments(arguments);
            match session.call_tool(params).await {
                Ok(_) | Err(ServiceError::McpError(_)) => {}
                Err(error) => panic!("{tool}: {error}"),
            }
            self.tally.calls.fetch_add(1, Ordering::Relaxed);
            made += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn client() -> ClientConfig {
    ClientConfig::new(ClientCapabilities::default(), Implementation::new("soak", "1"))
}

/// Begins a session and never comes back.
async fn leave_alone(url: &str) {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let initialize = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": { "name": "gone", "version": "1" },
    } });
    let request = Request::post(url)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json, text/event-stream")
        .body(Full::from(initialize.to_string()))
        .expect("a request");
    let response = client.request(request).await.expect("a response");
    assert!(response.status().is_success(), "{response:?}");
    response.into_body().collect().await.expect("the whole body");
}
