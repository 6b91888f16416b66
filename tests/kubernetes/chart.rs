//! The Helm chart: what it renders, what its values may be, and releases of it on a real API server.

mod alerts;
mod dashboard;
mod helm;
mod installed;
mod rendered;
mod several;
mod tester;
mod values;

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::Value;

/// A file of the chart.
fn file(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/mcpulse").join(below)
}

/// Its text.
fn text(below: &str) -> String {
    let path = file(below);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}

/// The objects of a text, without empty documents.
fn objects(text: &str) -> Vec<Value> {
    let documents = serde_yaml::Deserializer::from_str(text).map(Value::deserialize);
    let objects = documents.map(|one| one.unwrap_or_else(|error| panic!("{error}: {text}")));
    objects.filter(|one| !one.is_null()).collect()
}

/// The objects of a kind, by the kind and their names.
fn named<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let mut found =
        objects.iter().filter(|one| one["kind"] == kind && one["metadata"]["name"] == name);
    let one = found.next().unwrap_or_else(|| panic!("no {kind} {name}"));
    assert!(found.next().is_none(), "several of {kind} {name}");
    one
}
