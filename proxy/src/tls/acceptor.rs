//! TLS of the listener, with a certificate that may change while it runs.
//! A pair that is of no use never replaces one that is.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustls::{
    InconsistentKeys, ServerConfig,
    pki_types::{PrivateKeyDer, pem, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};
use tokio_rustls::{Accept, TlsAcceptor};

use super::{TlsError, parse_certificates, provider, read};
use crate::config::ServerTls;

/// How often the files are looked at, at most; only while clients connect.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Makes TLS of accepted connections: 1.2 and 1.3, `h2` before `http/1.1`.
#[derive(Clone)]
pub struct Acceptor(TlsAcceptor);

impl Acceptor {
    /// Reads certificate and key, and reads them again when a client connects five seconds or
    /// more after the last time. Whole contents are compared: in Kubernetes files change by
    /// a link that points elsewhere.
    ///
    /// # Errors
    /// When the files cannot be read or are of no use.
    pub fn new(files: &ServerTls) -> Result<Self, TlsError> {
        let pair = Pair::read(files)?;
        let shown = Shown {
            key: Arc::new(pair.certified(files)?),
            seen: Some(pair),
            looked: Instant::now(),
        };
        let resolver = Reloading { files: files.clone(), shown: Mutex::new(shown) };
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// The handshake on an accepted connection. The caller bounds its time.
    pub fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, connection: S) -> Accept<S> {
        self.0.accept(connection)
    }
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Acceptor")
    }
}

/// The contents of both files.
#[derive(PartialEq, Eq)]
struct Pair {
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl Pair {
    fn read(files: &ServerTls) -> Result<Self, TlsError> {
        Ok(Self { cert: read(&files.cert)?, key: read(&files.key)? })
    }

    fn certified(&self, files: &ServerTls) -> Result<CertifiedKey, TlsError> {
        let chain = parse_certificates(&files.cert, &self.cert)?;
        let key = parse_key(&files.key, &self.key)?;
        let signer = provider()
            .key_provider
            .load_private_key(key)
            .map_err(|source| TlsError::Unusable { path: files.key.clone(), source })?;
        let certified = CertifiedKey::new(chain, signer);
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {
                Ok(certified)
            }
            Err(rustls::Error::InconsistentKeys(_)) => {
                Err(TlsError::Mismatch { cert: files.cert.clone(), key: files.key.clone() })
            }
            Err(source) => Err(TlsError::Unusable { path: files.cert.clone(), source }),
        }
    }
}

fn parse_key(path: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::NoKey { path: path.to_owned() },
        source => TlsError::Pem { path: path.to_owned(), source },
    })
}

struct Reloading {
    files: ServerTls,
    shown: Mutex<Shown>,
}

struct Shown {
    key: Arc<CertifiedKey>,
    /// What the files held when they were last read; None while they cannot be read.
    seen: Option<Pair>,
    looked: Instant,
}

impl Reloading {
    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the files if it is time. Other handshakes go on with the old pair meanwhile.
    fn look(&self) {
        let now = Instant::now();
        {
            let mut shown = self.shown();
            if now.duration_since(shown.looked) < LOOK_EVERY {
                return;
            }
            shown.looked = now;
        }
        let read = Pair::read(&self.files);
        let mut shown = self.shown();
        let (seen, key) = match read {
            Ok(pair) if shown.seen.as_ref() == Some(&pair) => return,
            Err(_) if shown.seen.is_none() => return,
            Ok(pair) => {
                let key = pair.certified(&self.files);
                (Some(pair), key)
            }
            Err(error) => (None, Err(error)),
        };
        shown.seen = seen;
        match key {
            Ok(key) => {
                shown.key = Arc::new(key);
                tracing::info!("new certificate from {}", self.files.cert.display());
            }
            Err(error) => tracing::warn!("{error}; the previous certificate stays in use"),
        }
    }
}

impl std::fmt::Debug for Reloading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloading").field("files", &self.files).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Reloading {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.look();
        Some(Arc::clone(&self.shown().key))
    }
}

#[cfg(test)]
mod tests;
