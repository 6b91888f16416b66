//! Trailers, both ways.

use super::{Scene, body};
use crate::faults::{call, result};

#[tokio::test]
async fn trailers_of_a_request_and_of_its_answer_arrive() {
    let mut scene = Scene::set(&[]).await;
    let call = call("1");
    let request = format!(
        "POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close, te\r\nte: trailers\r\n\
         trailer: x-sum\r\ntransfer-encoding: chunked\r\ncontent-type: application/json\r\n\r\n\
         {:x}\r\n{call}\r\n0\r\nx-sum: 12\r\n\r\n",
        call.len()
    );
    let result = result("1");
    let answer = format!(
        "HTTP/1.1 200 OK\r\nconnection: close\r\ntrailer: x-took\r\ncontent-type: application/json\r\n\
         transfer-encoding: chunked\r\n\r\n{:x}\r\n{result}\r\n0\r\nx-took: 3\r\n\r\n",
        result.len()
    );
    let mut client = scene.client().await;
    client.say(request).await;
    let mut server = scene.server.accept().await;
    let head = server.head().await;
    assert!(head.contains("\r\nte: trailers\r\n"), "{head}");
    assert!(head.contains("\r\ntrailer: x-sum\r\n"), "{head}");
    server.hear_to("0\r\nx-sum: 12\r\n\r\n").await;
    server.say(answer).await;
    let (heard, _) = client.rest().await;
    let text = String::from_utf8_lossy(body(&heard)).into_owned();
    assert!(text.ends_with("0\r\nx-took: 3\r\n\r\n"), "{text}");
    scene.front.assert_settled(&[("ok", 1)], &[]).await;
}
