//! TLS in both roles: whom the proxy trusts upstream, and what the listener shows.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, pem, pem::PemObject},
};

mod acceptor;
mod trouble;

pub use acceptor::Acceptor;
pub use trouble::Trouble;

/// Why certificates or keys are of no use.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read.
    #[error("read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file has no certificate.
    #[error("{}: no certificate in this file; it must be PEM (BEGIN CERTIFICATE)", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The file has no key that can be read.
    #[error(
        "{}: no private key in this file; it must be PEM (BEGIN PRIVATE KEY), not encrypted",
        path.display()
    )]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The file is not PEM, or broken.
    #[error("{}: broken PEM: {source}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is broken.
        source: pem::Error,
    },
    /// What the file holds is no certificate or key that can be used.
    #[error("{}: {source}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
    /// Key and certificate do not belong together.
    #[error("the key in {} does not match the certificate in {}", key.display(), cert.display())]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The cryptography does not support what the proxy asks of it.
    #[error("set up TLS: {0}")]
    Setup(rustls::Error),
}

/// The cryptography of the whole proxy: the one place to change it.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Trust for connections upstream: the certificate authorities of Mozilla, as compiled in, and
/// those of `ca_file`. TLS 1.2 and 1.3; the caller sets ALPN.
///
/// # Errors
/// When the file cannot be read or none of its certificates is good; bad ones beside good ones
/// are passed over with a warning, as the bundles of some systems have them.
pub fn client_config(ca_file: Option<&Path>) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?;
    Ok(builder.with_root_certificates(roots(ca_file)?).with_no_client_auth())
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots: RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
    let Some(path) = ca_file else { return Ok(roots) };
    let found = certificates(path)?;
    let count = found.len();
    let bad: Vec<_> = found.into_iter().filter_map(|found| roots.add(found).err()).collect();
    let ignored = bad.len();
    match bad.into_iter().next() {
        Some(source) if ignored == count => {
            return Err(TlsError::Unusable { path: path.to_owned(), source });
        }
        Some(error) => {
            tracing::warn!("{}: {ignored} of {count} ignored: {error}", path.display());
        }
        None => {}
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    parse_certificates(path, &read(path)?)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

fn parse_certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err(TlsError::NoCertificate { path: path.to_owned() }),
        Ok(found) => Ok(found),
        Err(source) => Err(TlsError::Pem { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests;
