//! JSON-RPC: what kind of message a scanned one is, ids that compare as their peers mean, and the
//! errors that the proxy itself gives.

use std::{fmt, sync::Arc};

use bytes::{Buf, Bytes};
use serde_json::{json, value::RawValue};

use crate::{
    mcp::Field,
    scan::{Form, Message},
};

/// An id, a progress token or the like, with its JSON type: `1` and `"1"` differ.
///
/// A peer may spell one value in another way than it got it: `"\u0061"` is `"a"`, `1.0` is `1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Id {
    /// An integer.
    Number(i64),
    /// Anything else, as JSON.
    Json(Arc<str>),
}

/// What some peers write before a text.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Leaves out the byte order mark with which a text begins. It is no part of the value, whoever
/// reads one may ignore it, and nobody may send it (RFC 8259, section 8.1).
pub fn skip_mark(text: &mut impl Buf) {
    if text.chunk().starts_with(BYTE_ORDER_MARK) {
        text.advance(BYTE_ORDER_MARK.len());
    }
}

/// The largest integer that every peer that reads numbers as doubles keeps.
const EXACT: f64 = 9_007_199_254_740_992.0;

impl Id {
    /// The value of `field`; none if it is not there.
    pub fn of(message: &Message, field: Field) -> Option<Self> {
        let (raw, whole) = message.raw(field);
        match message.form(field) {
            Form::Absent => None,
            Form::Text => {
                let text = message.text(field)?;
                let quoted = if raw.contains(&b'\\') {
                    serde_json::to_string(&*text).unwrap_or_default()
                } else {
                    format!("\"{text}\"")
                };
                Some(Self::json(&quoted, whole))
            }
            Form::Null | Form::Scalar => Some(
                Self::number(raw)
                    .unwrap_or_else(|| Self::json(&String::from_utf8_lossy(raw), whole)),
            ),
            Form::Nested => Some(Self::json(&String::from_utf8_lossy(raw), whole)),
        }
    }

    fn number(raw: &[u8]) -> Option<Self> {
        let text = str::from_utf8(raw).ok()?;
        if let Ok(number) = text.parse() {
            return Some(Self::Number(number));
        }
        let number: f64 = text.parse().ok()?;
        #[expect(clippy::cast_possible_truncation, reason = "checked to be a small integer")]
        (number.fract() == 0.0 && number.abs() < EXACT).then_some(Self::Number(number as i64))
    }

    fn json(text: &str, whole: bool) -> Self {
        Self::Json(if whole { text.into() } else { format!("{text}…").into() })
    }

    /// `null`, for want of one.
    pub fn null() -> Self {
        Self::Json("null".into())
    }

    /// Whether it is `null`, which stands for "no id known" in errors.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Json(text) if &**text == "null")
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Json(text) => f.write_str(text),
        }
    }
}

/// What a message is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It asks and is to be answered under this id.
    Request(Id),
    /// It tells and is not answered.
    Notification,
    /// It answers the request with this id.
    Answer(Id),
    /// An error that answers no request in particular: its id is `null` or missing.
    Refusal,
    /// An object that is none of these.
    Unknown,
}

impl Kind {
    /// The kind of a scanned message.
    pub fn of(message: &Message) -> Self {
        let id = Id::of(message, Field::Id);
        if message.form(Field::Method) == Form::Text {
            return id.map_or(Self::Notification, Self::Request);
        }
        let (result, error) = (message.has(Field::Result), is_error(message));
        // A result answers a request all the same that had, against the rules, null for an id.
        match id.filter(|id| !error || !id.is_null()) {
            Some(id) if result || error => Self::Answer(id),
            None if error && is_refusal(message) => Self::Refusal,
            _ => Self::Unknown,
        }
    }
}

/// Whether an error that names no request is one of JSON-RPC: gateways have errors of their own,
/// and those of OAuth are `{"error":"invalid_token"}`.
fn is_refusal(message: &Message) -> bool {
    message.has(Field::JsonRpc) && matches!(Id::of(message, Field::Code), Some(Id::Number(_)))
}

/// Whether an answer is an error: some peers send `"error":null` along with a result.
pub fn is_error(message: &Message) -> bool {
    !matches!(message.form(Field::Error), Form::Absent | Form::Null)
}

/// An error of the proxy's own, under an id that is JSON already. Without one it answers nothing
/// in particular.
pub fn error(id: Option<&str>, code: i64, message: &str) -> Bytes {
    // An id that was too long to be kept is none any more.
    let id = id.and_then(|id| serde_json::from_str::<&RawValue>(id).ok());
    // Put in as it was written: a number would lose digits, and not every string that passes
    // for JSON can be decoded.
    let id = id.map_or("null", RawValue::get);
    let data = json!({ "source": "mcpulse-proxy" });
    let error = json!({ "code": code, "message": message, "data": data });
    Bytes::from(format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::{Bounds, Scanner};

    fn kind(message: &str) -> Kind {
        let mut scanner =
            Scanner::new(Bounds { inspect: 100, id: 1 << 10, arguments: 10, text: 10 });
        assert_eq!(scanner.feed(message.as_bytes()), Some(message.len()));
        Kind::of(scanner.message())
    }

    fn id(json: &str) -> Id {
        match kind(&format!(r#"{{"id":{json},"method":"m"}}"#)) {
            Kind::Request(id) => id,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn ids_keep_their_type() {
        assert_eq!(id("1").to_string(), "1");
        assert_eq!(id("\"1\"").to_string(), "\"1\"");
        assert_ne!(id("1"), id("\"1\""));
        assert_eq!(id("1"), id("1.0"));
        assert_eq!(id("1"), id("1e0"));
        assert_ne!(id("1"), id("1.5"));
        assert_eq!(id(r#""\u0061\"""#), id(r#""a\u0022""#));
        assert_eq!(id("123456789012345678901").to_string(), "123456789012345678901");
        assert_eq!(id(r#"{"a":[1]}"#).to_string(), r#"{"a":[1]}"#);
        assert!(id("null").is_null());
    }

    #[test]
    fn long_ids_are_cut_and_marked() {
        let long = "x".repeat(5000);
        let text = id(&format!("\"{long}\"")).to_string();
        assert!(text.len() < 1100 && text.ends_with("\"…"), "{text}");
    }

    #[test]
    fn kinds() {
        assert_eq!(kind(r#"{"method":"m"}"#), Kind::Notification);
        assert_eq!(kind(r#"{"id":1,"result":null}"#), Kind::Answer(Id::Number(1)));
        assert_eq!(kind(r#"{"id":1,"error":{}}"#), Kind::Answer(Id::Number(1)));
        assert_eq!(kind(r#"{"id":1,"error":null}"#), Kind::Unknown);
        assert_eq!(kind(r#"{"id":null,"result":{}}"#), Kind::Answer(id("null")));
        assert_eq!(kind(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-1}}"#), Kind::Refusal);
        assert_eq!(kind(r#"{"error":{"code":-1},"jsonrpc":"2.0"}"#), Kind::Refusal);
        assert_eq!(kind(r#"{"error":{"code":500,"message":"x"}}"#), Kind::Unknown);
        assert_eq!(kind(r#"{"jsonrpc":"2.0","error":"invalid_token"}"#), Kind::Unknown);
        assert_eq!(kind(r#"{"jsonrpc":"2.0","error":{"code":"x"}}"#), Kind::Unknown);
        assert_eq!(kind(r#"{"result":{"error":{"code":1}}}"#), Kind::Unknown);
        assert_eq!(kind(r#"{"id":1}"#), Kind::Unknown);
        assert_eq!(kind(r#"{"id":1,"method":2}"#), Kind::Unknown);
    }
}
