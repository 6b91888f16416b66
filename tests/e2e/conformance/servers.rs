//! The suite as a client of the conformance server of the Go SDK, on every way to it.

use mcpulse_tests::{
    Proxy, Tools, program,
    remote::{Kind, Remote},
};
use tokio::sync::OnceCell;

use super::{Results, judge, table};

/// What the proxy is to the suite, in the words of README.md.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    /// A relay over HTTP.
    Relay,
    /// A bridge to a server on standard streams.
    Bridge,
    /// The same to a proxy that is a bridge back to HTTP.
    Back,
    /// The same with the first HTTP transport between the two.
    BackOnSse,
    /// A bridge to a server of that transport.
    Crossing,
}

impl Way {
    pub(super) const ALL: [Self; 5] =
        [Self::Relay, Self::Bridge, Self::Back, Self::BackOnSse, Self::Crossing];

    /// How README.md calls it.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Relay => "server: HTTP to HTTP",
            Self::Bridge => "server: HTTP to stdio",
            Self::Back => "server: HTTP to stdio to HTTP",
            Self::BackOnSse => "server: HTTP to stdio to HTTP+SSE to stdio",
            Self::Crossing => "server: HTTP to HTTP+SSE to stdio",
        }
    }
}

/// The server over HTTP without a proxy, in the way in which it serves this revision.
async fn remote(tools: &Tools, revision: &str) -> Remote {
    let modern = revision >= "2026-07-28";
    Remote::start(tools, if modern { Kind::GoStateless } else { Kind::GoConformance }).await
}

/// What the server comes to without a proxy, judged once.
async fn direct(tools: &Tools, revision: &str) -> Results {
    static LEGACY: OnceCell<Results> = OnceCell::const_new();
    static MODERN: OnceCell<Results> = OnceCell::const_new();
    let cell = if revision >= "2026-07-28" { &MODERN } else { &LEGACY };
    let judged = cell.get_or_init(async || {
        let remote = remote(tools, revision).await;
        judge_server(tools, &remote.url_at(remote.address()), revision).await
    });
    judged.await.clone()
}

async fn judge_server(tools: &Tools, url: &str, revision: &str) -> Results {
    judge(tools, &["server", "--url", url, "--requirements", revision]).await
}

/// `mcpulse-proxy MODE … FLAGS` as words.
fn words<'a>(mode: &'a str, flags: &[&'a str]) -> Vec<&'a str> {
    [&[mode, "--server-id", "suite", "--mcpulse-url", "none"], flags].concat()
}

/// A proxy that serves this program over HTTP.
fn serving(program: &[&str]) -> Proxy {
    let flags = [&["--listen", "127.0.0.1:0", "--"], program].concat();
    Proxy::start(words("stdio", &flags))
}

async fn check(way: Way, revision: &str) {
    let Some(tools) = Tools::with(&["node", "mcp2", "go"]) else { return };
    let server = tools.go("everything-server");
    let binary = program("mcpulse-proxy").display().to_string();
    let remote = remote(tools, revision).await;
    let url = remote.url_at(remote.address());
    let behind = serving(&[&server]);
    let proxy = match way {
        Way::Relay => {
            Proxy::start(words("http", &["--remote-url", &url, "--listen", "127.0.0.1:0"]))
        }
        Way::Bridge => serving(&[&server]),
        Way::Back => {
            let inner = words("http", &["--remote-url", &url]);
            serving(&[&[&*binary], &inner[..]].concat())
        }
        Way::BackOnSse => {
            let url = format!("http://{}/sse", behind.address().await);
            let inner = words("sse", &["--remote-url", &url]);
            serving(&[&[&*binary], &inner[..]].concat())
        }
        Way::Crossing => {
            let url = format!("http://{}/sse", behind.address().await);
            Proxy::start(words("sse", &["--remote-url", &url, "--listen", "127.0.0.1:0"]))
        }
    };
    let url = format!("http://{}/mcp", proxy.address().await);
    let through = judge_server(tools, &url, revision).await;
    let direct = direct(tools, revision).await;
    assert!(direct.count("SUCCESS") > 80, "{direct:#?}");
    let (mut through, mut direct) = (through, direct);
    if matches!(way, Way::BackOnSse | Way::Crossing) {
        // POSTs of HTTP+SSE have no order among them, and the server forgets whom it notifies
        // when the withdrawal of an earlier subscription comes after the next one.
        for results in [&mut through, &mut direct] {
            results.0.retain(|check, _| !check.contains("list-changed-on-subscription"));
        }
    }
    let scores = [&direct, &through].map(table::score);
    if !matches!(way, Way::Relay) {
        // A bridge answers in one piece of JSON where a server may well have opened a stream:
        // then these look at no stream, and judge nothing.
        for results in [&mut through, &mut direct] {
            results.0.retain(|check, _| !check.contains("server-sse-"));
        }
    }
    assert_eq!(through, direct, "left: through the proxy; right: direct");
    table::settle(way.title(), revision, scores);
}

macro_rules! judged {
    ($($name:ident: $way:ident, $revision:literal;)*) => {$(
        #[tokio::test]
        async fn $name() {
            check(Way::$way, $revision).await;
        }
    )*};
}

judged! {
    relay_2025_11_25: Relay, "2025-11-25";
    relay_2026_07_28: Relay, "2026-07-28";
    bridge_2025_11_25: Bridge, "2025-11-25";
    bridge_2026_07_28: Bridge, "2026-07-28";
    bridge_and_back_2025_11_25: Back, "2025-11-25";
    bridge_and_back_2026_07_28: Back, "2026-07-28";
    bridge_and_back_on_sse_2025_11_25: BackOnSse, "2025-11-25";
    bridge_and_back_on_sse_2026_07_28: BackOnSse, "2026-07-28";
    crossing_2025_11_25: Crossing, "2025-11-25";
    crossing_2026_07_28: Crossing, "2026-07-28";
}
