//! Who the servers of a control plane are: keys and certificates.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// What pods know the API server by.
const FIRST_SERVICE: &str = "10.96.0.1";

/// Files that the servers read.
#[derive(Debug)]
pub(super) struct Identity {
    /// The certificate of the authority.
    pub(super) authority: PathBuf,
    /// The same for a client of ours.
    pub(super) authority_der: Vec<u8>,
    /// Of the API server, signed by the authority.
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    /// What signs the tokens of service accounts, and what tells that it did.
    pub(super) service_account_key: PathBuf,
    pub(super) service_account_public: PathBuf,
}

impl Identity {
    /// A new one for an API server at an address, in files of `directory`.
    pub(super) fn new(directory: &Path, address: Ipv4Addr) -> Self {
        let write = |name: &str, text: String| {
            let path = directory.join(name);
            fs::write(&path, text).expect("a file");
            path
        };
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");
        let address = address.to_string();
        let names = [&address, FIRST_SERVICE, "localhost", "kubernetes.default.svc"];
        let params = CertificateParams::new(names.map(str::to_owned)).expect("names");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &issuer).expect("a certificate");
        let account = KeyPair::generate().expect("a key");
        Self {
            authority: write("authority.crt", issuer.pem()),
            authority_der: issuer.der().to_vec(),
            certificate: write("api.crt", certificate.pem()),
            key: write("api.key", key.serialize_pem()),
            service_account_key: write("accounts.key", account.serialize_pem()),
            service_account_public: write("accounts.pub", account.public_key_pem()),
        }
    }
}
