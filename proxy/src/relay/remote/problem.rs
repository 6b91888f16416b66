//! Why a message got no answer, and what its client is told in place of one.

use std::fmt;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use crate::traffic::End;

/// Why no answer came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::relay) struct Problem {
    /// In words that may be logged.
    message: String,
    /// The server's own words about it. They may hold what it was sent, secrets included.
    words: Option<String>,
    /// How the exchange ended that should have brought one.
    pub(in crate::relay) end: End,
    /// What the server answered instead, if it did.
    pub(in crate::relay) refused: Option<Refused>,
}

/// The part of a response without an answer that a client over HTTP can use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::relay) struct Refused {
    pub(in crate::relay) status: StatusCode,
    /// How to get in, as the server says it (`WWW-Authenticate`).
    pub(in crate::relay) challenges: Vec<HeaderValue>,
}

impl Problem {
    pub(super) fn new(message: impl Into<String>, end: End) -> Self {
        Self { message: message.into(), words: None, end, refused: None }
    }

    /// The server has answered, but not as it should.
    pub(in crate::relay) fn strange(message: impl Into<String>) -> Self {
        Self::new(message, End::ServerGone)
    }

    /// How a stream ended on which an answer was awaited.
    pub(in crate::relay) fn broken(&self) -> End {
        if self.end == End::Clean { End::ServerGone } else { self.end }
    }

    /// The server has refused, in these words.
    pub(super) fn refused(message: String, words: Option<String>, refused: Refused) -> Self {
        Self { message, words, end: End::Clean, refused: Some(refused) }
    }

    /// Whether the server has refused with this status.
    pub(super) fn is_of(&self, status: StatusCode) -> bool {
        self.refused.as_ref().is_some_and(|refused| refused.status == status)
    }

    /// What its client is told.
    pub(super) fn told(&self) -> String {
        match &self.words {
            Some(words) => format!("{}: {words}", self.message),
            None => self.message.clone(),
        }
    }
}

/// For the log: without the words of the server.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// A message for the client, without the end of a line.
#[derive(Debug)]
pub(in crate::relay) struct Told {
    pub(in crate::relay) text: Bytes,
    /// It is the proxy that says this, in place of an answer, and why.
    pub(in crate::relay) why: Option<Problem>,
}

impl From<Bytes> for Told {
    fn from(text: Bytes) -> Self {
        Self { text, why: None }
    }
}
