//! What the proxy adds to requests for the MCP endpoint: a bearer token and further headers.

use std::{io, sync::Arc};

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{AUTHORIZATION, CONTENT_LENGTH, HOST, TRAILER},
};

use super::head;
use crate::config::{Fresh, Remote};

/// Headers that take the place of the client's of the same name.
#[derive(Debug)]
pub(super) struct Credentials {
    headers: Vec<(HeaderName, Fresh)>,
    bearer: Option<Fresh>,
}

/// A header of the configuration that cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// Its name.
    #[error("header name '{0}' is not valid; use letters, digits and hyphens")]
    Name(String),
    /// It frames the message, or belongs to one connection: the proxy's own business.
    #[error("header '{0}' cannot be set: it is of one connection only, and the proxy's to write")]
    OfOneHop(HeaderName),
    /// There is an option for it.
    #[error("header 'host' cannot be set; --host-header says which one the upstream gets")]
    Host,
}

/// Why a request cannot be given its credentials.
#[derive(Debug, thiserror::Error)]
pub(super) enum CredentialError {
    #[error("{name} header for the upstream: {error}")]
    Unreadable { name: HeaderName, error: io::Error },
    #[error("{0} header for the upstream: the configured value has bytes no header may have")]
    Invalid(HeaderName),
}

impl Credentials {
    pub(super) fn new(remote: &Remote) -> Result<Self, HeaderError> {
        let headers = remote.headers.iter().map(|header| {
            let name = HeaderName::from_bytes(header.name.as_bytes())
                .map_err(|_| HeaderError::Name(header.name.clone()))?;
            if name == HOST {
                return Err(HeaderError::Host);
            }
            if name == CONTENT_LENGTH || name == TRAILER || head::is_hop_by_hop(&name) {
                return Err(HeaderError::OfOneHop(name));
            }
            Ok((name, Fresh::new(header.value.clone())))
        });
        Ok(Self {
            headers: headers.collect::<Result<_, _>>()?,
            bearer: remote.bearer_token.clone().map(Fresh::new),
        })
    }

    /// Whether the `Authorization` of clients is for the proxy and must not go further.
    pub(super) fn mirrors(&self) -> bool {
        self.bearer.is_some()
    }

    /// Puts the credentials in.
    pub(super) fn add_to(&self, headers: &mut HeaderMap) -> Result<(), CredentialError> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Header;

    fn refused(name: &str) -> Option<String> {
        let mut remote = Remote::new("http://mcp.test/mcp");
        remote.headers.push(Header { name: name.to_owned(), value: "5".into() });
        Credentials::new(&remote).err().map(|error| error.to_string())
    }

    #[test]
    fn the_framing_of_requests_cannot_be_set() {
        for name in [
            "Content-Length",
            "Transfer-Encoding",
            "Connection",
            "Keep-Alive",
            "Proxy-Connection",
            "TE",
            "Trailer",
            "Upgrade",
        ] {
            let error = refused(name).unwrap_or_else(|| panic!("{name} passed"));
            assert!(error.contains(&name.to_ascii_lowercase()), "{error}");
        }
        assert!(refused("Host").unwrap().contains("--host-header"));
        assert!(refused("a b").unwrap().contains("'a b' is not valid"));
        for name in ["X-Api-Key", "Authorization", "Content-Language"] {
            assert_eq!(refused(name), None, "{name}");
        }
    }
}
