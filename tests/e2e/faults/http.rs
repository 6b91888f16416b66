//! Servers and clients that get HTTP wrong, and servers that are not there.

use super::{
    call, result,
    upstream::{Front, Upstream, answer},
};

/// One call to a server that says so: the answer must have this status and contain this text,
/// and the call ends with this outcome.
async fn one(
    piece: impl Into<Vec<u8>>,
    status: u16,
    text: &str,
    outcome: &str,
    oddities: &[(&str, u64)],
) {
    let upstream = Upstream::saying(piece).await;
    let front = Front::of(upstream.address(), &[]).await;
    let answer = front.call("1").await;
    assert_eq!(answer.status, status, "{answer:?}");
    assert!(answer.body.contains(text), "{answer:?} without {text}");
    front.assert_settled(&[(outcome, 1)], oddities).await;
}

#[tokio::test]
async fn a_content_type_that_says_nothing_hides_the_outcome() {
    let json = result("1");
    for kind in ["text/plain", "application/octet-stream", "nonsense"] {
        let odd = [("unreadable_body", 1)];
        one(answer(kind, &json), 200, &json, "unobserved", &odd).await;
    }
}

#[tokio::test]
async fn a_content_type_that_lies_hides_the_outcome() {
    // An event stream without events, and events that are not JSON.
    one(answer("text/event-stream", &result("1")), 200, &result("1"), "transport", &[]).await;
    let events = format!("event: message\ndata: {}\n\n", result("1"));
    let odd = [("unparsed", 1)];
    one(answer("application/json", &events), 200, &events, "other", &odd).await;
}

#[tokio::test]
async fn requests_of_any_content_type_go_upstream() {
    let refusal = "HTTP/1.1 415 Unsupported Media Type\r\nconnection: close\r\n\
                   content-length: 2\r\n\r\nno";
    let upstream = Upstream::saying(refusal).await;
    let front = Front::of(upstream.address(), &[]).await;
    for (headers, body) in [
        ("content-type: text/plain\r\n", "not json"),
        ("content-type: application/json; charset=utf-16\r\n", "{\"jsonrpc\":"),
        ("", "\u{0}\u{1}"),
        ("content-type: application/xml\r\n", &call("1")),
    ] {
        let answer = front.post(headers, body).await;
        assert_eq!((answer.status, &*answer.body), (415, "no"), "{answer:?}");
    }
    front.assert_settled(&[("http_error", 1)], &[("unparsed", 3)]).await;
}

#[tokio::test]
async fn two_answers_to_one_call() {
    let (first, second) = (result("1"), result("1"));
    let batch = format!("[{first},{second}]");
    let odd = [("unmatched_answer", 1)];
    one(answer("application/json", &batch), 200, &batch, "ok", &odd).await;
    let events = format!("data: {first}\n\ndata: {second}\n\n");
    one(answer("text/event-stream", &events), 200, &events, "ok", &odd).await;
}

#[tokio::test]
async fn an_answer_to_another_call() {
    let json = result("2");
    one(answer("application/json", &json), 200, &json, "other", &[("unmatched_answer", 1)]).await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let begun = r#"{"jsonrpc":"2.0","id":1,"#;
    for piece in [
        format!("{head}content-length: 1000\r\n\r\n{begun}"),
        format!("{head}transfer-encoding: chunked\r\n\r\n18\r\n{begun}\r\n"),
        format!("{head}transfer-encoding: chunked\r\n\r\n18\r\n{begun}\r\nnonsense\r\n"),
    ] {
        let upstream = Upstream::saying(piece).await;
        let front = Front::of(upstream.address(), &[]).await;
        let answer = front.call("1").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.body.contains(begun), "{answer:?}");
        // The client can tell that this was not all.
        assert!(!answer.body.ends_with("0\r\n\r\n"), "{answer:?}");
        front.assert_settled(&[("transport", 1)], &[("unparsed", 1)]).await;
        let kind = ("kind", "truncated");
        assert_eq!(front.counted("mcpulse_http_upstream_failures_total", kind).await, 1);
    }
}

#[tokio::test]
async fn what_is_no_http_becomes_a_502_under_the_id_of_the_call() {
    for piece in ["", "SSH-2.0-OpenSSH_10.0\r\n", "HTTP/1.1 20\r\n\r\n", "\0\0\0\0"] {
        one(piece, 502, r#""id":1"#, "transport", &[]).await;
    }
}

#[tokio::test]
async fn a_head_without_end_from_the_server_is_cut() {
    let piece = format!("HTTP/1.1 200 OK\r\nx: {}", "x".repeat(10 << 20));
    one(piece, 502, r#""id":1"#, "transport", &[]).await;
}

#[tokio::test]
async fn a_server_that_never_answers_times_out() {
    let upstream = Upstream::silent().await;
    let front = Front::of(upstream.address(), &["--response-timeout", "100ms"]).await;
    let answer = front.call("\"a\"").await;
    assert_eq!(answer.status, 504, "{answer:?}");
    assert!(answer.body.contains(r#""id":"a""#), "{answer:?}");
    front.assert_settled(&[("timeout", 1)], &[]).await;
}

#[tokio::test]
async fn a_server_that_comes_late_is_found() {
    let absent = Upstream::silent().await;
    let address = absent.address();
    drop(absent);
    let front = Front::of(address, &[]).await;
    let refused = mcpulse_tests::eventually("nobody listens", super::PATIENCE, async || {
        Some(front.call("1").await).filter(|answer| answer.status == 503)
    });
    let refused = refused.await;
    assert!(refused.body.contains(r#""id":1"#) && refused.body.contains("-32603"), "{refused:?}");
    front.proxy.wait_until_ready(false).await;
    let late = Upstream::at(address, Some(answer("application/json", &result("1")).into())).await;
    assert_eq!(front.call("1").await.status, 200);
    // From now on it is down, and not still on its way up.
    drop(late);
    let gone = mcpulse_tests::eventually("it is gone", super::PATIENCE, async || {
        Some(front.call("1").await.status).filter(|status| *status == 502)
    });
    gone.await;
    front.assert_settled(&[("transport", 2), ("ok", 1)], &[]).await;
}

#[tokio::test]
async fn a_head_over_the_limit_is_refused_and_counted() {
    let upstream = Upstream::saying(answer("application/json", &result("1"))).await;
    let front = Front::of(upstream.address(), &[]).await;
    let large = format!("x-large: {}\r\n", "x".repeat(70_000));
    assert_eq!(front.post(&large, &call("1")).await.status, 431);
    let fits = format!("content-type: application/json\r\nx-large: {}\r\n", "x".repeat(60_000));
    assert_eq!(front.post(&fits, &call("1")).await.status, 200);
    front.assert_settled(&[("ok", 1)], &[]).await;
    let head = ("reason", "head_too_large");
    assert_eq!(front.counted("mcpulse_http_refused_total", head).await, 1);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_and_counted() {
    let upstream = Upstream::saying(answer("application/json", &result("1"))).await;
    let front = Front::of(upstream.address(), &["--max-body", "1KiB"]).await;
    let body = call(&format!("\"{}\"", "x".repeat(2000)));
    assert_eq!(front.post("", &body).await.status, 413);
    let chunked = format!(
        "POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\
         transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    let answer = front.raw(chunked.as_bytes()).await;
    assert_eq!(answer.status, 413, "{answer:?}");
    assert_eq!(front.call("1").await.status, 200);
    front.assert_settled(&[("ok", 1)], &[]).await;
    assert_eq!(front.counted("mcpulse_http_refused_total", ("reason", "body_too_large")).await, 2);
}

#[tokio::test]
async fn requests_that_are_no_http_reach_nobody() {
    let upstream = Upstream::saying(answer("application/json", &result("1"))).await;
    let front = Front::of(upstream.address(), &[]).await;
    for request in ["garbage\r\n\r\n", "POST /mcp HTTP/9.9\r\n\r\n", "\0\0\0\0\r\n\r\n"] {
        let answer = front.raw(request.as_bytes()).await;
        assert!(matches!(answer.status, 0 | 400), "{answer:?}");
    }
    // Two lengths, by which a request could be smuggled.
    let two = format!(
        "POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 4\r\n\
         content-length: {}\r\n\r\n{}",
        call("1").len(),
        call("1")
    );
    let answer = front.raw(two.as_bytes()).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(front.call("1").await.status, 200);
    front.assert_settled(&[("ok", 1)], &[]).await;
    let malformed = ("reason", "malformed");
    assert_eq!(front.counted("mcpulse_http_refused_total", malformed).await, 4);
}
