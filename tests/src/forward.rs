//! A forward proxy, as it stands between a closed network and the world: HTTP, with `CONNECT`
//! and without, and SOCKS 5 on one port. Names mean what the test says they mean.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{
    HeaderMap, Method, Request, Response, StatusCode, Uri,
    header::{HOST, PROXY_AUTHORIZATION},
};
use http_body_util::{BodyExt as _, Empty, combinators::BoxBody};
use hyper::{body::Incoming, client, server, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

type Body = BoxBody<Bytes, hyper::Error>;

/// A running proxy, until it is dropped.
#[derive(Debug)]
pub struct ForwardProxy {
    address: SocketAddr,
    rules: Arc<Rules>,
    serving: JoinHandle<()>,
}

/// What it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// A method of HTTP, or `SOCKS5`.
    pub method: String,
    /// An authority for `CONNECT` and `SOCKS5`, else a URL.
    pub target: String,
    /// Whether the login was the right one, if one is demanded.
    pub admitted: bool,
}

#[derive(Debug)]
struct Rules {
    /// Where every name leads.
    upstream: SocketAddr,
    /// Name and password, separated by a colon.
    login: Option<&'static str>,
    asked: Mutex<Vec<Asked>>,
}

impl ForwardProxy {
    /// Leads to `upstream`, whatever it is asked for; with a `login` only those who know it.
    pub async fn to(upstream: SocketAddr, login: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("the address of a bound socket");
        let rules = Arc::new(Rules { upstream, login, asked: Mutex::default() });
        let all = Arc::clone(&rules);
        let serving = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&all).serve(socket));
            }
        });
        Self { address, rules, serving }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it was asked for so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.rules.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for ForwardProxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Rules {
    fn admit(&self, method: &str, target: String, login: Option<&str>) -> bool {
        let admitted = self.login.is_none_or(|known| login == Some(known));
        let asked = Asked { method: method.to_owned(), target, admitted };
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
        admitted
    }

    async fn serve(self: Arc<Self>, socket: TcpStream) {
        // Clients come and go as they like.
        let mut first = [0];
        if socket.peek(&mut first).await.is_ok() && first == [5] {
            let _ = self.socks(socket).await;
            return;
        }
        let service = service_fn(move |request| {
            let rules = Arc::clone(&self);
            async move { Ok::<_, Infallible>(rules.http(request).await) }
        });
        let server = server::conn::http1::Builder::new();
        let _ = server.serve_connection(TokioIo::new(socket), service).with_upgrades().await;
    }

    async fn http(self: Arc<Self>, mut request: Request<Incoming>) -> Response<Body> {
        let login = login(request.headers());
        let (method, target) = (request.method().clone(), request.uri().to_string());
        if !self.admit(method.as_str(), target, login.as_deref()) {
            return empty(StatusCode::PROXY_AUTHENTICATION_REQUIRED);
        }
        if request.uri().authority().is_none() {
            return empty(StatusCode::BAD_REQUEST);
        }
        let Ok(mut upstream) = TcpStream::connect(self.upstream).await else {
            return empty(StatusCode::BAD_GATEWAY);
        };
        if method == Method::CONNECT {
            tokio::spawn(async move {
                let upgraded = hyper::upgrade::on(&mut request).await.expect("a tunnel");
                let _ = copy_bidirectional(&mut TokioIo::new(upgraded), &mut upstream).await;
            });
            return empty(StatusCode::OK);
        }
        let host = request.uri().authority().expect("checked").as_str().parse().expect("a host");
        request.headers_mut().remove(PROXY_AUTHORIZATION);
        request.headers_mut().insert(HOST, host);
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path.map_or_else(Uri::default, Uri::from);
        let shaken = client::conn::http1::handshake(TokioIo::new(upstream)).await;
        let (mut sender, connection) = shaken.expect("a connection");
        tokio::spawn(connection);
        match sender.send_request(request).await {
            Ok(response) => response.map(Incoming::boxed),
            Err(_) => empty(StatusCode::BAD_GATEWAY),
        }
    }

    /// RFC 1928, and RFC 1929 for the login.
    async fn socks(&self, mut socket: TcpStream) -> io::Result<()> {
        let text = async |socket: &mut TcpStream| {
            let mut text = vec![0; socket.read_u8().await?.into()];
            socket.read_exact(&mut text).await?;
            Ok::<_, io::Error>(String::from_utf8_lossy(&text).into_owned())
        };
        socket.read_u8().await?;
        let methods = text(&mut socket).await?;
        let mut login = None;
        if self.login.is_some() && methods.contains('\u{2}') {
            socket.write_all(&[5, 2]).await?;
            socket.read_u8().await?;
            login = Some(format!("{}:{}", text(&mut socket).await?, text(&mut socket).await?));
            socket.write_all(&[1, 0]).await?;
        } else {
            socket.write_all(&[5, 0]).await?;
        }
        let mut head = [0; 4];
        socket.read_exact(&mut head).await?;
        assert_eq!(head, [5, 1, 0, 3], "a connection to a name");
        let (host, port) = (text(&mut socket).await?, socket.read_u16().await?);
        if !self.admit("SOCKS5", format!("{host}:{port}"), login.as_deref()) {
            return socket.write_all(&[5, 2, 0, 1, 0, 0, 0, 0, 0, 0]).await;
        }
        let mut upstream = TcpStream::connect(self.upstream).await?;
        socket.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
        copy_bidirectional(&mut socket, &mut upstream).await.map(drop)
    }
}

/// The name and password of a request.
fn login(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(PROXY_AUTHORIZATION)?.to_str().ok()?;
    let pair = BASE64_STANDARD.decode(value.strip_prefix("Basic ")?).ok()?;
    String::from_utf8(pair).ok()
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed());
    *response.status_mut() = status;
    if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
        let headers = response.headers_mut();
        headers.insert("proxy-authenticate", "Basic realm=\"proxy\"".parse().expect("a value"));
    }
    response
}
