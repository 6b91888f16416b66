//! One connection with the shim: frames in and out, and neither direction waits for the other.

use std::{
    future::poll_fn,
    io::{self, ErrorKind},
    path::Path,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use bytes::{Buf as _, BytesMut};
use mcpulse_shim::protocol::{self, FromShim, FromSidecar, Violation};
use tokio::io::{AsyncReadExt as _, AsyncWrite as _};

use crate::platform::{self, LocalStream};

/// Bytes of a read.
const READ: usize = 8 << 10;
/// Most memory that is kept for what is sent while nothing is: that of a small message.
const KEPT: usize = 1 << 10;

/// A connection with the shim.
#[derive(Debug)]
pub(super) struct Link {
    stream: LocalStream,
    inbox: BytesMut,
    /// How many bytes of it were read as a frame.
    read: usize,
    outbox: Vec<u8>,
    /// How many bytes of it were sent.
    sent: usize,
}

impl Link {
    /// Connects to the shim that listens at `socket`.
    pub(super) async fn connect(socket: &Path) -> io::Result<Self> {
        let stream = platform::connect(socket).await?;
        Ok(Self { stream, inbox: BytesMut::new(), read: 0, outbox: Vec::new(), sent: 0 })
    }

    /// A connection, and what the shim has of it.
    #[cfg(test)]
    #[cfg(unix)]
    pub(super) fn pair() -> (Self, tokio::net::UnixStream) {
        let (stream, shim) = tokio::net::UnixStream::pair().unwrap();
        (Self { stream, inbox: BytesMut::new(), read: 0, outbox: Vec::new(), sent: 0 }, shim)
    }

    /// Has a frame sent, behind those that wait.
    pub(super) fn say(&mut self, frame: FromSidecar<'_>) {
        frame.write(&mut self.outbox);
    }

    /// How many bytes wait to be sent.
    pub(super) fn waits(&self) -> usize {
        self.outbox.len() - self.sent
    }

    /// Sends what waits and reads what comes, until all was sent or something has come. May be
    /// dropped and called again.
    ///
    /// # Errors
    /// The shim has gone.
    pub(super) async fn turn(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_turn(cx)).await
    }

    /// The next frame that is there.
    ///
    /// # Errors
    /// What is no frame.
    pub(super) fn next(&mut self) -> io::Result<Option<FromShim<'_>>> {
        self.inbox.advance(self.read);
        self.read = 0;
        let Some(first) = protocol::first(&self.inbox).map_err(foreign)? else { return Ok(None) };
        self.read = first.length();
        FromShim::read(first).map(Some).map_err(foreign)
    }

    /// The next frame, once it has come.
    ///
    /// # Errors
    /// The shim has gone, or what came is no frame.
    pub(super) async fn receive(&mut self) -> io::Result<FromShim<'_>> {
        while protocol::first(&self.inbox[self.read..]).map_err(foreign)?.is_none() {
            self.turn().await?;
        }
        self.next()?.ok_or_else(|| ErrorKind::UnexpectedEof.into())
    }

    /// Sends what waits, whatever comes.
    ///
    /// # Errors
    /// The shim has gone.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        while self.waits() > 0 {
            self.turn().await?;
            while self.next()?.is_some() {}
        }
        Ok(())
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut is_sent = false;
        while self.waits() > 0 {
            match Pin::new(&mut self.stream).poll_write(cx, &self.outbox[self.sent..]) {
                Poll::Ready(Ok(written)) => self.sent += written,
                // What the shim said before it went is still to be read.
                Poll::Ready(Err(_)) => self.sent = self.outbox.len(),
                Poll::Pending => break,
            }
            is_sent = self.waits() == 0;
        }
        if is_sent {
            self.outbox.clear();
            self.outbox.shrink_to(KEPT);
            self.sent = 0;
        }
        self.inbox.advance(self.read);
        self.read = 0;
        self.inbox.reserve(READ);
        match pin!(self.stream.read_buf(&mut self.inbox)).poll(cx) {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(ErrorKind::UnexpectedEof.into())),
            Poll::Ready(done) => Poll::Ready(done.map(|_| ())),
            Poll::Pending if is_sent => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        }
    }
}

fn foreign(_: Violation) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "what listens there is no shim of this version")
}
