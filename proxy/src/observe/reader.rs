//! One direction of a stream: from chunks of bytes to JSON-RPC messages.

use crate::{
    lines,
    scan::{Frame, Message, Scanner},
    sse::{self, Event, Events},
    traffic::BodyKind,
};

/// Longest URI of a legacy endpoint that is followed.
const LONGEST_ENDPOINT: usize = 2 << 10;

/// How messages are framed.
#[derive(Debug)]
enum Framing {
    /// One a line.
    Lines,
    /// One JSON value, to the end of the body.
    Body,
    /// One an event.
    Events(Events),
    /// Nothing is read.
    Unread,
}

/// What was found.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found<'a> {
    /// A message.
    Message(&'a Message),
    /// A line, event or body that is not JSON.
    Garbage,
    /// The URI of the legacy `endpoint` event.
    Endpoint(&'a [u8]),
    /// An event with an id.
    EventId,
}

/// Reads one direction.
#[derive(Debug)]
pub(super) struct Reader {
    framing: Framing,
    /// The rest of the current line, or of the body, is ignored: a part of it was lost.
    skipping: bool,
    endpoint: Vec<u8>,
    scanner: Scanner,
}

impl Reader {
    /// A reader of lines.
    pub(super) fn lines(scanner: Scanner) -> Self {
        Self::new(Framing::Lines, scanner)
    }

    /// A reader of a body, by what its `Content-Type` promises.
    pub(super) fn body(kind: BodyKind, scanner: Scanner) -> Self {
        let framing = match kind {
            BodyKind::Json => Framing::Body,
            BodyKind::EventStream => Framing::Events(Events::default()),
            BodyKind::Opaque => Framing::Unread,
        };
        Self::new(framing, scanner)
    }

    fn new(framing: Framing, scanner: Scanner) -> Self {
        Self { framing, skipping: false, endpoint: Vec::new(), scanner }
    }

    /// Bytes of memory that a message which is not complete takes.
    pub(super) fn held(&self) -> usize {
        self.scanner.held()
    }

    /// Memory is short. Returns whether that is news.
    pub(super) fn keep_less(&mut self) -> bool {
        self.scanner.keep_less()
    }

    /// Something was lost here: goes on at the next line or event; a body has no next.
    pub(super) fn gap(&mut self) {
        self.scanner.reset();
        self.endpoint.clear();
        match &mut self.framing {
            Framing::Events(events) => events.skip(),
            Framing::Lines | Framing::Body => self.skipping = true,
            Framing::Unread => {}
        }
    }

    /// Reads on.
    pub(super) fn read(&mut self, bytes: &[u8], mut take: impl FnMut(Found<'_>)) {
        let Self { framing, skipping, endpoint, scanner } = self;
        match framing {
            Framing::Lines => lines::split(bytes, |piece| match piece {
                lines::Piece::Part(_) if *skipping => {}
                lines::Piece::Part(part) => scan(scanner, part, &mut take),
                lines::Piece::End if *skipping => *skipping = false,
                lines::Piece::End => close(scanner, &mut take),
            }),
            Framing::Body if *skipping => {}
            Framing::Body => scan(scanner, bytes, &mut take),
            Framing::Events(events) => events.split(bytes, |piece| match piece {
                sse::Piece::Data(Event::Message, part) => scan(scanner, part, &mut take),
                sse::Piece::Data(Event::Endpoint, part) => {
                    let room = LONGEST_ENDPOINT - endpoint.len();
                    endpoint.extend_from_slice(&part[..part.len().min(room)]);
                }
                sse::Piece::Data(Event::Other, _) => {}
                sse::Piece::Id => take(Found::EventId),
                sse::Piece::End => {
                    close(scanner, &mut take);
                    if !endpoint.is_empty() {
                        take(Found::Endpoint(endpoint));
                        *endpoint = Vec::new();
                    }
                }
            }),
            Framing::Unread => {}
        }
    }

    /// Nothing more comes. An event without its blank line does not count, as for clients.
    pub(super) fn end(&mut self, mut take: impl FnMut(Found<'_>)) {
        if matches!(self.framing, Framing::Lines | Framing::Body) && !self.skipping {
            close(&mut self.scanner, &mut take);
        }
    }
}

fn scan(scanner: &mut Scanner, mut part: &[u8], take: &mut impl FnMut(Found<'_>)) {
    while let Some(read) = scanner.feed(part) {
        take(Found::Message(scanner.message()));
        part = &part[read..];
    }
}

fn close(scanner: &mut Scanner, take: &mut impl FnMut(Found<'_>)) {
    if scanner.end() == Frame::Broken {
        take(Found::Garbage);
    }
}
