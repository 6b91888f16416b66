//! What a server shows over TLS, and who trusts it.

use std::{fs, net::SocketAddr, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};

/// A certificate of its own authority for `localhost` and `mcp.test`, in files.
#[derive(Debug)]
pub struct Identity(TempDir);

impl Default for Identity {
    fn default() -> Self {
        // Whoever comes first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let identity = Self(TempDir::new().expect("a directory"));
        identity.renew();
        identity
    }
}

impl Identity {
    /// Puts another certificate in place of the first.
    pub fn renew(&self) {
        let names = ["localhost", "mcp.test"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names);
        let rcgen::CertifiedKey { cert, signing_key } = made.expect("a certificate");
        fs::write(self.cert(), cert.pem()).expect("a file");
        fs::write(self.key(), signing_key.serialize_pem()).expect("a file");
    }

    /// The file of the certificate.
    pub fn cert(&self) -> String {
        self.0.path().join("cert.pem").to_str().expect("text").to_owned()
    }

    /// The file of its key.
    pub fn key(&self) -> String {
        self.0.path().join("key.pem").to_str().expect("text").to_owned()
    }

    /// A server's end that speaks these protocols, the most liked first.
    pub fn acceptor(&self, protocols: &[&str]) -> TlsAcceptor {
        let key = PrivateKeyDer::from_pem_file(self.key()).expect("a key");
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate()], key)
            .expect("a certificate and its key");
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }

    /// A connection that trusts this certificate alone, and speaks HTTP/2; none where another
    /// is shown.
    pub async fn connect(&self, address: SocketAddr) -> Option<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate()).expect("a certificate");
        let mut config =
            ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let socket = TcpStream::connect(address).await.expect("it listens");
        let name = ServerName::try_from("localhost").expect("a name");
        TlsConnector::from(Arc::new(config)).connect(name, socket).await.ok()
    }

    fn certificate(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(Path::new(&self.cert())).expect("a certificate")
    }
}
