//! The end: streams that nobody waits on, calls in flight, and the drain.

use std::{sync::Arc, time::Duration};

use http::Response;
use http_body_util::BodyExt;
use tokio::sync::{Mutex, oneshot};

use super::harness::{Relay, Server, eventually, stream, whole};

#[tokio::test]
async fn streams_end_and_calls_finish() {
    let (release, released) = oneshot::channel::<()>();
    let released = Arc::new(Mutex::new(Some(released)));
    let server = Server::start(move |request| {
        let released = Arc::clone(&released);
        async move {
            if request.method() == "GET" {
                let (events, response) = stream();
                tokio::spawn(async move { events.closed().await });
                return response;
            }
            if let Some(released) = released.lock().await.take() {
                released.await.unwrap();
            }
            Response::new(whole("done"))
        }
    })
    .await;
    let relay = Relay::to(server.url()).await;
    let get = relay.request("GET", "/mcp").body(whole("")).unwrap();
    let listening = relay.client().await.send_request(get).await.unwrap();
    let post = relay.request("POST", "/mcp").body(whole("{}")).unwrap();
    let mut client = relay.client().await;
    let calling = tokio::spawn(async move {
        let response = client.send_request(post).await.unwrap();
        response.into_body().collect().await.unwrap().to_bytes()
    });
    eventually("both requests arrived", || relay.counters.requests() == 2).await;
    relay.shutdown.begin(Duration::from_secs(30));
    assert_eq!(listening.into_body().collect().await.unwrap().to_bytes(), "");
    let address = relay.address;
    eventually("no more clients", || std::net::TcpStream::connect(address).is_err()).await;
    assert!(!relay.task.is_finished());
    release.send(()).unwrap();
    assert_eq!(calling.await.unwrap(), "done");
    eventually("the relay ended", || relay.task.is_finished()).await;
}
