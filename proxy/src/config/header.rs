//! Headers that the proxy adds to what it sends.

use http::{
    HeaderName,
    header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE},
};
use serde::{Deserialize, Serialize};

use super::Secret;

/// One header. None can be made that frames the message or belongs to one connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Spelled", into = "Spelled")]
pub struct Header {
    name: HeaderName,
    value: Secret,
}

/// A header as a file has it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Spelled {
    name: String,
    value: Secret,
}

/// Why the proxy adds no header of such a name; to follow the setting's name.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// It is none.
    #[error("has a name that no HTTP header can have")]
    Name,
    /// It frames the message, or belongs to one connection: the proxy's own business.
    #[error("names {0}, which is of one connection only and the proxy's to write; leave it out")]
    OfOneHop(HeaderName),
    /// There is a setting for it.
    #[error("names host, which the proxy writes; --host-header says which one the upstream gets")]
    Host,
}

impl Header {
    /// A header of this name.
    ///
    /// # Errors
    /// When the name is none that the proxy can add.
    pub fn new(name: &str, value: impl Into<Secret>) -> Result<Self, HeaderError> {
        let name = HeaderName::try_from(name).map_err(|_| HeaderError::Name)?;
        if name == HOST {
            return Err(HeaderError::Host);
        }
        if name == CONTENT_LENGTH || name == TRAILER || is_hop_by_hop(&name) {
            return Err(HeaderError::OfOneHop(name));
        }
        Ok(Self { name, value: value.into() })
    }

    /// Its name.
    pub fn name(&self) -> &HeaderName {
        &self.name
    }

    /// Its value, never shown: it often is a key.
    pub fn value(&self) -> &Secret {
        &self.value
    }
}

impl TryFrom<Spelled> for Header {
    type Error = HeaderError;

    fn try_from(Spelled { name, value }: Spelled) -> Result<Self, HeaderError> {
        Self::new(&name, value)
    }
}

impl From<Header> for Spelled {
    fn from(Header { name, value }: Header) -> Self {
        Self { name: name.as_str().to_owned(), value }
    }
}

/// Whether a header is always of one hop, whatever `Connection` names (RFC 9110, 7.6.1).
pub fn is_hop_by_hop(name: &HeaderName) -> bool {
    const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
    const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
    *name == CONNECTION
        || *name == KEEP_ALIVE
        || *name == TRANSFER_ENCODING
        || *name == TE
        || *name == UPGRADE
        || *name == PROXY_CONNECTION
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str) -> Option<String> {
        Header::new(name, "5").err().map(|error| error.to_string())
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
            let file = format!("name: {name}\nvalue: a");
            assert!(serde_yaml::from_str::<Header>(&file).is_err(), "{name}");
        }
        assert!(refused("Host").unwrap().contains("--host-header"));
        assert!(refused("a b").unwrap().contains("no HTTP header"));
        for name in ["X-Api-Key", "Authorization", "Content-Language"] {
            assert_eq!(refused(name), None, "{name}");
        }
    }
}
