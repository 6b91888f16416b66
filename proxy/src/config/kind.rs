//! The kinds of values that settings take, from the text of a flag or variable and from a
//! file, in the one form that [`super::Config`] deserialises. No message shows a value:
//! in the wrong place it may be a secret.

use std::time::Duration;

use serde_yaml::{Mapping, Value};

use super::{Proxy, nearest::nearest, shown::VEIL, units};

mod address;
mod file;
mod header;
mod level;
mod words;
mod wrong;

pub use address::split_host;
pub use wrong::{Step, Wrong};

/// The kind of a setting's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A text without control characters; here is its name in help.
    Text(&'static str),
    /// Hosts with or without a port, separated by commas.
    Hosts,
    /// URLs without path, separated by commas.
    Origins,
    /// Directives for the log, as `RUST_LOG` takes them.
    Level,
    /// A path.
    Path,
    /// A file that must be there and have a PEM block of this label.
    Pem(&'static str),
    /// A directory that must be there.
    Directory,
    /// A directory that is made when it is not there.
    NewDirectory,
    /// A URL with scheme `http` or `https`.
    Url,
    /// The URL of a forward proxy, or `none`.
    Proxy,
    /// A URL without path.
    Origin,
    /// `HOST:PORT`, a URL, or `none`.
    Endpoint,
    /// A URL, or `HOST:PORT` for one without TLS.
    Collector,
    /// `HOST:PORT` or `:PORT`.
    Address,
    /// So many bytes at least.
    Size(u64),
    /// A time span, which may be none at all.
    Duration,
    /// A time span above zero.
    Wait,
    /// A time span above zero in whole milliseconds, as OpenTelemetry's variables have it.
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
    /// Headers as `name=value,name2=value2`, percent-encoded.
    HeaderPairs,
    /// `name=value,name2=value2`, percent-encoded.
    Pairs,
    /// A program and its arguments, quoted as on this system; in a file the program alone.
    Words,
    /// A list of arguments, in files only.
    Args,
    /// Variables and their values, in files only.
    Variables,
}

impl Kind {
    /// What stands for the value in help.
    pub fn placeholder(self) -> &'static str {
        match self {
            Self::Text(name) => name,
            Self::Hosts => "HOST",
            Self::Origins => "ORIGIN",
            Self::Level => "LEVEL",
            Self::Path | Self::Pem(_) | Self::SecretFile => "FILE",
            Self::Directory | Self::NewDirectory => "DIRECTORY",
            Self::Url | Self::Proxy | Self::Origin | Self::Collector => "URL",
            Self::Endpoint => "HOST:PORT",
            Self::Address => "[HOST]:PORT",
            Self::Size(_) => "SIZE",
            Self::Duration | Self::Wait => "TIME",
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
        matches!(self, Self::Header | Self::Headers | Self::Hosts | Self::Origins)
    }

    /// Whether flags, or else variables, add to what a file says, by name, instead of replacing
    /// it.
    pub fn adds_up(self) -> bool {
        matches!(self, Self::Header | Self::Headers | Self::Variables)
    }

    /// Reads the text of a flag or a variable.
    ///
    /// # Errors
    /// What is wrong with it and what would be right, to follow the setting's name.
    pub fn parse(self, text: &str) -> Result<Value, Wrong> {
        let text = text.trim();
        if text.is_empty() {
            return Err(format!("is empty; write {}", self.placeholder()).into());
        }
        match self {
            Self::Text(_) | Self::Path | Self::NewDirectory => printable(text).map(Into::into),
            Self::Hosts | Self::Origins | Self::Headers | Self::HeaderPairs => {
                return each(header::items(text), |item| self.item(item));
            }
            Self::Header => return each(text.lines(), |line| self.item(line)),
            Self::Level => level::read(text).map(Into::into),
            Self::Pem(label) => file::pem(text, label).map(Into::into),
            Self::Directory => file::directory(text).map(Into::into),
            Self::Url => address::url(text).map(Into::into),
            Self::Proxy => Proxy::try_from(text.to_owned()).map(|_| text.into()),
            Self::Origin => address::origin(text).map(Into::into),
            Self::Endpoint => address::endpoint(text).map(Into::into),
            Self::Collector => address::collector(text).map(Into::into),
            Self::Address => address::listener(text).map(Into::into),
            Self::Size(least) => size(text, least),
            Self::Duration => units::parse_duration(text).map(span),
            Self::Wait => units::parse_duration(text).and_then(above_zero).map(span),
            Self::Millis => {
                let millis =
                    text.parse().map_err(|_| "is no whole number of milliseconds".to_owned());
                millis.map(Duration::from_millis).and_then(above_zero).map(span)
            }
            Self::Count(least, most) => count(text, least, most),
            Self::Share => share(text),
            Self::Switch => switch(text),
            Self::OneOf(words) => one_of(text, words),
            Self::Secret => header::sendable(text).map(|()| text.into()),
            Self::SecretFile => file::secret(text).map(in_file),
            Self::Pairs => {
                let pair = |item| header::pair(item).map_err(Wrong::from);
                let pairs: Vec<(String, String)> = each(header::items(text), pair)?;
                let pairs = pairs.into_iter().map(|(name, value)| (name.into(), value.into()));
                Ok(Value::Mapping(pairs.collect()))
            }
            Self::Words => match words::split(text, words::Rules::HERE) {
                Some(words) => Self::command(words),
                None => Err("has a quote that is not closed".to_owned()),
            },
            Self::Args | Self::Variables => Err("can only stand in a file".to_owned()),
        }
        .map_err(Wrong::from)
    }

    /// Reads the texts of a flag that may be given more than once, as one list.
    ///
    /// # Errors
    /// As [`Kind::parse`].
    pub fn parse_all<'a>(self, texts: impl Iterator<Item = &'a str>) -> Result<Value, Wrong> {
        let items = |text| match self {
            // A line end in a flag is part of the value, where it does not belong.
            Self::Header => vec![text],
            _ => header::items(text).collect(),
        };
        let items: Vec<&str> = texts.flat_map(items).collect();
        if items.is_empty() {
            return Err(format!("is empty; write {}", self.placeholder()).into());
        }
        each(items, |item| self.item(item))
    }

    /// Reads one item of a list.
    fn item(self, text: &str) -> Result<Value, Wrong> {
        match self {
            Self::Hosts => address::host(text).map(Into::into),
            Self::Origins => address::origin(text).map(Into::into),
            Self::Header | Self::Headers => header::spelled(text),
            Self::HeaderPairs => header::from_pair(text),
            _ => Ok(text.into()),
        }
        .map_err(Wrong::from)
    }

    /// Checks a program and its arguments.
    ///
    /// # Errors
    /// As [`Kind::parse`].
    pub fn command(words: Vec<String>) -> Result<Value, String> {
        words::program(words.first().map_or("", String::as_str))?;
        Ok(words.into())
    }

    /// Checks a value from a file.
    ///
    /// # Errors
    /// As [`Kind::parse`].
    pub fn check(self, value: &Value) -> Result<Value, Wrong> {
        match (self, value) {
            (Self::Args, Value::Sequence(items)) => each(items, |item| Ok(text_of(item)?)),
            (Self::Hosts | Self::Origins, Value::Sequence(items)) => {
                each(items, |item| self.item(&text_of(item)?))
            }
            (Self::Headers | Self::HeaderPairs, Value::Sequence(items)) => {
                each(items, header::listed)
            }
            (Self::Pairs, Value::Mapping(map)) => by_name(map, |value| Ok(text_of(value)?.into())),
            (Self::Variables, Value::Mapping(map)) => by_name(map, |value| match value {
                Value::Mapping(_) => Self::Secret.check(value),
                value => Ok(unveiled(&text_of(value)?)?.into()),
            }),
            (Self::Secret, Value::Mapping(map)) => {
                header::keyed(map, &["file", "optional"])?;
                match (map.get("file").and_then(Value::as_str), map.get("optional")) {
                    (Some(path), None | Some(Value::Bool(false))) => Self::SecretFile.parse(path),
                    // Whatever is there keeps nobody from starting.
                    (Some(path), Some(Value::Bool(true))) => {
                        printable(path)?;
                        Ok(value.clone())
                    }
                    _ => Err(self.misshapen(value).into()),
                }
            }
            (Self::Secret, Value::String(text)) => self.parse(unveiled(text)?),
            (Self::Words, Value::String(program)) => {
                words::program(printable(program)?)?;
                Ok(program.as_str().into())
            }
            (Self::Args | Self::Headers | Self::HeaderPairs | Self::Pairs | Self::Variables, _)
            | (_, Value::Null | Value::Sequence(_) | Value::Mapping(_) | Value::Tagged(_)) => {
                Err(self.misshapen(value).into())
            }
            (kind, scalar) => kind.parse(&text_of(scalar)?),
        }
    }

    fn misshapen(self, value: &Value) -> String {
        let shape = match self {
            Self::Hosts | Self::Origins | Self::Args => "a list: [a, b]",
            Self::Headers | Self::HeaderPairs => "a list of {name: …, value: …}",
            Self::Pairs | Self::Variables => "a mapping: {name: value}",
            Self::Secret => "a text, or {file: PATH}, with optional: true if it may come later",
            _ => "a single value",
        };
        format!("is {}; write {shape}", what(value))
    }
}

/// What `read` makes of each item, or what is wrong with each that is wrong.
fn each<I, T, All: FromIterator<T>>(
    items: impl IntoIterator<Item = I>,
    read: impl Fn(I) -> Result<T, Wrong>,
) -> Result<All, Wrong> {
    let items: Vec<I> = items.into_iter().collect();
    let several = items.len() > 1;
    let read = |(at, item)| {
        read(item).map_err(|wrong| {
            let wrong = wrong.below(&Step::Entry(at));
            if several { wrong.of(&format!("entry {}", at + 1)) } else { wrong }
        })
    };
    whole(items.into_iter().enumerate().map(read))
}

/// All of them, or all that is wrong.
fn whole<T, All: FromIterator<T>>(
    read: impl Iterator<Item = Result<T, Wrong>>,
) -> Result<All, Wrong> {
    let (mut good, mut wrong) = (Vec::new(), Vec::new());
    for read in read {
        match read {
            Ok(value) => good.push(value),
            Err(what) => wrong.push(what),
        }
    }
    Wrong::all(wrong).map_or_else(|| Ok(good.into_iter().collect()), Err)
}

fn printable(text: &str) -> Result<&str, String> {
    if text.is_empty() || text.contains(char::is_control) {
        return Err("is empty or has control characters in it".to_owned());
    }
    Ok(text)
}

/// The stars of `--print-config` are no secret.
fn unveiled(text: &str) -> Result<&str, String> {
    if text == VEIL {
        return Err("is ***, which --print-config shows in place of a secret".to_owned());
    }
    Ok(text)
}

fn in_file(path: String) -> Value {
    Value::Mapping([("file".into(), path.into())].into_iter().collect())
}

fn span(duration: Duration) -> Value {
    units::format_duration(duration).into()
}

fn above_zero(duration: Duration) -> Result<Duration, String> {
    if duration.is_zero() { Err("is zero; write e.g. 10s".to_owned()) } else { Ok(duration) }
}

fn size(text: &str, least: u64) -> Result<Value, String> {
    let bytes = units::parse_size(text)?;
    if bytes < least {
        return Err(format!("is too small; write {} or more", units::format_size(least)));
    }
    Ok(units::format_size(bytes).into())
}

fn count(text: &str, least: u64, most: u64) -> Result<Value, String> {
    let number: Option<u64> = text.parse().ok();
    let number = number.filter(|number| (least..=most).contains(number));
    number.map(Into::into).ok_or_else(|| format!("is no whole number from {least} to {most}"))
}

fn share(text: &str) -> Result<Value, String> {
    let number: Option<f64> = text.parse().ok();
    let number = number.filter(|number| (0.0..=1.0).contains(number));
    number.map(Into::into).ok_or_else(|| "is no number from 0 to 1".to_owned())
}

fn switch(text: &str) -> Result<Value, String> {
    match text {
        "true" | "1" | "yes" | "on" => Ok(true.into()),
        "false" | "0" | "no" | "off" => Ok(false.into()),
        _ => Err("is neither true nor false".to_owned()),
    }
}

fn one_of(text: &str, words: &[&str]) -> Result<Value, String> {
    if words.contains(&text) {
        return Ok(text.into());
    }
    let meant = nearest(text, words.iter().map(|&word| (word, word)));
    let meant = meant.map(|word| format!("; did you mean {word}?")).unwrap_or_default();
    Err(format!("is none of {}{meant}", words.join(", ")))
}

fn by_name(map: &Mapping, read: impl Fn(&Value) -> Result<Value, Wrong>) -> Result<Value, Wrong> {
    let read = |(name, value): (&Value, &Value)| {
        let name = text_of(name)?;
        let value = read(value).map_err(|wrong| wrong.below(&Step::Key(name.clone())))?;
        Ok((name.into(), value))
    };
    whole(map.iter().map(read)).map(Value::Mapping)
}

fn text_of(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(switch) => Ok(switch.to_string()),
        _ => Err(format!("holds {} where a text belongs", what(value))),
    }
}

fn what(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Sequence(_) => "a list",
        Value::Mapping(_) | Value::Tagged(_) => "a mapping",
    }
}
