//! What is kept of one JSON-RPC message. Its size has a bound, whatever the message is.

use std::{borrow::Cow, ops::Range};

use super::{Bounds, text};
use crate::mcp::Field;

/// Most bytes that names and the like of one message may take together.
const SMALL: usize = 64 << 10;
/// Longest name of any kind.
const LONGEST_NAME: usize = 256;
/// Most tools of one page.
const MOST_TOOLS: usize = 1000;
/// What the members of most messages take.
const USUAL: usize = 256;
/// Memory that is kept for the next message.
const SPARE: usize = 2 << 10;

/// How a value was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// It was not there.
    #[default]
    Absent,
    /// A string; what is kept lies between the quotes.
    Text,
    /// `null`.
    Null,
    /// A number, `true` or `false`.
    Scalar,
    /// An object or array, kept with its brackets.
    Nested,
}

impl Form {
    /// The form of the value that begins with `byte`.
    fn of(byte: u8) -> Self {
        match byte {
            b'"' => Self::Text,
            b'{' | b'[' => Self::Nested,
            b'n' => Self::Null,
            _ => Self::Scalar,
        }
    }
}

/// A value in the buffer.
#[derive(Clone, Copy, Debug, Default)]
struct Value {
    start: u32,
    len: u32,
    /// Where it stands in the message, counted from the opening brace.
    at: u32,
    form: Form,
    /// It was longer than what is kept.
    cut: bool,
}

/// The members of a message that decide.
#[derive(Debug)]
pub struct Message {
    bounds: Bounds,
    values: [Value; Field::COUNT],
    tools: Vec<Value>,
    buffer: Vec<u8>,
    /// The field whose value is being read.
    keeping: Option<Field>,
    in_batch: bool,
    pub(super) size: u64,
}

impl Message {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            values: [Value::default(); Field::COUNT],
            tools: Vec::new(),
            buffer: Vec::new(),
            keeping: None,
            in_batch: false,
            size: 0,
        }
    }

    /// Bytes of the message, from its opening to its closing brace.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether the message is an item of a batch.
    pub fn in_batch(&self) -> bool {
        self.in_batch
    }

    /// How the field was written.
    pub fn form(&self, field: Field) -> Form {
        self.values[field as usize].form
    }

    /// Whether the field is there.
    pub fn has(&self, field: Field) -> bool {
        self.form(field) != Form::Absent
    }

    /// What is kept of a field, as it was written, and whether that is all of it.
    pub fn raw(&self, field: Field) -> (&[u8], bool) {
        let value = self.values[field as usize];
        (self.slice(value), !value.cut && self.keeping != Some(field))
    }

    /// Where the field stands in the message, quotes and brackets included, counted from the
    /// opening brace; none of one that is not there or not kept whole.
    pub fn span(&self, field: Field) -> Option<Range<usize>> {
        let value = self.values[field as usize];
        let (_, whole) = self.raw(field);
        let quotes = if value.form == Form::Text { 2 } else { 0 };
        let at = usize::try_from(value.at).ok()?;
        let end = at + usize::try_from(value.len).ok()? + quotes;
        (value.form != Form::Absent && whole && value.at != u32::MAX).then_some(at..end)
    }

    /// The text of a field that is a string.
    pub fn text(&self, field: Field) -> Option<Cow<'_, str>> {
        let value = self.values[field as usize];
        (value.form == Form::Text).then(|| text::unescape(self.slice(value)))
    }

    /// Whether the field is `true`.
    pub fn is_true(&self, field: Field) -> bool {
        self.form(field) == Form::Scalar && self.raw(field).0 == b"true"
    }

    /// The names in `result.tools`, as far as they were kept.
    pub fn tools(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.tools.iter().filter(|name| !name.cut).map(|name| text::unescape(self.slice(*name)))
    }

    fn slice(&self, value: Value) -> &[u8] {
        &self.buffer[value.start as usize..(value.start + value.len) as usize]
    }

    /// Bytes of memory that it takes beside itself.
    pub(super) fn held(&self) -> usize {
        self.buffer.capacity() + self.tools.capacity() * size_of::<Value>()
    }

    /// Makes ready for the next message.
    pub(super) fn clear(&mut self, in_batch: bool) {
        self.values = [Value::default(); Field::COUNT];
        self.tools.clear();
        self.buffer.clear();
        self.keeping = None;
        self.in_batch = in_batch;
        self.size = 0;
    }

    /// Gives memory back: streams may be silent for long.
    pub(super) fn release(&mut self) {
        self.keeping = None;
        if self.held() > SPARE {
            self.clear(false);
            self.buffer = Vec::new();
            self.tools = Vec::new();
        }
    }

    /// The field is there; its value is read elsewhere.
    pub(super) fn note(&mut self, field: Field, byte: u8) {
        let value = Value { form: Form::of(byte), at: u32::MAX, ..Value::default() };
        self.values[field as usize] = value;
    }

    /// What comes is the value of the field; it begins with `byte`.
    pub(super) fn begin(&mut self, field: Field, byte: u8) {
        // Of several texts the first says what went wrong.
        if field == Field::Text && self.has(field) {
            return;
        }
        let start = u32::try_from(self.buffer.len()).unwrap_or(u32::MAX);
        let value = &mut self.values[field as usize];
        let at = u32::try_from(self.size).unwrap_or(u32::MAX);
        *value = Value { start, len: 0, at, form: Form::of(byte), cut: false };
        self.keeping = Some(field);
    }

    /// A part of the value that is being read.
    pub(super) fn push(&mut self, part: &[u8]) {
        let Some(field) = self.keeping else { return };
        let limit = match field {
            Field::Arguments => self.bounds.arguments,
            Field::Text | Field::Message => self.bounds.text,
            Field::Id
            | Field::RequestId
            | Field::ProgressToken
            | Field::SubscriptionId
            | Field::TaskId => self.bounds.id,
            _ => LONGEST_NAME,
        };
        let Bounds { id, arguments, text, .. } = self.bounds;
        let most = arguments.saturating_add(id + text + SMALL).min(1 << 30);
        let value = &mut self.values[field as usize];
        let room = (limit - value.len as usize).min(most.saturating_sub(self.buffer.len()));
        let taken = &part[..part.len().min(room)];
        if self.buffer.capacity() == 0 {
            self.buffer.reserve(USUAL);
        }
        self.buffer.extend_from_slice(taken);
        value.len += u32::try_from(taken.len()).unwrap_or(0);
        value.cut |= taken.len() < part.len();
    }

    /// The value that was being read will not be complete.
    pub(super) fn abandon(&mut self) {
        if let Some(field) = self.keeping.take() {
            self.values[field as usize] = Value::default();
        }
    }

    /// The value that was being read is complete.
    pub(super) fn finish(&mut self) {
        if self.keeping.take() == Some(Field::ToolName) && self.tools.len() < MOST_TOOLS {
            self.tools.push(self.values[Field::ToolName as usize]);
        }
    }
}
