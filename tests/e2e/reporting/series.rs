//! A peer chooses what it sends, never how many series that makes.

use crate::faults::{balanced, by, pipe::Pipe};

/// Calls of a tool each, and how many pass at a time.
const CALLS: u64 = 10_000;
const TURN: u64 = 100;
/// The setting's default.
const TOOLS: u64 = 200;

/// Says so many lines on each side, the server's after the client's.
async fn exchange(
    pipe: &mut Pipe,
    count: u64,
    asked: impl Fn(u64) -> String,
    answered: impl Fn(u64) -> String,
) {
    for turn in 0..count / TURN {
        let lines = |line: &dyn Fn(u64) -> String| -> String {
            (turn * TURN..(turn + 1) * TURN).map(|n| line(n) + "\n").collect()
        };
        pipe.client(lines(&asked)).await;
        pipe.server(lines(&answered)).await;
    }
}

fn result(id: u64) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#)
}

#[tokio::test]
async fn ten_thousand_tools_have_two_hundred_series() {
    let mut pipe = Pipe::open().await;
    let call = |n: u64| {
        format!(
            r#"{{"jsonrpc":"2.0","id":{n},"method":"tools/call","params":{{"name":"tool{n}"}}}}"#
        )
    };
    exchange(&mut pipe, CALLS, call, result).await;
    pipe.assert_settled(&[("ok", CALLS)], &[]).await;
    let scrape = balanced(&pipe.proxy).await;
    let tools = by(&scrape, "mcpulse_calls_total", "gen_ai_tool_name");
    assert_eq!(tools.len() as u64, TOOLS + 1);
    assert_eq!(tools["__other__"], CALLS - TOOLS);
    assert_eq!(
        by(&scrape, "mcpulse_labels_folded_total", "label")["gen_ai_tool_name"],
        CALLS - TOOLS
    );
    pipe.close(CALLS).await;
}

#[tokio::test]
async fn methods_versions_and_codes_that_were_made_up_share_a_few_series() {
    const EACH: u64 = 1000;
    let mut pipe = Pipe::open().await;
    let method = |n: u64| format!(r#"{{"jsonrpc":"2.0","id":{n},"method":"made/up{n}"}}"#);
    exchange(&mut pipe, EACH, method, result).await;
    let version = |n: u64| {
        let meta = format!(r#""io.modelcontextprotocol/protocolVersion":"3026-{n}""#);
        format!(r#"{{"jsonrpc":"2.0","id":{n},"method":"ping","params":{{"_meta":{{{meta}}}}}}}"#)
    };
    exchange(&mut pipe, EACH, version, result).await;
    let call = |n: u64| {
        format!(r#"{{"jsonrpc":"2.0","id":{n},"method":"tools/call","params":{{"name":"t"}}}}"#)
    };
    let code = |n: u64| {
        format!(r#"{{"jsonrpc":"2.0","id":{n},"error":{{"code":{},"message":""}}}}"#, 70_000 + n)
    };
    exchange(&mut pipe, EACH, call, code).await;
    pipe.assert_settled(&[("rpc_error", EACH)], &[]).await;

    let scrape = balanced(&pipe.proxy).await;
    let distinct = |label: &str| by(&scrape, "mcp_server_operation_duration_seconds_count", label);
    let methods = ["_OTHER", "ping", "tools/call"].map(|method| (method.to_owned(), EACH));
    assert_eq!(distinct("mcp_method_name"), methods.into(), "none is lost");
    let versions = [("", 2 * EACH), ("_OTHER", EACH)].map(|(version, n)| (version.to_owned(), n));
    assert_eq!(distinct("mcp_protocol_version"), versions.into());
    // Some codes beyond the known ones get a series of their own.
    let codes = distinct("error_type");
    assert!(codes.contains_key("_OTHER") && codes.len() < 50, "{codes:?}");
    pipe.close(EACH).await;
}
