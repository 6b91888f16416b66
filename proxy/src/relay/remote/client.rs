//! The client on our standard streams: its lines, and what it is told. Each direction has a
//! thread that blocks in read or write, as in a raw relay, and that nobody joins.

use std::{
    fs::File,
    io::{self, ErrorKind, IoSlice, Read as _, Write as _},
    thread,
};

use bytes::{Bytes, BytesMut};
use tokio::{runtime::Handle, sync::mpsc};
use tokio_util::sync::CancellationToken;

use super::{events::LARGEST, passing::pass, problem::Told};
use crate::{lines::Gather, platform::Wait as _};

/// Lines that wait between a thread and the loop, of which one may be large.
const QUEUE: usize = 32;

/// The two ends of a conversation with the client.
#[derive(Debug)]
pub(super) struct Client {
    /// What it says; closed when it has said its last word.
    pub(super) lines: mpsc::Receiver<Bytes>,
    /// What it is told.
    pub(super) told: mpsc::Sender<Told>,
    /// Cancelled when the client has taken all that it was told, or takes no more.
    pub(super) heard: CancellationToken,
}

impl Client {
    pub(super) fn start(input: File, output: File) -> io::Result<Self> {
        let (to_us, lines) = mpsc::channel(QUEUE);
        let (told, to_client) = mpsc::channel(QUEUE);
        let heard = CancellationToken::new();
        let done = heard.clone();
        let within = Handle::current();
        let take =
            move |line: BytesMut| within.block_on(pass(&to_us, line.len(), line.freeze())).is_ok();
        spawn("from-client", move || read(&input, take))?;
        spawn("to-client", move || {
            if let Err(error) = write(&output, to_client) {
                tracing::debug!(%error, "the client takes no more output");
            }
            // Closed first: whoever waits for this may end the process.
            drop(output);
            done.cancel();
        })?;
        Ok(Self { lines, told, heard })
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
}

/// Reads lines until the end, or until `take` returns that nobody wants more.
fn read(mut input: &File, take: impl Fn(BytesMut) -> bool) {
    let mut gather = Gather::default();
    loop {
        let room = gather.room();
        match input.read(room) {
            Ok(0) => break,
            Ok(read) => gather.filled(read),
            Err(error) => {
                gather.filled(0);
                if let Err(error) = retry(error, || input.readable()) {
                    tracing::debug!(%error, "the client can no longer be read");
                    break;
                }
            }
        }
        while let Some(line) = gather.next() {
            if !take(line) {
                return;
            }
        }
        if gather.held() > LARGEST {
            tracing::error!("the client said more than {LARGEST} bytes in one line");
            return;
        }
    }
    if let Some(rest) = gather.rest() {
        // Nobody listens once the session is over.
        take(rest);
    }
}

fn write(mut output: &File, mut told: mpsc::Receiver<Told>) -> io::Result<()> {
    let mut batch = Vec::with_capacity(QUEUE);
    while told.blocking_recv_many(&mut batch, QUEUE) > 0 {
        let mut lines: Vec<_> =
            batch.iter().flat_map(|told| [IoSlice::new(&told.text), IoSlice::new(b"\n")]).collect();
        let mut left = &mut lines[..];
        while !left.is_empty() {
            match output.write_vectored(left) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut left, written),
                Err(error) => retry(error, || output.writable())?,
            }
        }
        batch.clear();
    }
    Ok(())
}

/// Gets over what is no failure: a signal, or a descriptor that somebody made non-blocking.
fn retry(error: io::Error, wait: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    match error.kind() {
        ErrorKind::Interrupted => Ok(()),
        ErrorKind::WouldBlock => wait(),
        _ => Err(error),
    }
}
