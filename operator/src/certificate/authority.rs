//! One authority: a certificate with its key, and what it signs.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
};
use rustls::{
    crypto::ring::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

use super::CertificateError;

const DAY: Duration = Duration::from_hours(24);
/// How long an authority is good.
pub(super) const AUTHORITY_LIFE: Duration = DAY.saturating_mul(365);
/// How long a certificate is good.
const LEAF_LIFE: Duration = DAY.saturating_mul(7);
/// How far back certificates begin, for API servers whose clocks are late.
pub(super) const BACKDATED: Duration = Duration::from_hours(1);

/// From when until when something is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// From when.
    pub from: SystemTime,
    /// Until when.
    pub until: SystemTime,
}

impl Validity {
    /// Of the first certificate of a PEM text, which messages call `what`.
    ///
    /// # Errors
    /// When there is none.
    pub fn of(what: &str, pem: &str) -> Result<Self, CertificateError> {
        let der = certificate(what, pem)?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&der)
            .map_err(|error| CertificateError::read(what, error))?;
        let at = |seconds: i64| {
            let seconds = u64::try_from(seconds).unwrap_or_default();
            SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
        };
        let validity = parsed.validity();
        let (from, until) = (validity.not_before.timestamp(), validity.not_after.timestamp());
        Ok(Self { from: at(from), until: at(until) })
    }

    /// Whether it is good now.
    pub fn holds(&self, now: SystemTime) -> bool {
        self.from <= now && now < self.until
    }

    /// Whether this share of its time, in hundredths, is over.
    pub(super) fn is_past(&self, hundredths: u32, now: SystemTime) -> bool {
        let life = self.until.duration_since(self.from).unwrap_or_default();
        now >= self.from + life * hundredths / 100
    }
}

/// An authority.
#[derive(Clone, PartialEq, Eq)]
pub struct Authority {
    /// Its certificate, as PEM.
    pub(super) certificate: String,
    /// Its key, as PEM.
    pub(super) key: String,
    pub(super) validity: Validity,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("validity", &self.validity).finish_non_exhaustive()
    }
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new(now: SystemTime) -> Result<Self, CertificateError> {
        let mut params = params("mcpulse webhook authority", Vec::new(), now, AUTHORITY_LIFE)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        let validity = Validity::of("a new authority", &certificate)?;
        Ok(Self { certificate, key: key.serialize_pem(), validity })
    }

    /// One that was written before; messages call it `what`.
    ///
    /// # Errors
    /// When it cannot be read, or its key is another's.
    pub fn read(what: &str, certificate: &str, key: &str) -> Result<Self, CertificateError> {
        let validity = Validity::of(what, certificate)?;
        let pair = KeyPair::from_pem(key).map_err(|error| CertificateError::read(what, error))?;
        let der = self::certificate(what, certificate)?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&der)
            .map_err(|error| CertificateError::read(what, error))?;
        if parsed.public_key().raw != pair.subject_public_key_info() {
            return Err(CertificateError::Mismatch(what.to_owned()));
        }
        Ok(Self { certificate: certificate.to_owned(), key: key.to_owned(), validity })
    }

    /// A certificate for servers of these names or addresses, with a key of its own. It ends
    /// with the authority at the latest.
    ///
    /// # Errors
    /// When a name is none, or no key can be made.
    pub fn sign(
        &self,
        names: &[String],
        now: SystemTime,
    ) -> Result<(CertifiedKey, Validity), CertificateError> {
        let left = self.validity.until.duration_since(now).unwrap_or_default();
        let mut params = params("mcpulse webhook", names.to_vec(), now, LEAF_LIFE.min(left))?;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let issuer = Issuer::from_ca_cert_pem(&self.certificate, KeyPair::from_pem(&self.key)?)?;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &issuer)?;
        let validity = Validity::of("a new certificate", &certificate.pem())?;
        let key = PrivateKeyDer::try_from(key.serialize_der())
            .map_err(|why| CertificateError::read("a new key", why))?;
        let chain = vec![certificate.der().clone()];
        Ok((CertifiedKey::new(chain, any_supported_type(&key)?), validity))
    }
}

fn params(
    name: &str,
    names: Vec<String>,
    now: SystemTime,
    life: Duration,
) -> Result<CertificateParams, CertificateError> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + life).into();
    Ok(params)
}

fn certificate(what: &str, pem: &str) -> Result<CertificateDer<'static>, CertificateError> {
    CertificateDer::from_pem_slice(pem.as_bytes())
        .map_err(|error| CertificateError::read(what, error))
}
