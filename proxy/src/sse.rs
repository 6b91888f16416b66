//! Server-sent events: where an event begins and ends and what its data is, in any chunking.
//!
//! Data is handed out as it comes, so that an event of any size takes no memory. The name of
//! an event is honoured when it precedes the data, as every known server sends it.

use memchr::memchr2;

/// What the data of an event is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A JSON-RPC message: `message`, or no name.
    Message,
    /// The URI for POSTs of the legacy transport: `endpoint`.
    Endpoint,
    /// Anything else.
    Other,
}

/// A piece of a stream of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Bytes of the data of the current event.
    Data(Event, &'a [u8]),
    /// The event has an id: a client that loses the stream can resume it.
    Id,
    /// Bytes of that id.
    IdPart(&'a [u8]),
    /// Bytes of the milliseconds to wait before a stream that was lost is resumed.
    RetryPart(&'a [u8]),
    /// The event is over.
    End,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// In the name of a field, or before a line.
    #[default]
    Name,
    /// After the colon of a field, where one space is left out.
    Colon(Field),
    /// In the value of a field.
    Value(Field),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Data,
    Event,
    Id,
    Retry,
    /// A comment, or a field without meaning here.
    Other,
}

const MARK: [u8; 3] = [0xEF, 0xBB, 0xBF];

/// Splits a stream of events.
#[derive(Debug, Default)]
pub struct Events {
    state: State,
    /// Bytes of a byte order mark that the stream began with; beyond its length none may come.
    mark: usize,
    /// The line before ended with CR: an LF now belongs to it.
    after_cr: bool,
    /// The event has data already.
    has_data: bool,
    /// Everything up to the next blank line is ignored.
    skipping: bool,
    /// The name of a field, one byte longer than any that is known.
    name: [u8; 6],
    name_len: usize,
    /// The name of the event, likewise.
    event: [u8; 9],
    event_len: usize,
}

impl Events {
    /// Something was lost: ignores everything up to the next blank line.
    pub fn skip(&mut self) {
        *self = Self {
            state: State::Value(Field::Other),
            mark: MARK.len(),
            skipping: true,
            ..Self::default()
        };
    }

    /// Whether it stands between two events.
    pub fn is_between(&self) -> bool {
        self.state == State::Name && self.name_len == 0 && !self.has_data && !self.skipping
    }

    /// Splits `bytes` into pieces; an event that is not over goes on with the next bytes.
    pub fn split<'a>(&mut self, mut bytes: &'a [u8], mut take: impl FnMut(Piece<'a>)) {
        while self.mark < MARK.len() && !bytes.is_empty() {
            if bytes[0] != MARK[self.mark] {
                self.mark = MARK.len();
                break;
            }
            bytes = &bytes[1..];
            self.mark += 1;
        }
        if self.after_cr && !bytes.is_empty() {
            self.after_cr = false;
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while let Some(end) = memchr2(b'\r', b'\n', bytes) {
            self.line(&bytes[..end], &mut take);
            self.line_end(&mut take);
            let ending = if bytes[end..].starts_with(b"\r\n") { 2 } else { 1 };
            self.after_cr = bytes[end] == b'\r' && end + 1 == bytes.len();
            bytes = &bytes[end + ending..];
        }
        self.line(bytes, &mut take);
    }

    /// A part of a line.
    fn line<'a>(&mut self, mut part: &'a [u8], take: &mut impl FnMut(Piece<'a>)) {
        if part.is_empty() {
            return;
        }
        if self.state == State::Name {
            let colon = part.iter().position(|byte| *byte == b':');
            let name = &part[..colon.unwrap_or(part.len())];
            append(&mut self.name, &mut self.name_len, name);
            let Some(colon) = colon else { return };
            part = &part[colon + 1..];
            let field = self.field(take);
            self.state = State::Colon(field);
        }
        if let State::Colon(field) = self.state
            && let [first, ..] = part
        {
            part = if *first == b' ' { &part[1..] } else { part };
            self.state = State::Value(field);
        }
        if part.is_empty() {
            return;
        }
        match self.state {
            State::Value(Field::Data) if !self.skipping => take(Piece::Data(self.kind(), part)),
            State::Value(Field::Event) => append(&mut self.event, &mut self.event_len, part),
            State::Value(Field::Id) => take(Piece::IdPart(part)),
            State::Value(Field::Retry) => take(Piece::RetryPart(part)),
            _ => {}
        }
    }

    fn line_end<'a>(&mut self, take: &mut impl FnMut(Piece<'a>)) {
        if self.state == State::Name {
            if self.name_len == 0 {
                take(Piece::End);
                (self.has_data, self.skipping, self.event_len) = (false, false, 0);
                return;
            }
            // A field without a colon has an empty value.
            self.field(take);
        }
        self.name_len = 0;
        self.state = State::Name;
    }

    /// The field whose name is complete.
    fn field<'a>(&mut self, take: &mut impl FnMut(Piece<'a>)) -> Field {
        match &self.name[..self.name_len] {
            b"data" => {
                if self.has_data && !self.skipping {
                    take(Piece::Data(self.kind(), b"\n"));
                }
                self.has_data = true;
                Field::Data
            }
            b"event" => {
                self.event_len = 0;
                Field::Event
            }
            b"id" if !self.skipping => {
                take(Piece::Id);
                Field::Id
            }
            b"retry" if !self.skipping => Field::Retry,
            _ => Field::Other,
        }
    }

    fn kind(&self) -> Event {
        match &self.event[..self.event_len] {
            b"" | b"message" => Event::Message,
            b"endpoint" => Event::Endpoint,
            _ => Event::Other,
        }
    }
}

/// Keeps what fits; what does not is longer than any name that is known.
fn append(name: &mut [u8], len: &mut usize, part: &[u8]) {
    let room = part.len().min(name.len() - *len);
    name[*len..*len + room].copy_from_slice(&part[..room]);
    *len += room;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The events of a stream: what, whether it has an id, and its data.
    fn events(stream: &[u8], chunk: usize) -> Vec<(Option<Event>, bool, String)> {
        let mut splitter = Events::default();
        let mut events = Vec::new();
        let mut current = (None, false, Vec::new());
        for chunk in stream.chunks(chunk) {
            splitter.split(chunk, |piece| match piece {
                Piece::Data(event, part) => {
                    current.0 = Some(event);
                    current.2.extend_from_slice(part);
                }
                Piece::Id => current.1 = true,
                Piece::IdPart(_) | Piece::RetryPart(_) => {}
                Piece::End => {
                    let (event, id, data) = std::mem::take(&mut current);
                    events.push((event, id, String::from_utf8_lossy(&data).into_owned()));
                }
            });
        }
        events
    }

    fn message(data: &str) -> (Option<Event>, bool, String) {
        (Some(Event::Message), false, data.to_owned())
    }

    #[test]
    fn reads_what_servers_send() {
        let python = "event: message\r\ndata: {\"a\": 1}\r\n\r\n: ping\r\n\r\n";
        assert_eq!(
            events(python.as_bytes(), 100),
            [message("{\"a\": 1}"), (None, false, String::new())]
        );
        let rmcp = "data: {}\nid: 1\nretry: 3000\n\n";
        assert_eq!(events(rmcp.as_bytes(), 100), [(Some(Event::Message), true, "{}".to_owned())]);
        let priming = "id: 1\ndata:\n\n";
        assert_eq!(events(priming.as_bytes(), 100), [(None, true, String::new())]);
        let endpoint = "event: endpoint\ndata: /m?s=1\n\nevent: ping\ndata: x\n\ndata: y\n\n";
        assert_eq!(
            events(endpoint.as_bytes(), 100),
            [
                (Some(Event::Endpoint), false, "/m?s=1".to_owned()),
                (Some(Event::Other), false, "x".to_owned()),
                message("y"),
            ]
        );
    }

    #[test]
    fn reads_what_the_specification_allows() {
        assert_eq!(
            events(b"data: a\rdata:b\r\rdata:  c\n\n", 100),
            [message("a\nb"), message(" c")]
        );
        assert_eq!(events(b"\xEF\xBB\xBFdata: a\n\n", 100), [message("a")]);
        assert_eq!(events(b"data\ndata\n\n", 100), [message("\n")]);
        assert_eq!(events(b"datax: a\nDATA: b\n data: c\n\n", 100), [(None, false, String::new())]);
        assert_eq!(events(b"data: unfinished\n", 100), []);
    }

    #[test]
    fn skips_to_the_next_event() {
        let mut splitter = Events::default();
        let mut data = Vec::new();
        let mut take = |piece: Piece<'_>| {
            if let Piece::Data(_, part) = piece {
                data.extend_from_slice(part);
            }
        };
        splitter.split(b"data: a", &mut take);
        splitter.skip();
        splitter.split(b"b\ndata: c\n\ndata: d\n\n", &mut take);
        assert_eq!(data, b"ad");
    }

    proptest! {
        #[test]
        fn chunking_changes_nothing(
            pieces in prop::collection::vec(prop::sample::select(PIECES), 0..40),
            chunk in 1_usize..12,
        ) {
            let stream = pieces.concat();
            prop_assert_eq!(events(&stream, chunk), events(&stream, usize::MAX));
        }
    }

    const PIECES: &[&[u8]] = &[
        b"data:",
        b"data: {\"id\":1}",
        b"event: endpoint",
        b"id: 7",
        b"\r\n",
        b"\r",
        b"\n",
        b":",
        b" ",
        b"x",
        b"\xEF\xBB\xBF",
        b"\xF0\x9F\x98\x80",
    ];
}
