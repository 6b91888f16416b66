//! Files of manifests: several documents each, of any kind.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

/// One manifest, and where it was read.
#[derive(Clone, Debug)]
pub(super) struct Document {
    /// It.
    pub(super) value: Value,
    /// The file and its place there, for messages.
    pub(super) place: String,
}

impl Document {
    /// Its kind.
    pub(super) fn kind(&self) -> &str {
        self.value["kind"].as_str().unwrap_or_default()
    }

    /// Its kind and name, for messages.
    pub(super) fn called(&self) -> String {
        let metadata = &self.value["metadata"];
        let name = metadata["name"].as_str().or_else(|| metadata["generateName"].as_str());
        format!("{} {}", self.kind(), name.unwrap_or("without a name"))
    }

    /// It as a type.
    pub(super) fn read<T: DeserializeOwned>(&self) -> anyhow::Result<T> {
        let called = self.called();
        serde_json::from_value(self.value.clone())
            .with_context(|| format!("read {called} ({})", self.place))
    }
}

/// The manifests of a file, `-` for standard input; those of a `List` one by one.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<Document>> {
    let text = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("read standard input")?;
        text
    } else {
        std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?
    };
    let mut documents = Vec::new();
    for (at, document) in serde_yaml::Deserializer::from_str(&text).enumerate() {
        let place = format!("{}, document {}", path.display(), at + 1);
        let value = Value::deserialize(document).with_context(|| format!("read {place}"))?;
        if value.is_null() {
            continue;
        }
        if value["kind"].as_str().is_none() {
            bail!("{place} is no manifest: it has no kind; write apiVersion, kind and metadata");
        }
        match value["items"].as_array() {
            Some(items) if value["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) => {
                let item = |value: &Value| Document { value: value.clone(), place: place.clone() };
                documents.extend(items.iter().map(item));
            }
            _ => documents.push(Document { value, place }),
        }
    }
    Ok(documents)
}

/// The manifests of several files.
pub(super) fn read_all(paths: &[PathBuf]) -> anyhow::Result<Vec<Document>> {
    let read: anyhow::Result<Vec<_>> = paths.iter().map(|path| read(path)).collect();
    Ok(read?.concat())
}
