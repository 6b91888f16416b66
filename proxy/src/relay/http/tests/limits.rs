//! Clients that send too much, too slowly, or nothing.

use std::time::Duration;

use http::Response;
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::harness::{DEADLINE, Relay, Server, eventually, whole};
use crate::{
    config::{Listen, Remote},
    relay::http::counters::{Away, REFUSED},
    traffic::{End, HttpTransport},
};

async fn relay(server: &Server, change: impl FnOnce(&mut Listen)) -> Relay {
    let mut listen = Listen::new(":0");
    change(&mut listen);
    Relay::start(Remote::new(server.url()), listen, HttpTransport::Streamable).await
}

async fn echo() -> Server {
    Server::start(|request| async move {
        match request.into_body().collect().await {
            Ok(body) => Response::new(whole(body.to_bytes())),
            Err(_) => Response::new(whole("broken off")),
        }
    })
    .await
}

/// Writes `text` and reads what comes until the relay closes.
async fn raw(relay: &Relay, text: &str) -> String {
    let mut stream = TcpStream::connect(relay.address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    timeout(DEADLINE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    String::from_utf8(answer).unwrap()
}

fn refused(relay: &Relay, reason: &str) -> u64 {
    assert!(REFUSED.contains(&reason));
    relay.counters.refused().find(|(label, _)| *label == reason).unwrap().1
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused() {
    let server = echo().await;
    let relay = relay(&server, |listen| listen.max_body = 1000).await;
    let fits = relay.request("POST", "/mcp").body(whole(vec![b'x'; 1000])).unwrap();
    assert_eq!(relay.exchange(fits).await.0, 200);
    let declared = relay.request("POST", "/mcp").body(whole(vec![b'x'; 1001])).unwrap();
    assert_eq!(relay.exchange(declared).await.0, 413);
    let request = format!(
        "POST /mcp HTTP/1.1\r\nhost: {}\r\ntransfer-encoding: chunked\r\n\r\n3e8\r\n{}\r\n1\r\nx\r\n",
        relay.address,
        "x".repeat(1000)
    );
    relay.observed();
    let answer = raw(&relay, &request).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert_eq!(relay.observed().2, Some(End::Refused));
    assert_eq!(refused(&relay, "body_too_large"), 2);
}

#[tokio::test]
async fn a_head_above_the_limit_is_refused() {
    let server = echo().await;
    let relay = relay(&server, |listen| listen.max_header = 2000).await;
    let request = |length: usize| {
        format!(
            "GET /mcp HTTP/1.1\r\nhost: {}\r\nconnection: close\r\nx: {}\r\n\r\n",
            relay.address,
            "x".repeat(length)
        )
    };
    assert!(raw(&relay, &request(1000)).await.starts_with("HTTP/1.1 200"));
    assert!(raw(&relay, &request(3000)).await.starts_with("HTTP/1.1 431"));
}

#[tokio::test]
async fn a_body_that_stops_coming_is_given_up() {
    let server = echo().await;
    let relay = relay(&server, |listen| listen.read_timeout = Duration::from_millis(50)).await;
    let request =
        format!("POST /mcp HTTP/1.1\r\nhost: {}\r\ncontent-length: 9\r\n\r\n1234", relay.address);
    let answer = raw(&relay, &request).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert_eq!(relay.observed().2, Some(End::Refused));
    assert_eq!(refused(&relay, "body_stalled"), 1);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_one_that_stops_coming() {
    let server = echo().await;
    let relay = relay(&server, |_| {}).await;
    let request =
        format!("POST /mcp HTTP/1.1\r\nhost: {}\r\ncontent-length: 9\r\n\r\n1234", relay.address);
    let mut stream = TcpStream::connect(relay.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    drop(stream);
    eventually("it was counted", || refused(&relay, "body_aborted") == 1).await;
    assert_eq!(refused(&relay, "body_stalled"), 0);
}

#[tokio::test]
async fn a_client_that_says_nothing_or_half_a_head_is_closed() {
    let server = echo().await;
    let relay = relay(&server, |listen| listen.read_timeout = Duration::from_millis(50)).await;
    assert_eq!(raw(&relay, "").await, "");
    assert_eq!(raw(&relay, "PRI * HTTP/2.0").await, "");
    assert_eq!(raw(&relay, "POST /mcp HTTP/1.1\r\nhost: lo").await, "");
    eventually("all were counted", || relay.counters.turned_away(Away::Silent) == 3).await;
    // One that has asked before is idle, and nothing is wrong with that.
    let request = format!("GET /mcp HTTP/1.1\r\nhost: {}\r\n\r\n", relay.address);
    assert!(raw(&relay, &request).await.starts_with("HTTP/1.1 200"));
    assert_eq!(relay.counters.turned_away(Away::Silent), 3);
    assert_eq!(relay.counters.requests(), 1);
}

#[tokio::test]
async fn a_slow_body_is_waited_for_as_long_as_it_comes() {
    let server = echo().await;
    let relay = relay(&server, |listen| listen.read_timeout = Duration::from_millis(300)).await;
    let mut stream = TcpStream::connect(relay.address).await.unwrap();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: 8\r\n\r\n",
        relay.address
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    for byte in b"12345678" {
        // The pace is what is tested: together they take longer than one wait may.
        tokio::time::sleep(Duration::from_millis(60)).await;
        stream.write_all(&[*byte]).await.unwrap();
    }
    let mut answer = Vec::new();
    timeout(DEADLINE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!(String::from_utf8(answer).unwrap().ends_with("12345678"));
}

#[tokio::test]
async fn a_client_too_many_waits_and_is_counted() {
    let server = echo().await;
    let remote = Remote::new(server.url());
    let relay =
        Relay::with_room(remote, Listen::new(":0"), HttpTransport::Streamable, Some(2)).await;
    let post = || relay.request("POST", "/mcp").body(whole("hello")).unwrap();
    let (mut first, mut second) = (relay.client().await, relay.client().await);
    for client in [&mut first, &mut second] {
        assert_eq!(client.send_request(post()).await.unwrap().status(), 200);
    }
    eventually("the next would have to wait", || relay.counters.full() == 1).await;
    let mut third = relay.client().await;
    let asking = tokio::spawn(third.send_request(post()));
    drop(first);
    assert_eq!(asking.await.unwrap().unwrap().status(), 200);
    assert_eq!(relay.counters.full(), 2);
}
