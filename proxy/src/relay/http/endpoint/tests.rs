use super::*;

fn rewriter(upstream: &str, asked: &'static str) -> EndpointRewriter {
    let rewrite = Rewrite::new("/sse", &upstream.parse().unwrap(), None).unwrap();
    EndpointRewriter::new(Arc::new(rewrite), PathAndQuery::from_static(asked))
}

/// Passes `stream` in pieces that end at `cuts`; returns the bytes and the announced path.
fn pass(upstream: &str, stream: &[u8], cuts: &[usize]) -> (Vec<u8>, Option<String>) {
    let mut rewriter = rewriter(upstream, "/sse");
    let mut out = Vec::new();
    let mut start = 0;
    for &cut in cuts.iter().chain([&stream.len()]) {
        let cut = cut.clamp(start, stream.len());
        out.extend_from_slice(&rewriter.push(Bytes::copy_from_slice(&stream[start..cut])));
        start = cut;
    }
    let announced = rewriter.announced().map(str::to_owned);
    out.extend_from_slice(&rewriter.finish());
    (out, announced)
}

const ROOT: &str = "http://mcp.test/sse";

#[test]
fn an_absolute_url_of_the_server_becomes_a_path() {
    let stream = b"event: endpoint\r\ndata: http://mcp.test/messages/?session_id=1\r\n\r\nrest";
    let (out, announced) = pass(ROOT, stream, &[]);
    assert_eq!(out, b"event: endpoint\r\ndata: /messages/?session_id=1\r\n\r\nrest");
    assert_eq!(announced.as_deref(), Some("/messages/"));
}

#[test]
fn what_leads_to_the_right_place_is_left_alone() {
    for url in ["/message?sessionId=1", "message?sessionId=1", "./message"] {
        let stream = format!("event: endpoint\ndata: {url}\n\n");
        let (out, announced) = pass(ROOT, stream.as_bytes(), &[]);
        assert_eq!(String::from_utf8(out).unwrap(), stream);
        assert_eq!(announced.as_deref(), Some("/message"));
    }
}
