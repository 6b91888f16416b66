//! Dials the upstream: name, TCP, TLS, all by one deadline.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use http::{
    HeaderValue, StatusCode, Uri,
    uri::{Authority, Scheme},
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpStream, lookup_host},
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::tunnel::{Forwarding, TunnelError, through};
use crate::{
    config::{
        Proxy,
        proxy::{Forward, Protocol},
    },
    tls::Trouble,
};

/// How long a connection may be silent before it is probed, how often it is probed then, and
/// how often in vain: a peer that vanished is noticed after a minute and a half.
const KEEPALIVE_AFTER: Duration = Duration::from_mins(1);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

/// Where the upstream is and how to get there.
pub(in crate::relay) struct Dialer {
    host: String,
    port: u16,
    authority: HeaderValue,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    proxy: Option<Via>,
    connect_timeout: Duration,
}

/// The proxy on the way.
struct Via {
    forward: Forward,
    /// Host and port of the upstream.
    target: Authority,
    /// It passes on each request by itself.
    forwarding: Option<Forwarding>,
}

/// A connection, with what the upstream speaks on it.
pub(super) enum Socket {
    Plain(TokioIo<TcpStream>),
    Tls(Box<TokioIo<TlsStream<TcpStream>>>),
    Http2(Box<TokioIo<TlsStream<TcpStream>>>),
}

/// A URL that cannot be dialled.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    /// Not a URL at all.
    #[error("read the remote URL: {0}; write http://HOST[:PORT]/PATH or https://…")]
    Malformed(#[from] http::uri::InvalidUri),
    /// Neither `http` nor `https`, or no host.
    #[error("the remote URL has no scheme http or https, or no host; write http://HOST/PATH")]
    NotHttp,
    /// No host that TLS could verify.
    #[error("the remote URL has a host that no certificate can name")]
    NoServerName,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(in crate::relay) enum DialError {
    /// The host has no address.
    #[error("resolve upstream host '{host}': {error}; check the remote URL")]
    Resolve {
        /// The host of the remote URL.
        host: String,
        /// What the resolver said.
        error: io::Error,
    },
    /// No address answered; the last one's reason.
    #[error("connect to upstream {address}: {error}; is the server running there?")]
    Connect {
        /// The address that was tried last.
        address: String,
        /// What the system said.
        error: io::Error,
    },
    /// The proxy on the way does not lead to the upstream.
    #[error("reach upstream {address} through the proxy {proxy}: {error}")]
    Proxy {
        /// Host and port of the remote URL.
        address: String,
        /// The URL of the proxy, without its login.
        proxy: String,
        /// What was wrong.
        error: TunnelError,
    },
    /// TLS failed.
    #[error("TLS with upstream {address}: {error}{}", remedy(error))]
    Tls {
        /// Host and port of the remote URL.
        address: String,
        /// What was wrong.
        error: io::Error,
    },
    /// `connect_timeout` passed.
    #[error("connect to upstream {address}: not done within {after:?}")]
    TimedOut {
        /// Host and port of the remote URL.
        address: String,
        /// `connect_timeout`.
        after: Duration,
    },
    /// The connection broke before the first request.
    #[error("begin HTTP with the upstream: {0}")]
    Handshake(#[from] hyper::Error),
}

/// What a person can do about TLS that does not come about.
fn remedy(error: &io::Error) -> &'static str {
    match Trouble::of(error) {
        Some(Trouble::Untrusted) => "; name the authority of its certificate: --ca-file",
        Some(Trouble::Authority) => {
            "; it shows an authority's certificate: make it one with CA:FALSE, and name that: --ca-file"
        }
        Some(Trouble::Useless) => {
            "; it needs a server's certificate, for this name and not expired"
        }
        Some(Trouble::Unspoken) => "; does it speak TLS? if not, write http:// in the remote URL",
        Some(Trouble::Failed) | None => "",
    }
}

impl Dialer {
    /// Dials what `url` names, by way of `proxy`; `tls` is asked for a configuration if the
    /// scheme is `https`.
    pub(in crate::relay) fn new<E: From<UrlError>>(
        url: &Uri,
        proxy: &Proxy,
        connect_timeout: Duration,
        tls: impl FnOnce() -> Result<ClientConfig, E>,
    ) -> Result<Self, E> {
        let not_http = || UrlError::NotHttp;
        let secure = match url.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            _ => return Err(not_http().into()),
        };
        let authority = url.authority().ok_or_else(not_http)?;
        // User information is for neither `Host` nor the resolver.
        let bare = authority.as_str().rsplit('@').next().unwrap_or_default();
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let tls = if secure {
            let name = ServerName::try_from(host.clone()).map_err(|_| UrlError::NoServerName)?;
            let mut config = tls()?;
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            Some((TlsConnector::from(Arc::new(config)), name))
        } else {
            None
        };
        let port = url.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let proxy = match proxy {
            Proxy::None => None,
            Proxy::Forward(forward) => {
                tracing::info!("the upstream is dialled through the proxy {forward}");
                let target = format!("{}:{port}", authority.host()).parse();
                let target: Authority = target.map_err(UrlError::Malformed)?;
                let forwards = !secure && forward.protocol == Protocol::Http;
                let bare = bare.parse().map_err(UrlError::Malformed)?;
                let forwarding = forwards.then(|| Forwarding::new(forward, bare));
                Some(Via { forward: forward.clone(), target, forwarding })
            }
        };
        Ok(Self {
            port,
            authority: HeaderValue::from_str(bare).map_err(|_| not_http())?,
            host,
            tls,
            proxy,
            connect_timeout,
        })
    }

    /// The upstream's own authority, for `Host`.
    pub(super) fn authority(&self) -> &HeaderValue {
        &self.authority
    }

    /// Whether TLS will choose the version of HTTP.
    pub(super) fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// What requests need that a proxy passes on one by one.
    pub(super) fn forwarding(&self) -> Option<&Forwarding> {
        self.proxy.as_ref()?.forwarding.as_ref()
    }

    /// What an answer means that no server gave, but the proxy on the way.
    pub(super) fn objection(&self, status: StatusCode) -> Option<DialError> {
        let via = self.proxy.as_ref()?;
        let error = via.forwarding.as_ref()?.objection(status)?;
        Some(self.misled(&via.forward, error))
    }

    pub(super) fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    pub(super) async fn dial(&self, deadline: Instant) -> Result<Socket, DialError> {
        match timeout_at(deadline, self.connect(deadline)).await {
            Ok(socket) => socket,
            Err(_) => Err(self.timed_out()),
        }
    }

    async fn connect(&self, deadline: Instant) -> Result<Socket, DialError> {
        let stream = match &self.proxy {
            None => self.direct(deadline).await?,
            Some(via) => {
                let reached = self.by_way_of(via, deadline).await;
                reached.map_err(|error| self.misled(&via.forward, error))?
            }
        };
        let Some((connector, name)) = &self.tls else {
            return Ok(Socket::Plain(TokioIo::new(stream)));
        };
        let stream = connector
            .connect(name.clone(), stream)
            .await
            .map_err(|error| DialError::Tls { address: self.address(), error })?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let io = Box::new(TokioIo::new(stream));
        Ok(if http2 { Socket::Http2(io) } else { Socket::Tls(io) })
    }

    async fn direct(&self, deadline: Instant) -> Result<TcpStream, DialError> {
        connect_tcp(&self.host, self.port, deadline).await.map_err(
            |unconnected| match unconnected {
                Unconnected::Resolve(error) => {
                    DialError::Resolve { host: self.host.clone(), error }
                }
                Unconnected::Connect(address, error) => {
                    DialError::Connect { address: address.to_string(), error }
                }
                Unconnected::TimedOut => self.timed_out(),
            },
        )
    }

    async fn by_way_of(&self, via: &Via, deadline: Instant) -> Result<TcpStream, TunnelError> {
        let Via { forward, target, forwarding } = via;
        let stream = connect_tcp(&forward.host, forward.port, deadline).await;
        let stream = stream.map_err(|unconnected| TunnelError::Unreachable(unconnected.into()))?;
        match forwarding {
            Some(_) => Ok(stream),
            None => through(forward, stream, target).await,
        }
    }

    fn misled(&self, forward: &Forward, error: TunnelError) -> DialError {
        DialError::Proxy { address: self.address(), proxy: forward.to_string(), error }
    }

    pub(super) fn timed_out(&self) -> DialError {
        let (address, after) = (self.address(), self.connect_timeout);
        match &self.proxy {
            None => DialError::TimedOut { address, after },
            Some(via) => self.misled(&via.forward, TunnelError::TimedOut(after)),
        }
    }

    fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialer").field("address", &self.address()).finish_non_exhaustive()
    }
}

/// Why no address of a host was reached; the last one's reason.
enum Unconnected {
    Resolve(io::Error),
    Connect(SocketAddr, io::Error),
    TimedOut,
}

impl From<Unconnected> for io::Error {
    fn from(unconnected: Unconnected) -> Self {
        match unconnected {
            Unconnected::Resolve(error) | Unconnected::Connect(_, error) => error,
            Unconnected::TimedOut => io::ErrorKind::TimedOut.into(),
        }
    }
}

/// Tries each address, none for longer than leaves time for those behind it.
async fn connect_tcp(host: &str, port: u16, deadline: Instant) -> Result<TcpStream, Unconnected> {
    let found = lookup_host((host, port)).await.map_err(Unconnected::Resolve)?;
    let addresses: Vec<SocketAddr> = found.collect();
    let mut last = Unconnected::Resolve(io::Error::other("it has no address"));
    for (tried, address) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let share = (deadline - Instant::now()) / left;
        last = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                if let Err(error) = tune(&stream) {
                    tracing::debug!("set options of the upstream socket: {error}");
                }
                return Ok(stream);
            }
            Ok(Err(error)) => Unconnected::Connect(*address, error),
            Err(_) => Unconnected::TimedOut,
        };
    }
    Err(last)
}

/// Small writes leave at once, and a peer that vanished is noticed.
pub(super) fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_AFTER)
        .with_interval(KEEPALIVE_EVERY)
        .with_retries(KEEPALIVE_PROBES);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}
