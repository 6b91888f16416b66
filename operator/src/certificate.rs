//! What the webhook shows, so that API servers know it: a certificate that each replica makes
//! for itself and keeps in memory, signed by an authority that all replicas share by a Secret.
//!
//! Time is the wall clock's, asked for again and again: timers stand still while a machine
//! sleeps, and certificates go on ageing.

use std::{fmt, sync::Arc, time::SystemTime};

mod authorities;
mod authority;
mod files;
mod identity;
mod keeper;

pub use authorities::Authorities;
pub use authority::{Authority, Validity};
pub use files::Files;
pub use identity::Identity;
pub use keeper::{Keeper, Place};

/// What time it is.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// What is wrong with keys and certificates.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// One could not be made.
    #[error("make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// One cannot be read.
    #[error("read {what}: {why}")]
    Read {
        /// Which.
        what: String,
        /// Why.
        why: String,
    },
    /// A certificate and a key are not a pair.
    #[error("the key in {0} is not the certificate's")]
    Mismatch(String),
    /// TLS can do nothing with it.
    #[error("use a certificate: {0}")]
    Use(#[from] rustls::Error),
}

impl CertificateError {
    fn read(what: &str, why: impl fmt::Display) -> Self {
        Self::Read { what: what.to_owned(), why: format!("{why}") }
    }
}
