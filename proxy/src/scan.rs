//! Reads JSON-RPC messages of any size in any chunking and keeps only what decides.
//!
//! Memory is bounded whatever comes; nothing recurses. Every byte is looked at, but only the
//! objects of [`Place`] are held to the grammar: what lies in other values is skipped by its
//! strings and brackets, for peers differ in what they take for JSON (Python sends `NaN`).
//! Of two values for one field the last counts, as for the parsers of JavaScript and Python.

use memchr::memchr2;

use crate::mcp::{Field, Place, Want};

mod message;
mod text;

pub use message::{Form, Message};
pub use text::cut;

/// Bounds of what is kept of one message, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Beyond so many bytes of a message nothing but what decides is kept.
    pub inspect: u64,
    /// Longest id or token.
    pub id: usize,
    /// Longest `params.arguments`.
    pub arguments: usize,
    /// Longest text of an error.
    pub text: usize,
}

/// Longest key that may mean anything: each character of the longest known one escaped.
const LONGEST_KEY: usize = 40 * 6;
/// Bytes that are looked at one by one before a search in blocks pays.
const NEAR: usize = 16;
/// Deepest nesting of places: message, result, result of a task, content, item.
const DEEPEST: usize = 6;

/// The bytes that matter in a value that is skipped: brackets and quotes.
const MARKS: [bool; 256] = {
    let mut marks = [false; 256];
    let mut at = 0;
    while at < 5 {
        marks[b"{}[]\""[at] as usize] = true;
        at += 1;
    }
    marks
};

/// What the frame (the line, event or body) that has ended was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Nothing but whitespace.
    Blank,
    /// JSON whose messages were all handed out.
    Whole,
    /// Something else; messages of a batch before the fault were handed out.
    Broken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the first byte of a frame.
    Start,
    /// In a batch, before an item; the first may be missing.
    Item { first: bool },
    /// In a batch, after an item.
    AfterItem,
    /// In an object, before a key; the first may be missing.
    Key { first: bool },
    /// In a key.
    InKey,
    /// After a key.
    Colon,
    /// Before a value that is treated as `want` says.
    Value,
    /// In an array, before a value; the first may be missing.
    Element { first: bool },
    /// In a string.
    Text,
    /// In a number, `true`, `false`, `null` or the like.
    Scalar,
    /// In an object or array that is not looked into.
    Nested,
    /// After a value.
    After,
    /// After the value of the frame.
    Done,
    /// This is not JSON; the rest of the frame is ignored.
    Broken,
}

/// Reads one frame after the other.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not a state in disguise")]
pub struct Scanner {
    bounds: Bounds,
    state: State,
    /// The places entered, outermost first.
    places: [Place; DEEPEST],
    depth: usize,
    /// Within a batch.
    batch: bool,
    /// Within a batch, an item that is no object.
    stray: bool,
    /// A message was handed out.
    emitted: bool,
    /// What to do with the coming value.
    want: Want,
    /// Brackets open within [`State::Nested`].
    brackets: u64,
    /// Within a string of [`State::Nested`].
    quoted: bool,
    /// The next byte is escaped.
    escaped: bool,
    /// A key of several chunks; at most one byte longer than any that means something.
    key: Vec<u8>,
    /// Memory is short: only what decides is kept.
    sparing: bool,
    message: Message,
}

impl Scanner {
    /// A scanner before the first byte.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            state: State::Start,
            places: [Place::Message; DEEPEST],
            depth: 0,
            batch: false,
            stray: false,
            emitted: false,
            want: Want::Nothing,
            brackets: 0,
            quoted: false,
            escaped: false,
            key: Vec::new(),
            sparing: false,
            message: Message::new(bounds),
        }
    }

    /// Reads on. When a message ends within `bytes`, says after how many of them: the message
    /// stays readable until the rest is fed, and as [`Self::only`] until the frame ends.
    pub fn feed(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            let from = at;
            let byte = bytes[at];
            match self.state {
                State::Broken => return None,
                State::Text => at += self.text(&bytes[at..]),
                State::InKey => at += self.in_key(&bytes[at..]),
                State::Nested => at += self.nested(&bytes[at..]),
                State::Scalar => at += self.scalar(&bytes[at..]),
                _ if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') => at += 1,
                State::Start | State::Item { .. } if byte == b'{' => {
                    self.begin_message();
                    at += 1;
                }
                State::Start => {
                    at += 1;
                    self.begin_frame(byte);
                }
                State::After if byte == b'}' && self.depth == 1 => {
                    at += 1;
                    self.message.size += 1;
                    self.depth = 0;
                    self.emitted = true;
                    self.state = if self.batch { State::AfterItem } else { State::Done };
                    return Some(at);
                }
                State::Key { first: true } if byte == b'}' => self.state = State::After,
                State::Value | State::Element { .. } | State::Item { .. } => {
                    at += usize::from(self.value(byte));
                }
                _ => {
                    at += 1;
                    self.punctuation(byte);
                }
            }
            // Counted step by step, so that no decision depends on the chunking.
            if self.state != State::Done {
                self.message.size += (at - from) as u64;
            }
        }
        None
    }

    /// The frame is over: says what it was, and makes ready for the next.
    pub fn end(&mut self) -> Frame {
        let frame = match self.state {
            State::Start => Frame::Blank,
            State::Done if self.emitted && !self.stray => Frame::Whole,
            _ => Frame::Broken,
        };
        self.state = State::Start;
        self.depth = 0;
        (self.batch, self.stray, self.emitted, self.sparing) = (false, false, false, false);
        self.message.release();
        frame
    }

    /// Forgets the frame that was begun, if any, without a verdict.
    pub fn reset(&mut self) {
        self.end();
    }

    /// The message that [`Self::feed`] has read to its end; before that, as far as it was read.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// The message that has begun and will not go on here, as far as its values were read whole.
    pub fn cut(&mut self) -> Option<&Message> {
        self.message.abandon();
        (self.is_within() && self.state != State::Broken).then_some(&self.message)
    }

    /// The message that is all that the frame holds so far; none in a batch.
    pub fn only(&self) -> Option<&Message> {
        (self.state == State::Done && !self.batch).then_some(&self.message)
    }

    /// Bytes of memory that the current message takes beside the scanner itself.
    pub fn held(&self) -> usize {
        self.message.held() + self.key.capacity()
    }

    /// Whether a frame has begun.
    pub fn is_midway(&self) -> bool {
        self.state != State::Start
    }

    /// Whether a message has begun and not ended.
    pub fn is_within(&self) -> bool {
        self.depth > 0
    }

    /// Memory is short: of this frame keeps nothing more but what decides. Returns whether
    /// that is news.
    pub fn keep_less(&mut self) -> bool {
        !std::mem::replace(&mut self.sparing, true)
    }

    fn begin_frame(&mut self, byte: u8) {
        match byte {
            b'[' => {
                self.batch = true;
                self.state = State::Item { first: true };
            }
            // A byte order mark.
            0xEF | 0xBB | 0xBF => {}
            _ => self.state = State::Broken,
        }
    }

    fn begin_message(&mut self) {
        self.message.clear(self.batch);
        self.depth = 0;
        self.enter(Place::Message);
    }

    fn enter(&mut self, place: Place) {
        self.places[self.depth] = place;
        self.depth += 1;
        self.state = if place.is_array() {
            State::Element { first: true }
        } else {
            State::Key { first: true }
        };
    }

    fn place(&self) -> Place {
        self.places[self.depth.saturating_sub(1)]
    }

    /// What is neither whitespace nor part of a value.
    fn punctuation(&mut self, byte: u8) {
        self.state = match (self.state, byte) {
            (State::Key { .. }, b'"') => {
                self.key.clear();
                State::InKey
            }
            (State::Colon, b':') => State::Value,
            (State::After, b',') if self.place().is_array() => State::Element { first: false },
            (State::After, b',') => State::Key { first: false },
            (State::After, b']' | b'}') if self.place().is_array() == (byte == b']') => {
                self.depth -= 1;
                State::After
            }
            (State::AfterItem, b',') => State::Item { first: false },
            (State::AfterItem, b']') => State::Done,
            _ => State::Broken,
        };
    }

    /// The first byte of a value, or the end of an array; says whether it was consumed.
    fn value(&mut self, byte: u8) -> bool {
        let want = match self.state {
            State::Element { first: true } if byte == b']' => {
                self.state = State::After;
                return false;
            }
            State::Item { first: true } if byte == b']' => {
                self.state = State::Done;
                return true;
            }
            State::Item { .. } => {
                self.stray = true;
                Want::Nothing
            }
            State::Element { .. } => self.place().item(),
            _ => self.want,
        };
        match (want, byte) {
            (Want::Enter(place, note), b'{' | b'[') if place.is_array() == (byte == b'[') => {
                self.note(note, byte);
                self.enter(place);
                return true;
            }
            (Want::Enter(_, note), _) => self.note(note, byte),
            (Want::Keep(field), _) if field.is_detail() && self.spares() => {}
            (Want::Keep(field), _) => self.message.begin(field, byte),
            (Want::Nothing, _) => {}
        }
        match byte {
            b'"' => {
                self.state = State::Text;
                true
            }
            b'{' | b'[' => {
                (self.state, self.brackets, self.quoted) = (State::Nested, 0, false);
                false
            }
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'+' | b'.' => {
                self.state = State::Scalar;
                false
            }
            _ => {
                self.state = State::Broken;
                true
            }
        }
    }

    fn after_value(&mut self) {
        self.message.finish();
        self.state = if self.depth == 0 { State::AfterItem } else { State::After };
    }

    fn text(&mut self, bytes: &[u8]) -> usize {
        let end = self.closing_quote(bytes);
        self.message.push(&bytes[..end.unwrap_or(bytes.len())]);
        let Some(end) = end else { return bytes.len() };
        self.after_value();
        end + 1
    }

    fn scalar(&mut self, bytes: &[u8]) -> usize {
        let end = bytes
            .iter()
            .position(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.')));
        self.message.push(&bytes[..end.unwrap_or(bytes.len())]);
        let Some(end) = end else { return bytes.len() };
        self.after_value();
        end
    }

    fn nested(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        let mut over = false;
        while !over {
            if self.quoted {
                let Some(end) = self.closing_quote(&bytes[at..]) else { break };
                self.quoted = false;
                at += end + 1;
            }
            let mark = bytes[at..].iter().position(|byte| MARKS[usize::from(*byte)]);
            let Some(mark) = mark else { break };
            at += mark + 1;
            match bytes[at - 1] {
                b'"' => self.quoted = true,
                b'{' | b'[' => self.brackets += 1,
                _ => {
                    self.brackets -= 1;
                    over = self.brackets == 0;
                }
            }
        }
        let end = if over { at } else { bytes.len() };
        self.message.push(&bytes[..end]);
        if over {
            self.after_value();
        }
        end
    }

    /// Where the string ends that `bytes` lie in.
    fn closing_quote(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = usize::from(self.escaped);
        self.escaped = false;
        while let Some(found) = special(bytes.get(at..)?) {
            at += found;
            if bytes[at] == b'"' {
                return Some(at);
            }
            if at + 1 == bytes.len() {
                self.escaped = true;
                return None;
            }
            at += 2;
        }
        None
    }

    fn in_key(&mut self, bytes: &[u8]) -> usize {
        let end = self.closing_quote(bytes);
        let part = &bytes[..end.unwrap_or(bytes.len())];
        let place = self.place();
        if self.key.is_empty()
            && let Some(end) = end
        {
            self.want = member(place, part);
            self.state = State::Colon;
            return end + 1;
        }
        let room = LONGEST_KEY + 1 - self.key.len();
        self.key.extend_from_slice(&part[..part.len().min(room)]);
        let Some(end) = end else { return bytes.len() };
        self.want = member(place, &self.key);
        self.state = State::Colon;
        end + 1
    }

    fn spares(&self) -> bool {
        self.sparing || self.message.size > self.bounds.inspect
    }

    fn note(&mut self, field: Option<Field>, byte: u8) {
        if let Some(field) = field {
            self.message.note(field, byte);
        }
    }
}

/// The first quote or backslash. Most strings, and most runs between escapes, are short.
fn special(bytes: &[u8]) -> Option<usize> {
    let (near, far) = bytes.split_at(bytes.len().min(NEAR));
    near.iter()
        .position(|byte| matches!(byte, b'"' | b'\\'))
        .or_else(|| memchr2(b'"', b'\\', far).map(|found| near.len() + found))
}

/// What to do with the member of `place` whose key is written so.
fn member(place: Place, key: &[u8]) -> Want {
    match place.member(key) {
        Want::Nothing if key.len() <= LONGEST_KEY && key.contains(&b'\\') => {
            place.member(text::unescape(key).as_bytes())
        }
        want => want,
    }
}

#[cfg(test)]
mod tests;
