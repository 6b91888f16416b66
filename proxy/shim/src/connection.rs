//! One connection with the sidecar: frames in and out, without waiting and without much in memory.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
};

use crate::protocol::{self, FromShim, FromSidecar, HEADER, MOST, Violation};

/// Most bytes that are read at a time.
const PIECE: usize = 16 << 10;
/// Most memory that a connection on which nothing is said keeps, each way: that of a small message.
const KEPT: usize = 1 << 10;

/// A connection. What it keeps is at most a frame that is incomplete, a piece, and one frame that
/// is on its way out.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: UnixStream,
    inbox: Vec<u8>,
    /// How many bytes of it were read as frames.
    read: usize,
    outbox: Vec<u8>,
    /// How many bytes of it were sent.
    sent: usize,
}

/// The peer is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

impl Connection {
    /// Takes a stream that makes nobody wait.
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self { stream, inbox: Vec::new(), read: 0, outbox: Vec::new(), sent: 0 }
    }

    /// Takes what the peer has sent, as much as there is room for. False when that is nothing.
    pub(crate) fn fill(&mut self) -> Result<bool, Gone> {
        self.inbox.drain(..self.read);
        self.read = 0;
        if self.inbox.is_empty() {
            self.inbox.shrink_to(KEPT);
        }
        let mut piece = [0; PIECE];
        let room = (MOST + HEADER).saturating_sub(self.inbox.len()).clamp(1, PIECE);
        match self.stream.read(&mut piece[..room]) {
            Ok(0) => Err(Gone),
            Ok(read) => {
                self.inbox.extend(&piece[..read]);
                Ok(true)
            }
            Err(error) if waits(error.kind()) => Ok(false),
            Err(_) => Err(Gone),
        }
    }

    /// The next frame that is complete.
    pub(crate) fn next(&mut self) -> Result<Option<FromSidecar<'_>>, Violation> {
        let Some(first) = protocol::first(&self.inbox[self.read..])? else { return Ok(None) };
        self.read += first.length();
        FromSidecar::read(first).map(Some)
    }

    /// Has a frame sent, behind those that wait.
    pub(crate) fn say(&mut self, frame: FromShim<'_>) {
        frame.write(&mut self.outbox);
    }

    /// Sends what waits, as much as the peer takes. True when nothing waits any more.
    pub(crate) fn flush(&mut self) -> Result<bool, Gone> {
        while self.waits() {
            match self.stream.write(&self.outbox[self.sent..]) {
                Ok(0) => return Err(Gone),
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if waits(error.kind()) => return Ok(false),
                Err(_) => return Err(Gone),
            }
        }
        self.outbox.clear();
        self.outbox.shrink_to(KEPT);
        self.sent = 0;
        Ok(true)
    }

    /// Whether something waits for the peer to take it.
    pub(crate) fn waits(&self) -> bool {
        self.sent < self.outbox.len()
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn waits(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
