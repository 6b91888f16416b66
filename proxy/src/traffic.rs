//! What the relays saw: the vocabulary between forwarding and observing.

use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, uri::PathAndQuery};

/// Which way bytes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

impl Direction {
    /// The other way.
    #[must_use]
    pub fn reverse(self) -> Self {
        match self {
            Self::ToServer => Self::ToClient,
            Self::ToClient => Self::ToServer,
        }
    }
}

/// Two directions of bytes that belong together: a stdio session or one HTTP exchange.
#[derive(Debug)]
pub struct Stream {
    /// Unique within the process; ids grow with time.
    pub id: u64,
    /// The MCPulse server id under which calls on this stream are reported.
    pub server_id: Arc<str>,
    /// How messages are framed on it.
    pub kind: StreamKind,
    /// Answers that it owes to requests which came on other streams, as far as the observer
    /// knows: only the stream of a legacy SSE session owes any.
    pub owed: AtomicUsize,
}

impl Stream {
    /// A stream that owes nothing.
    pub fn new(id: u64, server_id: Arc<str>, kind: StreamKind) -> Self {
        Self { id, server_id, kind, owed: AtomicUsize::new(0) }
    }
}

/// How a stream carries its messages.
#[derive(Debug)]
pub enum StreamKind {
    /// One message a line, both ways; the stream is the session (stdio).
    Lines,
    /// One HTTP request and its response.
    Exchange(Exchange),
}

impl StreamKind {
    /// Whether the stream carries lines and is a session by itself.
    pub fn is_lines(&self) -> bool {
        matches!(self, Self::Lines)
    }
}

/// The head of an HTTP request, as the client sent it.
#[derive(Debug)]
pub struct Exchange {
    /// `POST`, `GET` or `DELETE`.
    pub method: Method,
    /// Path and query that the client asked for: in legacy SSE this names the session.
    pub target: PathAndQuery,
    /// The `Mcp-Session-Id` header. A secret: hash it before it leaves the process.
    pub session: Option<HeaderValue>,
    /// The `MCP-Protocol-Version` header.
    pub protocol_version: Option<HeaderValue>,
    /// Which of the two HTTP transports this is.
    pub transport: HttpTransport,
    /// The proxy says again what the client said before: it is followed, and counts for nothing.
    pub again: bool,
}

/// The two HTTP transports of MCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpTransport {
    /// Streamable HTTP (2025-03-26 and later): answers come on the exchange itself.
    Streamable,
    /// HTTP+SSE (2024-11-05): answers come on the GET stream of the session.
    LegacySse,
}

/// One thing that was seen on a stream, in the order in which it happened.
#[derive(Debug)]
pub struct Seen {
    /// Where.
    pub stream: Arc<Stream>,
    /// Which way.
    pub direction: Direction,
    /// When, taken before the bytes were written onwards.
    pub at: Instant,
    /// The tap lost something of this direction immediately before.
    pub gap: bool,
    /// What.
    pub what: What,
}

/// What was seen.
#[derive(Debug)]
pub enum What {
    /// Bytes of the body, in any chunking.
    Data(Bytes),
    /// The head of the HTTP response ([`Direction::ToClient`] only).
    Head(ResponseHead),
    /// Nothing more comes this way.
    End(End),
}

/// The head of an HTTP response, as the server sent it.
#[derive(Debug)]
pub struct ResponseHead {
    /// The status code.
    pub status: StatusCode,
    /// How to read the body.
    pub body: BodyKind,
    /// The `Mcp-Session-Id` header, minted by the answer to `initialize`.
    pub session: Option<HeaderValue>,
}

/// What the `Content-Type` (and `Content-Encoding`) of a body promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// `application/json`.
    Json,
    /// `text/event-stream`.
    EventStream,
    /// Anything else, compressed bodies included: forwarded, never read.
    Opaque,
}

/// How a direction of a stream came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The sender finished: end of file, or the end of the body.
    Clean,
    /// The client went away before the end: it closed or reset the connection.
    ClientGone,
    /// The server went away before the end: reset, exit, or a broken body.
    ServerGone,
    /// The server could not be reached at all; the proxy answered for it (502).
    Unreachable,
    /// The server did not answer in time; the proxy answered for it (504).
    TimedOut,
    /// The proxy itself refused the request or is shutting down; nothing went upstream.
    Refused,
    /// The proxy no longer waits for an answer, on whichever stream, and has told the client so.
    GivenUp,
    /// The client withdrew what it asked; if that was before it was sent, nothing went upstream.
    Withdrawn,
    /// What was asked is asked again on another stream, where it ends: nothing came of it here.
    AskedAgain,
}
