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

impl Framing {
    /// Whether a frame holds one message or batch and nothing else, or is refused as a whole.
    /// What becomes of such a body its answer tells.
    fn is_exact(&self) -> bool {
        matches!(self, Self::Lines | Self::Events(_))
    }
}

/// What was found.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found<'a> {
    /// A message.
    Message(&'a Message),
    /// What there is of a message whose rest was lost.
    Cut(&'a Message),
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

    /// Something was lost here: goes on at the next line or event; a body has no next. Of a
    /// message that is complete, no more than the end of its line or event is missing; of another,
    /// what was read may tell what it asks.
    pub(super) fn gap(&mut self, mut take: impl FnMut(Found<'_>)) {
        if self.framing.is_exact() {
            take_only(&self.scanner, &mut take);
        }
        if let Some(message) = self.scanner.cut() {
            take(Found::Cut(message));
        }
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
                lines::Piece::Part(part) => scan(scanner, part, true, &mut take),
                lines::Piece::End if *skipping => *skipping = false,
                lines::Piece::End => close(scanner, true, &mut take),
            }),
            Framing::Body if *skipping => {}
            Framing::Body => scan(scanner, bytes, false, &mut take),
            Framing::Events(events) => events.split(bytes, |piece| match piece {
                sse::Piece::Data(Event::Message, part) => scan(scanner, part, true, &mut take),
                sse::Piece::Data(Event::Endpoint, part) => {
                    let room = LONGEST_ENDPOINT - endpoint.len();
                    endpoint.extend_from_slice(&part[..part.len().min(room)]);
                }
                sse::Piece::Data(Event::Other, _)
                | sse::Piece::IdPart(_)
                | sse::Piece::RetryPart(_) => {}
                sse::Piece::Id => take(Found::EventId),
                sse::Piece::End => {
                    close(scanner, true, &mut take);
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
            close(&mut self.scanner, self.framing.is_exact(), &mut take);
        }
    }
}

/// Reads on in a frame. An exact one must end before the only message in it counts.
fn scan(scanner: &mut Scanner, mut part: &[u8], exact: bool, take: &mut impl FnMut(Found<'_>)) {
    while let Some(read) = scanner.feed(part) {
        if !exact || scanner.message().in_batch() {
            take(Found::Message(scanner.message()));
        }
        part = &part[read..];
    }
}

fn take_only(scanner: &Scanner, take: &mut impl FnMut(Found<'_>)) {
    if let Some(message) = scanner.only() {
        take(Found::Message(message));
    }
}

fn close(scanner: &mut Scanner, exact: bool, take: &mut impl FnMut(Found<'_>)) {
    if exact {
        take_only(scanner, take);
    }
    if scanner.end() == Frame::Broken {
        take(Found::Garbage);
    }
}
