//! Texts of others, cut to a length that what they go into can bear.

use std::error::Error as _;

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
    let mut cause = status.source();
    while let Some(deeper) = cause.and_then(std::error::Error::source) {
        cause = Some(deeper);
    }
    match cause {
        Some(cause) => printable(&cause.to_string()),
        None => printable(&format!("{}: {}", status.code(), status.message())),
    }
}
