//! Texts for logs and reports: those of others, cut to a length that what they go into can
//! bear, and numbers of calls.

use std::error::Error;

use tonic::Status;

use crate::tls;

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

/// "1 call was", "2 calls were".
pub(super) fn were(calls: u64) -> String {
    if calls == 1 { "1 call was".to_owned() } else { format!("{calls} calls were") }
}

/// What failed first: the errors around it say little more than that something failed.
pub(super) fn cause(status: &Status) -> String {
    match chain(status).last() {
        Some(cause) => printable(&cause.to_string()),
        None => printable(&format!("{}: {}", status.code(), status.message())),
    }
}

/// What TLS had to do with a failure, if anything.
pub(super) fn tls(status: &Status) -> Option<tls::Trouble> {
    chain(status).find_map(tls::Trouble::of)
}

/// Whether there was a connection, but no conversation: so end those who expect TLS and hear
/// none, and those who speak something else.
pub(super) fn unheard(status: &Status) -> bool {
    chain(status).any(<dyn Error>::is::<hyper::Error>)
}

/// The errors behind it, the nearest first.
fn chain(status: &Status) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(status.source(), |&error| error.source())
}
