//! What the API server answers when it does not do what it is asked.

use kube::Error;

/// Why, in one line: what the API server said where it said something.
pub(crate) fn why(error: &Error) -> String {
    match error {
        Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        Error::Api(status) => format!("{} ({})", status.reason, status.code),
        other => other.to_string(),
    }
}

/// Whether it is this status code.
pub(crate) fn is(error: &Error, code: u16) -> bool {
    matches!(error, Error::Api(status) if status.code == code)
}
