//! One direction of a raw relay: read, show, write, until either side is gone.

use std::{
    io::{self, ErrorKind, Read, Write},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::BytesMut;

use crate::{platform::Wait, tap::Probe};

/// Bytes of a read buffer: what a pipe holds.
const BUFFER: usize = 64 << 10;
/// Bytes below which the rest of a buffer is not worth a read.
const LEAST: usize = 16 << 10;
/// Reads that empty the largest pipe (1 MiB), for none takes less than the least unless it
/// takes all.
const EMPTIED: u64 = 64;

/// Why a direction ended before its sender said so.
#[derive(Debug)]
pub(super) enum Broken {
    /// The sender can no longer be read.
    Read(io::Error),
    /// The receiver takes no more.
    Write(io::Error),
}

/// Moves bytes until the sender has finished; each read becomes one write. `blocked` waits for
/// a receiver that takes nothing for now.
pub(super) fn pump<R, W>(
    from: &mut R,
    to: &mut W,
    probe: &mut Probe,
    progress: &Progress,
    mut blocked: impl FnMut(&R, &W) -> io::Result<()>,
) -> Result<(), Broken>
where
    R: Read + Wait,
    W: Write,
{
    let mut buffer = BytesMut::new();
    loop {
        if buffer.len() < LEAST {
            // Takes the old memory again unless the observer still has some of it.
            buffer.clear();
            buffer.reserve(BUFFER);
            buffer.resize(BUFFER, 0);
        }
        let read = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) => {
                retry(error, || from.readable()).map_err(Broken::Read)?;
                continue;
            }
        };
        progress.took();
        let chunk = buffer.split_to(read).freeze();
        probe.data_before_write(&chunk);
        write_all(to, &chunk, |to| blocked(from, to)).map_err(Broken::Write)?;
        probe.written();
        progress.gave();
    }
}

fn write_all<W: Write>(
    to: &mut W,
    mut bytes: &[u8],
    mut blocked: impl FnMut(&W) -> io::Result<()>,
) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) => retry(error, || blocked(to))?,
        }
    }
    Ok(())
}

/// Gets over what is no failure: a signal, or a descriptor that was made non-blocking.
fn retry(error: io::Error, wait: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    match error.kind() {
        ErrorKind::Interrupted => Ok(()),
        ErrorKind::WouldBlock => wait(),
        _ => Err(error),
    }
}

/// How far a direction has come: odd while it holds bytes that it has not written yet.
#[derive(Debug, Default)]
pub(super) struct Progress(AtomicU64);

impl Progress {
    fn took(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn gave(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Completes once the direction has waited for its sender for as long as `silence`, or after
    /// that time has written all that it can hold of a sender that has gone: what still comes
    /// is another's.
    pub(super) async fn silent(&self, silence: Duration) {
        let begun = self.0.load(Ordering::Relaxed);
        loop {
            let before = self.0.load(Ordering::Relaxed);
            tokio::time::sleep(silence).await;
            let now = self.0.load(Ordering::Relaxed);
            let waits = before.is_multiple_of(2) && before == now;
            if waits || now - begun > 2 * (EMPTIED + 1) {
                return;
            }
        }
    }
}
