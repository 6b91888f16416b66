use std::{fs, path::PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::ServerName;
use tempfile::TempDir;
use tokio_rustls::TlsConnector;

use super::*;
use crate::config::ServerTls;

/// An authority and the files of one server, `mcp.test`, that it vouches for.
pub(super) struct Authority {
    pub(super) folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self { folder: tempfile::tempdir().unwrap(), issuer };
        fs::write(authority.path("ca.pem"), authority.issuer.pem()).unwrap();
        authority
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A new certificate (PEM, DER) and its key (PEM).
    pub(super) fn issue(&self) -> (String, Vec<u8>, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["mcp.test".to_owned()]).unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        (cert.pem(), cert.der().to_vec(), key.serialize_pem())
    }

    /// Puts a new pair in place; returns the certificate.
    pub(super) fn renew(&self) -> Vec<u8> {
        let (cert, der, key) = self.issue();
        fs::write(self.path("cert.pem"), cert).unwrap();
        fs::write(self.path("key.pem"), key).unwrap();
        der
    }

    pub(super) fn files(&self) -> ServerTls {
        ServerTls { cert: self.path("cert.pem"), key: self.path("key.pem") }
    }
}

/// What a client with `config` learns in a handshake: the certificate and the protocol.
pub(super) async fn handshake(
    config: ClientConfig,
    acceptor: &Acceptor,
) -> io::Result<(Vec<u8>, Option<Vec<u8>>)> {
    let (near, far) = tokio::io::duplex(16 << 10);
    let name = ServerName::try_from("mcp.test").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let (client, _server) = tokio::join!(connector.connect(name, near), acceptor.accept(far));
    let client = client?;
    let (_, session) = client.get_ref();
    let shown = session.peer_certificates().unwrap()[0].to_vec();
    Ok((shown, session.alpn_protocol().map(<[u8]>::to_vec)))
}

#[tokio::test]
async fn only_servers_of_known_authorities_are_trusted() {
    let ours = Authority::new();
    let other = Authority::new();
    let cert = ours.renew();
    let acceptor = Acceptor::new(&ours.files()).unwrap();
    let (our_file, other_file) = (ours.path("ca.pem"), other.path("ca.pem"));
    for (ca, trusted) in [(None, false), (Some(&our_file), true), (Some(&other_file), false)] {
        let config = client_config(ca.map(PathBuf::as_path)).unwrap();
        let seen = handshake(config, &acceptor).await;
        assert_eq!(seen.is_ok(), trusted, "{ca:?}");
        if let Ok((shown, _)) = seen {
            assert_eq!(shown, cert);
        }
    }
}

#[tokio::test]
async fn an_authority_that_is_a_server_as_well_is_told_apart() {
    let authority = Authority::new();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["mcp.test".to_owned()]).unwrap();
    for (is_ca, trouble) in [
        (IsCa::Ca(BasicConstraints::Unconstrained), Some(Trouble::Authority)),
        (IsCa::ExplicitNoCa, None),
    ] {
        params.is_ca = is_ca;
        let cert = params.self_signed(&key).unwrap();
        fs::write(authority.path("cert.pem"), cert.pem()).unwrap();
        fs::write(authority.path("key.pem"), key.serialize_pem()).unwrap();
        let acceptor = Acceptor::new(&authority.files()).unwrap();
        let config = client_config(Some(&authority.path("cert.pem"))).unwrap();
        let error = handshake(config, &acceptor).await.err();
        assert_eq!(error.as_ref().and_then(|error| crate::tls::Trouble::of(error)), trouble);
    }
}

#[test]
fn a_file_of_authorities_adds_to_the_compiled_in_ones() {
    let authority = Authority::new();
    let file = authority.path("ca.pem");
    let compiled_in = webpki_roots::TLS_SERVER_ROOTS.len();
    assert!(compiled_in > 50);
    assert_eq!(roots(None).unwrap().len(), compiled_in);
    assert_eq!(roots(Some(&file)).unwrap().len(), compiled_in + 1);
}

#[test]
fn errors_name_the_file_and_what_is_wrong() {
    let authority = Authority::new();
    let path = authority.path("bad.pem");
    let error = |content: &str| {
        fs::write(&path, content).unwrap();
        client_config(Some(&path)).unwrap_err().to_string()
    };
    let block =
        |body: &str| format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----");
    for (content, said) in [
        (String::new(), "no certificate"),
        ("hello".to_owned(), "no certificate"),
        (block("%%%"), "broken PEM"),
        (block("aGVsbG8="), "invalid peer certificate"),
    ] {
        let error = error(&content);
        assert!(error.contains("bad.pem") && error.contains(said), "{error}");
    }
    let missing = authority.path("missing.pem");
    let error = client_config(Some(&missing)).unwrap_err().to_string();
    assert!(error.starts_with("read ") && error.contains("missing.pem"), "{error}");

    // A bundle with a bad certificate among good ones still serves.
    let bundle = format!("{}\n{}", block("aGVsbG8="), authority.issuer.pem());
    fs::write(&path, bundle).unwrap();
    let compiled_in = webpki_roots::TLS_SERVER_ROOTS.len();
    assert_eq!(roots(Some(&path)).unwrap().len(), compiled_in + 1);
}
