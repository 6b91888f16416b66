//! What only one operating system has, behind one face: the process's own standard streams,
//! the signals that ask it to end, and the ways to end a child. Nothing here knows of MCP.

use std::{
    fmt,
    io::{self, ErrorKind, Write},
};

use uuid::Uuid;

#[cfg(any(target_os = "android", target_os = "linux"))]
mod linux;
#[cfg(not(any(target_os = "android", target_os = "linux")))]
mod orphanless;
#[cfg(any(target_os = "android", target_os = "linux"))]
mod orphans;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(not(any(target_os = "android", target_os = "linux")))]
pub use orphanless::{Orphans, STRAYS};
#[cfg(any(target_os = "android", target_os = "linux"))]
pub use orphans::{Orphans, STRAYS};
#[cfg(unix)]
pub use unix::{
    Hangup, LocalStream, Process, Stop, Wait, append_to, connect, exit_code, identity, never_block,
    pipe, raise_file_limit, spawn, spawn_apart, take_stdio, writable_or_closed,
};
#[cfg(windows)]
pub use windows::{
    Hangup, LocalStream, Process, Stop, Wait, append_to, connect, exit_code, identity, never_block,
    pipe, raise_file_limit, spawn, spawn_apart, take_stdio, writable_or_closed,
};

/// The variable by which a process is known to descend from a program: marks, separated by
/// commas. It has no prefix of the proxy's own: those do not reach a program.
pub const MARK: &str = "MCPULSE_PROGRAM";

/// What the descendants of one program carry, and of no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mark(Uuid);

impl Mark {
    /// One that nothing carries yet.
    pub fn unused() -> Self {
        Self(Uuid::new_v4())
    }

    #[cfg(any(target_os = "android", target_os = "linux"))]
    fn read(text: &[u8]) -> Option<Self> {
        Uuid::try_parse_ascii(text).ok().map(Self)
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Writes all of it, waiting where somebody else made the descriptor non-blocking. How many
/// bytes were written, and what was in the way of the others.
pub fn write(out: &mut (impl Write + Wait), bytes: &[u8]) -> (usize, io::Result<()>) {
    write_watched(out, bytes, |_| ())
}

/// The same; `progress` learns meanwhile how many bytes were written.
pub fn write_watched(
    out: &mut (impl Write + Wait),
    bytes: &[u8],
    progress: impl Fn(usize),
) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        let result = match out.write(&bytes[written..]) {
            Ok(0) => Err(ErrorKind::WriteZero.into()),
            Ok(more) => {
                written += more;
                progress(written);
                Ok(())
            }
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => Ok(()),
                ErrorKind::WouldBlock => out.writable(),
                _ => Err(error),
            },
        };
        if result.is_err() {
            return (written, result);
        }
    }
    (written, Ok(()))
}
