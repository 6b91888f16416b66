//! HTTP/2 and TLS on both sides of the proxy.

use std::{convert::Infallible, io, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    client::conn::http2::{Builder, SendRequest},
    rt::{Read, Write},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mcpulse_tests::{Identity, eventually};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;

use crate::faults::{call, result, upstream::Front};

const EMPTY: HeaderValue = HeaderValue::from_static("");

type Frames = Vec<Result<Frame<Bytes>, Infallible>>;
type Body = StreamBody<tokio_stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

/// A body with a trailer.
fn body(text: &str, trailer: &str) -> Body {
    let trailer = HeaderValue::from_str(trailer).expect("a value");
    let trailers = HeaderMap::from_iter([(http::HeaderName::from_static("x-end"), trailer)]);
    let frames: Frames =
        vec![Ok(Frame::data(text.to_owned().into())), Ok(Frame::trailers(trailers))];
    StreamBody::new(tokio_stream::iter(frames))
}

fn post(authority: &str) -> http::request::Builder {
    Request::post(format!("https://{authority}/mcp"))
        .header("content-type", "application/json")
        .header("te", "trailers")
}

async fn client<I: Read + Write + Send + Unpin + 'static>(io: I) -> SendRequest<Body> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.max_header_list_size(1 << 20);
    let (sender, connection) = builder.handshake(io).await.expect("HTTP/2");
    tokio::spawn(connection);
    sender
}

/// The status of a call with a header of this length, which comes back with the answer, over
/// HTTP/2 without TLS.
async fn ask(proxy: SocketAddr, length: usize) -> u16 {
    let socket = TcpStream::connect(proxy).await.expect("it listens");
    let request = post(&proxy.to_string()).header("x-large", "x".repeat(length));
    let request = request.body(body(&call("1"), "")).expect("a request");
    let answer = client(TokioIo::new(socket)).await.send_request(request).await;
    answer.expect("an answer").status().as_u16()
}

/// Serves HTTP/2 over TLS and answers by a function; where.
async fn serve<B, R>(
    identity: &Identity,
    answer: impl Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
) -> String
where
    B: hyper::body::Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + 'static,
    R: Future<Output = Response<B>> + Send + 'static,
{
    let acceptor = identity.acceptor(&["h2"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(socket).await else { continue };
            let answer = answer.clone();
            let service = service_fn(move |request| {
                let answering = answer(request);
                async move { Ok::<_, Infallible>(answering.await) }
            });
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.max_header_list_size(1 << 20);
            tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
        }
    });
    format!("https://localhost:{port}/mcp")
}

/// Answers a call, and says in headers what was asked, with which trailer.
async fn echo(request: Request<Incoming>) -> Response<Body> {
    let (parts, asked) = request.into_parts();
    let asked = asked.collect().await.expect("a whole body");
    let end = asked.trailers().map(|trailers| trailers["x-end"].clone());
    Response::builder()
        .header("content-type", "application/json")
        .header("x-heard", format!("{:?} {} {end:?}", parts.version, parts.uri.path()))
        .header("x-back", parts.headers.get("x-large").cloned().unwrap_or(EMPTY))
        .body(body(&result("1"), "the answer's"))
        .expect("an answer")
}

#[tokio::test]
async fn calls_and_trailers_pass_over_http2_and_tls() {
    let (theirs, ours) = (Identity::default(), Identity::default());
    let url = serve(&theirs, echo).await;
    let (cert, key, ca) = (ours.cert(), ours.key(), theirs.cert());
    let flags = ["--tls-cert", &cert, "--tls-key", &key, "--ca-file", &ca];
    let front = Front::before(&url, &flags).await;
    let address = front.address();
    let stream = ours.connect(address).await.expect("TLS");
    let mut sender = client(TokioIo::new(stream)).await;
    let authority = format!("localhost:{}", address.port());
    for _ in 0..3 {
        let request = post(&authority).body(body(&call("1"), "the call's")).expect("a request");
        let answer = sender.send_request(request).await.expect("an answer");
        let heard = &answer.headers()["x-heard"];
        assert_eq!(heard, r#"HTTP/2.0 /mcp Some("the call's")"#);
        let names: Vec<_> = answer.headers().keys().map(http::HeaderName::as_str).collect();
        assert_eq!(names, ["content-type", "x-heard", "x-back", "date"]);
        let answer = answer.into_body().collect().await.expect("a whole body");
        assert_eq!(answer.trailers().expect("trailers")["x-end"], "the answer's");
        assert_eq!(answer.to_bytes(), result("1"));
    }
    // Another certificate takes the place of the first, without a restart.
    ours.renew();
    let shown = async || ours.connect(address).await.map(|_| ());
    eventually("the new certificate is shown", Duration::from_mins(1), shown).await;
    front.assert_settled(&[("ok", 3)], &[]).await;
}

#[tokio::test]
async fn a_client_may_know_beforehand_that_http2_is_spoken() {
    let theirs = Identity::default();
    let url = serve(&theirs, echo).await;
    let front = Front::before(&url, &["--ca-file", &theirs.cert()]).await;
    assert_eq!(ask(front.address(), 60_000).await, 200);
    assert_eq!(ask(front.address(), 70_000).await, 431);
    front.assert_settled(&[("ok", 1)], &[]).await;
    let large = ("reason", "head_too_large");
    assert_eq!(front.counted("mcpulse_http_refused_total", large).await, 1);
}

#[tokio::test]
async fn who_breaks_off_over_http2_breaks_off_for_the_other() {
    let theirs = Identity::default();
    let (begun, mut streams) = mpsc::channel(4);
    let answer = move |_| {
        let begun = begun.clone();
        async move {
            let (events, frames) = mpsc::channel::<io::Result<Frame<Bytes>>>(1);
            begun.send(events).await.expect("the test goes on");
            Response::builder()
                .header("content-type", "text/event-stream")
                .body(StreamBody::new(ReceiverStream::new(frames)))
                .expect("an answer")
        }
    };
    let url = serve(&theirs, answer).await;
    let front = Front::before(&url, &["--ca-file", &theirs.cert()]).await;
    let address = front.address();
    let socket = TcpStream::connect(address).await.expect("it listens");
    let mut sender = client(TokioIo::new(socket)).await;
    let mut ask = async || {
        let request = post(&address.to_string()).body(body(&call("1"), "")).expect("a request");
        let answer = sender.send_request(request).await.expect("an answer");
        (answer, streams.recv().await.expect("a stream"))
    };
    // The client, on a connection that lives on.
    let (answer, events) = ask().await;
    drop(answer);
    let left = timeout(Duration::from_mins(1), events.closed()).await;
    left.expect("the server learns that nobody reads");
    // The server.
    let (answer, events) = ask().await;
    events.send(Ok(Frame::data(": hi\n\n".into()))).await.expect("somebody reads");
    events.send(Err(io::Error::other("no more"))).await.expect("somebody reads");
    assert!(answer.into_body().collect().await.is_err(), "an end that looks clean");
    front.assert_settled(&[("transport", 2)], &[]).await;
}
