//! Reads the arguments of a call into a protobuf `Struct`, without their secrets.
//!
//! Nothing in the JSON can make it fail as a whole: what a `Struct` cannot hold becomes text.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use prost_types::{ListValue, Struct, Value, value::Kind};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::sink::redact::{Command, REDACTED, Redactor};

/// Levels below which nothing is reported: protobuf readers allow 100 nested messages by
/// default, of which a level of a `Struct` takes three.
const DEPTH: usize = 28;
/// What stands in the place of anything deeper.
const TOO_DEEP: &str = "[TOO DEEP]";
/// What stands in the place of JSON that cannot be read.
const UNREADABLE: &str = "[UNREADABLE]";
/// Integers up to here are exact as doubles.
const EXACT: i64 = 1 << 53;

/// How to read arguments; as they are without a redactor.
pub(super) struct Parameters<'r> {
    pub(super) redactor: Option<&'r Redactor>,
}

/// The members of an object in their order, each with its JSON.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl Parameters<'_> {
    /// The arguments; none when they are no object, for which a `Struct` has no room.
    pub(super) fn read(&self, json: &[u8]) -> Option<Struct> {
        match self.value(str::from_utf8(json).ok()?.trim_ascii(), 1).kind? {
            Kind::StructValue(members) => Some(members),
            _ => None,
        }
    }

    fn value(&self, json: &str, depth: usize) -> Value {
        let kind = match json.as_bytes().first() {
            Some(b'{' | b'[') if depth > DEPTH => text(TOO_DEEP),
            Some(b'{') => serde_json::from_str(json)
                .map_or_else(|_| text(UNREADABLE), |Members(members)| self.object(&members, depth)),
            Some(b'[') => serde_json::from_str::<Vec<&RawValue>>(json)
                .map_or_else(|_| text(UNREADABLE), |items| self.array(&items, depth)),
            // A lone surrogate is legal JSON and no string of ours.
            Some(b'"') => match serde_json::from_str::<Cow<'_, str>>(json) {
                Ok(string) => Kind::StringValue(self.text(&string)),
                Err(_) => Kind::StringValue(self.text(json)),
            },
            Some(b't') => Kind::BoolValue(true),
            Some(b'f') => Kind::BoolValue(false),
            Some(b'-' | b'0'..=b'9') => number(json),
            _ => Kind::NullValue(0),
        };
        Value { kind: Some(kind) }
    }

    fn object(&self, members: &[(Cow<'_, str>, &RawValue)], depth: usize) -> Kind {
        // `{"name": "Authorization", "value": "…"}`
        let labelled = members
            .iter()
            .any(|(name, value)| Redactor::is_label(name) && self.is_secret_name(value));
        let fields: BTreeMap<_, _> = members
            .iter()
            .map(|(name, value)| {
                let json = value.get().trim_ascii();
                let named = self.is_secret(name) && !Redactor::is_plain(name, json);
                let secret = named || (labelled && Redactor::is_value(name));
                let value = if secret { redacted() } else { self.value(json, depth + 1) };
                (self.text(name), value)
            })
            .collect();
        Kind::StructValue(Struct { fields })
    }

    fn array(&self, items: &[&RawValue], depth: usize) -> Kind {
        // `["Authorization", "…"]` and `["--password", "…"]`
        let mut command = Command::default();
        let values = items.iter().enumerate().map(|(at, item)| {
            let pair = items.len() == 2 && at == 1 && self.is_secret_name(items[0]);
            let begin = self.redactor.and_then(|_| command.secret_in(&word(item)));
            match begin {
                _ if pair => redacted(),
                Some(0) => redacted(),
                // What is before a secret in its word is a flag or a user.
                Some(begin) => {
                    Value { kind: Some(text(&format!("{}{REDACTED}", &word(item)[..begin]))) }
                }
                None => self.value(item.get(), depth + 1),
            }
        });
        Kind::ListValue(ListValue { values: values.collect() })
    }

    fn is_secret(&self, name: &str) -> bool {
        self.redactor.is_some() && Redactor::is_secret(name)
    }

    fn is_secret_name(&self, json: &RawValue) -> bool {
        json.get().starts_with('"') && self.is_secret(json.get())
    }

    fn text(&self, text: &str) -> String {
        match self.redactor {
            Some(redactor) => redactor.text(text).into_owned(),
            None => text.to_owned(),
        }
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        #[derive(Deserialize)]
        struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((Name(name), value)) = map.next_entry()? {
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

fn text(text: &str) -> Kind {
    Kind::StringValue(text.to_owned())
}

fn redacted() -> Value {
    Value { kind: Some(text(REDACTED)) }
}

/// A string as it stands for; anything else as it is.
fn word(json: &RawValue) -> Cow<'_, str> {
    serde_json::from_str(json.get()).unwrap_or(Cow::Borrowed(json.get()))
}

/// A number as a double where that says the same, and as text where digits would be lost.
fn number(json: &str) -> Kind {
    let integer = !json.contains(['.', 'e', 'E']);
    let exact = !integer || json.parse().is_ok_and(|n: i64| (-EXACT..=EXACT).contains(&n));
    match json.parse::<f64>() {
        Ok(number) if exact && number.is_finite() => Kind::NumberValue(number),
        _ => text(json),
    }
}
