//! A request is sent again only when nothing of it can have been read.

use super::{Scene, Wire, body};
use crate::faults::{call, result};

/// Rounds in which a connection must once close at the very moment that it is used.
const ROUNDS: usize = 2000;

fn post(id: &str) -> String {
    let call = call(id);
    format!(
        "POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{call}",
        call.len()
    )
}

/// An answer after which the connection is kept.
fn kept(id: &str) -> String {
    let result = result(id);
    let length = result.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{result}"
    )
}

/// Has one call made, and returns the connection that the proxy will use next.
async fn warm(scene: &mut Scene, client: &mut Wire, id: &str) -> Wire {
    client.say(post(id)).await;
    let mut server = scene.server.accept().await;
    server.message().await;
    server.say(kept(id)).await;
    client.hear_to(&result(id)).await;
    server
}

#[tokio::test]
async fn a_connection_that_closes_as_it_is_used_costs_no_call() {
    let mut scene = Scene::set(&[]).await;
    let mut client = scene.client().await;
    let (mut ok, mut transport, mut resent) = (0, 0, 0.0);
    for round in 0..ROUNDS {
        let server = warm(&mut scene, &mut client, "1").await;
        ok += 1;
        // Both at once: the proxy learns of either first.
        if round % 2 == 0 {
            drop(server);
            client.say(post("2")).await;
        } else {
            client.say(post("2")).await;
            drop(server);
        }
        tokio::select! {
            mut again = scene.server.accept() => {
                again.message().await;
                again.say(kept("2")).await;
                let answer = client.message().await;
                assert_eq!(body(&answer), result("2").as_bytes());
                ok += 1;
            }
            // It was written, and nobody can tell whether it was read.
            answer = client.message() => {
                assert!(answer.starts_with(b"HTTP/1.1 502"), "{}", answer.escape_ascii());
                transport += 1;
            }
        }
        assert!(!scene.server.is_asked(), "it was asked twice");
        resent = scene.front.proxy.scrape().await.sum("mcpulse_http_resent_total", &[]);
        if resent > 0.0 {
            break;
        }
    }
    assert!(resent > 0.0, "{transport} of {ok} failed, and none was resent");
    let calls = [("ok", ok), ("transport", transport)];
    scene.front.assert_settled(&calls[..if transport == 0 { 1 } else { 2 }], &[]).await;
}

#[tokio::test]
async fn a_request_that_was_read_on_a_kept_connection_is_not_sent_again() {
    let mut scene = Scene::set(&[]).await;
    let mut client = scene.client().await;
    let mut server = warm(&mut scene, &mut client, "1").await;
    client.say(post("\"two\"")).await;
    server.bytes(1).await;
    drop(server);
    let answer = String::from_utf8(client.message().await).expect("text");
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    assert!(answer.contains(r#""id":"two""#), "{answer}");
    assert!(!scene.server.is_asked(), "it was asked again");
    let scrape = scene.front.proxy.scrape().await;
    assert!(scrape.sum("mcpulse_http_resent_total", &[]).abs() < 0.5);
    scene.front.assert_settled(&[("ok", 1), ("transport", 1)], &[]).await;
}
