//! Reads JSON-RPC messages of any size in any chunking and keeps only what decides.
//!
//! Memory is bounded whatever comes; nothing recurses. Every byte is looked at, but only the
//! objects of [`Place`] are held to the grammar: what lies in other values is skipped by its
//! strings and brackets, for peers differ in what they take for JSON (Python sends `NaN`).
//! Of members with one name the last counts, as for the parsers of JavaScript and Python.

use std::borrow::Cow;

use memchr::memchr2;

use crate::mcp::{Field, Place, Want};

mod text;

pub use text::cut;

/// Bounds of what is kept of one message, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Beyond so many bytes of a message nothing but what decides is kept.
    pub inspect: u64,
    /// Longest `params.arguments`.
    pub arguments: usize,
    /// Longest text of an error.
    pub text: usize,
}

/// Most bytes that names, ids and the like of one message may take together.
const SMALL: usize = 64 << 10;
/// Longest id or token.
const LONGEST_ID: usize = 1 << 10;
/// Longest name of any kind.
const LONGEST_NAME: usize = 256;
/// Longest key that may mean anything: each character of the longest known one escaped.
const LONGEST_KEY: usize = 40 * 6;
/// Most tools of one page.
const MOST_TOOLS: usize = 1000;
/// Deepest nesting of places: message, result, result of a task, content, item.
const DEEPEST: usize = 6;

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

/// How a kept value was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// It was not there.
    #[default]
    Absent,
    /// A string; what is kept lies between the quotes.
    Text,
    /// A number, `true`, `false` or `null`.
    Scalar,
    /// An object or array, kept with its brackets.
    Nested,
}

/// A kept value in the buffer.
#[derive(Clone, Copy, Debug, Default)]
struct Kept {
    start: u32,
    len: u32,
    form: Form,
    /// It was longer than what is kept.
    cut: bool,
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
    /// The field that the current value goes to.
    keeping: Option<Field>,
    /// Brackets open within [`State::Nested`].
    brackets: u64,
    /// Within a string of [`State::Nested`].
    quoted: bool,
    /// The next byte is escaped.
    escaped: bool,
    /// A key of several chunks; one byte longer than any that means something.
    key: [u8; LONGEST_KEY + 1],
    key_len: usize,
    /// Memory is short: only what decides is kept.
    sparing: bool,
    /// Bytes of the current message up to here.
    size: u64,
    kept: [Kept; Field::COUNT],
    tools: Vec<Kept>,
    buffer: Vec<u8>,
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
            keeping: None,
            brackets: 0,
            quoted: false,
            escaped: false,
            key: [0; LONGEST_KEY + 1],
            key_len: 0,
            sparing: false,
            size: 0,
            kept: [Kept::default(); Field::COUNT],
            tools: Vec::new(),
            buffer: Vec::new(),
        }
    }

    /// Reads on. When a message ends within `bytes`, says after how many of them: the message
    /// stays readable until the rest is fed.
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
                    self.size += 1;
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
            self.size += (at - from) as u64;
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
        self.keeping = None;
        if self.buffer.capacity() > 4 * LONGEST_ID {
            self.buffer = Vec::new();
            self.tools = Vec::new();
        }
        frame
    }

    /// Forgets the frame that was begun, if any, without a verdict.
    pub fn reset(&mut self) {
        self.end();
    }

    /// Bytes of memory that the current message takes beside the scanner itself.
    pub fn held(&self) -> usize {
        self.buffer.capacity() + self.tools.capacity() * size_of::<Kept>()
    }

    /// Whether a frame has begun.
    pub fn is_midway(&self) -> bool {
        self.state != State::Start
    }

    /// Memory is short: of this frame keeps nothing more but what decides. Returns whether
    /// that is news.
    pub fn keep_less(&mut self) -> bool {
        !std::mem::replace(&mut self.sparing, true)
    }

    /// Bytes of the message, from its opening to its closing brace.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether the message is an item of a batch.
    pub fn in_batch(&self) -> bool {
        self.batch
    }

    /// How the field was written.
    pub fn form(&self, field: Field) -> Form {
        self.kept[field as usize].form
    }

    /// Whether the field is there.
    pub fn has(&self, field: Field) -> bool {
        self.form(field) != Form::Absent
    }

    /// What is kept of a field, as it was written, and whether that is all of it.
    pub fn raw(&self, field: Field) -> (&[u8], bool) {
        let kept = self.kept[field as usize];
        (self.slice(kept), !kept.cut && self.keeping != Some(field))
    }

    /// The text of a field that is a string.
    pub fn text_of(&self, field: Field) -> Option<Cow<'_, str>> {
        let kept = self.kept[field as usize];
        (kept.form == Form::Text).then(|| text::unescape(self.slice(kept)))
    }

    /// Whether the field is `true`.
    pub fn is_true(&self, field: Field) -> bool {
        let kept = self.kept[field as usize];
        kept.form == Form::Scalar && self.slice(kept) == b"true"
    }

    /// The names in `result.tools`, as far as they were kept.
    pub fn tools(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.tools.iter().filter(|kept| !kept.cut).map(|kept| text::unescape(self.slice(*kept)))
    }

    fn slice(&self, kept: Kept) -> &[u8] {
        &self.buffer[kept.start as usize..(kept.start + kept.len) as usize]
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
        self.kept = [Kept::default(); Field::COUNT];
        self.tools.clear();
        self.buffer.clear();
        self.size = 0;
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
                self.key_len = 0;
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
        self.keeping = None;
        match (want, byte) {
            (Want::Enter(place, note), b'{' | b'[') if place.is_array() == (byte == b'[') => {
                self.note(note, Form::Nested);
                self.enter(place);
                return true;
            }
            (Want::Enter(_, note), _) => self.note(note, Form::Scalar),
            (Want::Keep(field), _) => self.keep(field, byte),
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
        if self.keeping.take() == Some(Field::ToolName) && self.tools.len() < MOST_TOOLS {
            self.tools.push(self.kept[Field::ToolName as usize]);
        }
        self.state = if self.depth == 0 { State::AfterItem } else { State::After };
    }

    fn text(&mut self, bytes: &[u8]) -> usize {
        let end = self.closing_quote(bytes);
        self.push(&bytes[..end.unwrap_or(bytes.len())]);
        let Some(end) = end else { return bytes.len() };
        self.after_value();
        end + 1
    }

    fn scalar(&mut self, bytes: &[u8]) -> usize {
        let end = bytes
            .iter()
            .position(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.')));
        self.push(&bytes[..end.unwrap_or(bytes.len())]);
        let Some(end) = end else { return bytes.len() };
        self.after_value();
        end
    }

    fn nested(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        let mut over = false;
        while at < bytes.len() && !over {
            if self.quoted {
                let Some(end) = self.closing_quote(&bytes[at..]) else {
                    at = bytes.len();
                    break;
                };
                self.quoted = false;
                at += end + 1;
                continue;
            }
            match bytes[at] {
                b'"' => self.quoted = true,
                b'{' | b'[' => self.brackets += 1,
                b'}' | b']' => {
                    self.brackets -= 1;
                    over = self.brackets == 0;
                }
                _ => {}
            }
            at += 1;
        }
        self.push(&bytes[..at]);
        if over {
            self.after_value();
        }
        at
    }

    /// Where the string ends that `bytes` lie in.
    fn closing_quote(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = usize::from(self.escaped);
        self.escaped = false;
        while let Some(found) = memchr2(b'"', b'\\', bytes.get(at..)?) {
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
        if self.key_len == 0
            && let Some(end) = end
        {
            self.want = member(place, part);
            self.state = State::Colon;
            return end + 1;
        }
        let room = part.len().min(self.key.len() - self.key_len);
        self.key[self.key_len..self.key_len + room].copy_from_slice(&part[..room]);
        self.key_len += room;
        let Some(end) = end else { return bytes.len() };
        self.want = member(place, &self.key[..self.key_len]);
        self.state = State::Colon;
        end + 1
    }

    fn spares(&self) -> bool {
        self.sparing || self.size > self.bounds.inspect
    }

    fn note(&mut self, field: Option<Field>, form: Form) {
        if let Some(field) = field {
            self.kept[field as usize] = Kept { form, ..Kept::default() };
        }
    }

    /// Makes ready to keep the value that begins with `byte`.
    fn keep(&mut self, field: Field, byte: u8) {
        let form = match byte {
            b'"' => Form::Text,
            b'{' | b'[' => Form::Nested,
            _ => Form::Scalar,
        };
        // Of several texts the first says what went wrong.
        if field == Field::Text && self.has(field) || field.is_detail() && self.spares() {
            return;
        }
        let start = u32::try_from(self.buffer.len()).unwrap_or(u32::MAX);
        self.kept[field as usize] = Kept { start, len: 0, form, cut: false };
        self.keeping = Some(field);
    }

    fn push(&mut self, part: &[u8]) {
        let Some(field) = self.keeping else { return };
        let limit = match field {
            Field::Arguments => self.bounds.arguments,
            Field::Text | Field::Message => self.bounds.text,
            Field::Id | Field::RequestId | Field::ProgressToken | Field::TaskId => LONGEST_ID,
            _ => LONGEST_NAME,
        };
        let most = (self.bounds.arguments + self.bounds.text + SMALL).min(1 << 30);
        let kept = &mut self.kept[field as usize];
        let room = (limit - kept.len as usize).min(most.saturating_sub(self.buffer.len()));
        let taken = &part[..part.len().min(room)];
        self.buffer.extend_from_slice(taken);
        kept.len += u32::try_from(taken.len()).unwrap_or(0);
        kept.cut |= taken.len() < part.len();
    }
}

/// What to do with the member of `place` whose key is written so.
fn member(place: Place, key: &[u8]) -> Want {
    if key.len() > LONGEST_KEY {
        Want::Nothing
    } else if key.contains(&b'\\') {
        place.member(text::unescape(key).as_bytes())
    } else {
        place.member(key)
    }
}

#[cfg(test)]
mod tests;
