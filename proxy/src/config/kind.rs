//! The kinds of values that settings take: from the text of a flag or variable, or from a
//! file, to the form that [`super::Config`] deserialises. No message shows a value that may
//! be a secret.

use serde_yaml::{Mapping, Value};

use super::units;

/// The kind of a setting's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text but none at all; the text is its name in help.
    Text(&'static str),
    /// A list of texts, separated by commas.
    Texts(&'static str),
    /// A path.
    Path,
    /// A URL with scheme `http` or `https`.
    Url,
    /// A URL without path.
    Origin,
    /// `HOST:PORT`, a URL, or `none`.
    Endpoint,
    /// `HOST:PORT` or `:PORT`.
    Address,
    /// Bytes.
    Size,
    /// A time span.
    Duration,
    /// A time span in whole milliseconds, as OpenTelemetry's variables have it.
    Millis,
    /// A whole number in this range.
    Count(u64, u64),
    /// A number from 0 to 1.
    Share,
    /// `true` or `false`.
    Switch,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A secret.
    Secret,
    /// The file that holds a secret.
    SecretFile,
    /// `Name: value`, one a line.
    Header,
    /// `Name:value,Name2:value2`.
    Headers,
    /// `name=value,name2=value2`, percent-encoded: header lists of OpenTelemetry's variables.
    HeaderPairs,
    /// `name=value,name2=value2`, percent-encoded.
    Pairs,
    /// A program and its arguments, quoted as for a shell.
    Words,
    /// A list of arguments, in files only.
    Args,
    /// Variables, in files only.
    Variables,
}

impl Kind {
    /// What stands for the value in help.
    pub fn placeholder(self) -> &'static str {
        match self {
            Self::Text(name) | Self::Texts(name) => name,
            Self::Path | Self::SecretFile => "FILE",
            Self::Url | Self::Origin => "URL",
            Self::Endpoint => "HOST:PORT",
            Self::Address => "[HOST]:PORT",
            Self::Size => "SIZE",
            Self::Duration => "TIME",
            Self::Millis => "MILLISECONDS",
            Self::Count(..) => "NUMBER",
            Self::Share => "0..1",
            Self::Switch => "true|false",
            Self::OneOf(_) => "WORD",
            Self::Secret => "SECRET",
            Self::Header => "NAME: VALUE",
            Self::Headers => "NAME:VALUE,…",
            Self::HeaderPairs | Self::Pairs => "NAME=VALUE,…",
            Self::Words => "COMMAND",
            Self::Args => "ARGUMENTS",
            Self::Variables => "VARIABLES",
        }
    }

    /// Whether a flag of this kind may be given more than once.
    pub fn repeats(self) -> bool {
        matches!(self, Self::Header | Self::Headers | Self::Texts(_))
    }

    /// Whether a stronger source adds to a weaker one (by name) instead of replacing it.
    pub fn adds_up(self) -> bool {
        matches!(self, Self::Header | Self::Headers | Self::Variables)
    }

    /// Reads the text of a flag or a variable.
    ///
    /// # Errors
    /// What is wrong with it and what would be right.
    pub fn parse(self, text: &str) -> Result<Value, String> {
        if text.trim().is_empty() {
            return Err(format!("is empty; write {}", self.placeholder()));
        }
        match self {
            Self::Text(_) | Self::Path | Self::Secret => Ok(text.into()),
            Self::Texts(_) => Ok(Value::Sequence(items(text).map(Into::into).collect())),
            Self::Url => url(text),
            Self::Origin => origin(text),
            Self::Endpoint => endpoint(text),
            Self::Address => address(text),
            Self::Size => units::parse_size(text).map(|bytes| units::format_size(bytes).into()),
            Self::Duration => units::parse_duration(text).map(span),
            Self::Millis => {
                let millis = text.trim().parse().map_err(|_| "is no number of milliseconds")?;
                Ok(span(std::time::Duration::from_millis(millis)))
            }
            Self::Count(least, most) => count(text, least, most),
            Self::Share => share(text),
            Self::Switch => match text.trim() {
                "true" | "1" | "yes" | "on" => Ok(true.into()),
                "false" | "0" | "no" | "off" => Ok(false.into()),
                _ => Err(format!("'{text}' is neither true nor false")),
            },
            Self::OneOf(words) => words
                .contains(&text.trim())
                .then(|| text.trim().into())
                .ok_or_else(|| format!("'{text}' is none of {}", words.join(", "))),
            Self::SecretFile => Ok(mapping([("file", text.into())])),
            Self::Header => {
                text.lines().filter(|line| !line.trim().is_empty()).map(header).collect()
            }
            Self::Headers => items(text).map(header).collect(),
            Self::HeaderPairs => {
                let header = |pair| pair_of(pair).and_then(|(name, value)| named(&name, &value));
                items(text).map(header).collect()
            }
            Self::Pairs => {
                let pairs: Result<Mapping, String> =
                    items(text).map(|pair| Ok(into_values(pair_of(pair)?))).collect();
                pairs.map(Value::Mapping)
            }
            Self::Words => shlex::split(text)
                .filter(|words| !words.is_empty())
                .map(|words| Value::Sequence(words.into_iter().map(Into::into).collect()))
                .ok_or_else(|| "has a quote that is not closed, or a lone backslash".to_owned()),
            Self::Args | Self::Variables => Err("can only stand in a file".to_owned()),
        }
    }

    /// Checks a value from a file, and brings it into the one form.
    ///
    /// # Errors
    /// What is wrong with it and what would be right.
    pub fn check(self, value: &Value) -> Result<Value, String> {
        let scalar = scalar(value);
        match (self, value, scalar) {
            (Self::Texts(_) | Self::Args, Value::Sequence(items), _) => {
                items.iter().map(text_of).collect()
            }
            (Self::Headers, Value::Sequence(items), _) => items.iter().map(listed_header).collect(),
            (Self::HeaderPairs, Value::Sequence(_), _) => Self::Headers.check(value),
            (Self::Pairs, Value::Mapping(pairs), _) => {
                let pair = |(name, value): (&Value, &Value)| {
                    Ok((text_of(name)?.into(), text_of(value)?.into()))
                };
                pairs.iter().map(pair).collect::<Result<Mapping, String>>().map(Value::Mapping)
            }
            (Self::Variables, Value::Mapping(pairs), _) => {
                let pair = |(name, value): (&Value, &Value)| {
                    Ok((text_of(name)?.into(), Self::Secret.check(value)?))
                };
                pairs.iter().map(pair).collect::<Result<Mapping, String>>().map(Value::Mapping)
            }
            (Self::Secret, Value::Mapping(file), _)
                if file.len() == 1 && file.get("file").is_some_and(Value::is_string) =>
            {
                Ok(value.clone())
            }
            (Self::Secret, Value::String(text), _) if text == "***" => {
                Err("is ***, which --print-config shows in place of a secret".to_owned())
            }
            (Self::Words, _, Some(program)) => Ok(program.into()),
            (Self::Args | Self::Variables | Self::Headers | Self::Pairs, ..) => {
                Err(format!("is {}; {}", article(value), self.shape()))
            }
            (kind, _, Some(text)) => kind.parse(&text),
            _ => Err(format!("is {}; {}", article(value), self.shape())),
        }
    }

    fn shape(self) -> &'static str {
        match self {
            Self::Texts(_) | Self::Args => "write a list: [a, b]",
            Self::Headers | Self::HeaderPairs => "write a list of {name: …, value: …}",
            Self::Pairs | Self::Variables => "write a mapping: {name: value}",
            Self::Secret => "write a text, or {file: PATH}",
            _ => "write a single value",
        }
    }
}

fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

fn span(duration: std::time::Duration) -> Value {
    units::format_duration(duration).into()
}

fn mapping<const N: usize>(pairs: [(&str, Value); N]) -> Value {
    Value::Mapping(pairs.into_iter().map(|(name, value)| (name.into(), value)).collect())
}

fn into_values((name, value): (String, String)) -> (Value, Value) {
    (name.into(), value.into())
}

fn count(text: &str, least: u64, most: u64) -> Result<Value, String> {
    let number: Option<u64> = text.trim().parse().ok();
    number
        .filter(|number| (least..=most).contains(number))
        .map(Into::into)
        .ok_or_else(|| format!("'{text}' is no whole number from {least} to {most}"))
}

fn share(text: &str) -> Result<Value, String> {
    let number: Option<f64> = text.trim().parse().ok();
    number
        .filter(|number| (0.0..=1.0).contains(number))
        .map(Into::into)
        .ok_or_else(|| format!("'{text}' is no number from 0 to 1"))
}

/// Not shown in messages: a URL may carry a key in its query.
fn url(text: &str) -> Result<Value, String> {
    let uri: http::Uri = text.trim().parse().map_err(|error| format!("is no URL ({error})"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err("is no http:// or https:// URL; write e.g. https://api.example.com/mcp".into());
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("holds a user name; send credentials with --bearer-token or --header".into());
    }
    Ok(text.trim().into())
}

fn origin(text: &str) -> Result<Value, String> {
    let url = url(text)?;
    let path = text.trim().splitn(4, '/').nth(3).unwrap_or_default();
    if path.is_empty() { Ok(url) } else { Err("has a path; write only scheme and host".into()) }
}

fn endpoint(text: &str) -> Result<Value, String> {
    let text = text.trim();
    if text == super::Mcpulse::OFF {
        return Ok(text.into());
    }
    if text.contains("://") {
        return url(text);
    }
    match address(text) {
        Ok(address) if !text.starts_with(':') => Ok(address),
        _ => Err("is neither HOST:PORT nor a URL; write e.g. localhost:50051, or none".into()),
    }
}

fn address(text: &str) -> Result<Value, String> {
    let text = text.trim();
    let valid = text.rsplit_once(':').is_some_and(|(host, port)| {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        port.parse::<u16>().is_ok()
            && !bare.unwrap_or(host).contains(['/', ' ', '@'])
            && (bare.is_some() || !host.contains(':'))
    });
    if valid {
        Ok(text.into())
    } else {
        Err(format!("'{text}' is no address; write e.g. :8080, 127.0.0.1:8080 or [::1]:8080"))
    }
}

fn header(text: &str) -> Result<Value, String> {
    let (name, value) = text.split_once(':').ok_or(
        "has a part without a colon; write Name:value, and for values with commas use --header",
    )?;
    named(name.trim(), value.trim())
}

/// One header, as [`super::Header`] has it; its value is not shown in messages.
fn named(name: &str, value: &str) -> Result<Value, String> {
    checked_name(name)?;
    http::HeaderValue::from_str(value)
        .map_err(|_| format!("has a value of {name} that no HTTP header can have"))?;
    Ok(mapping([("name", name.into()), ("value", value.into())]))
}

fn checked_name(name: &str) -> Result<(), String> {
    match http::HeaderName::try_from(name) {
        Ok(_) => Ok(()),
        Err(_) => Err("has a name that no HTTP header can have".to_owned()),
    }
}

fn listed_header(value: &Value) -> Result<Value, String> {
    let shape = || "has an entry that is no {name: …, value: …}".to_owned();
    let entry = value.as_mapping().filter(|entry| entry.len() == 2).ok_or_else(shape)?;
    let name = entry.get("name").and_then(Value::as_str).ok_or_else(shape)?;
    let value = entry.get("value").ok_or_else(shape)?;
    checked_name(name)?;
    match Kind::Secret.check(value)? {
        Value::String(text) => named(name, &text),
        file => Ok(mapping([("name", name.into()), ("value", file)])),
    }
}

/// The halves of `name=value`, percent-decoded as OpenTelemetry's variables are.
fn pair_of(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("has a part without '='; write name=value")?;
    Ok((decoded(name.trim())?, decoded(value.trim())?))
}

fn decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        bytes.push(match byte {
            b'%' => match (digit(rest.next()), digit(rest.next())) {
                (Some(high), Some(low)) => u8::try_from(high * 16 + low).unwrap_or(u8::MAX),
                _ => return Err("has a '%' that two hexadecimal digits do not follow".into()),
            },
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 once decoded".to_owned())
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(switch) => Some(switch.to_string()),
        _ => None,
    }
}

fn text_of(value: &Value) -> Result<String, String> {
    scalar(value).ok_or_else(|| format!("holds {} where a text belongs", article(value)))
}

fn article(value: &Value) -> &'static str {
    match value {
        Value::Null => "empty",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Sequence(_) => "a list",
        Value::Mapping(_) | Value::Tagged(_) => "a mapping",
    }
}
