//! Messages that are well-formed and still wrong: strange ids, and servers that answer twice,
//! never, or to an id that nobody sent.

use super::{call, pipe::Pipe, result};

#[tokio::test]
async fn ids_of_every_type_find_their_answers() {
    let long = format!("\"{}\"", "x".repeat(3000));
    let ids = [
        "1",
        "\"1\"",
        "\"\"",
        "true",
        "false",
        "1.5",
        "-7",
        "1e400",
        "123456789012345678901234567890",
        "123456789012345678901234567891",
        "9007199254740993",
        "9007199254740992",
        "{\"a\":[1,{}]}",
        "[1]",
        "\"\\u0000\\ud800\"",
        &long,
    ];
    let mut pipe = Pipe::open().await;
    for id in ids {
        pipe.client(call(id) + "\n").await;
    }
    for id in ids.iter().rev() {
        pipe.server(result(id) + "\n").await;
    }
    pipe.assert_settled(&[("ok", ids.len() as u64)], &[]).await;
    let calls = pipe.ends.mcpulse.metrics();
    assert!(calls.iter().all(|call| call.tool_name == "probe"), "{calls:?}");
    pipe.close(ids.len() as u64).await;
}

#[tokio::test]
async fn a_null_id_is_answered_with_null_and_otherwise_names_nothing() {
    let mut pipe = Pipe::open().await;
    pipe.client(call("null") + "\n").await;
    pipe.server(result("null") + "\n").await;
    // Neither answers anything now.
    pipe.server(result("null") + "\n").await;
    pipe.server("{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32700}}\n").await;
    pipe.call("1").await;
    pipe.assert_settled(&[("ok", 2)], &[("unmatched_answer", 2)]).await;
    pipe.close(2).await;
}

#[tokio::test]
async fn a_second_answer_is_counted_and_changes_nothing() {
    let mut pipe = Pipe::open().await;
    pipe.call("1").await;
    pipe.server(result("1") + "\n").await;
    pipe.server("{\"id\":1,\"error\":{\"code\":-32603,\"message\":\"again\"}}\n").await;
    pipe.assert_settled(&[("ok", 1)], &[("unmatched_answer", 2)]).await;
    pipe.close(1).await;
}

#[tokio::test]
async fn an_answer_to_nobody_is_counted() {
    let mut pipe = Pipe::open().await;
    pipe.server(result("99") + "\n").await;
    pipe.client(call("1") + "\n").await;
    // The same to the eye.
    pipe.server(result("\"1\"") + "\n").await;
    pipe.client(result("1") + "\n").await;
    pipe.server(result("1") + "\n").await;
    pipe.assert_settled(&[("ok", 1)], &[("unmatched_answer", 3)]).await;
    pipe.close(1).await;
}

#[tokio::test]
async fn a_call_that_is_never_answered_is_seen_while_it_hangs() {
    let mut pipe = Pipe::open().await;
    pipe.client(call("1") + "\n").await;
    pipe.call("2").await;
    pipe.assert_settled(&[("ok", 1)], &[]).await;
    let hangs = async || {
        let scrape = super::balanced(&pipe.proxy).await;
        let age = scrape.sum("mcpulse_oldest_call_seconds", &[]);
        let calls = scrape.sum("mcpulse_calls_in_flight", &[]);
        (age > 0.0 && (calls - 1.0).abs() < 0.5).then_some(())
    };
    mcpulse_tests::eventually("one call is in flight", super::PATIENCE, hangs).await;
    pipe.close(2).await;
}

#[tokio::test]
async fn a_call_that_is_never_answered_times_out() {
    let mut pipe = Pipe::with(super::Ends::start().await, &["--pending-timeout", "50ms"]).await;
    pipe.client(call("1") + "\n").await;
    pipe.assert_settled(&[("timeout", 1)], &[("expired", 1)]).await;
    pipe.server(result("1") + "\n").await;
    pipe.assert_settled(&[("timeout", 1)], &[("expired", 1), ("unmatched_answer", 1)]).await;
    pipe.close(1).await;
}

#[tokio::test]
async fn calls_that_share_an_id_are_answered_in_the_order_of_asking() {
    let mut pipe = Pipe::open().await;
    pipe.client(call("1") + "\n" + &call("1") + "\n").await;
    pipe.server((result("1") + "\n").repeat(3)).await;
    pipe.call("1").await;
    pipe.assert_settled(&[("ok", 3)], &[("duplicate_id", 1), ("unmatched_answer", 1)]).await;
    pipe.close(3).await;
}

#[tokio::test]
async fn more_calls_than_are_remembered_push_the_oldest_out() {
    let mut pipe = Pipe::with(super::Ends::start().await, &["--pending-limit", "10"]).await;
    let calls: String = (0..25).map(|id| call(&id.to_string()) + "\n").collect();
    pipe.client(calls).await;
    let answers: String = (0..25).map(|id| result(&id.to_string()) + "\n").collect();
    pipe.server(answers).await;
    let oddities = [("evicted", 15), ("unmatched_answer", 15)];
    pipe.assert_settled(&[("ok", 10), ("unobserved", 15)], &oddities).await;
    pipe.close(25).await;
}
