//! Targeted operations on a pod, of which absent lists and maps are made as needed.

use std::collections::BTreeSet;

use json_patch::{
    AddOperation, Patch, PatchOperation, ReplaceOperation,
    jsonptr::{PointerBuf, Token},
};
use serde_json::{Value, json};

/// Operations on a pod.
#[derive(Debug)]
pub(super) struct Edits<'a> {
    pod: &'a Value,
    operations: Vec<PatchOperation>,
    /// The lists and maps that were made.
    made: BTreeSet<String>,
}

impl<'a> Edits<'a> {
    pub(super) fn new(pod: &'a Value) -> Self {
        Self { pod, operations: Vec::new(), made: BTreeSet::new() }
    }

    pub(super) fn patch(self) -> Patch {
        Patch(self.operations)
    }

    /// Writes another value where there is one.
    pub(super) fn replace(&mut self, path: &[&str], value: Value) {
        let path = pointer(path);
        self.operations.push(PatchOperation::Replace(ReplaceOperation { path, value }));
    }

    /// Writes a value, whether there is one or not.
    pub(super) fn put(&mut self, path: &[&str], value: Value) {
        let path = pointer(path);
        self.operations.push(PatchOperation::Add(AddOperation { path, value }));
    }

    /// Adds to the end of a list.
    pub(super) fn append(&mut self, list: &[&str], value: Value) {
        self.make(list, json!([]));
        self.put(&[list, &["-"]].concat(), value);
    }

    /// Adds to a list at this place.
    pub(super) fn insert(&mut self, list: &[&str], place: usize, value: Value) {
        self.make(list, json!([]));
        self.put(&[list, &[place.to_string().as_str()]].concat(), value);
    }

    /// Sets an entry of a map.
    pub(super) fn set(&mut self, map: &[&str], key: &str, value: &str) {
        self.make(map, json!({}));
        self.put(&[map, &[key]].concat(), json!(value));
    }

    /// Makes a list or a map that is absent or null.
    fn make(&mut self, path: &[&str], empty: Value) {
        let there = path.iter().fold(self.pod, |value, key| match key.parse::<usize>() {
            Ok(place) if value.is_array() => &value[place],
            _ => &value[key],
        });
        if there.is_null() && self.made.insert(path.join("/")) {
            self.put(path, empty);
        }
    }
}

fn pointer(path: &[&str]) -> PointerBuf {
    PointerBuf::from_tokens(path.iter().map(|token| Token::new(*token)))
}
