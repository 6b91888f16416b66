//! What the proxy adds to requests for the MCP endpoint: a bearer token and further headers.

use std::{io, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};

use crate::config::{Fresh, Remote, Secret};

/// Headers that take the place of the client's of the same name.
#[derive(Debug)]
pub(in crate::relay) struct Credentials {
    headers: Vec<(HeaderName, Fresh)>,
    bearer: Option<Fresh>,
}

/// Why a request cannot be given its credentials.
#[derive(Debug, thiserror::Error)]
pub(in crate::relay) enum CredentialError {
    #[error("{name} header for the upstream: {error}")]
    Unreadable { name: HeaderName, error: io::Error },
    #[error("{0} header for the upstream: the configured value has bytes no header may have")]
    Invalid(HeaderName),
}

impl Credentials {
    pub(in crate::relay) fn new(remote: &Remote) -> Self {
        let fresh = |secret: &Secret| Fresh::new(secret.clone());
        let headers = remote.headers.iter();
        Self {
            headers: headers.map(|header| (header.name().clone(), fresh(header.value()))).collect(),
            bearer: remote.bearer_token.as_ref().map(fresh),
        }
    }

    /// Whether the `Authorization` of clients is for the proxy and must not go further.
    pub(in crate::relay) fn mirrors(&self) -> bool {
        self.bearer.is_some()
    }

    /// Puts the credentials in.
    pub(in crate::relay) fn add_to(&self, headers: &mut HeaderMap) -> Result<(), CredentialError> {
        for (name, secret) in &self.headers {
            let value = read(name, secret)?;
            headers.insert(name, sensitive(name, &value)?);
        }
        if let Some(token) = &self.bearer {
            let token = read(&AUTHORIZATION, token)?;
            headers.insert(AUTHORIZATION, sensitive(&AUTHORIZATION, &format!("Bearer {token}"))?);
        }
        Ok(())
    }
}

fn read(name: &HeaderName, secret: &Fresh) -> Result<Arc<str>, CredentialError> {
    secret.get().map_err(|error| CredentialError::Unreadable { name: name.clone(), error })
}

fn sensitive(name: &HeaderName, value: &str) -> Result<HeaderValue, CredentialError> {
    let mut value =
        HeaderValue::from_str(value).map_err(|_| CredentialError::Invalid(name.clone()))?;
    value.set_sensitive(true);
    Ok(value)
}
