//! Real clients and real servers, unchanged, through the proxy; `make matrix` has all pairs.

use mcpulse_tests::{
    Client, Server,
    client::Call,
    pair::{Pair, Way},
    remote::Kind,
};
use serde_json::json;

/// A call that the client gives up, and one after it.
async fn check_cancelling(client: Client) {
    Pair::check_calls(client, Server::Rmcp, |_| {
        let slow = Call::cancelled("slow", json!({ "milliseconds": 60_000 }));
        vec![slow, Call::new("echo", json!({ "message": "still there" }))]
    })
    .await;
}

#[tokio::test]
async fn sdk1_cancels() {
    check_cancelling(Client::Sdk1).await;
}

#[tokio::test]
async fn client2_cancels() {
    check_cancelling(Client::Client2).await;
}

#[tokio::test]
async fn rmcp_cancels() {
    check_cancelling(Client::Rmcp).await;
}

macro_rules! pairs {
    ($module:ident: $way:ident, $kind:ident: $($name:ident: $client:ident, $server:ident;)*) => {
        mod $module {
            use super::*;
            $(
                #[tokio::test]
                async fn $name() {
                    Pair { client: Client::$client, way: Way::$way($kind::$server) }.check().await;
                }
            )*
        }
    };
}

// Every client and every server three times or more.
pairs! { stdio: Stdio, Server:
    mcp1_and_everything: Mcp1, Everything;
    mcp1_and_memory: Mcp1, Memory;
    mcp1_and_git: Mcp1, Git;
    mcp1_and_go_conformance: Mcp1, GoConformance;
    mcp2_and_filesystem: Mcp2, Filesystem;
    mcp2_and_time: Mcp2, Time;
    mcp2_and_mcp2: Mcp2, Mcp2;
    mcp2_and_go_everything: Mcp2, GoEverything;
    mcp2_and_rmcp: Mcp2, Rmcp;
    sdk1_and_everything: Sdk1, Everything;
    sdk1_and_filesystem: Sdk1, Filesystem;
    sdk1_and_time: Sdk1, Time;
    sdk1_and_go_conformance: Sdk1, GoConformance;
    client2_and_memory: Client2, Memory;
    client2_and_git: Client2, Git;
    client2_and_mcp2: Client2, Mcp2;
    client2_and_go_everything: Client2, GoEverything;
    client2_and_rmcp: Client2, Rmcp;
    rmcp_and_everything: Rmcp, Everything;
    rmcp_and_filesystem: Rmcp, Filesystem;
    rmcp_and_memory: Rmcp, Memory;
    rmcp_and_time: Rmcp, Time;
    rmcp_and_git: Rmcp, Git;
    rmcp_and_mcp2: Rmcp, Mcp2;
    rmcp_and_go_conformance: Rmcp, GoConformance;
    rmcp_and_go_everything: Rmcp, GoEverything;
    rmcp_and_rmcp: Rmcp, Rmcp;
}

pairs! { http: Http, Kind:
    mcp1_and_everything: Mcp1, Everything;
    mcp1_and_mcp2: Mcp1, Mcp2;
    mcp1_and_everything_sse: Mcp1, EverythingSse;
    mcp2_and_mcp2: Mcp2, Mcp2;
    mcp2_and_go_stateless: Mcp2, GoStateless;
    mcp2_and_mcp2_sse: Mcp2, Mcp2Sse;
    sdk1_and_everything: Sdk1, Everything;
    sdk1_and_go_conformance: Sdk1, GoConformance;
    sdk1_and_everything_sse: Sdk1, EverythingSse;
    client2_and_mcp2: Client2, Mcp2;
    client2_and_go_everything: Client2, GoEverything;
    client2_and_mcp2_sse: Client2, Mcp2Sse;
    rmcp_and_everything: Rmcp, Everything;
    rmcp_and_mcp2: Rmcp, Mcp2;
    rmcp_and_go_conformance: Rmcp, GoConformance;
    rmcp_and_go_everything: Rmcp, GoEverything;
}

pairs! { http_to_stdio: HttpToStdio, Server:
    mcp1_and_everything: Mcp1, Everything;
    mcp1_and_go_everything: Mcp1, GoEverything;
    mcp2_and_memory: Mcp2, Memory;
    sdk1_and_go_conformance: Sdk1, GoConformance;
    sdk1_and_filesystem: Sdk1, Filesystem;
    client2_and_everything: Client2, Everything;
    rmcp_and_go_everything: Rmcp, GoEverything;
    rmcp_and_rmcp: Rmcp, Rmcp;
    mcp2_and_time: Mcp2, Time;
    mcp2_and_mcp2: Mcp2, Mcp2;
    mcp2_and_go_conformance: Mcp2, GoConformance;
}

pairs! { sse_to_stdio: SseToStdio, Server:
    mcp1_and_everything: Mcp1, Everything;
    mcp2_and_time: Mcp2, Time;
    sdk1_and_go_conformance: Sdk1, GoConformance;
    client2_and_mcp2: Client2, Mcp2;
}

pairs! { stdio_to_http: StdioToHttp, Kind:
    mcp1_and_everything: Mcp1, Everything;
    mcp1_and_go_conformance: Mcp1, GoConformance;
    mcp1_and_everything_sse: Mcp1, EverythingSse;
    mcp1_and_mcp2_sse: Mcp1, Mcp2Sse;
    mcp2_and_mcp2: Mcp2, Mcp2;
    mcp2_and_mcp2_sse: Mcp2, Mcp2Sse;
    sdk1_and_everything_sse: Sdk1, EverythingSse;
    client2_and_everything_sse: Client2, EverythingSse;
    client2_and_mcp2_sse: Client2, Mcp2Sse;
    mcp2_and_go_stateless: Mcp2, GoStateless;
    sdk1_and_everything: Sdk1, Everything;
    client2_and_mcp2: Client2, Mcp2;
    client2_and_go_everything: Client2, GoEverything;
    rmcp_and_mcp2: Rmcp, Mcp2;
    rmcp_and_go_everything: Rmcp, GoEverything;
}

pairs! { stdio_to_sse_unsaid: StdioToSseUnsaid, Kind:
    mcp1_and_everything_sse: Mcp1, EverythingSse;
    mcp2_and_mcp2_sse: Mcp2, Mcp2Sse;
    client2_and_everything_sse: Client2, EverythingSse;
    sdk1_and_mcp2_sse: Sdk1, Mcp2Sse;
}

pairs! { crossing: Crossing, Kind:
    sdk1_over_http_and_everything_sse: Sdk1, EverythingSse;
    mcp1_over_http_and_everything_sse: Mcp1, EverythingSse;
    mcp2_over_http_and_mcp2_sse: Mcp2, Mcp2Sse;
    client2_over_http_and_mcp2_sse: Client2, Mcp2Sse;
    sdk1_over_sse_and_everything: Sdk1, Everything;
    mcp1_over_sse_and_go_conformance: Mcp1, GoConformance;
    mcp2_over_sse_and_mcp2: Mcp2, Mcp2;
    client2_over_sse_and_go_everything: Client2, GoEverything;
}
