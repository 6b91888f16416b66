//! A certificate that somebody else makes, such as cert-manager: files of a mounted Secret of
//! type `kubernetes.io/tls`, which are read again when they change.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use rustls::{
    crypto::ring::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use tokio::{sync::watch, time};

use super::{CertificateError, Identity};

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const AUTHORITY: &str = "ca.crt";
/// How often the files are looked at. Those who make them do so long before they are needed.
const LOOK_EVERY: Duration = Duration::from_mins(1);

/// The files of a directory.
#[derive(Debug)]
pub struct Files {
    directory: PathBuf,
    identity: Arc<Identity>,
    bundle: watch::Sender<Option<String>>,
    /// What they held when they were last of use.
    seen: Option<[String; 3]>,
}

impl Files {
    /// `tls.crt`, `tls.key` and, unless API servers know the authority, `ca.crt` of
    /// `directory`, whose text goes to `bundle`.
    pub fn new(
        directory: PathBuf,
        identity: Arc<Identity>,
        bundle: watch::Sender<Option<String>>,
    ) -> Self {
        Self { directory, identity, bundle, seen: None }
    }

    /// Reads them now and whenever they have changed. A pair that is of no use never replaces
    /// one that is.
    pub async fn keep(mut self) {
        let mut looks = time::interval(LOOK_EVERY);
        loop {
            looks.tick().await;
            if let Err(error) = self.look() {
                let directory = self.directory.display();
                tracing::warn!("{error} in {directory}; the previous certificate stays in use");
            }
        }
    }

    /// Reads them.
    ///
    /// # Errors
    /// When they are of no use.
    pub fn look(&mut self) -> Result<(), CertificateError> {
        let read = |name: &str| {
            let text = fs::read_to_string(self.directory.join(name));
            text.map_err(|error| CertificateError::read(name, error))
        };
        let found = [read(CERTIFICATE)?, read(KEY)?, read(AUTHORITY).unwrap_or_default()];
        if self.seen.as_ref() == Some(&found) {
            return Ok(());
        }
        let [chain, key, authority] = &found;
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|error| CertificateError::read(CERTIFICATE, error))?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|error| CertificateError::read(KEY, error))?;
        let certified = CertifiedKey::new(chain, any_supported_type(&key)?);
        certified.keys_match().map_err(|_| CertificateError::Mismatch(KEY.to_owned()))?;
        self.identity.show(certified);
        self.bundle.send_replace(Some(authority.clone()));
        self.seen = Some(found);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    #[test]
    fn a_pair_that_is_of_no_use_never_replaces_one_that_is() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
        let make = || {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec!["a".to_owned()]).unwrap();
            (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
        };
        let (identity, (bundle, trusted)) = (Arc::new(Identity::default()), watch::channel(None));
        let mut files = Files::new(directory.path().to_owned(), Arc::clone(&identity), bundle);
        assert!(files.look().unwrap_err().to_string().starts_with("read tls.crt: "));
        let (one, two) = (make(), make());
        write(CERTIFICATE, &one.0);
        write(KEY, &one.1);
        files.look().unwrap();
        assert_eq!(trusted.borrow().as_deref(), Some(""));
        write(CERTIFICATE, &two.0);
        write(AUTHORITY, &two.0);
        assert_eq!(
            files.look().unwrap_err().to_string(),
            "the key in tls.key is not the certificate's"
        );
        assert_eq!(trusted.borrow().as_deref(), Some(""));
        write(KEY, &two.1);
        files.look().unwrap();
        assert_eq!(trusted.borrow().as_ref(), Some(&two.0));
    }
}
