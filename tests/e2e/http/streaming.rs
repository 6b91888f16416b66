//! Streams in the smallest pieces, and peers that leave, or do not read.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use super::{Scene, Wire, post};
use crate::faults::{assert_modest, call, result, upstream::answer};

const EVENTS: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// A call that has reached the server: the client's end, and the server's.
async fn ask(scene: &mut Scene) -> (Wire, Wire) {
    let mut client = scene.client().await;
    client.say(post(&call("1"))).await;
    let mut server = scene.server.accept().await;
    server.message().await;
    (client, server)
}

#[tokio::test]
async fn every_byte_of_a_stream_leaves_at_once() {
    let mut scene = Scene::set(&[]).await;
    let (mut client, mut server) = ask(&mut scene).await;
    server.say(EVENTS).await;
    client.head().await;
    let events = format!(": hi\r\nid: 1\rretry: 5\n\u{fe0f}\n\ndata:{}\r\n\r\n", result("1"));
    for byte in events.as_bytes() {
        server.say([&b"1\r\n"[..], &[*byte], b"\r\n"].concat()).await;
        assert_eq!(client.bytes(6).await, [&b"1\r\n"[..], &[*byte], b"\r\n"].concat());
    }
    server.say("0\r\n\r\n").await;
    assert_eq!(client.bytes(5).await, b"0\r\n\r\n");
    scene.front.assert_settled(&[("ok", 1)], &[]).await;
}

#[tokio::test]
async fn a_client_that_leaves_leaves_the_server_too() {
    let mut scene = Scene::set(&[]).await;
    // Before the answer, and within it.
    for begun in [false, true] {
        let (mut client, mut server) = ask(&mut scene).await;
        if begun {
            server.say(EVENTS).await;
            client.head().await;
        }
        drop(client);
        server.rest().await;
    }
    scene.front.assert_settled(&[("transport", 2)], &[]).await;
}

#[tokio::test]
async fn a_client_that_will_say_no_more_is_taken_for_gone() {
    let mut scene = Scene::set(&[]).await;
    let (mut client, mut server) = ask(&mut scene).await;
    client.shut().await;
    server.rest().await;
    scene.front.assert_settled(&[("transport", 1)], &[]).await;
}

#[tokio::test]
async fn a_server_that_breaks_off_breaks_off_for_the_client() {
    let mut scene = Scene::set(&[]).await;
    let (mut client, mut server) = ask(&mut scene).await;
    server.say(EVENTS).await;
    server.say("6\r\n: hi\n\n\r\n").await;
    client.hear_to(": hi\n\n\r\n").await;
    drop(server);
    let (rest, _) = client.rest().await;
    assert_eq!(rest, b"", "an end that looks clean");
    scene.front.assert_settled(&[("transport", 1)], &[]).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_costs_no_memory() {
    const CHUNK: usize = 64 << 10;
    const CHUNKS: usize = 2 << 10;
    const EXCHANGES: usize = 20;
    const OTHER: &[u8] = b"GET /other HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n";
    let mut scene = Scene::set(&[]).await;
    let (mut client, mut server) = ask(&mut scene).await;
    let said = Arc::new(AtomicUsize::new(0));
    let enough = Arc::new(AtomicBool::new(false));
    let (count, stop) = (Arc::clone(&said), Arc::clone(&enough));
    let saying = tokio::spawn(async move {
        server.say(EVENTS).await;
        let filler = format!("{CHUNK:x}\r\n:{}\n\r\n", "x".repeat(CHUNK - 2));
        while !stop.load(Ordering::SeqCst) {
            server.say(&filler).await;
            let said = count.fetch_add(1, Ordering::SeqCst);
            assert!(said < CHUNKS, "{said} chunks went somewhere");
        }
        let event = format!("data:{}\n\n", result("1"));
        server.say(format!("{:x}\r\n{event}\r\n0\r\n\r\n", event.len())).await;
        server
    });
    // Held back is who gets no further while others are served.
    let (mut before, mut served) = (0, 0);
    while served < EXCHANGES {
        scene.pass(OTHER, answer("text/plain", "").as_bytes()).await;
        assert!(!saying.is_finished(), "it was never held back");
        let now = said.load(Ordering::SeqCst);
        served = if now == before { served + 1 } else { 0 };
        before = now;
    }
    assert_modest(&scene.front.proxy);
    // Only what is on the way follows, so that the observer can keep up with it.
    enough.store(true, Ordering::SeqCst);
    client.bytes_to(b"\r\n0\r\n\r\n").await;
    saying.await.expect("all was said");
    scene.front.assert_settled(&[("ok", 1)], &[]).await;
}
