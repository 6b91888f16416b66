//! Headers and lists of `name=value`. No message shows a value.

use http::HeaderValue;
use serde_yaml::{Mapping, Value};

use super::{Kind, Step, Wrong};
use crate::config::{Header, nearest::nearest, shown};

/// The parts of a list that has commas between them.
pub(super) fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// `Name: value`.
pub(super) fn spelled(text: &str) -> Result<Value, String> {
    let (name, value) = text
        .split_once(':')
        .ok_or("has no colon; write Name:value, and values that have commas with --header")?;
    entry(name.trim(), value.trim())
}

/// `{name: …, value: …}`, where the value may be in a file.
pub(super) fn listed(value: &Value) -> Result<Value, Wrong> {
    let map = value.as_mapping().ok_or("is not {name: …, value: …}")?;
    keyed(map, &["name", "value"])?;
    let parts = map.get("name").and_then(Value::as_str).zip(map.get("value"));
    let (name, value) = parts.ok_or("is not {name: …, value: …}")?;
    let value = Kind::Secret.check(value);
    match value.map_err(|wrong| wrong.below(&Step::Key("value".to_owned())))? {
        Value::String(text) => Ok(entry(name, &text)?),
        file => Ok(with_name(name, file)?),
    }
}

/// Whether a mapping has no other keys than these.
pub(super) fn keyed(map: &Mapping, known: &[&str]) -> Result<(), Wrong> {
    let keys = map.keys().map(|key| key.as_str().unwrap_or_default());
    let wrong = keys.filter(|key| !known.contains(key)).map(|key| {
        let named = match shown::key(key) {
            Some(key) => format!("the unknown key {key}"),
            None => "an unknown key".to_owned(),
        };
        let meant = match nearest(key, known.iter().map(|&known| (known, known))) {
            Some(meant) => format!("did you mean {meant}?"),
            None => format!("known are: {}", known.join(", ")),
        };
        Wrong::from(format!("has {named}; {meant}")).below(&Step::Key(key.to_owned()))
    });
    Wrong::all(wrong).map_or(Ok(()), Err)
}

/// One header as the configuration has it.
fn entry(name: &str, value: &str) -> Result<Value, String> {
    sendable(value)?;
    with_name(name, value.into())
}

fn with_name(name: &str, value: Value) -> Result<Value, String> {
    Header::new(name, "").map_err(|error| error.to_string())?;
    let entry = [("name", name.into()), ("value", value)];
    let entry: Mapping = entry.into_iter().map(|(name, value)| (name.into(), value)).collect();
    Ok(Value::Mapping(entry))
}

/// Whether a text can be the value of a header.
pub(super) fn sendable(value: &str) -> Result<(), String> {
    match HeaderValue::from_str(value) {
        Ok(_) => Ok(()),
        Err(_) => Err("has a character that no HTTP header can have, such as a line end".into()),
    }
}

/// The halves of `name=value`, percent-decoded as OpenTelemetry's variables are.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("has no '='; write name=value")?;
    let decoded = |text: &str| {
        let text = percent_encoding::percent_decode_str(text.trim()).decode_utf8();
        text.map(String::from).map_err(|_| "is not UTF-8 once decoded".to_owned())
    };
    Ok((decoded(name)?, decoded(value)?))
}

/// A header from such a pair.
pub(super) fn from_pair(text: &str) -> Result<Value, String> {
    let (name, value) = pair(text)?;
    entry(&name, &value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_listed_as_on_the_original_page() {
        let all = Kind::Headers.parse("X-API-Key:abc123,X-Client-ID:myapp").unwrap();
        let text = serde_yaml::to_string(&all).unwrap();
        assert_eq!(
            text,
            "- name: X-API-Key\n  value: abc123\n- name: X-Client-ID\n  value: myapp\n"
        );
    }

    #[test]
    fn commas_survive_in_a_single_header() {
        let one = Kind::Header.parse("Accept: a, b:c").unwrap();
        assert_eq!(one[0]["value"], "a, b:c");
    }

    #[test]
    fn no_message_shows_a_value() {
        for wrong in ["X: hunter2\u{7f}", "bad name: hunter2", "hunter2"] {
            let error = Kind::Headers.parse(wrong).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{wrong}");
        }
    }

    #[test]
    fn pairs_are_percent_decoded() {
        assert_eq!(pair("a%20b = c%3Dd"), Ok(("a b".to_owned(), "c=d".to_owned())));
        assert!(pair("a").is_err());
        assert!(pair("a=%ff").is_err());
    }
}
