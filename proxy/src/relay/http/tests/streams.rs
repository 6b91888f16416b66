//! Streams: heads that leave at once, ends that are passed on, clients that do not read.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use proptest::prelude::*;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;

use super::harness::{Body, DEADLINE, Relay, Server, eventually, stream, whole};
use crate::traffic::End;

fn get(relay: &Relay) -> Request<Body> {
    let request = relay.request("GET", "/mcp").header("accept", "text/event-stream");
    request.body(whole("")).unwrap()
}

/// Hands out the sending ends of the streams that it opens.
async fn streaming() -> (Server, mpsc::Receiver<mpsc::Sender<Bytes>>) {
    let (opened, streams) = mpsc::channel(2048);
    let server = Server::start(move |_| {
        let opened = opened.clone();
        async move {
            let (events, response) = stream();
            opened.send(events).await.unwrap();
            response
        }
    })
    .await;
    (server, streams)
}

#[tokio::test]
async fn the_head_of_a_stream_leaves_before_its_first_byte() {
    let (server, mut streams) = streaming().await;
    let relay = Relay::to(server.url()).await;
    let mut client = relay.client().await;
    let response = timeout(DEADLINE, client.send_request(get(&relay))).await.unwrap().unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let events = streams.recv().await.unwrap();
    let mut body = response.into_body();
    for text in ["id: 1\ndata:\n\n", ": ping\n\n", "data: {}\n"] {
        events.send(text.into()).await.unwrap();
        let frame = timeout(DEADLINE, body.frame()).await.unwrap().unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), text, "each chunk passes as it comes");
    }
    drop(events);
    assert!(body.frame().await.is_none());
    assert_eq!(relay.observed().2, Some(End::Clean));
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_stream_upstream() {
    let (server, mut streams) = streaming().await;
    let relay = Relay::to(server.url()).await;
    let mut client = relay.client().await;
    let response = client.send_request(get(&relay)).await.unwrap();
    let events = streams.recv().await.unwrap();
    drop((client, response));
    timeout(DEADLINE, events.closed()).await.unwrap();
    assert_eq!(relay.observed().2, Some(End::ClientGone));
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_ends_the_request_upstream() {
    let (arrived, mut requests) = mpsc::channel(1);
    let server = Server::start(move |request| {
        let arrived = arrived.clone();
        async move {
            let _ = request.into_body().collect().await;
            let (guard, dropped) = mpsc::channel::<()>(1);
            arrived.send(dropped).await.unwrap();
            let _guard = guard;
            std::future::pending::<Response<_>>().await
        }
    })
    .await;
    let relay = Relay::to(server.url()).await;
    let request = relay.request("POST", "/mcp").body(whole("{}")).unwrap();
    let mut client = relay.client().await;
    let calling = tokio::spawn(async move { client.send_request(request).await });
    let mut dropped = requests.recv().await.unwrap();
    calling.abort();
    assert_eq!(timeout(DEADLINE, dropped.recv()).await.unwrap(), None);
    assert_eq!(relay.observed().2, Some(End::ClientGone));
}

#[tokio::test]
async fn a_client_that_breaks_off_its_request_breaks_it_off_upstream() {
    let (ended, mut ends) = mpsc::channel(1);
    let server = Server::start(move |request| {
        let ended = ended.clone();
        async move {
            let end = request.into_body().collect().await;
            ended.send(end.is_ok()).await.unwrap();
            Response::new(whole(""))
        }
    })
    .await;
    let relay = Relay::to(server.url()).await;
    let (chunks, receiver) = mpsc::channel::<Bytes>(1);
    let body = StreamBody::new(futures_util::StreamExt::map(ReceiverStream::new(receiver), |it| {
        Ok(Frame::data(it))
    }));
    let request = relay.request("POST", "/mcp").body(body.boxed()).unwrap();
    let mut client = relay.client().await;
    let calling = tokio::spawn(async move { client.send_request(request).await });
    chunks.send("{\"id\":1,".into()).await.unwrap();
    eventually("the request arrived", || relay.counters.requests() == 1).await;
    calling.abort();
    let whole = timeout(DEADLINE, ends.recv()).await.unwrap().unwrap();
    assert!(!whole, "the upstream took a part for the whole");
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_the_upstream_back() {
    const CHUNK: usize = 64 << 10;
    let produced = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&produced);
    let server = Server::start(move |_| {
        let count = Arc::clone(&count);
        async move {
            let chunks = stream::repeat_with(move || {
                count.fetch_add(CHUNK as u64, Ordering::Relaxed);
                Ok::<_, io::Error>(Frame::data(Bytes::from(vec![b'x'; CHUNK])))
            });
            Response::builder()
                .header("content-type", "text/event-stream")
                .body(BodyExt::boxed(StreamBody::new(futures_util::StreamExt::take(chunks, 4096))))
                .unwrap()
        }
    })
    .await;
    let relay = Relay::to(server.url()).await;
    let mut client = relay.client().await;
    let response = client.send_request(get(&relay)).await.unwrap();
    let mut last = u64::MAX;
    let mut quiet = 0;
    eventually("the upstream stops", || {
        let now = produced.load(Ordering::Relaxed);
        quiet = if now == last { quiet + 1 } else { 0 };
        last = now;
        quiet > 50
    })
    .await;
    // The sockets of three hops hold most of it.
    assert!(last < 32 << 20, "{last} bytes were taken from the upstream");
    let mut length = 0;
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        length += frame.unwrap().into_data().unwrap().len();
    }
    assert_eq!(length, 4096 * CHUNK, "and nothing was lost by it");
}

#[tokio::test]
async fn a_thousand_streams_at_once() {
    const STREAMS: usize = 1000;
    let (server, mut opened) = streaming().await;
    let relay = Relay::to(server.url()).await;
    let mut clients = Vec::new();
    for _ in 0..STREAMS {
        let mut client = relay.client().await;
        let response = client.send_request(get(&relay)).await.unwrap();
        clients.push((client, response, opened.recv().await.unwrap()));
    }
    let answered = Arc::new(AtomicUsize::new(0));
    for (n, (client, response, events)) in clients.into_iter().enumerate() {
        let answered = Arc::clone(&answered);
        tokio::spawn(async move {
            let mut body = response.into_body();
            events.send(format!("data: {n}\n\n").into()).await.unwrap();
            let frame = body.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), format!("data: {n}\n\n"));
            answered.fetch_add(1, Ordering::Relaxed);
            drop(client);
        });
    }
    eventually("every stream got its own event", || answered.load(Ordering::Relaxed) == STREAMS)
        .await;
}

/// Cuts `bytes` where `cuts` say.
fn cut(bytes: &[u8], cuts: &[usize]) -> Vec<Bytes> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    let pieces = cuts.windows(2).map(|pair| Bytes::copy_from_slice(&bytes[pair[0]..pair[1]]));
    pieces.filter(|piece| !piece.is_empty()).collect()
}

fn chunked(pieces: Vec<Bytes>) -> Body {
    BodyExt::boxed(StreamBody::new(stream::iter(
        pieces.into_iter().map(|piece| Ok(Frame::data(piece))),
    )))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn bodies_arrive_identical_in_any_chunking(
        request in proptest::collection::vec(any::<u8>(), 0..20_000),
        cuts: Vec<usize>,
        event_stream: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (echoed, seen) = runtime.block_on(async {
            let pieces = cuts.clone();
            let server = Server::start(move |request| {
                let cuts = pieces.clone();
                async move {
                    let mut body = request.into_body().collect().await.unwrap().to_bytes().to_vec();
                    body.reverse();
                    let kind = if event_stream { "text/event-stream" } else { "application/json" };
                    let response = Response::builder().header("content-type", kind);
                    response.body(chunked(cut(&body, &cuts))).unwrap()
                }
            })
            .await;
            let relay = Relay::to(server.url()).await;
            let asked = relay.request("POST", "/mcp").body(chunked(cut(&request, &cuts))).unwrap();
            let exchange = timeout(Duration::from_secs(10), relay.exchange(asked));
            let (_, echoed) = exchange.await.unwrap();
            (echoed, relay.observed().0)
        });
        prop_assert_eq!(&seen, &request);
        let mut back = echoed.to_vec();
        back.reverse();
        prop_assert_eq!(back, request);
    }
}
