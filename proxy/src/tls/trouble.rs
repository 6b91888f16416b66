//! Why a connection with TLS did not come about, as far as a person can do something about it.

use std::{error::Error, io};

use rustls::CertificateError;

/// One kind of trouble, each with its own remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nobody whom we trust has signed the certificate.
    Untrusted,
    /// The certificate is one of an authority (CA:TRUE), as `openssl req -x509` makes them:
    /// servers may not show it, whoever trusts it.
    Authority,
    /// The certificate is of no use here: expired, or of another host.
    Useless,
    /// What answers does not speak TLS.
    Unspoken,
    /// Anything else that TLS had to say.
    Failed,
}

impl Trouble {
    /// What TLS has to do with this very error, if anything; its sources are not asked.
    pub fn of(error: &(dyn Error + 'static)) -> Option<Self> {
        // An error of input and output is no source of itself: what it holds is hidden in it.
        let held = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let held = held.and_then(|held| held.downcast_ref::<rustls::Error>());
        error.downcast_ref().or(held).map(|error| match error {
            // A bad signature has who was replaced by another of the same name.
            rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            ) => Self::Untrusted,
            rustls::Error::InvalidCertificate(CertificateError::Other(other))
                if format!("{other:?}").contains("CaUsedAsEndEntity") =>
            {
                Self::Authority
            }
            rustls::Error::InvalidCertificate(_) => Self::Useless,
            rustls::Error::InvalidMessage(_) => Self::Unspoken,
            _ => Self::Failed,
        })
    }
}
