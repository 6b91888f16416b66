//! Signals, and what else wakes the one thread: bytes in a pipe.

use std::{
    ffi::c_int,
    io::{self, PipeReader, PipeWriter, Read as _},
    os::fd::{AsFd, BorrowedFd},
    sync::OnceLock,
};

use rustix::{io::ioctl_fionbio, process::Signal};

/// Where a handler writes, for it can be given nothing.
static PIPE: OnceLock<PipeWriter> = OnceLock::new();

#[expect(unsafe_code, reason = "neither std nor rustix catches signals")]
// SAFETY: this is how POSIX declares it, a pointer being of the size of `usize`.
unsafe extern "C" {
    safe fn signal(number: c_int, handler: extern "C" fn(c_int)) -> usize;
}

/// Writes the signal's number. Makes one system call, by no means of libc, so `errno` stays.
extern "C" fn handle(number: c_int) {
    put(u8::try_from(number).unwrap_or(0));
}

/// Wakes the thread.
pub(crate) fn wake() {
    put(0);
}

fn put(byte: u8) {
    if let Some(pipe) = PIPE.get() {
        // When it is full, thousands of bytes wake the thread already.
        let _ = rustix::io::write(pipe, &[byte]);
    }
}

/// What has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Caught {
    /// How often the process was asked to end.
    pub(crate) stops: usize,
    /// Whether a child may have ended.
    pub(crate) children: bool,
}

/// The signals that are caught.
#[derive(Debug)]
pub(crate) struct Signals(PipeReader);

impl Signals {
    /// Catches SIGTERM, SIGINT and SIGCHLD from now on: the kernel gives those of which the
    /// process with number 1 wants nothing to it either. A program that is started has none of it.
    pub(crate) fn catch() -> io::Result<Self> {
        let (read, write) = io::pipe()?;
        ioctl_fionbio(&read, true)?;
        ioctl_fionbio(&write, true)?;
        if PIPE.set(write).is_err() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        for caught in [Signal::TERM, Signal::INT, Signal::CHILD] {
            // It fails for none of these.
            signal(caught.as_raw(), handle);
        }
        Ok(Self(read))
    }

    /// What has come since it was last asked.
    pub(crate) fn take(&mut self) -> Caught {
        let mut caught = Caught::default();
        let mut bytes = [0; 256];
        while let Ok(read @ 1..) = self.0.read(&mut bytes) {
            for byte in &bytes[..read] {
                match i32::from(*byte) {
                    0 => {}
                    number if number == Signal::CHILD.as_raw() => caught.children = true,
                    _ => caught.stops += 1,
                }
            }
        }
        caught
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
