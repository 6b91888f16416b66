//! Texts of others, cut to a length that what they go into can bear.

use std::{error::Error, io};

use rustls::CertificateError;
use tonic::Status;

/// Most characters of a foreign text in a log line.
const LIMIT: usize = 200;

/// The text in one line of bounded length.
pub(super) fn printable(text: &str) -> String {
    text.chars().take(LIMIT).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The beginning of the text, at most `limit` bytes of it.
pub(super) fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

/// What failed first: the errors around it say little more than that something failed.
pub(super) fn cause(status: &Status) -> String {
    match chain(status).last() {
        Some(cause) => printable(&cause.to_string()),
        None => printable(&format!("{}: {}", status.code(), status.message())),
    }
}

/// Why a connection did not come about, as far as TLS had to do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tls {
    /// Nobody whom we trust has signed the certificate.
    Untrusted,
    /// The certificate is of no use here: expired, or of another host.
    Useless,
    /// What answers does not speak TLS.
    Unspoken,
    /// Anything else that TLS had to say.
    Failed,
    /// The conversation that followed broke off, as with those that expect TLS and hear none.
    Unheard,
}

/// What TLS had to do with a failure, if anything.
pub(super) fn tls(status: &Status) -> Option<Tls> {
    let of = |error: &rustls::Error| match error {
        // A bad signature has who was replaced by another of the same name.
        rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => Tls::Untrusted,
        rustls::Error::InvalidCertificate(_) => Tls::Useless,
        rustls::Error::InvalidMessage(_) => Tls::Unspoken,
        _ => Tls::Failed,
    };
    chain(status).find_map(|error| {
        if error.is::<hyper::Error>() {
            return Some(Tls::Unheard);
        }
        // An error of input and output is no source of itself: what it holds is hidden in it.
        let held = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let held = held.and_then(|held| held.downcast_ref::<rustls::Error>());
        error.downcast_ref().or(held).map(of)
    })
}

/// The errors behind it, the nearest first.
fn chain(status: &Status) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(status.source(), |&error| error.source())
}
