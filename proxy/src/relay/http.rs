//! Forwards HTTP exchanges between clients and a remote server.
//!
//! A client's request comes in by `listener`, passes the `guard`, is turned towards the
//! upstream by `forward` and leaves by `upstream`; the answer goes back the same way. Bodies
//! are never collected: an `upload` and a `download` pass on each frame as it comes, with a
//! look for the tap, and whatever breaks off on one side breaks off on the other. Once a
//! response has begun, an upstream that breaks cannot be answered for any more: the client's
//! connection is aborted (HTTP/1.1) or its stream reset (HTTP/2).

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::AtomicBool},
};

use http::Uri;

use crate::{
    config::{Listen, Remote},
    ready::Gate,
    shutdown::Shutdown,
    tap::Tap,
    tls::{self, TlsError},
    traffic::HttpTransport,
};

mod asked;
pub mod counters;
pub(in crate::relay) mod credentials;
pub(in crate::relay) mod dial;
pub(in crate::relay) mod download;
pub mod endpoint;
mod endpoints;
pub mod failure;
pub(in crate::relay) mod forward;
pub mod guard;
pub(in crate::relay) mod head;
pub(in crate::relay) mod health;
pub(in crate::relay) mod listener;
pub mod origin;
mod patient;
mod pool;
mod prefixed;
pub mod refusal;
pub mod rewrite;
mod tunnel;
pub(in crate::relay) mod upload;
pub(in crate::relay) mod upstream;

pub use counters::Counters;
pub use dial::UrlError;
pub use listener::Listener;

use self::{
    credentials::Credentials,
    dial::Dialer,
    endpoints::Endpoints,
    forward::{Forward, Settings},
    guard::Guard,
    origin::Place,
    rewrite::Rewrite,
    upstream::Upstream,
};

/// A relay that is set up and has not begun.
#[derive(Debug)]
pub struct HttpRelay {
    dialer: Dialer,
    rewrite: Rewrite,
    credentials: Credentials,
    place: Place,
    /// What clients have before each path.
    prefix: String,
    remote: Remote,
    listen: Listen,
    transport: HttpTransport,
    server_id: Arc<str>,
    counters: Arc<Counters>,
}

/// What a relay is set up with, for another that serves the same server.
pub(in crate::relay) struct Beside {
    pub(in crate::relay) place: Place,
    pub(in crate::relay) remote: Remote,
    pub(in crate::relay) listen: Listen,
    /// What clients have before each path.
    pub(in crate::relay) prefix: String,
}

/// What is wrong with the configuration of a relay.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The remote URL.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl HttpRelay {
    /// Sets up a relay to `remote`, a server of the kind `transport`. Reads certificates,
    /// dials nothing.
    ///
    /// # Errors
    /// When the remote URL or its certificate file is of no use.
    pub fn new(
        remote: Remote,
        listen: Listen,
        transport: HttpTransport,
        server_id: Arc<str>,
        counters: Arc<Counters>,
    ) -> Result<Self, SetupError> {
        let url: Uri = remote.url.parse().map_err(UrlError::from)?;
        let served = match transport {
            HttpTransport::Streamable => "/mcp",
            HttpTransport::LegacySse => "/sse",
        };
        let rewrite =
            Rewrite::new(served, &url, listen.public_url.as_deref()).ok_or(UrlError::NotHttp)?;
        let dialer =
            Dialer::new::<SetupError>(&url, &remote.proxy, remote.connect_timeout, || {
                Ok(tls::client_config(remote.ca_file.as_deref())?)
            })?;
        Ok(Self {
            dialer,
            rewrite,
            credentials: Credentials::new(&remote),
            place: Place::of(&url)?,
            prefix: String::new(),
            remote,
            listen,
            transport,
            server_id,
            counters,
        })
    }

    /// The same relay where clients have `prefix` (as `/api`) before each path. What it is asked
    /// has none of that any more.
    #[must_use]
    pub fn below(mut self, prefix: &str) -> Self {
        self.rewrite = self.rewrite.below(prefix);
        prefix.clone_into(&mut self.prefix);
        self
    }

    /// What another answers by that serves the same server beside this relay.
    pub(in crate::relay) fn beside(&self) -> Beside {
        let Self { place, remote, listen, prefix, .. } = self;
        let (place, remote) = (place.clone(), remote.clone());
        Beside { place, remote, listen: listen.clone(), prefix: prefix.clone() }
    }

    /// Begins to answer clients that come by a listener `bound` to this address, until the
    /// shutdown. `gate` is open while the upstream can be reached.
    pub(in crate::relay) fn begin(
        self,
        bound: SocketAddr,
        tap: Tap,
        gate: Gate,
        shutdown: Shutdown,
    ) -> Forward {
        guard::warn_of_exposure(&self.listen, bound, self.remote.bearer_token.as_ref());
        let Self { dialer, rewrite, credentials, remote, listen, counters, .. } = self;
        let counted = Arc::clone(&counters);
        let upstream = Upstream::new(dialer, remote.idle_timeout, gate, counted);
        Forward {
            upstream: Arc::new(upstream),
            guard: Guard::new(&listen, bound, remote.bearer_token.clone()),
            rewrite: Arc::new(rewrite),
            endpoints: Arc::new(Endpoints::default()),
            credentials,
            settings: Settings::new(&remote, &listen),
            transport: self.transport,
            server_id: self.server_id,
            tap,
            shutdown,
            counters,
            draining: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
        }
    }
}

#[cfg(test)]
mod tests;
