//! Which answers a request body wants: what must be said for an upstream that cannot answer.

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::{
    mcp::Field,
    scan::{Bounds, Form, Frame, Message, Scanner},
};

/// Most requests of one batch that are answered each (the TypeScript SDK takes no more).
const MOST: usize = 100;
/// Bytes of a body that are kept as they came, for it is hardly ever asked for. What comes
/// beyond is read at once instead: the id may be the last member.
const KEPT: usize = 64 << 10;
/// Longest id that is echoed.
const LONGEST_ID: usize = KEPT;

/// A request body, as far as it came and its answers depend on it.
#[derive(Debug)]
pub(super) enum Beginning {
    /// All of it.
    Whole { chunks: Vec<Bytes>, length: usize },
    /// Too long for that.
    Read(Box<Reader>),
    /// Nobody will ask.
    Released,
}

impl Default for Beginning {
    fn default() -> Self {
        Self::Whole { chunks: Vec::new(), length: 0 }
    }
}

impl Beginning {
    pub(super) fn push(&mut self, chunk: &Bytes) {
        match self {
            Self::Whole { chunks, length } => {
                *length += chunk.len();
                chunks.push(chunk.clone());
                if *length > KEPT {
                    *self = Self::Read(Box::new(Reader::of(chunks)));
                }
            }
            Self::Read(reader) => reader.read(chunk),
            Self::Released => {}
        }
    }

    /// What is asked, in all that came.
    pub(super) fn asked(&mut self) -> Asked {
        match std::mem::replace(self, Self::Released) {
            Self::Whole { chunks, .. } => Reader::of(&chunks).asked(),
            Self::Read(reader) => reader.asked(),
            Self::Released => Asked::Unclear,
        }
    }
}

/// The answers that a body wants.
#[derive(Debug)]
pub(super) enum Asked {
    /// One, under this id, as JSON.
    Request(Box<RawValue>),
    /// One each, in an array, under these ids.
    Batch(Vec<Box<RawValue>>),
    /// None: it is empty, or all notifications and answers.
    Nothing,
    /// It cannot be told: cut off too early, or no JSON-RPC.
    Unclear,
}

/// Reads a body in any chunking.
#[derive(Debug)]
pub(super) struct Reader {
    scanner: Scanner,
    batch: bool,
    ids: Vec<Box<RawValue>>,
    /// A message was neither a request with an id nor one that wants no answer.
    unclear: bool,
}

impl Reader {
    fn of(chunks: &[Bytes]) -> Self {
        let bounds = Bounds { inspect: u64::MAX, id: LONGEST_ID, arguments: 0, text: 0 };
        let scanner = Scanner::new(bounds);
        let mut reader = Self { scanner, batch: false, ids: Vec::new(), unclear: false };
        for chunk in chunks {
            reader.read(chunk);
        }
        reader
    }

    fn read(&mut self, mut bytes: &[u8]) {
        while let Some(end) = self.scanner.feed(bytes) {
            self.message(true);
            bytes = &bytes[end..];
        }
    }

    /// Takes in the message that the scanner has read, or has begun to.
    fn message(&mut self, complete: bool) {
        let message = self.scanner.message();
        self.batch |= message.in_batch();
        if message.has(Field::Result) || message.has(Field::Error) {
            return;
        }
        let asks = message.form(Field::Method) == Form::Text;
        match (id(message), complete) {
            (Some(id), _) if asks || !complete => {
                self.push(id);
            }
            (Some(_), _) => {}
            (None, true) if asks && !message.has(Field::Id) => {}
            // In a batch the others are told apart by their ids, so that one more can be told.
            (None, true) if self.batch => self.push(RawValue::NULL.to_owned()),
            (None, _) => self.unclear = true,
        }
    }

    fn push(&mut self, id: Box<RawValue>) {
        if self.ids.len() < MOST {
            self.ids.push(id);
        }
    }

    fn asked(mut self) -> Asked {
        let cut = self.scanner.is_within();
        if cut {
            self.message(false);
        }
        self.unclear |= self.scanner.end() == Frame::Broken && !cut;
        match self.ids.pop() {
            Some(last) if self.batch => {
                self.ids.push(last);
                Asked::Batch(self.ids)
            }
            Some(id) => Asked::Request(id),
            None if self.unclear => Asked::Unclear,
            None => Asked::Nothing,
        }
    }
}

/// The id of a message if it is there in full, and a string or a number: there are no others.
/// Of one that is longer than [`LONGEST_ID`] only a part is: its request is answered under `null`.
fn id(message: &Message) -> Option<Box<RawValue>> {
    let (raw, whole) = message.raw(Field::Id);
    let text = str::from_utf8(raw).ok().filter(|_| whole)?;
    let json = match message.form(Field::Id) {
        Form::Text => format!("\"{text}\""),
        Form::Scalar if text.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => {
            text.to_owned()
        }
        _ => return None,
    };
    RawValue::from_string(json).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// In words: the id, ids in an array, `nothing` or `unclear`.
    fn asked_in(chunks: impl IntoIterator<Item = impl Into<Bytes>>) -> String {
        let mut beginning = Beginning::default();
        for chunk in chunks {
            beginning.push(&chunk.into());
        }
        match beginning.asked() {
            Asked::Request(id) => id.get().to_owned(),
            Asked::Batch(ids) => serde_json::to_string(&ids).unwrap(),
            Asked::Nothing => "nothing".to_owned(),
            Asked::Unclear => "unclear".to_owned(),
        }
    }

    fn asked(text: &str) -> String {
        asked_in([text.to_owned()])
    }

    #[test]
    fn a_request_is_known_by_its_id_as_it_wrote_it() {
        for (text, id) in [
            (r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#, "7"),
            (r#" { "id" : "7" , "method":"ping"}"#, r#""7""#),
            (r#"{"id":1.0e2,"method":"ping"}"#, "1.0e2"),
            (r#"{"method":"m","params":{"id":1,"a":["}",{}]},"id":"a\"b"}"#, r#""a\"b""#),
            (r#"{"id":3,"method":"tools/call","params":{"text":"cut o"#, "3"),
        ] {
            assert_eq!(asked(text), id, "{text}");
        }
    }

    #[test]
    fn an_id_comes_back_whatever_its_length_up_to_a_bound() {
        for length in [1000, 5000, LONGEST_ID, LONGEST_ID + 1] {
            let id = format!("\"{}\"", "x".repeat(length));
            let request = format!(r#"{{"method":"ping","id":{id}}}"#);
            let fits = length <= LONGEST_ID;
            assert_eq!(asked(&request), if fits { &id } else { "unclear" });
            let batch = format!(r#"[{request},{{"id":2,"method":"ping"}},{request}]"#);
            let id = if fits { &id } else { "null" };
            assert_eq!(asked(&batch), format!("[{id},2,{id}]"));
        }
    }

    #[test]
    fn the_id_is_found_behind_any_length() {
        let text = "x".repeat(3 * KEPT);
        let body =
            format!(r#"{{"method":"m","params":{{"text":"{text}"}},"jsonrpc":"2.0","id":8}}"#);
        let chunks: Vec<_> = body.as_bytes().chunks(1000).map(Bytes::copy_from_slice).collect();
        assert_eq!(asked_in(chunks), "8");
        assert_eq!(asked(&body), "8");
    }

    #[test]
    fn each_request_of_a_batch_is_known() {
        let batch = r#"[{"id":1,"method":"a"},{"method":"b"},{"id":"x","method":"c"},{"id":2,"result":{}}]"#;
        assert_eq!(asked(batch), r#"[1,"x"]"#);
        let cut = r#"[{"id":1,"method":"a"},{"id":2,"method":"c","para"#;
        assert_eq!(asked(cut), "[1,2]");
        assert_eq!(asked(r#"[{"id":1,"method":"a"}garbage"#), "[1]");
        assert_eq!(
            asked(r#"[{"id":1,"method":"a"},{"id":[2],"method":"b"},{"a":1}]"#),
            "[1,null,null]"
        );
        assert_eq!(asked(r#"[{"method":"a"},{"id":1,"result":1}]"#), "nothing");
        let many = vec![r#"{"id":1,"method":"a"}"#; MOST + 1].join(",");
        assert_eq!(asked(&format!("[{many}]")).split(',').count(), MOST);
    }

    #[test]
    fn what_waits_for_no_response_is_nothing() {
        for text in [
            "",
            " \r\n",
            r#"{"method":"notifications/initialized"}"#,
            r#"{"id":1,"result":{"method":1}}"#,
            r#"{"id":1,"result":{"cut o"#,
        ] {
            assert_eq!(asked(text), "nothing", "{text}");
        }
    }

    #[test]
    fn what_cannot_be_told_is_unclear() {
        for text in [
            r#"{"method":"tools/call","params":{"text":"cut o"#,
            r#"{"method":"tools/call","id":1"#,
            r#"{"method":"tools/call","id":"1"#,
            r#"{"method":"x","id":null}garbage"#,
            r#"{"method":"x","id":{"a":1}}"#,
            r#"{"method":"x","id":NaN}"#,
            r#"{"a":1}"#,
            "[]",
            "[1]",
            "no json",
        ] {
            assert_eq!(asked(text), "unclear", "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text: Vec<u8>, json in "[\\[\\]{}\",:\\\\a-d0-9 ]{0,40}") {
            let _ = asked_in([text]);
            let _ = asked(&json);
        }

        #[test]
        fn a_prefix_never_yields_another_id(cut in 0_usize..80) {
            let text = r#"{"params":{"id":1,"x":[{"id":2}]},"id":12345,"jsonrpc":"2.0","method":"m"}"#;
            let found = asked(&text[..cut.min(text.len())]);
            prop_assert!(["12345", "nothing", "unclear"].contains(&&*found), "{found}");
        }
    }
}
