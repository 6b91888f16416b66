//! What the sidecar and the shim say to each other on the socket, version 1.
//!
//! A connection is one session, and a session is one process. Each side sends frames: the length
//! of the payload (4 bytes), the kind (1 byte), the payload (at most [`MOST`] bytes). Numbers are
//! big endian; a text has one byte before it that tells its length.
//!
//! | kind | from the sidecar | payload |
//! |---|---|---|
//! | 0x01 | `Open`: start a program | `mcps`, version (2), token (text), tag (text) |
//! | 0x02 | `Resume`: go on with a session | `mcps`, version (2), token (text), output received (8) |
//! | 0x03 | `Look`: how are you | `mcps`, version (2) |
//! | 0x10 | `Input`: bytes for the program | bytes |
//! | 0x11 | `InputEnd`: no more of them | |
//! | 0x12 | `Passed`: output that was passed on, from the first byte | count (8) |
//! | 0x13 | `Signal`: to the group of the program | number (1) |
//! | 0x14 | `Close`: the session is over | |
//!
//! | kind | from the shim | payload |
//! |---|---|---|
//! | 0x81 | `Attached` | version (2), window (4), input received (8), of it passed on (8), of it behind the last line break (8), output from (8), flags (1): 1 `InputEnd` was received, 2 drain, 4 the output begins within a line |
//! | 0x82 | `Refused` | [`Refusal`] (1), what to tell a person (the rest, UTF-8) |
//! | 0x83 | `State` | version (2), sessions (4), most (4), flags (1): 2 drain |
//! | 0x84 | `Detached`: a session that waits for its sidecar | token (text) |
//! | 0x90 | `Output`: bytes of the program | bytes |
//! | 0x91 | `OutputEnd`: no more of them | |
//! | 0x92 | `Passed`: input that was passed on, from the first byte | count (8) |
//! | 0x93 | `InputGone`: the program reads no more | |
//! | 0x94 | `Drain`: the pod ends; finish the calls, then `Close` | |
//! | 0x95 | `Exited`: the last frame | 0 by itself, 1 by a signal (1), the code or the signal (1) |
//!
//! **Greeting.** The sidecar speaks first, within 5 s, with one of the first three. `Open` and
//! `Resume` are answered by `Attached` or `Refused`, `Look` by `State` and a `Detached` for each
//! session without a connection; after those of the last kind and `Refused` the shim hangs up.
//! The sidecar chooses the token, which nobody else can guess and by which a sidecar that starts
//! anew finds the session again, and a tag that the log may show. Bytes for the program may
//! follow `Open` at once, within a window of 4 KiB, which no window is smaller than.
//!
//! **Flow.** Either side has at most a window of bytes under way, by `Input` or `Output`, that
//! the other has not said to have `Passed` on: the shim to the program, the sidecar to whoever
//! gets them. It says so at the latest when that is a quarter of a window, and keeps reading the
//! socket whatever happens: so no side keeps more than a window, and a program that does not read
//! holds up neither its output nor a signal.
//!
//! **Resuming.** A connection that ends without `Close` leaves the session as it is, for a time.
//! Each side keeps what the other has not passed on, so `Resume` goes on to the byte: the sidecar
//! says how much output it has received, or [`UNKNOWN`] for what it last said to have passed on,
//! and gets what follows; the shim says how much input it has, and the sidecar sends what follows.
//! A sidecar that knows no more what it had sent sees whether that ended within a line, and
//! whether what it gets begins within one. A
//! connection that the session still had is closed in favour of the new one. What the
//! shim had said besides, it says again; so does the sidecar with what may not have arrived:
//! `Passed`, and `Signal` and `Close` if it still wants them.
//!
//! **End.** `Exited` comes when the program has ended and its output has been sent, and what it
//! left in its group has been ended. The session is kept for a sidecar that did not get it, until
//! `Close` or for the time that it may be resumed. `Close` before that ends the program: what it
//! has not read is dropped and its input closed, then come SIGTERM and SIGKILL; its output is
//! wanted no more. Then too `Exited` is the last frame, but the sidecar need not wait for it.

/// The version that is spoken.
pub const VERSION: u16 = 1;
/// Most bytes of a payload.
pub const MOST: usize = 64 << 10;
/// Bytes before a payload.
pub const HEADER: usize = 5;
/// In `Resume`: what the sidecar had received is known only by what it had passed on.
pub const UNKNOWN: u64 = u64::MAX;

const MAGIC: &[u8; 4] = b"mcps";
const INPUT_ENDED: u8 = 1;
const DRAINS: u8 = 2;
const WITHIN_LINE: u8 = 4;

/// A frame from the sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromSidecar<'a> {
    /// Start a program.
    Open {
        /// Finds the session again.
        token: &'a [u8],
        /// Stands in the log.
        tag: &'a [u8],
    },
    /// Go on with a session.
    Resume {
        /// Which.
        token: &'a [u8],
        /// How much of its output the sidecar has, or [`UNKNOWN`].
        received: u64,
    },
    /// Say how you are.
    Look,
    /// A version that is not spoken.
    Foreign(u16),
    /// Bytes for the program.
    Input(&'a [u8]),
    /// No more of them.
    InputEnd,
    /// Output that was passed on, from the first byte.
    Passed(u64),
    /// To the group of the program.
    Signal(u8),
    /// The session is over.
    Close,
}

/// A frame from the shim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromShim<'a> {
    /// The session is this connection's.
    Attached(Attached),
    /// It is not, and the text says why.
    Refused(Refusal, &'a str),
    /// How the shim is.
    State {
        /// Sessions that there are.
        sessions: u32,
        /// Sessions that there may be.
        most: u32,
        /// Whether the pod ends.
        drains: bool,
    },
    /// The token of a session that waits for its sidecar.
    Detached(&'a [u8]),
    /// Bytes of the program.
    Output(&'a [u8]),
    /// No more of them.
    OutputEnd,
    /// Input that was passed on, from the first byte.
    Passed(u64),
    /// The program reads no more.
    InputGone,
    /// The pod ends.
    Drain,
    /// The program has ended, and this is the last frame.
    Exited(Exit),
}

/// Where a session goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Most bytes under way, either way.
    pub window: u32,
    /// Input that the shim has.
    pub input: u64,
    /// How much of it was passed on.
    pub passed: u64,
    /// How much of it is behind the last line break.
    pub open_line: u64,
    /// Where the output that follows begins.
    pub output: u64,
    /// Whether `InputEnd` was received.
    pub input_ended: bool,
    /// Whether the pod ends.
    pub drains: bool,
    /// Whether the output that follows begins within a line.
    pub within_line: bool,
}

/// Why there is no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The version, or what was said, is not understood.
    Protocol = 1,
    /// There are as many sessions as may be.
    Full = 2,
    /// The pod ends.
    Draining = 3,
    /// No session has the token: it never had, or it has ended.
    Unknown = 4,
    /// A session has the token already.
    Taken = 5,
    /// The program does not start.
    Start = 6,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(u8),
    /// By this signal.
    Signal(u8),
}

/// Something that is no frame of this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation;

/// A frame whose payload was not read yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw<'a> {
    kind: u8,
    payload: &'a [u8],
}

impl Raw<'_> {
    /// How many bytes it takes, its header included.
    pub fn length(&self) -> usize {
        HEADER + self.payload.len()
    }
}

/// The first frame of `bytes`. None while it is incomplete.
///
/// # Errors
/// A payload that is longer than any may be.
pub fn first(bytes: &[u8]) -> Result<Option<Raw<'_>>, Violation> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else { return Ok(None) };
    let [a, b, c, d, kind] = *header;
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if length > MOST {
        return Err(Violation);
    }
    Ok(rest.get(..length).map(|payload| Raw { kind, payload }))
}

impl<'a> FromSidecar<'a> {
    /// Reads a frame.
    ///
    /// # Errors
    /// A kind or a payload that is none.
    pub fn read(Raw { kind, payload }: Raw<'a>) -> Result<Self, Violation> {
        let mut fields = Fields(payload);
        if let 0x01..=0x03 = kind {
            if fields.take()? != *MAGIC {
                return Err(Violation);
            }
            let version = u16::from_be_bytes(fields.take()?);
            if version != VERSION {
                return Ok(Self::Foreign(version));
            }
        }
        let frame = match kind {
            0x01 => Self::Open { token: fields.text()?, tag: fields.text()? },
            0x02 => Self::Resume { token: fields.text()?, received: fields.number()? },
            0x03 => Self::Look,
            0x10 => return Ok(Self::Input(payload)),
            0x11 => Self::InputEnd,
            0x12 => Self::Passed(fields.number()?),
            0x13 => Self::Signal(fields.byte()?),
            0x14 => Self::Close,
            _ => return Err(Violation),
        };
        fields.end(frame)
    }

    /// Writes a frame behind what is in `out`. Texts are cut to 255 bytes.
    pub fn write(self, out: &mut Vec<u8>) {
        let greeting = |out: &mut Vec<u8>| {
            out.extend(MAGIC);
            out.extend(VERSION.to_be_bytes());
        };
        match self {
            Self::Open { token, tag } => frame(out, 0x01, |out| {
                greeting(out);
                text(out, token);
                text(out, tag);
            }),
            Self::Resume { token, received } => frame(out, 0x02, |out| {
                greeting(out);
                text(out, token);
                out.extend(received.to_be_bytes());
            }),
            Self::Look => frame(out, 0x03, greeting),
            Self::Foreign(version) => frame(out, 0x03, |out| {
                out.extend(MAGIC);
                out.extend(version.to_be_bytes());
            }),
            Self::Input(bytes) => frame(out, 0x10, |out| out.extend(bytes)),
            Self::InputEnd => frame(out, 0x11, |_| ()),
            Self::Passed(count) => frame(out, 0x12, |out| out.extend(count.to_be_bytes())),
            Self::Signal(number) => frame(out, 0x13, |out| out.push(number)),
            Self::Close => frame(out, 0x14, |_| ()),
        }
    }
}

impl<'a> FromShim<'a> {
    /// Reads a frame.
    ///
    /// # Errors
    /// A kind or a payload that is none.
    pub fn read(Raw { kind, payload }: Raw<'a>) -> Result<Self, Violation> {
        let mut fields = Fields(payload);
        if let 0x81 | 0x83 = kind
            && u16::from_be_bytes(fields.take()?) != VERSION
        {
            return Err(Violation);
        }
        let frame = match kind {
            0x81 => {
                let window = u32::from_be_bytes(fields.take()?);
                let (input, passed) = (fields.number()?, fields.number()?);
                let (open_line, output) = (fields.number()?, fields.number()?);
                let flags = fields.byte()?;
                Self::Attached(Attached {
                    window,
                    input,
                    passed,
                    open_line,
                    output,
                    input_ended: flags & INPUT_ENDED != 0,
                    drains: flags & DRAINS != 0,
                    within_line: flags & WITHIN_LINE != 0,
                })
            }
            0x82 => {
                let refusal = Refusal::of(fields.byte()?)?;
                let why = str::from_utf8(fields.0).map_err(|_| Violation)?;
                return Ok(Self::Refused(refusal, why));
            }
            0x83 => Self::State {
                sessions: u32::from_be_bytes(fields.take()?),
                most: u32::from_be_bytes(fields.take()?),
                drains: fields.byte()? & DRAINS != 0,
            },
            0x84 => Self::Detached(fields.text()?),
            0x90 => return Ok(Self::Output(payload)),
            0x91 => Self::OutputEnd,
            0x92 => Self::Passed(fields.number()?),
            0x93 => Self::InputGone,
            0x94 => Self::Drain,
            0x95 => Self::Exited(match fields.take()? {
                [0, code] => Exit::Code(code),
                [1, signal] => Exit::Signal(signal),
                _ => return Err(Violation),
            }),
            _ => return Err(Violation),
        };
        fields.end(frame)
    }

    /// Writes a frame behind what is in `out`. Texts are cut to 255 bytes.
    pub fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Attached(attached) => frame(out, 0x81, |out| {
                let Attached { input, passed, open_line, output, .. } = attached;
                out.extend(VERSION.to_be_bytes());
                out.extend(attached.window.to_be_bytes());
                out.extend([input, passed, open_line, output].map(u64::to_be_bytes).as_flattened());
                let flags = [
                    flag(attached.input_ended, INPUT_ENDED),
                    flag(attached.drains, DRAINS),
                    flag(attached.within_line, WITHIN_LINE),
                ];
                out.push(flags.into_iter().sum());
            }),
            Self::Refused(refusal, why) => frame(out, 0x82, |out| {
                out.push(refusal as u8);
                out.extend(why.as_bytes());
            }),
            Self::State { sessions, most, drains } => frame(out, 0x83, |out| {
                out.extend(VERSION.to_be_bytes());
                out.extend([sessions, most].map(u32::to_be_bytes).as_flattened());
                out.push(flag(drains, DRAINS));
            }),
            Self::Detached(token) => frame(out, 0x84, |out| text(out, token)),
            Self::Output(bytes) => frame(out, 0x90, |out| out.extend(bytes)),
            Self::OutputEnd => frame(out, 0x91, |_| ()),
            Self::Passed(count) => frame(out, 0x92, |out| out.extend(count.to_be_bytes())),
            Self::InputGone => frame(out, 0x93, |_| ()),
            Self::Drain => frame(out, 0x94, |_| ()),
            Self::Exited(Exit::Code(code)) => frame(out, 0x95, |out| out.extend([0, code])),
            Self::Exited(Exit::Signal(number)) => frame(out, 0x95, |out| out.extend([1, number])),
        }
    }
}

impl Refusal {
    fn of(code: u8) -> Result<Self, Violation> {
        let all =
            [Self::Protocol, Self::Full, Self::Draining, Self::Unknown, Self::Taken, Self::Start];
        all.into_iter().find(|one| *one as u8 == code).ok_or(Violation)
    }
}

/// Writes a header, and then the payload's length into it.
fn frame(out: &mut Vec<u8>, kind: u8, payload: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0, 0, 0, 0, kind]);
    payload(out);
    let length = u32::try_from(out.len() - start - HEADER).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

fn text(out: &mut Vec<u8>, text: &[u8]) {
    let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
    out.push(length);
    out.extend(&text[..length.into()]);
}

const fn flag(is_set: bool, flag: u8) -> u8 {
    if is_set { flag } else { 0 }
}

/// What of a payload was not read.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Violation> {
        let (field, rest) = self.0.split_first_chunk().ok_or(Violation)?;
        self.0 = rest;
        Ok(*field)
    }

    fn byte(&mut self) -> Result<u8, Violation> {
        Ok(self.take::<1>()?[0])
    }

    fn number(&mut self) -> Result<u64, Violation> {
        Ok(u64::from_be_bytes(self.take()?))
    }

    fn text(&mut self) -> Result<&'a [u8], Violation> {
        let length = self.byte()?;
        let (text, rest) = self.0.split_at_checked(length.into()).ok_or(Violation)?;
        self.0 = rest;
        Ok(text)
    }

    fn end<T>(self, frame: T) -> Result<T, Violation> {
        if self.0.is_empty() { Ok(frame) } else { Err(Violation) }
    }
}

#[cfg(test)]
mod tests;
