//! Keeps legacy SSE clients on the listener: rewrites the URL of the first `endpoint` event.
//! All other bytes pass as they came, in their order; at most [`LIMIT`] and a chunk wait.

use std::{ops::Range, sync::Arc};

use bytes::{Bytes, BytesMut};
use http::uri::PathAndQuery;
use memchr::{memchr, memchr2};

use super::rewrite::Rewrite;

/// Bytes up to which an event is held back until its type is known. A longer one passes as it
/// is, and so does what follows: servers announce the endpoint first, and in a line.
pub const LIMIT: usize = 8 << 10;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Follows one SSE stream up to its `endpoint` event (MCP 2024-11-05, transports).
#[derive(Debug)]
pub struct EndpointRewriter {
    rewrite: Arc<Rewrite>,
    asked: PathAndQuery,
    announced: Option<String>,
    search: Option<Search>,
}

impl EndpointRewriter {
    /// Follows the answer to a request for `asked`.
    pub fn new(rewrite: Arc<Rewrite>, asked: PathAndQuery) -> Self {
        Self { rewrite, asked, announced: None, search: Some(Search::default()) }
    }

    /// Takes bytes of the stream and returns those that can go on now, perhaps none.
    pub fn push(&mut self, chunk: Bytes) -> Bytes {
        let Some(search) = &mut self.search else { return chunk };
        search.held.extend_from_slice(&chunk);
        let mut ready = BytesMut::new();
        while let Some(event) = search.next() {
            // A long event may not be told by whether it came in one chunk.
            let kind = match event.bytes.len() {
                0..=LIMIT => Kind::of(&event.bytes, event.first),
                _ => Kind::Unclear,
            };
            if kind == Kind::Other {
                ready.extend_from_slice(&event.bytes);
                continue;
            }
            let rest = std::mem::take(&mut search.held);
            self.search = None;
            match kind {
                Kind::Endpoint(url) => self.rewrite(&event.bytes, url, &mut ready),
                _ => ready.extend_from_slice(&event.bytes),
            }
            ready.extend_from_slice(&rest);
            break;
        }
        if let Some(search) = self.search.take_if(|search| search.held.len() > LIMIT) {
            ready.extend_from_slice(&search.held);
        }
        ready.freeze()
    }

    /// The stream is over: returns what still waited for the rest of its event.
    pub fn finish(&mut self) -> Bytes {
        self.search.take().map_or_else(Bytes::new, |search| search.held.freeze())
    }

    /// The path on the remote server to which clients of this stream post, without its query.
    /// None until it was announced, and when it is on another server.
    pub fn announced(&self) -> Option<&str> {
        self.announced.as_deref()
    }

    /// Writes the event with the URL that stands at `data` turned towards the listener.
    fn rewrite(&mut self, event: &[u8], data: Range<usize>, ready: &mut BytesMut) {
        let local = std::str::from_utf8(&event[data.clone()])
            .ok()
            .and_then(|reference| self.rewrite.local(reference, &self.asked));
        let Some(local) = local else { return ready.extend_from_slice(event) };
        let end = local.path.find(['?', '#']).unwrap_or(local.path.len());
        self.announced = Some(local.path[..end].to_owned());
        if local.kept {
            return ready.extend_from_slice(event);
        }
        ready.extend_from_slice(&event[..data.start]);
        ready.extend_from_slice(self.rewrite.outward(&local.path).as_bytes());
        ready.extend_from_slice(&event[data.end..]);
    }
}

/// Cuts a stream into events, and into the comments and blank lines between them.
#[derive(Debug, Default)]
struct Search {
    /// What did not go on yet; begins with a line.
    held: BytesMut,
    /// Where in `held` the line begins that is not complete yet.
    line: usize,
    /// Up to where that line holds no line end.
    scanned: usize,
    /// The line before it ended with CR, so that a LF at once still belongs to that.
    after_cr: bool,
    /// Something went on already: no byte order mark can come any more.
    begun: bool,
}

struct Event {
    bytes: BytesMut,
    /// The first of the stream.
    first: bool,
}

impl Search {
    fn next(&mut self) -> Option<Event> {
        while let Some(at) = memchr2(b'\r', b'\n', &self.held[self.scanned..]) {
            let (start, end) = (self.line, self.scanned + at);
            (self.line, self.scanned) = (end + 1, end + 1);
            let half = self.after_cr && start == end && self.held[end] == b'\n';
            self.after_cr = self.held[end] == b'\r';
            let line = &self.held[start..end];
            let line = if start == 0 { self.without_mark(line) } else { line };
            let between = start == 0 && line.starts_with(b":");
            if (line.is_empty() && !(half && start > 0)) || between {
                return Some(self.take());
            }
        }
        self.scanned = self.held.len();
        None
    }

    fn without_mark<'a>(&self, line: &'a [u8]) -> &'a [u8] {
        if self.begun { line } else { line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line) }
    }

    /// Takes out everything before the line that is not complete yet.
    fn take(&mut self) -> Event {
        let bytes = self.held.split_to(self.line);
        (self.line, self.scanned) = (0, 0);
        Event { bytes, first: !std::mem::replace(&mut self.begun, true) }
    }
}

/// What an event is to the rewriter.
#[derive(PartialEq, Eq)]
enum Kind {
    /// The announcement, with the place of its URL.
    Endpoint(Range<usize>),
    /// An announcement whose data is not one line and so no URL, or too long to tell.
    Unclear,
    /// Anything else.
    Other,
}

impl Kind {
    fn of(event: &[u8], first: bool) -> Self {
        let (mut named, mut data, mut lines, mut start) = (false, 0..0, 0, 0);
        for raw in event.split(|byte| matches!(byte, b'\r' | b'\n')) {
            let marked = first && start == 0 && raw.starts_with(BYTE_ORDER_MARK);
            let mark = if marked { BYTE_ORDER_MARK.len() } else { 0 };
            let line = &raw[mark..];
            let colon = memchr(b':', line).unwrap_or(line.len());
            let value = (colon + 1).min(line.len());
            let value = value + usize::from(line[value..].starts_with(b" "));
            match &line[..colon] {
                b"event" => named = &line[value..] == b"endpoint",
                b"data" => {
                    lines += 1;
                    let end = start + raw.len();
                    let url = event[start + mark + value..end].trim_ascii_start();
                    data = end - url.len()..end - url.len() + url.trim_ascii_end().len();
                }
                _ => {}
            }
            start += raw.len() + 1;
        }
        match lines {
            // Without data there is no event at all (WHATWG HTML, 9.2.6).
            0 => Self::Other,
            _ if !named => Self::Other,
            1 => Self::Endpoint(data),
            _ => Self::Unclear,
        }
    }
}

#[cfg(test)]
mod tests;
