//! Values that must never be shown.

use std::{fmt, io, path::PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::shown::{self, VEIL};

/// A secret given as text or as a file that holds it. Neither `Debug` nor `Serialize` shows
/// the text: `***` stands in its place.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// The text itself.
    Text(String),
    /// A file that holds the text; read at each use, so that rotation needs no restart.
    File(PathBuf),
    /// The same, but the file may come later, as it does with an optional volume of Kubernetes:
    /// nothing is read at the start, and until it is good only what needs the secret fails.
    Awaited(PathBuf),
}

impl Secret {
    /// Whether it is in a file, and so may change.
    pub fn is_in_file(&self) -> bool {
        !matches!(self, Self::Text(_))
    }

    /// The secret's text, without the line end that editors leave in files.
    ///
    /// # Errors
    /// When the file cannot be read or is not UTF-8.
    pub fn reveal(&self) -> io::Result<String> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::File(path) | Self::Awaited(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| {
                    io::Error::new(
                        error.kind(),
                        format!("read secret {}: {error}", shown::path(path)),
                    )
                })?;
                Ok(text.trim_end_matches(['\r', '\n']).to_owned())
            }
        }
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str(VEIL),
            Self::File(path) | Self::Awaited(path) => write!(f, "file {}", path.display()),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct InFile {
    file: PathBuf,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    optional: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Spelled {
    Text(String),
    File(InFile),
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(_) => serializer.serialize_str(VEIL),
            Self::File(file) | Self::Awaited(file) => {
                let optional = matches!(self, Self::Awaited(_));
                InFile { file: file.clone(), optional }.serialize(serializer)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Spelled::deserialize(deserializer)? {
            Spelled::Text(text) => Self::Text(text),
            Spelled::File(InFile { file, optional: false }) => Self::File(file),
            Spelled::File(InFile { file, optional: true }) => Self::Awaited(file),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::kind::Kind;

    #[test]
    fn a_file_that_may_come_later_is_missed_only_where_it_is_used() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let spelled = |optional: bool| {
            let text = format!("{{file: {}, optional: {optional}}}", path.display());
            serde_yaml::from_str::<serde_yaml::Value>(&text).unwrap()
        };
        assert!(Kind::Secret.check(&spelled(false)).is_err());
        let checked = Kind::Secret.check(&spelled(true)).unwrap();
        let secret: Secret = serde_yaml::from_value(checked.clone()).unwrap();
        assert_eq!(serde_yaml::to_value(&secret).unwrap(), checked);
        assert!(secret.reveal().is_err());
        std::fs::write(&path, "k\n").unwrap();
        assert_eq!(secret.reveal().unwrap(), "k");
    }
}
