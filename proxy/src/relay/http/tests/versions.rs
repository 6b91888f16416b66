//! HTTP/2 on either side, TLS on either side, and what lies between two versions.

use std::{convert::Infallible, io::Write, sync::Arc, time::Duration};

use http::{Request, Response, Version};
use http_body_util::BodyExt;
use hyper::{body::Incoming, client::conn::http2, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use rustls::pki_types::ServerName;
use tempfile::NamedTempFile;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use super::harness::{Body, Relay, Server, eventually, whole};
use crate::{
    config::{Listen, Remote, ServerTls},
    tls,
    traffic::HttpTransport,
};

pub(super) struct Identity {
    cert: NamedTempFile,
    key: NamedTempFile,
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

impl Identity {
    pub(super) fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        Self { cert: file(&made.cert.pem()), key: file(&made.signing_key.serialize_pem()) }
    }

    pub(super) fn files(&self) -> ServerTls {
        ServerTls { cert: self.cert.path().to_owned(), key: self.key.path().to_owned() }
    }
}

/// A server behind TLS that says how it was asked: version, authority, cookies.
async fn secure(identity: &Identity) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = tls::Acceptor::new(&identity.files()).unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            tokio::spawn(async move {
                let service = service_fn(|request: Request<Incoming>| async move {
                    let (parts, body) = request.into_parts();
                    let body = body.collect().await.unwrap().to_bytes();
                    let host = parts.uri.authority().map(ToString::to_string);
                    let cookies = parts.headers.get_all("cookie").iter().count();
                    let text = format!("{:?} {host:?} {cookies} {body:?}", parts.version);
                    Ok::<_, Infallible>(Response::new(whole(text)))
                });
                auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await
                    .unwrap();
            });
        }
    });
    format!("https://localhost:{port}/mcp")
}

async fn trusting(identity: &Identity) -> Relay {
    let mut remote = Remote::new(secure(identity).await);
    remote.ca_file = Some(identity.cert.path().to_owned());
    Relay::start(remote, Listen::new(":0"), HttpTransport::Streamable).await
}

#[tokio::test]
async fn an_upstream_that_speaks_http2_is_spoken_to_in_it() {
    let identity = Identity::new();
    let relay = trusting(&identity).await;
    let port = relay.upstream_port;
    let calls = (0..20).map(|n| {
        let request = relay.request("POST", "/mcp").body(whole(format!("{n}"))).unwrap();
        relay.exchange(request)
    });
    for (n, (status, body)) in futures_util::future::join_all(calls).await.iter().enumerate() {
        assert_eq!(*status, 200);
        assert_eq!(*body, format!("HTTP/2.0 Some(\"localhost:{port}\") 0 b\"{n}\""));
    }
    assert_eq!(relay.counters.dialled(), 1, "one connection carries them all");
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_not_trusted() {
    let identity = Identity::new();
    let relay = Relay::to(secure(&identity).await).await;
    let request = relay.request("POST", "/mcp").body(whole("{}")).unwrap();
    let (status, body) = relay.exchange(request).await;
    assert_eq!(status, 502);
    assert!(String::from_utf8_lossy(&body).contains("TLS with upstream"), "{body:?}");
}

async fn http2_client(
    io: impl hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
) -> http2::SendRequest<Body> {
    let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn http2_request(authority: &str, body: &str) -> Request<Body> {
    Request::builder()
        .method("POST")
        .uri(format!("http://{authority}/mcp?q=1"))
        .version(Version::HTTP_2)
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .body(whole(body.to_owned()))
        .unwrap()
}

#[tokio::test]
async fn a_client_may_speak_http2_without_tls() {
    let server = Server::start(|request: Request<Incoming>| async move {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let (host, cookie) = (&parts.headers["host"], &parts.headers["cookie"]);
        Response::new(whole(format!("{} {host:?} {cookie:?} {body:?}", parts.uri)))
    })
    .await;
    let relay = Relay::to(server.url()).await;
    let stream = TcpStream::connect(relay.address).await.unwrap();
    let mut client = http2_client(TokioIo::new(stream)).await;
    let expected = format!("/mcp?q=1 \"{}\" \"a=1; b=2\" b\"hello\"", server.address);
    for _ in 0..3 {
        let request = http2_request(&relay.address.to_string(), "hello");
        let response = client.send_request(request).await.unwrap();
        assert_eq!(response.version(), Version::HTTP_2);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), expected);
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_listener_with_tls_offers_both_versions() {
    let identity = Identity::new();
    let server = Server::start(|_| async { Response::new(whole("ok")) }).await;
    let mut listen = Listen::new(":0");
    listen.tls = Some(identity.files());
    let relay = Relay::start(Remote::new(server.url()), listen, HttpTransport::Streamable).await;
    for (offer, version) in [("h2", Version::HTTP_2), ("http/1.1", Version::HTTP_11)] {
        let mut config = tls::client_config(Some(identity.cert.path())).unwrap();
        config.alpn_protocols = vec![offer.into()];
        let stream = TcpStream::connect(relay.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        let authority = format!("localhost:{}", relay.address.port());
        let mut request = http2_request(&authority, "");
        let response = if version == Version::HTTP_2 {
            http2_client(TokioIo::new(stream)).await.send_request(request).await.unwrap()
        } else {
            *request.version_mut() = version;
            request.headers_mut().insert("host", authority.parse().unwrap());
            let io = TokioIo::new(stream);
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await.unwrap()
        };
        assert_eq!((response.status().as_u16(), response.version()), (200, version));
    }
}

#[tokio::test]
async fn a_connection_that_the_upstream_closed_is_not_used_again() {
    let server = Server::start(|request: Request<Incoming>| async move {
        Response::new(whole(request.into_body().collect().await.unwrap().to_bytes()))
    })
    .await;
    let mut remote = Remote::new(server.url());
    remote.idle_timeout = Duration::from_millis(50);
    let relay = Relay::start(remote, Listen::new(":0"), HttpTransport::Streamable).await;
    for n in 1..4 {
        let request = relay.request("POST", "/mcp").body(whole(format!("{n}"))).unwrap();
        assert_eq!(relay.exchange(request).await.1, format!("{n}"));
        eventually("the idle connection is closed", || server.open() == 0).await;
    }
    assert!(server.connections() >= 3);
    assert_eq!(server.requests(), 3, "none was sent twice");
}
