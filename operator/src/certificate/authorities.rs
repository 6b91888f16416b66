//! The authorities that replicas share, and how one takes the other's place while API servers
//! trust both: nothing is signed by an authority before it was trusted for a while, and none is
//! trusted no longer before what it signed is gone.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use k8s_openapi::{ByteString, api::core::v1::Secret};

use super::{
    CertificateError,
    authority::{Authority, BACKDATED, Validity},
};

/// The share of its life, in hundredths, after which an authority gets a successor.
const SUCCEEDED_AT: u32 = 60;
/// How long a successor is trusted before it signs.
const SETTLED: Duration = Duration::from_mins(10);

const CERTIFICATE: &str = "ca.crt";
const KEY: &str = "ca.key";
const NEXT_CERTIFICATE: &str = "ca-next.crt";
const NEXT_KEY: &str = "ca-next.key";
const PREVIOUS_CERTIFICATE: &str = "ca-previous.crt";

/// The authorities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorities {
    /// The one that signs.
    pub(super) current: Authority,
    /// The one that will.
    next: Option<Authority>,
    /// The certificate of the one that did. Its key is gone.
    previous: Option<String>,
}

impl Authorities {
    /// A first one.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new(now: SystemTime) -> Result<Self, CertificateError> {
        Ok(Self { current: Authority::new(now)?, next: None, previous: None })
    }

    /// Those of a Secret. A successor that cannot be read is none.
    ///
    /// # Errors
    /// When there is none that signs.
    pub fn read(secret: &Secret) -> Result<Self, CertificateError> {
        let text = |key: &str| {
            let value = secret.data.as_ref()?.get(key)?;
            String::from_utf8(value.0.clone()).ok()
        };
        let pair = |certificate: &str, key: &str| {
            let (Some(certificate), Some(private)) = (text(certificate), text(key)) else {
                return Err(CertificateError::read(certificate, "it is not in the Secret"));
            };
            Authority::read(key, &certificate, &private)
        };
        Ok(Self {
            current: pair(CERTIFICATE, KEY)?,
            next: pair(NEXT_CERTIFICATE, NEXT_KEY).ok(),
            previous: text(PREVIOUS_CERTIFICATE)
                .filter(|pem| Validity::of(PREVIOUS_CERTIFICATE, pem).is_ok()),
        })
    }

    /// As a Secret has them.
    pub fn data(&self) -> BTreeMap<String, ByteString> {
        let next = self
            .next
            .iter()
            .flat_map(|next| [(NEXT_CERTIFICATE, &next.certificate), (NEXT_KEY, &next.key)]);
        let previous = self.previous.iter().map(|previous| (PREVIOUS_CERTIFICATE, previous));
        [(CERTIFICATE, &self.current.certificate), (KEY, &self.current.key)]
            .into_iter()
            .chain(next)
            .chain(previous)
            .map(|(key, text)| (key.to_owned(), ByteString(text.clone().into_bytes())))
            .collect()
    }

    /// All that are to be trusted, as PEM.
    pub fn bundle(&self) -> String {
        let next = self.next.as_ref().map(|next| &next.certificate);
        [Some(&self.current.certificate), next, self.previous.as_ref()]
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect()
    }

    /// Whether something waits for the bundle to be published.
    pub fn has_successor(&self) -> bool {
        self.next.is_some()
    }

    /// What they become now, if they do not stay as they are. `published` says whether API
    /// servers have the bundle.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn step(&self, now: SystemTime, published: bool) -> Result<Option<Self>, CertificateError> {
        let good = self.current.validity.holds(now);
        let mut then = self.clone();
        match &self.next {
            // Nothing is left to wait for.
            Some(next) if !good && next.validity.holds(now) => then.succeed(next),
            _ if !good => return Self::new(now).map(Some),
            Some(next) if published && now >= next.validity.from + BACKDATED + SETTLED => {
                then.succeed(next);
            }
            None if self.current.validity.is_past(SUCCEEDED_AT, now) => {
                then.next = Some(Authority::new(now)?);
            }
            _ => {}
        }
        then.previous = then.previous.filter(|previous| {
            Validity::of(PREVIOUS_CERTIFICATE, previous).is_ok_and(|validity| validity.holds(now))
        });
        Ok((then != *self).then_some(then))
    }

    fn succeed(&mut self, next: &Authority) {
        self.previous = Some(self.current.certificate.clone());
        self.current = next.clone();
        self.next = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn start() -> SystemTime {
        SystemTime::UNIX_EPOCH + DAY * 20_000
    }

    fn stepped(authorities: &Authorities, now: SystemTime, published: bool) -> Authorities {
        authorities.step(now, published).unwrap().expect("something changes")
    }

    #[test]
    fn a_successor_is_trusted_before_it_signs_and_its_predecessor_after() {
        let first = Authorities::new(start()).unwrap();
        assert!(first.step(start() + DAY * 200, true).unwrap().is_none());
        let later = start() + DAY * 220;
        let announced = stepped(&first, later, true);
        assert_eq!(announced.current, first.current, "it signs at once");
        let both = announced.bundle();
        assert!(both.starts_with(&first.bundle()) && both.len() > first.bundle().len());

        assert!(announced.step(later + SETTLED / 2, true).unwrap().is_none());
        assert!(announced.step(later + DAY, false).unwrap().is_none(), "nobody trusts it yet");
        let promoted = stepped(&announced, later + SETTLED, true);
        assert_eq!(Some(&promoted.current), announced.next.as_ref());
        assert!(promoted.bundle().contains(&first.current.certificate));
        assert!(!format!("{:?}", promoted.data()).contains(&first.current.key));
        assert!(promoted.step(later + DAY, true).unwrap().is_none());

        let dropped = stepped(&promoted, start() + DAY * 366, true);
        assert_eq!(dropped.bundle(), promoted.current.certificate);
    }

    #[test]
    fn a_clock_that_jumps_past_every_certificate_leaves_one_that_is_good() {
        let first = Authorities::new(start()).unwrap();
        let late = start() + DAY * 4000;
        let fresh = stepped(&first, late, false);
        assert!(fresh.current.validity.holds(late));
        assert_ne!(fresh.current, first.current);
        // Back again: what is not good yet is of no use either.
        assert!(stepped(&fresh, start(), false).current.validity.holds(start()));

        // A successor that is good takes over at once.
        let announced = stepped(&first, start() + DAY * 220, true);
        let promoted = stepped(&announced, start() + DAY * 400, false);
        assert_eq!(Some(promoted.current), announced.next);
    }

    #[test]
    fn what_is_written_is_read_again_and_what_is_broken_is_told() {
        let first = Authorities::new(start()).unwrap();
        let all = stepped(&first, start() + DAY * 220, true);
        let secret = |data| Secret { data: Some(data), ..Secret::default() };
        assert_eq!(Authorities::read(&secret(all.data())).unwrap(), all);
        let mut data = all.data();
        data.insert(KEY.to_owned(), all.data()[NEXT_KEY].clone());
        let told = Authorities::read(&secret(data)).unwrap_err().to_string();
        assert_eq!(told, "the key in ca.key is not the certificate's");
        let mut data = all.data();
        data.insert(NEXT_KEY.to_owned(), ByteString(b"x".to_vec()));
        assert_eq!(Authorities::read(&secret(data)).unwrap(), first);
        assert!(Authorities::read(&Secret::default()).is_err());
    }
}
