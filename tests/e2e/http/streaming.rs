//! Streams in the smallest pieces, and peers that leave, or do not read.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use mcpulse_tests::eventually;

use super::Scene;
use crate::faults::{assert_modest, call, result};

const EVENTS: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

fn post() -> String {
    let call = call("1");
    format!(
        "POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{call}",
        call.len()
    )
}

#[tokio::test]
async fn every_byte_of_a_stream_leaves_at_once() {
    let mut scene = Scene::set(&[]).await;
    let mut client = scene.client().await;
    client.say(post()).await;
    let mut server = scene.server.accept().await;
    server.message().await;
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
        let mut client = scene.client().await;
        client.say(post()).await;
        let mut server = scene.server.accept().await;
        server.message().await;
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
    let mut client = scene.client().await;
    client.say(post()).await;
    let mut server = scene.server.accept().await;
    server.message().await;
    client.shut().await;
    server.rest().await;
    scene.front.assert_settled(&[("transport", 1)], &[]).await;
}

#[tokio::test]
async fn a_server_that_breaks_off_breaks_off_for_the_client() {
    let mut scene = Scene::set(&[]).await;
    let mut client = scene.client().await;
    client.say(post()).await;
    let mut server = scene.server.accept().await;
    server.message().await;
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
    const CHUNKS: usize = 4 << 10;
    let mut scene = Scene::set(&[]).await;
    let mut client = scene.client().await;
    client.say(post()).await;
    let mut server = scene.server.accept().await;
    server.message().await;
    let said = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&said);
    let saying = tokio::spawn(async move {
        server.say(EVENTS).await;
        let filler = format!("{CHUNK:x}\r\n:{}\n\r\n", "x".repeat(CHUNK - 2));
        for _ in 0..CHUNKS {
            server.say(&filler).await;
            count.fetch_add(1, Ordering::SeqCst);
        }
        let event = format!("data:{}\n\n", result("1"));
        server.say(format!("{:x}\r\n{event}\r\n0\r\n\r\n", event.len())).await;
        server
    });
    let mut before = usize::MAX;
    eventually("the server is held back", Duration::from_mins(1), async || {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = said.load(Ordering::SeqCst);
        (std::mem::replace(&mut before, now) == now).then_some(())
    })
    .await;
    assert!(before < CHUNKS / 2, "{before} chunks went somewhere");
    assert_modest(&scene.front.proxy);
    client.head().await;
    let mut length = 0;
    while length < CHUNKS * CHUNK {
        length += client.some().await;
    }
    saying.await.expect("all was said");
    scene.front.assert_settled(&[("ok", 1)], &[]).await;
}
