//! What may cross into a program: one JSON-RPC message on one line, and nothing else. A body with
//! a raw line break would otherwise be two messages there, of which nobody checked the second.
//! And the ids of a message: where it shares its program with others, they are replaced, and
//! every other byte stays as it was written.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memchr2};
use serde::de::IgnoredAny;

use crate::{
    jsonrpc::{self, Id, Kind, skip_mark},
    mcp::{Field, code, method},
    scan::{Bounds, Frame, Message, Scanner},
};

/// Everything that decides is kept, however far behind it stands, and nothing else.
pub(super) const BOUNDS: Bounds = Bounds { inspect: u64::MAX, id: 1 << 10, arguments: 0, text: 0 };

/// Most messages of a batch (the TypeScript SDK takes no more).
const MOST_ITEMS: usize = 100;

/// A message of a client, ready for the program.
#[derive(Debug)]
pub(super) struct Said {
    /// As the client wrote it, but for line breaks between its tokens; ends with the only one.
    pub(super) line: Bytes,
    pub(super) gist: Gist,
    /// The revision that it says it belongs to: it is of the era without sessions (2026-07-28).
    pub(super) version: Option<Box<str>>,
}

/// What a message of either side is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gist {
    pub(super) kind: Kind,
    /// Of requests and notifications.
    pub(super) method: Option<Box<str>>,
    /// The token of the progress that a request wants, or that a notification tells.
    pub(super) token: Option<Id>,
    /// The request that a cancellation is about.
    pub(super) cancelled: Option<Id>,
    /// The request that opened the subscription which this belongs to.
    pub(super) subscription: Option<Id>,
    /// The task that this is about, or that an answer is.
    pub(super) task: Option<Box<str>>,
    /// A request that wants to hear of the log.
    pub(super) wants_log: bool,
    /// The code of an answer that is an error; 0 where it has none.
    pub(super) error: Option<i64>,
    spans: Spans,
}

/// Where the ids of a message stand, from its opening brace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Spans {
    id: Option<Range<usize>>,
    token: Option<Range<usize>>,
    cancelled: Option<Range<usize>>,
    subscription: Option<Range<usize>>,
}

/// Other ids for a message; what is none stays.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Names<'a> {
    pub(super) id: Option<&'a [u8]>,
    pub(super) token: Option<&'a [u8]>,
    pub(super) cancelled: Option<&'a [u8]>,
    pub(super) subscription: Option<&'a [u8]>,
}

impl Gist {
    pub(super) fn of(message: &Message) -> Self {
        Self {
            kind: Kind::of(message),
            method: message.text(Field::Method).map(Into::into),
            token: Id::of(message, Field::ProgressToken),
            cancelled: Id::of(message, Field::RequestId),
            subscription: Id::of(message, Field::SubscriptionId),
            task: message.text(Field::TaskId).map(Into::into),
            wants_log: message.has(Field::LogLevel),
            error: jsonrpc::is_error(message).then(|| match Id::of(message, Field::Code) {
                Some(Id::Number(code)) => code,
                _ => 0,
            }),
            spans: Spans {
                id: message.span(Field::Id),
                token: message.span(Field::ProgressToken),
                cancelled: message.span(Field::RequestId),
                subscription: message.span(Field::SubscriptionId),
            },
        }
    }

    /// The id as it stands in the `text` of this message, and the token of its progress; none
    /// where one is too long to be kept.
    pub(super) fn names<'a>(&self, text: &'a [u8]) -> Option<Names<'a>> {
        let from = memchr(b'{', text)?;
        let written = |known: bool, span: &Option<Range<usize>>| match span {
            Some(span) => text.get(from + span.start..from + span.end).map(Some),
            None => (!known).then_some(None),
        };
        let id = written(true, &self.spans.id)?;
        let token = written(self.token.is_some(), &self.spans.token)?;
        Some(Names { id, token, ..Names::default() })
    }

    /// The `text` of this message with other ids.
    pub(super) fn renamed(&self, text: &[u8], names: Names<'_>) -> Bytes {
        let Spans { id, token, cancelled, subscription } = &self.spans;
        let mut changes: Vec<_> = [
            (id, names.id),
            (token, names.token),
            (cancelled, names.cancelled),
            (subscription, names.subscription),
        ]
        .into_iter()
        .filter_map(|(span, name)| Some((span.clone()?, name?)))
        .collect();
        changes.sort_by_key(|(span, _)| span.start);
        let from = memchr(b'{', text).unwrap_or_default();
        let added: usize = changes.iter().map(|(_, name)| name.len()).sum();
        let mut renamed = BytesMut::with_capacity(text.len() + added);
        let mut done = 0;
        for (span, name) in changes {
            renamed.extend_from_slice(&text[done..from + span.start]);
            renamed.extend_from_slice(name);
            done = from + span.end;
        }
        renamed.extend_from_slice(&text[done..]);
        renamed.freeze()
    }

    /// Whether it asks something of a task.
    pub(super) fn asks_of_a_task(&self) -> bool {
        self.method.as_deref().is_some_and(|method| method.starts_with(method::TASKS))
    }

    /// Whether it is a request or notification of this method.
    pub(super) fn is(&self, method: &str) -> bool {
        self.method.as_deref() == Some(method)
    }
}

/// Why a body does not cross.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("the body is not one JSON value in UTF-8: {0}")]
    NotJson(String),
    #[error("only sessions of 2025-03-26 have batches; send each message in a request of its own")]
    Batch,
    #[error("a batch has at most {MOST_ITEMS} messages; send more of them")]
    LongBatch,
    #[error("the body is no JSON-RPC request, notification or response")]
    NotAMessage,
    #[error("the id of a request has to be a string or an integer")]
    Id,
}

impl Fault {
    /// The JSON-RPC code that says so.
    pub(super) fn code(&self) -> i64 {
        match self {
            Self::NotJson(_) => code::PARSE_ERROR,
            Self::Batch | Self::LongBatch | Self::NotAMessage | Self::Id => code::INVALID_REQUEST,
        }
    }
}

/// What a body holds.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "moved once; the common one needs no allocation")]
pub(super) enum Body {
    One(Said),
    /// Several messages at once (2025-03-26), each on a line of its own.
    Batch(Vec<Said>),
}

/// Reads a body to its end and makes lines of it.
pub(super) fn read(body: BytesMut) -> Result<Body, Fault> {
    let line = one_line(body)?;
    let mut scanner = Scanner::new(BOUNDS);
    scanner.feed(&line);
    if let Some(message) = scanner.only() {
        let (gist, version) = (known(message)?, version(message));
        return Ok(Body::One(Said { line, gist, version }));
    }
    let mut batch = Vec::new();
    let broken = items(&line, |message, text| {
        let (gist, version) = (known(message)?, version(message));
        let line = Bytes::from([text, b"\n"].concat());
        if batch.len() == MOST_ITEMS {
            return Err(Fault::LongBatch);
        }
        batch.push(Said { line, gist, version });
        Ok(())
    })?;
    if broken { Err(Fault::NotAMessage) } else { Ok(Body::Batch(batch)) }
}

/// Reads a body that holds one message.
pub(super) fn read_one(body: BytesMut) -> Result<Said, Fault> {
    match read(body)? {
        Body::One(said) => Ok(said),
        Body::Batch(_) => Err(Fault::Batch),
    }
}

/// What a message of a client is about, if it is one, and cannot be taken for another.
fn known(message: &Message) -> Result<Gist, Fault> {
    let gist = Gist::of(message);
    let is_answer = message.has(Field::Result) || jsonrpc::is_error(message);
    match &gist.kind {
        Kind::Unknown => Err(Fault::NotAMessage),
        Kind::Request(id) if !is_id(id) => Err(Fault::Id),
        Kind::Request(_) | Kind::Notification if is_answer => Err(Fault::NotAMessage),
        _ => Ok(gist),
    }
}

/// Whether it is a string or an integer, as ids of requests have to be (MCP).
fn is_id(id: &Id) -> bool {
    match id {
        Id::Number(_) => true,
        Id::Json(text) => {
            let digits = text.strip_prefix('-').unwrap_or(text);
            text.starts_with('"') || digits.bytes().all(|byte| byte.is_ascii_digit())
        }
    }
}

fn version(message: &Message) -> Option<Box<str>> {
    message.text(Field::StatedVersion).map(Into::into)
}

/// Hands out the messages of a batch, each with its text. Returns whether it is none, or broken.
pub(super) fn items<E>(
    line: &[u8],
    mut each: impl FnMut(&Message, &[u8]) -> Result<(), E>,
) -> Result<bool, E> {
    let mut scanner = Scanner::new(BOUNDS);
    let mut at = 0;
    while let Some(read) = scanner.feed(&line[at..]) {
        at += read;
        let message = scanner.message();
        if !message.in_batch() {
            return Ok(true);
        }
        let size = usize::try_from(message.size()).unwrap_or(at);
        each(message, &line[at - size..at])?;
    }
    Ok(scanner.end() != Frame::Whole)
}

/// The same value on one line. Line breaks within strings are escaped in JSON, so that every raw
/// one stands between tokens, where a space means the same.
fn one_line(mut body: BytesMut) -> Result<Bytes, Fault> {
    skip_mark(&mut body);
    str::from_utf8(&body).map_err(|error| Fault::NotJson(error.to_string()))?;
    // Strict, and without a bound for the depth.
    serde_json::from_slice::<IgnoredAny>(&body)
        .map_err(|error| Fault::NotJson(error.to_string()))?;
    let mut at = 0;
    while let Some(found) = memchr2(b'\n', b'\r', &body[at..]) {
        at += found;
        body[at] = b' ';
    }
    body.extend_from_slice(b"\n");
    Ok(body.freeze())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn read_text(text: &str) -> Result<Said, Fault> {
        read_one(BytesMut::from(text))
    }

    #[test]
    fn a_batch_is_a_line_for_each() {
        let (first, second) = (r#"{"id":1,"method":"m","params":[1, 2]}"#, r#"{"method":"n"}"#);
        let Body::Batch(batch) =
            read(BytesMut::from(&*format!(" [{first} ,\r\n{second}] "))).unwrap()
        else {
            panic!("a batch");
        };
        let lines: Vec<_> = batch.iter().map(|said| &*said.line).collect();
        assert_eq!(lines, [format!("{first}\n").as_bytes(), format!("{second}\n").as_bytes()]);
        assert_eq!(batch[0].gist.kind, Kind::Request(Id::Number(1)));
        for broken in ["[]", "[1]", &format!("[{first},1]"), &format!("[[{first}]]"), "[{}]"] {
            assert_eq!(read_text(broken).unwrap_err(), Fault::NotAMessage, "{broken}");
        }
        let long = vec![second; MOST_ITEMS + 1].join(",");
        assert_eq!(read_text(&format!("[{long}]")).unwrap_err(), Fault::LongBatch);
    }

    #[test]
    fn a_message_tells_what_it_is_about() {
        let said = read_text(
            "{\r\n \"jsonrpc\": \"2.0\",\n \"id\": \"a\", \"method\": \"tools/call\",\r\n \
             \"params\": {\"_meta\": {\"progressToken\": 7}, \"arguments\": {\"t\": \"a\\nb\"}}}",
        )
        .unwrap();
        assert_eq!(said.gist.kind, Kind::Request(Id::Json("\"a\"".into())));
        assert!(said.gist.is("tools/call") && said.version.is_none());
        assert_eq!(said.gist.token, Some(Id::Number(7)));
        assert!(said.line.ends_with(b"\"a\\nb\"}}}\n"), "{:?}", said.line);
        // The mark is no part of the value.
        let marked = read_text("\u{feff}{\"method\":\"n\"}").unwrap();
        assert_eq!(marked.line, "{\"method\":\"n\"}\n");
    }

    #[test]
    fn ids_are_replaced_and_nothing_else() {
        let text =
            r#" {"params":{"_meta":{ "progressToken" :"7","x":1e400}}, "id" : 7,"method":"m"}"#;
        let said = read_text(text).unwrap();
        let names = said.gist.names(&said.line).unwrap();
        assert_eq!((names.id, names.token), (Some(&b"7"[..]), Some(&b"\"7\""[..])));
        let other = Names { id: Some(b"12"), token: Some(b"345"), ..Names::default() };
        let renamed = said.gist.renamed(&said.line, other);
        let wanted = text.replace(": 7", ": 12").replace(r#""7""#, "345");
        assert_eq!(renamed, format!("{wanted}\n"));

        let text = r#"{"method":"m","params":{"requestId":1,"_meta":{"io.modelcontextprotocol/subscriptionId":1}}}"#;
        let said = read_text(text).unwrap();
        let other =
            Names { cancelled: Some(b"\"a\""), subscription: Some(b"9"), ..Names::default() };
        let renamed = said.gist.renamed(&said.line, other);
        let wanted = text.replace("Id\":1}", "Id\":9}").replace("Id\":1,", "Id\":\"a\",");
        assert_eq!(renamed, format!("{wanted}\n"));
        assert_eq!(said.gist.renamed(&said.line, Names::default()), said.line);

        let long = format!(r#"{{"id":"{}","method":"m"}}"#, "x".repeat(2000));
        let said = read_text(&long).unwrap();
        assert!(said.gist.names(&said.line).is_none());
    }

    #[test]
    fn nothing_but_one_message_crosses() {
        let second = r#"{"jsonrpc":"2.0","id":2,"method":"tools/call"}"#;
        for text in [
            &format!("{second}\n{second}"),
            &format!("{second} {second}"),
            r#"{"a":"raw
line break"}"#,
            "\u{feff}\u{feff}{}",
            " \u{feff}{}",
            "\u{feff}",
            r#"{"id":1,"method":"m""#,
            r#"{"id":1,"method":"m"}}"#,
            r#"{"id":1,"method":"m","x":NaN}"#,
            "",
            " ",
        ] {
            assert!(matches!(read_text(text), Err(Fault::NotJson(_))), "{text}");
        }
        assert!(matches!(
            read_one(BytesMut::from(&b"{\"a\":\"\xff\"}"[..])),
            Err(Fault::NotJson(_))
        ));
        assert_eq!(read_text(&format!(" [{second},\n{second}]")).unwrap_err(), Fault::Batch);
        for text in ["1", "null", "\"{}\"", "{}", r#"{"id":1}"#] {
            assert_eq!(read_text(text).unwrap_err(), Fault::NotAMessage, "{text}");
        }
    }

    #[test]
    fn requests_have_ids_that_every_peer_takes() {
        let request = |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"m"}}"#);
        let long = format!("\"{}\"", "x".repeat(2000));
        for id in ["0", "-1", "7.0", "1e2", "\"\"", r#""\u0061""#, &long, "98765432109876543210"] {
            assert!(read_text(&request(id)).is_ok(), "{id}");
        }
        for id in ["null", "true", "{}", r#"{"a":1}"#, "[1, 2]", "1.5", "1e999", "-1e-7"] {
            assert_eq!(read_text(&request(id)).unwrap_err(), Fault::Id, "{id}");
            let batch = format!("[{},{}]", request("1"), request(id));
            assert_eq!(read_text(&batch).unwrap_err(), Fault::Id, "{id}");
        }
        for both in [
            r#"{"id":1,"method":"m","result":{}}"#,
            r#"{"id":1,"method":"m","error":{"code":1,"message":""}}"#,
            r#"{"method":"m","result":{}}"#,
        ] {
            assert_eq!(read_text(both).unwrap_err(), Fault::NotAMessage, "{both}");
        }
        assert!(read_text(r#"{"id":1,"method":"m","error":null}"#).is_ok());
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[\\PC\n\r\"\\\\]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z\n]{0,6}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_value_crosses_as_one_line_that_means_the_same(value in json(), pretty: bool) {
            let text = if pretty {
                serde_json::to_string_pretty(&value).unwrap().replace('\n', "\r\n")
            } else {
                value.to_string()
            };
            let line = one_line(BytesMut::from(&*text)).unwrap();
            prop_assert_eq!(line.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count(), 1);
            prop_assert_eq!(line.last(), Some(&b'\n'));
            prop_assert_eq!(line.len(), text.len() + 1);
            prop_assert_eq!(serde_json::from_slice::<Value>(&line).unwrap(), value);
        }

        #[test]
        fn two_values_never_cross_as_one(first in json(), second in json(), gap in "[ \n\r\t]{1,3}") {
            let text = format!("{first}{gap}{second}");
            prop_assert!(one_line(BytesMut::from(&*text)).is_err());
        }

        #[test]
        fn whatever_crosses_is_one_line(text in "[\\[\\]{}\",:\\\\0-9a \n\r]{0,24}") {
            if let Ok(line) = one_line(BytesMut::from(&*text)) {
                prop_assert!(!line[..line.len() - 1].contains(&b'\n'));
                prop_assert!(!line.contains(&b'\r'));
            }
        }
    }
}
