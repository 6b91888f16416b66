//! What the server is told is what the client said, and the reverse, odd as it may be.

use super::{Scene, body, lines};
use crate::faults::{call, result, upstream::answer};

/// A whole request with this line, these headers, each with its line end, and this body.
fn request(line: &str, headers: &[u8], body: &[u8]) -> Vec<u8> {
    let head = format!("{line} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n");
    [head.as_bytes(), headers, b"\r\n", body].concat()
}

/// A request that calls a tool, and its answer.
fn a_call() -> (Vec<u8>, Vec<u8>) {
    let call = call("1");
    let headers = format!("content-type: application/json\r\ncontent-length: {}\r\n", call.len());
    let request = request("POST /mcp", headers.as_bytes(), call.as_bytes());
    (request, answer("application/json", &result("1")).into_bytes())
}

/// Ends a scene: one call is reported, and nothing else was.
async fn settle(mut scene: Scene) {
    let (request, answer) = a_call();
    let (_, heard) = scene.pass(&request, &answer).await;
    assert_eq!(body(&heard), result("1").as_bytes());
    scene.front.assert_settled(&[("ok", 1)], &[]).await;
}

const NOTHING: &[u8] = b"HTTP/1.1 202 Accepted\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn targets_and_methods_are_not_touched() {
    let mut scene = Scene::set(&[]).await;
    for line in [
        "GET /mcp//a/./b/../c",
        "GET /mcp/%2e%2E/%2F%zz/%e2%82%ac",
        "GET /mcp?",
        "GET /mcp?a=1&a=2&&=%20+~!$'()*,;:@/?[]|",
        "GET /",
        "GET //host/path",
        "DELETE /mcp",
        "PUT /mcp",
        "PATCH /other",
        "OPTIONS /mcp",
        "PROPFIND /mcp",
        "X-!#$%&'*+.^_`|~ /mcp",
    ] {
        let (heard, _) = scene.pass(&request(line, b"", b""), NOTHING).await;
        assert_eq!(lines(&heard), [format!("{line} HTTP/1.1").into_bytes()]);
    }
    settle(scene).await;
}

#[tokio::test]
async fn headers_of_requests_are_not_touched() {
    let mut scene = Scene::set(&[]).await;
    let large = format!("x-large: {}", "v".repeat(50_000));
    let given: &[&[u8]] = &[
        b"cookie: a=1; b=\"2\"",
        b"cookie: c",
        b"mcp-param-x: =?base64?w6k=?=",
        b"x-bytes: \xe9\xff\x80 \t mid",
        b"x-double: 1",
        b"x-double: 2",
        b"x-double: 1",
        b"x-empty:",
        b"last-event-id: 7_\xc3\xa9",
        large.as_bytes(),
    ];
    let headers = given.iter().flat_map(|line| [line, &b"\r\n"[..]].concat()).collect::<Vec<_>>();
    let (heard, _) = scene.pass(&request("GET /mcp", &headers, b""), NOTHING).await;
    let mut expected: Vec<_> = given.iter().map(|line| line.to_vec()).collect();
    expected.sort();
    expected.insert(0, b"GET /mcp HTTP/1.1".to_vec());
    assert_eq!(lines(&heard), expected);
    settle(scene).await;
}

#[tokio::test]
async fn bodies_of_requests_keep_their_framing() {
    let mut scene = Scene::set(&[]).await;
    // The bytes, and that they came by length.
    let (heard, _) =
        scene.pass(&request("POST /x", b"content-length: 4\r\n", b"\0\xff\r\n"), NOTHING).await;
    assert!(lines(&heard).contains(&b"content-length: 4".to_vec()), "{}", heard.escape_ascii());
    assert_eq!(body(&heard), b"\0\xff\r\n");
    // None at all, in three ways of saying so.
    let (heard, _) = scene.pass(&request("POST /x", b"content-length: 0\r\n", b""), NOTHING).await;
    assert_eq!(lines(&heard), [&b"POST /x HTTP/1.1"[..], b"content-length: 0"]);
    let (heard, _) = scene.pass(&request("DELETE /x", b"", b""), NOTHING).await;
    assert_eq!(lines(&heard), [&b"DELETE /x HTTP/1.1"[..]]);
    let chunked = b"transfer-encoding: chunked\r\n";
    let (heard, _) = scene.pass(&request("POST /x", chunked, b"0\r\n\r\n"), NOTHING).await;
    assert_eq!(body(&heard), b"0\r\n\r\n");
    // Chunks.
    let chunks = b"1\r\na\r\n3;ext=1\r\nbcd\r\n0\r\n\r\n";
    let (heard, _) = scene.pass(&request("POST /x", chunked, chunks), NOTHING).await;
    assert!(lines(&heard).contains(&b"transfer-encoding: chunked".to_vec()));
    assert_eq!(unchunked(body(&heard)), b"abcd");
    settle(scene).await;
}

#[tokio::test]
async fn a_client_that_waits_for_100_is_told_to_go_on() {
    let mut scene = Scene::set(&[]).await;
    let (request, answer) = a_call();
    let length = request.len() - call("1").len();
    let mut client = scene.client().await;
    let head = String::from_utf8_lossy(&request[..length - 2]).into_owned();
    client.say(format!("{head}expect: 100-continue\r\n\r\n")).await;
    assert_eq!(client.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.say(call("1")).await;
    let mut server = scene.server.accept().await;
    let heard = server.message().await;
    assert!(lines(&heard).contains(&b"expect: 100-continue".to_vec()));
    server.say(b"HTTP/1.1 100 Continue\r\n\r\n").await;
    server.say(answer).await;
    let (heard, _) = client.rest().await;
    assert_eq!(body(&heard), result("1").as_bytes());
    scene.front.assert_settled(&[("ok", 1)], &[]).await;
}

#[tokio::test]
async fn heads_of_answers_are_not_touched() {
    let mut scene = Scene::set(&[]).await;
    let get = request("GET /mcp", b"", b"");
    for given in [
        &b"HTTP/1.1 200 Fine With Me\r\ncontent-length: 0\r\n\r\n"[..],
        b"HTTP/1.1 404 Nicht gefunden\r\ncontent-length: 2\r\n\r\nno",
        b"HTTP/1.1 418 I'm a teapot\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 299 Odd\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 599 \r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nx-bytes: \xe9\xff\r\n\r\n",
        b"HTTP/1.1 205 Reset Content\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\ncontent-length: 1234\r\netag: \"x\"\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\netag: \"x\"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ndate: yesterday\r\n\r\n\0\xff\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nset-cookie: a=1\r\nset-cookie: b=2\r\nx:\r\n\r\n",
        b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nwww-authenticate: Basic, X y\r\n\r\n",
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nretry-after: 7\r\n\r\n",
    ] {
        let (_, heard) = scene.pass(&get, given).await;
        assert_eq!(lines(&heard), lines(given), "{}", heard.escape_ascii());
        assert_eq!(body(&heard), body(given), "{}", heard.escape_ascii());
    }
    let head = request("HEAD /mcp", b"", b"");
    for given in
        [&b"HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n"[..], b"HTTP/1.1 200 OK\r\n\r\n"]
    {
        let (_, heard) = scene.pass(&head, given).await;
        assert_eq!(lines(&heard), lines(given), "{}", heard.escape_ascii());
        assert_eq!(body(&heard), b"");
    }
    settle(scene).await;
}

#[tokio::test]
async fn bodies_of_answers_arrive_however_they_end() {
    let mut scene = Scene::set(&[]).await;
    let get = request("GET /mcp", b"", b"");
    let (_, heard) = scene.pass(&get, b"HTTP/1.0 200 OK\r\n\r\nuntil the end").await;
    assert!(heard.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", heard.escape_ascii());
    assert_eq!(unchunked(body(&heard)), b"until the end");
    let chunked =
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
    let (_, heard) = scene.pass(&get, chunked).await;
    assert_eq!(unchunked(body(&heard)), b"abc");
    let (_, heard) = scene.pass(&get, b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc").await;
    assert_eq!(body(&heard), b"abc");
    settle(scene).await;
}

#[tokio::test]
async fn browsers_ask_the_server_and_not_the_proxy() {
    let mut scene = Scene::set(&["--allowed-origin", "https://app.example"]).await;
    let headers = b"access-control-request-headers: mcp-session-id\r\n\
        access-control-request-method: POST\r\norigin: https://app.example\r\n";
    let given = b"HTTP/1.1 204 No Content\r\naccess-control-allow-headers: *\r\n\
        access-control-allow-origin: https://app.example\r\n\r\n";
    let (heard, answered) = scene.pass(&request("OPTIONS /mcp", headers, b""), given).await;
    let expected = request("OPTIONS /mcp", headers, b"");
    assert_eq!(lines(&heard), lines(&expected));
    assert_eq!(lines(&answered), lines(given));
    settle(scene).await;
}

#[tokio::test]
async fn compressed_answers_pass_when_the_client_may_have_them() {
    let mut scene = Scene::set(&["--accept-encoding", "preserve"]).await;
    let (asked, _) = a_call();
    let asked = String::from_utf8(asked).expect("text");
    let asked = asked.replacen("\r\n\r\n", "\r\naccept-encoding: gzip, br;q=0.5\r\n\r\n", 1);
    let packed = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xab\x06\0\x43\xbf\xa6\xa3\x02\0\0\0";
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\n\
         content-length: {}\r\n\r\n",
        packed.len()
    );
    let given = [head.as_bytes(), packed].concat();
    let (heard, answered) = scene.pass(asked.as_bytes(), &given).await;
    let heard = String::from_utf8_lossy(&heard).into_owned();
    assert!(heard.contains("\r\naccept-encoding: gzip, br;q=0.5\r\n"), "{heard}");
    assert_eq!(lines(&answered), lines(&given));
    assert_eq!(body(&answered), packed);
    scene.front.assert_settled(&[("unobserved", 1)], &[("unreadable_body", 1)]).await;
}

/// The bytes in chunks.
fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let line = body.windows(2).position(|it| it == b"\r\n").expect("a chunk's size");
        let size = str::from_utf8(&body[..line]).expect("a number");
        let size = size.split(';').next().expect("a number");
        let size = usize::from_str_radix(size, 16).expect("a number");
        if size == 0 {
            return bytes;
        }
        bytes.extend_from_slice(&body[line + 2..line + 2 + size]);
        body = &body[line + 2 + size + 2..];
    }
}
