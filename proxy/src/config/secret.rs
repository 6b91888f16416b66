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
}

impl Secret {
    /// The secret's text, without the line end that editors leave in files.
    ///
    /// # Errors
    /// When the file cannot be read or is not UTF-8.
    pub fn reveal(&self) -> io::Result<String> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::File(path) => {
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
            Self::File(path) => write!(f, "file {}", path.display()),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct InFile {
    file: PathBuf,
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
            Self::File(file) => InFile { file: file.clone() }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Spelled::deserialize(deserializer)? {
            Spelled::Text(text) => Self::Text(text),
            Spelled::File(InFile { file }) => Self::File(file),
        })
    }
}
