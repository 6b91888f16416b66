//! The sidecar's side of the protocol, as the shim's documentation has it.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    slice,
};

use mcpulse_shim::protocol::{self, Attached, Exit, FromShim, FromSidecar, MOST, Refusal, UNKNOWN};
use rustix::event::{PollFd, PollFlags, poll};

use crate::harness::PATIENCE;

/// What the shim said, to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Attached(Attached),
    Refused(Refusal, String),
    State { sessions: u32, most: u32, drains: bool },
    Detached(Vec<u8>),
    Output(Vec<u8>),
    OutputEnd,
    Passed(u64),
    InputGone,
    Drain,
    Exited(Exit),
}

impl From<FromShim<'_>> for Said {
    fn from(frame: FromShim<'_>) -> Self {
        match frame {
            FromShim::Attached(attached) => Self::Attached(attached),
            FromShim::Refused(refusal, why) => Self::Refused(refusal, why.to_owned()),
            FromShim::State { sessions, most, drains } => Self::State { sessions, most, drains },
            FromShim::Detached(token) => Self::Detached(token.to_vec()),
            FromShim::Output(bytes) => Self::Output(bytes.to_vec()),
            FromShim::OutputEnd => Self::OutputEnd,
            FromShim::Passed(count) => Self::Passed(count),
            FromShim::InputGone => Self::InputGone,
            FromShim::Drain => Self::Drain,
            FromShim::Exited(exit) => Self::Exited(exit),
        }
    }
}

/// A connection with the shim.
pub(crate) struct Sidecar {
    stream: UnixStream,
    inbox: Vec<u8>,
    /// Most bytes under way.
    window: u64,
}

impl Sidecar {
    pub(crate) fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).expect("the shim listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        Self { stream, inbox: Vec::new(), window: 0 }
    }

    /// With a new session.
    pub(crate) fn open(socket: &Path, token: &str) -> Self {
        let mut sidecar = Self::connect(socket);
        sidecar.send(FromSidecar::Open { token: &long(token), tag: token.as_bytes() });
        let attached = sidecar.attached();
        assert_eq!((attached.input, attached.output), (0, 0));
        sidecar
    }

    /// With a session that there is.
    pub(crate) fn resume(socket: &Path, token: &str, received: Option<u64>) -> (Self, Attached) {
        let mut sidecar = Self::connect(socket);
        let received = received.unwrap_or(UNKNOWN);
        sidecar.send(FromSidecar::Resume { token: &long(token), received });
        let attached = sidecar.attached();
        (sidecar, attached)
    }

    /// Sends a frame.
    pub(crate) fn send(&mut self, frame: FromSidecar<'_>) {
        let mut bytes = Vec::new();
        frame.write(&mut bytes);
        self.send_raw(&bytes);
    }

    /// Sends a frame, unless the shim has hung up.
    pub(crate) fn try_send(&mut self, frame: FromSidecar<'_>) -> bool {
        let mut bytes = Vec::new();
        frame.write(&mut bytes);
        self.stream.write_all(&bytes).is_ok()
    }

    /// Sends what may be no frame.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the shim reads");
    }

    /// The next frame; none when the shim hangs up.
    pub(crate) fn next(&mut self) -> Option<Said> {
        loop {
            if let Some(said) = self.take() {
                return Some(said);
            }
            let mut piece = vec![0; MOST];
            match self.stream.read(&mut piece) {
                Ok(0) => return None,
                Ok(read) => self.inbox.extend(&piece[..read]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("nothing from the shim: {error}"),
            }
        }
    }

    /// Waits for a frame, passing over all others.
    pub(crate) fn until(&mut self, wanted: impl Fn(&Said) -> bool) -> Said {
        loop {
            let said = self.next().expect("the shim has not hung up");
            if wanted(&said) {
                return said;
            }
        }
    }

    /// The output until the shim has said that it ends, or that the program has ended; and that.
    pub(crate) fn output(&mut self) -> (Vec<u8>, Said) {
        let mut output = Vec::new();
        loop {
            match self.next().expect("the shim has not hung up") {
                Said::Output(bytes) => {
                    output.extend(bytes);
                    self.send(FromSidecar::Passed(output.len() as u64));
                }
                end @ (Said::OutputEnd | Said::Exited(_)) => return (output, end),
                _ => {}
            }
        }
    }

    /// Output until a line ends.
    pub(crate) fn line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            if let Said::Output(bytes) = self.until(|said| matches!(said, Said::Output(_))) {
                line.extend(bytes);
            }
        }
        String::from_utf8(line).expect("text").trim_end().to_owned()
    }

    /// How the program ends.
    pub(crate) fn exit(&mut self) -> Exit {
        match self.until(|said| matches!(said, Said::Exited(_))) {
            Said::Exited(exit) => exit,
            _ => unreachable!(),
        }
    }

    fn attached(&mut self) -> Attached {
        match self.next() {
            Some(Said::Attached(attached)) => {
                self.window = attached.window.into();
                attached
            }
            other => panic!("not attached: {other:?}"),
        }
    }

    fn take(&mut self) -> Option<Said> {
        let first = protocol::first(&self.inbox).expect("a frame")?;
        let said = FromShim::read(first).expect("a frame of the shim's").into();
        self.inbox.drain(..first.length());
        Some(said)
    }
}

/// A token long enough to be one.
fn long(token: &str) -> Vec<u8> {
    format!("{token:-<16}").into_bytes()
}

/// A transfer of bytes through a program, over as many connections as it takes.
pub(crate) struct Transfer {
    /// What the program is to get.
    input: Vec<u8>,
    /// How much of it was handed to the system.
    sent: u64,
    /// How much of it the shim passed on, as far as is known.
    passed: u64,
    window: u64,
    /// What came of the program.
    pub(crate) output: Vec<u8>,
    /// How much of that the shim was told to have been passed on.
    told: u64,
    end_is_sent: bool,
    pub(crate) exit: Option<Exit>,
}

impl Transfer {
    pub(crate) fn new(input: Vec<u8>) -> Self {
        Self {
            input,
            sent: 0,
            passed: 0,
            window: 0,
            output: Vec::new(),
            told: 0,
            end_is_sent: false,
            exit: None,
        }
    }

    /// Goes on behind what the shim has, and what it will send.
    pub(crate) fn resumes(&mut self, attached: Attached) {
        assert!(attached.passed <= attached.input && attached.passed >= self.passed);
        assert!(attached.output <= self.output.len() as u64);
        let end = usize::try_from(attached.input).expect("a length");
        let line = self.input[..end].iter().rev().take_while(|byte| **byte != b'\n').count();
        assert_eq!(attached.open_line, line as u64);
        (self.sent, self.passed) = (attached.input, attached.passed);
        self.end_is_sent = attached.input_ended;
        self.output.truncate(usize::try_from(attached.output).expect("a length"));
        // The last that was told may not have arrived.
        self.told = 0;
    }

    /// Moves bytes until the program has ended, or until this many went either way: then the
    /// connection breaks, wherever that is.
    pub(crate) fn run(&mut self, by: Sidecar, mut writes: usize, mut reads: usize) {
        let Sidecar { mut stream, inbox, window } = by;
        self.window = window;
        stream.set_nonblocking(true).expect("a socket");
        let mut link = Sidecar { stream: stream.try_clone().expect("a socket"), inbox, window };
        let mut outbox = Vec::new();
        while writes > 0 && reads > 0 && self.exit.is_none() {
            while let Some(said) = link.take() {
                self.hear(said);
            }
            if outbox.is_empty() {
                self.speak(&mut outbox);
            }
            let to_write = outbox.len().min(writes);
            let out = if to_write > 0 { PollFlags::OUT } else { PollFlags::empty() };
            let mut fd = PollFd::new(&stream, PollFlags::IN | out);
            if self.exit.is_none() {
                let _ = poll(slice::from_mut(&mut fd), None);
            }
            if let Some(written) = try_io(stream.write(&outbox[..to_write])) {
                outbox.drain(..written);
                writes -= written;
            }
            let mut piece = vec![0; MOST.min(reads)];
            if let Some(read) = try_io(stream.read(&mut piece)) {
                link.inbox.extend(&piece[..read]);
                reads -= read;
            }
        }
    }

    fn hear(&mut self, said: Said) {
        match said {
            Said::Output(bytes) => self.output.extend(bytes),
            Said::Passed(count) => self.passed = count,
            Said::Exited(exit) => self.exit = Some(exit),
            Said::OutputEnd | Said::InputGone => {}
            other => panic!("unexpected: {other:?}"),
        }
    }

    fn speak(&mut self, outbox: &mut Vec<u8>) {
        let received = self.output.len() as u64;
        if received - self.told >= self.window / 4 {
            self.told = received;
            FromSidecar::Passed(received).write(outbox);
        }
        let room = usize::try_from(self.window - (self.sent - self.passed)).expect("a length");
        let from = usize::try_from(self.sent).expect("a length");
        let rest = &self.input[from..];
        let next = &rest[..rest.len().min(room).min(MOST)];
        if !next.is_empty() {
            FromSidecar::Input(next).write(outbox);
            self.sent += next.len() as u64;
        } else if rest.is_empty() && !self.end_is_sent {
            self.end_is_sent = true;
            FromSidecar::InputEnd.write(outbox);
        }
    }
}

/// None when it would have had to wait.
fn try_io(done: io::Result<usize>) -> Option<usize> {
    match done {
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        done => Some(done.expect("the shim is there")),
    }
}
