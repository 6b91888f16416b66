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

pub use acceptor::Acceptor;

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

/// Trust for connections upstream: the certificate authorities of Mozilla, as compiled in, or
/// in their place those of `roots_file`, as OpenSSL and Go take `SSL_CERT_FILE`; and in either
/// case those of `ca_file`. TLS 1.2 and 1.3; the caller sets ALPN.
///
/// # Errors
/// When a file cannot be read or has no certificate. Of `ca_file` all must be good, in
/// `roots_file` bad ones are passed over, as systems' own bundles have some.
pub fn client_config(
    ca_file: Option<&Path>,
    roots_file: Option<&Path>,
) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    fill(&mut roots, ca_file, roots_file)?;
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn fill(
    roots: &mut RootCertStore,
    ca_file: Option<&Path>,
    roots_file: Option<&Path>,
) -> Result<(), TlsError> {
    match roots_file {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let (added, ignored) = roots.add_parsable_certificates(certificates(path)?);
            if added == 0 {
                return Err(TlsError::NoCertificate { path: path.to_owned() });
            }
            tracing::debug!(added, ignored, "certificate authorities from {}", path.display());
        }
    }
    if let Some(path) = ca_file {
        for certificate in certificates(path)? {
            let unusable = |source| TlsError::Unusable { path: path.to_owned(), source };
            roots.add(certificate).map_err(unusable)?;
        }
    }
    Ok(())
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
