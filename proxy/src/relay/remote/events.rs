//! The messages of an event stream, whole, and what it takes to go on where it broke off.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderValue;

use super::conversation::PAUSE;
use crate::{
    jsonrpc::skip_mark,
    sse::{self, Event, Piece},
};

/// Largest message that is taken.
pub(super) const LARGEST: usize = 256 << 20;
/// Longest event id that is kept; a longer one cannot be a header either.
const LONGEST_ID: usize = 8 << 10;
/// Longest pause that a server can ask for.
const LONGEST_RETRY: Duration = Duration::from_hours(1);
/// Longest URI of an endpoint that is used.
const LONGEST_URI: usize = 8 << 10;

/// Reads one event stream after the other, each going on where the last one ended.
#[derive(Debug, Default)]
pub(super) struct Messages {
    events: sse::Events,
    data: BytesMut,
    id: Option<Vec<u8>>,
    retry: Option<Vec<u8>>,
    cursor: Cursor,
    /// The data of an `endpoint` event that is not over, and of the first one that was.
    uri: Vec<u8>,
    endpoint: Option<Vec<u8>>,
    too_large: bool,
}

/// Where a stream can be resumed, and how long to wait before (HTML standard, 9.2.6).
#[derive(Clone, Debug, Default)]
pub(super) struct Cursor {
    /// The id of the last event that had one.
    pub(super) last: Option<HeaderValue>,
    retry: Option<Duration>,
}

impl Cursor {
    /// How long to wait at least before the stream is asked for again.
    pub(super) fn retry(&self) -> Duration {
        self.retry.unwrap_or_default().min(LONGEST_RETRY)
    }

    /// How long to wait before a stream that ended is asked for again.
    pub(super) fn pause(&self) -> Duration {
        self.retry.map_or(PAUSE, |retry| retry.min(LONGEST_RETRY))
    }
}

/// A message is larger than any that is taken.
#[derive(Debug, thiserror::Error)]
#[error("the server sent a message of more than {LARGEST} bytes")]
pub(super) struct TooLarge;

impl Messages {
    /// Where it stands.
    pub(super) fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// Where the server takes messages, if it has said so (2024-11-05).
    pub(super) fn endpoint(&self) -> Option<String> {
        self.endpoint.as_ref().map(|uri| String::from_utf8_lossy(uri).trim().to_owned())
    }

    /// Another stream begins; an event that was not over never happened.
    pub(super) fn begin(&mut self) {
        let cursor = std::mem::take(&mut self.cursor);
        *self = Self { cursor, ..Self::default() };
    }

    /// Reads on. What is complete is handed out, each on one line.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<Vec<Bytes>, TooLarge> {
        let Self { events, data, id, retry, cursor, uri, endpoint, too_large } = self;
        let mut messages = Vec::new();
        events.split(bytes, |piece| match piece {
            Piece::Data(Event::Message, part) if data.len() + part.len() <= LARGEST => {
                data.extend_from_slice(part);
            }
            Piece::Data(Event::Endpoint, part) if uri.len() + part.len() <= LONGEST_URI => {
                uri.extend_from_slice(part);
            }
            Piece::Data(Event::Message | Event::Endpoint, _) => *too_large = true,
            Piece::Data(Event::Other, _) => {}
            Piece::Id => *id = Some(Vec::new()),
            Piece::IdPart(part) => {
                if let Some(id) = id.as_mut().filter(|id| id.len() <= LONGEST_ID) {
                    id.extend_from_slice(part);
                }
            }
            Piece::RetryPart(part) => {
                let retry = retry.get_or_insert_default();
                if retry.len() < 16 {
                    retry.extend_from_slice(part);
                }
            }
            Piece::End => {
                if let Some(id) = id.take() {
                    // An empty one says that nothing can be resumed any more.
                    cursor.last = HeaderValue::from_bytes(&id).ok().filter(|id| !id.is_empty());
                }
                if let Some(retry) = retry.take() {
                    let milliseconds = str::from_utf8(&retry).ok().and_then(|it| it.parse().ok());
                    cursor.retry = milliseconds.map(Duration::from_millis).or(cursor.retry);
                }
                let uri = std::mem::take(uri);
                if !uri.is_empty() {
                    endpoint.get_or_insert(uri);
                }
                let message = std::mem::take(data);
                if !message.trim_ascii().is_empty() {
                    messages.push(one_line(message));
                }
            }
        });
        if *too_large { Err(TooLarge) } else { Ok(messages) }
    }
}

/// The same value on one line: raw line breaks can only stand between tokens of JSON.
pub(super) fn one_line(mut text: BytesMut) -> Bytes {
    skip_mark(&mut text);
    for byte in &mut text[..] {
        if matches!(*byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    text.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(messages: &mut Messages, text: &str, chunk: usize) -> Vec<Bytes> {
        let chunks = text.as_bytes().chunks(chunk);
        chunks.flat_map(|chunk| messages.read(chunk).unwrap()).collect()
    }

    #[test]
    fn the_first_endpoint_counts_once_it_is_whole() {
        for chunk in 1..12 {
            let mut messages = Messages::default();
            assert!(read(&mut messages, "event: endpoint\r\ndata: /m?s=1\r\n", chunk).is_empty());
            assert_eq!(messages.endpoint(), None);
            let text = "\r\ndata: 1\n\nevent: endpoint\ndata: /other\n\n";
            assert_eq!(read(&mut messages, text, chunk), ["1"]);
            assert_eq!(messages.endpoint().as_deref(), Some("/m?s=1"));
        }
    }

    #[test]
    fn a_server_says_how_long_to_wait_within_reason() {
        let pauses = |retry: &str| {
            let mut messages = Messages::default();
            assert!(read(&mut messages, &format!("{retry}\n\n"), 9).is_empty());
            [messages.cursor().retry(), messages.cursor().pause()]
        };
        assert_eq!(pauses("id: 1"), [Duration::ZERO, PAUSE]);
        assert_eq!(pauses("retry: 5"), [Duration::from_millis(5); 2]);
        assert_eq!(pauses("retry: 180000"), [Duration::from_mins(3); 2]);
        assert_eq!(pauses("retry: 999999999999"), [LONGEST_RETRY; 2]);
    }

    #[test]
    fn messages_come_whole_with_where_to_go_on() {
        for chunk in 1..12 {
            let mut messages = Messages::default();
            let text = "id: 1\ndata:\n\nevent: message\ndata: \u{feff}{\ndata: \"a\":1}\nid: x y\n\
                        retry: 250\n\n: ping\n\nevent: ping\ndata: no\n\ndata: unfinished";
            assert_eq!(read(&mut messages, text, chunk), ["{ \"a\":1}"], "{chunk}");
            let cursor = messages.cursor();
            assert_eq!(cursor.last.as_ref().unwrap(), "x y");
            assert_eq!(cursor.retry, Some(Duration::from_millis(250)));
            messages.begin();
            assert_eq!(read(&mut messages, "data: 2\n\n", chunk), ["2"]);
            assert_eq!(messages.cursor().last.as_ref().unwrap(), "x y");
            assert!(read(&mut messages, "id\nretry: soon\n\n", chunk).is_empty());
            assert!(messages.cursor().last.is_none());
            assert_eq!(messages.cursor().retry, Some(Duration::from_millis(250)));
        }
    }
}
