//! What the client says: a line, and what it means for its way to the server.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::HeaderValue;

use crate::{
    jsonrpc::{Id, Kind, skip_mark},
    mcp::{Field, code, method},
    scan::{Bounds, Form, Frame, Message, Scanner},
};

/// Everything that decides is kept, however far behind it stands, and nothing else.
const BOUNDS: Bounds = Bounds { inspect: u64::MAX, id: 64 << 10, arguments: 0, text: 0 };

/// A line of the client that is a message, or a batch of them (2025-03-26).
#[derive(Debug)]
pub(super) struct Said {
    /// As the client wrote it, without the end of the line and a byte order mark; nothing once it
    /// is forgotten.
    text: Mutex<Bytes>,
    pub(super) what: What,
    /// The method of a single request or notification.
    pub(super) method: Option<Box<str>>,
    /// The protocol version that it states: it belongs to the era without sessions.
    pub(super) version: Option<HeaderValue>,
    /// The answers that it wants.
    pub(super) asked: Vec<Asked>,
    /// What a batch withdraws among other things.
    pub(super) withdraws: Vec<Id>,
    /// It tells something beside that: notifications mean something in order.
    pub(super) tells: bool,
    /// What the server has asked that it answers; `null` for an error that names no request.
    pub(super) answers: Vec<Id>,
}

/// What to do with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// It asks: its answers are awaited.
    Request,
    /// It withdraws a request.
    Cancellation(Id),
    /// It tells, or answers the server.
    Aside,
}

/// A request that is to be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) id: Id,
    /// The id as the client wrote it.
    pub(super) written: Box<str>,
}

/// Why a line goes nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("this line is not JSON; write one JSON-RPC message a line")]
    NotJson,
    #[error("this line is no JSON-RPC request, notification or response")]
    NotAMessage {
        /// The id of what would be a request, as it stands there.
        id: Option<Box<str>>,
    },
}

impl Fault {
    /// The JSON-RPC code that says so.
    pub(super) fn code(&self) -> i64 {
        match self {
            Self::NotJson => code::PARSE_ERROR,
            Self::NotAMessage { .. } => code::INVALID_REQUEST,
        }
    }

    /// Under which id to say so, if that is known (JSON-RPC 2.0, section 5).
    pub(super) fn id(&self) -> Option<&str> {
        match self {
            Self::NotJson => None,
            Self::NotAMessage { id } => id.as_deref(),
        }
    }
}

impl Said {
    /// Reads a line; none if it is blank.
    pub(super) fn read(mut text: Bytes) -> Result<Option<Self>, Fault> {
        skip_mark(&mut text);
        let mut said = Self {
            text: Mutex::default(),
            what: What::Aside,
            method: None,
            version: None,
            asked: Vec::new(),
            withdraws: Vec::new(),
            tells: false,
            answers: Vec::new(),
        };
        let (mut stray, mut batch, mut id) = (false, false, None);
        let frame = messages(&text, |message| {
            batch |= message.in_batch();
            if !said.take(message) {
                stray = true;
                id = (!batch && message.has(Field::Method) && message.has(Field::Id))
                    .then(|| written(message));
            } else if let What::Cancellation(id) = &said.what
                && batch
            {
                said.withdraws.push(id.clone());
                said.what = What::Aside;
            }
        });
        if batch {
            (said.method, said.version) = (None, None);
            said.what = if said.asked.is_empty() { What::Aside } else { What::Request };
        }
        match frame {
            Frame::Blank => Ok(None),
            Frame::Whole if stray => Err(Fault::NotAMessage { id }),
            Frame::Whole => Ok(Some(Self { text: Mutex::new(text), ..said })),
            Frame::Broken => Err(Fault::NotJson),
        }
    }

    /// As the client wrote it.
    pub(super) fn text(&self) -> Bytes {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Frees the text, which will not be sent again.
    pub(super) fn forget(&self) {
        *self.text.lock().unwrap_or_else(PoisonError::into_inner) = Bytes::new();
    }

    /// Takes in one message. Returns whether it is one.
    fn take(&mut self, message: &Message) -> bool {
        self.method = message.text(Field::Method).map(Into::into);
        self.version = message
            .text(Field::StatedVersion)
            .and_then(|version| HeaderValue::from_str(&version).ok());
        match Kind::of(message) {
            Kind::Request(id) => {
                self.asked.push(Asked { id, written: written(message) });
                self.what = What::Request;
            }
            Kind::Notification => {
                let withdrawn = Id::of(message, Field::RequestId);
                match withdrawn.filter(|_| self.is(method::CANCELLED)) {
                    Some(id) => self.what = What::Cancellation(id),
                    None => self.tells = true,
                }
            }
            Kind::Answer(id) => self.answers.push(id),
            Kind::Refusal => self.answers.push(Id::null()),
            Kind::Unknown => return false,
        }
        true
    }

    /// Whether it is a request or notification of this method.
    pub(super) fn is(&self, method: &str) -> bool {
        self.method.as_deref() == Some(method)
    }

    /// Whether it asks this and nothing else.
    pub(super) fn asks_only(&self, id: &Id) -> bool {
        self.method.is_some() && matches!(&self.asked[..], [asked] if asked.id == *id)
    }

    /// Whether it belongs to the era without sessions (2026-07-28 and later).
    pub(super) fn is_modern(&self) -> bool {
        self.version.is_some()
    }
}

/// Hands out the messages of a text, which is one of them or a batch.
pub(super) fn messages(text: &[u8], mut each: impl FnMut(&Message)) -> Frame {
    let mut scanner = Scanner::new(BOUNDS);
    let mut rest = text;
    while let Some(read) = scanner.feed(rest) {
        each(scanner.message());
        rest = &rest[read..];
    }
    match scanner.end() {
        // A mark that nobody has left out; the scanner, which only looks, passes over it.
        Frame::Whole if !matches!(text.trim_ascii_start(), [b'{' | b'[', ..]) => Frame::Broken,
        frame => frame,
    }
}

/// The id of a request as it stands in it.
fn written(message: &Message) -> Box<str> {
    let (raw, whole) = message.raw(Field::Id);
    if !whole {
        // A part of it is another's, or no JSON.
        return "null".into();
    }
    let raw = String::from_utf8_lossy(raw);
    match message.form(Field::Id) {
        Form::Text => format!("\"{raw}\"").into(),
        _ => raw.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Said>, Fault> {
        Said::read(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn a_line_tells_what_it_wants() {
        let call = read(r#"{"jsonrpc":"2.0","id":1.0,"method":"tools/call"}"#).unwrap().unwrap();
        assert_eq!(call.what, What::Request);
        assert_eq!(call.asked, [Asked { id: Id::Number(1), written: "1.0".into() }]);
        assert!(call.is("tools/call") && !call.is_modern());

        let modern = r#"{"id":"\u0061","method":"m","params":{"_meta":
            {"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
        let modern = read(modern).unwrap().unwrap();
        assert_eq!(modern.version.as_ref().unwrap(), "2026-07-28");
        assert_eq!(&*modern.asked[0].written, r#""\u0061""#);

        // A byte order mark says nothing.
        let marked = read("\u{feff}{\"method\":\"n\"}").unwrap().unwrap();
        assert_eq!(marked.text(), r#"{"method":"n"}"#);

        let cancel = r#"{"method":"notifications/cancelled","params":{"requestId":"a"}}"#;
        let cancel = read(cancel).unwrap().unwrap();
        assert_eq!(cancel.what, What::Cancellation(Id::Json("\"a\"".into())));
        // Half of an id would be another one, and half of a list no JSON at all.
        let endless = format!(r#"{{"id":["{}"],"method":"m"}}"#, "x".repeat(70_000));
        assert_eq!(&*read(&endless).unwrap().unwrap().asked[0].written, "null");
        for aside in [r#"{"method":"notifications/initialized"}"#, r#"{"id":1,"result":{}}"#] {
            let aside = read(aside).unwrap().unwrap();
            assert_eq!((aside.what, aside.asked.len()), (What::Aside, 0));
        }
    }

    #[test]
    fn a_batch_wants_an_answer_to_each_request() {
        let batch = r#"[{"id":1,"method":"a"},{"method":"b"},{"id":"2","method":"c"}]"#;
        let batch = read(batch).unwrap().unwrap();
        let written: Vec<_> = batch.asked.iter().map(|asked| &*asked.written).collect();
        assert_eq!((batch.what, written, batch.method), (What::Request, vec!["1", "\"2\""], None));
        let cancel = r#"{"method":"notifications/cancelled","params":{"requestId":1}}"#;
        for (text, what) in [
            (format!(r#"[{{"id":2,"method":"ping"}},{cancel}]"#), What::Request),
            (format!("[{cancel}]"), What::Aside),
        ] {
            let batch = read(&text).unwrap().unwrap();
            assert_eq!((batch.what, batch.withdraws), (what, vec![Id::Number(1)]), "{text}");
        }
    }

    #[test]
    fn what_tells_something_has_its_turn() {
        let cancel = r#"{"method":"notifications/cancelled","params":{"requestId":1}}"#;
        let (note, answer) = (r#"{"method":"n"}"#, r#"{"id":1,"result":{}}"#);
        for (text, tells, answers) in [
            (note.to_owned(), true, false),
            (format!("[{answer},{note}]"), true, true),
            (answer.to_owned(), false, true),
            (format!("[{answer}]"), false, true),
            (cancel.to_owned(), false, false),
            (format!("[{cancel}]"), false, false),
        ] {
            let said = read(&text).unwrap().unwrap();
            assert_eq!((said.tells, !said.answers.is_empty()), (tells, answers), "{text}");
        }
    }

    #[test]
    fn what_is_no_message_is_said_to_be_none() {
        assert!(read(" \t").unwrap().is_none());
        for text in ["x", "{", r#"{"id":1,"method":"m"} {}"#, "{\"a\":}", " \u{feff}{}"] {
            assert_eq!(read(text).unwrap_err(), Fault::NotJson, "{text}");
        }
        for (text, id) in [
            ("{}", None),
            (r#"{"id":1}"#, None),
            (r#"{"id":1.0,"method":7}"#, Some("1.0")),
            (r#"[{"id":1,"method":"m"},{"id":2,"method":7}]"#, None),
        ] {
            let fault = read(text).unwrap_err();
            assert_eq!(fault, Fault::NotAMessage { id: id.map(Into::into) }, "{text}");
            assert_eq!(fault.id(), id);
        }
    }
}
