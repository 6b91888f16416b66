//! The way to the upstream through a forward proxy.

use std::{
    future::{Ready, ready},
    io,
    task::{Context, Poll},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, StatusCode, Uri,
    header::{HOST, PROXY_AUTHORIZATION},
    uri::{Authority, PathAndQuery, Scheme},
};
use http_body_util::Empty;
use hyper::{client::conn::http1, upgrade::Parts};
use hyper_util::{client::legacy::connect::proxy::SocksV5, rt::TokioIo};
use tokio::net::TcpStream;
use tower_service::Service;

use crate::config::proxy::{Forward, Login, Protocol};

/// Why a proxy leads nowhere; to follow which proxy it is.
#[derive(Debug, thiserror::Error)]
pub(in crate::relay) enum TunnelError {
    /// The proxy itself cannot be reached.
    #[error("it cannot be reached: {0}; is it running there?")]
    Unreachable(io::Error),
    /// `connect_timeout` passed.
    #[error("not done within {0:?}")]
    TimedOut(Duration),
    /// It wants a login, or another one.
    #[error("it {}", demand(*.given))]
    Login {
        /// Whether it was given one.
        given: bool,
    },
    /// It does not lead there.
    #[error("it answers CONNECT with {0}; is the server running, and may the proxy dial it?")]
    Refused(StatusCode),
    /// It answers in the server's place.
    #[error("it answers with {0}; is the server running, and may the proxy dial it?")]
    Answered(StatusCode),
    /// It does not speak as proxies do.
    #[error("it broke off: {0}; is it an HTTP proxy?")]
    Broken(#[from] hyper::Error),
    /// The same of one that speaks SOCKS.
    #[error("{0}")]
    Socks(String),
}

fn demand(given: bool) -> &'static str {
    if given {
        "does not take the name and the password in its URL (407)"
    } else {
        "wants to know who asks (407); write its URL as http://NAME:PASSWORD@HOST:PORT"
    }
}

/// What requests to a server without TLS need, of which an HTTP proxy passes on each by itself.
#[derive(Debug)]
pub(super) struct Forwarding {
    authority: Authority,
    login: Option<HeaderValue>,
}

impl Forwarding {
    pub(super) fn new(forward: &Forward, authority: Authority) -> Self {
        Self { authority, login: forward.login.as_ref().and_then(basic) }
    }

    /// Addresses a request, whose URI is a path, so that the proxy knows where it goes.
    pub(super) fn address<B>(&self, request: &mut Request<B>) {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.authority.clone());
        let path = request.uri().path_and_query().cloned();
        parts.path_and_query = Some(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
        if let Some(login) = &self.login {
            request.headers_mut().insert(PROXY_AUTHORIZATION, login.clone());
        }
    }

    /// What an answer says that no server gave, but the proxy.
    pub(super) fn objection(&self, status: StatusCode) -> Option<TunnelError> {
        match status {
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                Some(TunnelError::Login { given: self.login.is_some() })
            }
            StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => {
                Some(TunnelError::Answered(status))
            }
            _ => None,
        }
    }
}

/// Makes a connection to the proxy one to `authority`, host and port.
pub(super) async fn through(
    forward: &Forward,
    stream: TcpStream,
    authority: &Authority,
) -> Result<TcpStream, TunnelError> {
    match forward.protocol {
        Protocol::Http => connect(forward, stream, authority).await,
        Protocol::Socks5 => socks(forward, stream, authority).await,
    }
}

async fn connect(
    forward: &Forward,
    stream: TcpStream,
    authority: &Authority,
) -> Result<TcpStream, TunnelError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection.with_upgrades());
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = Uri::from(authority.clone());
    let headers = request.headers_mut();
    if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
        headers.insert(HOST, host);
    }
    if let Some(login) = forward.login.as_ref().and_then(basic) {
        headers.insert(PROXY_AUTHORIZATION, login);
    }
    let response = sender.send_request(request).await;
    let refused = match &response {
        Ok(response) if response.status().is_success() => None,
        Ok(response) if response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            Some(TunnelError::Login { given: forward.login.is_some() })
        }
        Ok(response) => Some(TunnelError::Refused(response.status())),
        Err(_) => None,
    };
    if let Some(refused) = refused {
        connection.abort();
        return Err(refused);
    }
    let tunnel = hyper::upgrade::on(response?).await?;
    match tunnel.downcast::<TokioIo<TcpStream>>() {
        // Who speaks HTTP or TLS does not begin.
        Ok(Parts { io, read_buf, .. }) if read_buf.is_empty() => Ok(io.into_inner()),
        _ => Err(TunnelError::Unreachable(io::Error::other("it speaks before it is asked"))),
    }
}

async fn socks(
    forward: &Forward,
    stream: TcpStream,
    authority: &Authority,
) -> Result<TcpStream, TunnelError> {
    // It is there already: nobody asks where.
    let mut tunnel = SocksV5::new(Uri::default(), Dialled(Some(TokioIo::new(stream))));
    if let Some(Login { user, password }) = forward.login.clone() {
        tunnel = tunnel.with_auth(user, password);
    }
    let tunnelled = tunnel.call(Uri::from(authority.clone())).await;
    tunnelled.map(TokioIo::into_inner).map_err(|error| TunnelError::Socks(error.to_string()))
}

/// A connection, for those who want to dial themselves.
struct Dialled(Option<TokioIo<TcpStream>>);

impl Service<Uri> for Dialled {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Ready<io::Result<TokioIo<TcpStream>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(self.0.take().ok_or_else(|| io::ErrorKind::NotConnected.into()))
    }
}

/// The header that tells a proxy who asks (RFC 7617).
fn basic(Login { user, password }: &Login) -> Option<HeaderValue> {
    let pair = BASE64_STANDARD.encode(format!("{user}:{password}"));
    let mut value = HeaderValue::from_str(&format!("Basic {pair}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}
