//! The part of a pod's spec that the splice reads.

use std::{
    collections::HashSet,
    hash::{BuildHasher, Hash, Hasher},
    sync::{Arc, Weak},
};

use serde_json::{Map, Value, json};

/// What it reads of the pod.
const OF_POD: [&str; 5] = ["hostNetwork", "imagePullSecrets", "nodeSelector", "os", "resources"];
/// What it reads of a container.
const OF_CONTAINER: [&str; 9] = [
    "args",
    "command",
    "lifecycle",
    "livenessProbe",
    "name",
    "ports",
    "readinessProbe",
    "resources",
    "startupProbe",
];
/// The volumes that the API server adds to each pod, with a name that no other has.
const TOKEN: &str = "kube-api-access-";

/// A spec without what the splice does not read.
pub(super) fn reduced(spec: &Value) -> Value {
    let mut kept = only(spec, &OF_POD);
    if let Some(user) = spec["securityContext"].get("runAsUser") {
        kept.insert("securityContext".to_owned(), json!({"runAsUser": user}));
    }
    for list in ["containers", "initContainers"] {
        if let Some(containers) = spec[list].as_array() {
            kept.insert(list.to_owned(), containers.iter().map(container).collect());
        }
    }
    keep(&mut kept, spec, "volumes", "name");
    kept.into()
}

fn container(container: &Value) -> Value {
    let mut kept = only(container, &OF_CONTAINER);
    keep(&mut kept, container, "env", "name");
    keep(&mut kept, container, "volumeMounts", "mountPath");
    keep(&mut kept, container, "volumeDevices", "devicePath");
    kept.into()
}

fn only(from: &Value, keys: &[&str]) -> Map<String, Value> {
    let entries = keys.iter().filter_map(|key| Some(((*key).to_owned(), from.get(key)?.clone())));
    entries.collect()
}

/// Keeps one member of each entry of a list.
fn keep(kept: &mut Map<String, Value>, from: &Value, list: &str, member: &str) {
    let Some(entries) = from[list].as_array() else { return };
    let ours = |entry: &&Value| !entry["name"].as_str().is_some_and(|it| it.starts_with(TOKEN));
    let entries = entries.iter().filter(ours).map(|entry| Value::Object(only(entry, &[member])));
    kept.insert(list.to_owned(), entries.collect());
}

/// Has equal texts share their memory while one of them is in use.
#[derive(Debug, Default)]
pub(in crate::controller) struct Interner {
    known: HashSet<Text>,
    /// How many there may be before those that nobody uses are looked for.
    limit: usize,
}

#[derive(Debug)]
struct Text {
    hash: u64,
    text: Weak<str>,
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.text.upgrade() == other.text.upgrade()
    }
}

impl Eq for Text {}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.hash.hash(state);
    }
}

impl Interner {
    /// Replaces a text by one that is equal, if there is one.
    pub(super) fn intern(&mut self, text: &mut Arc<str>) {
        let hash = self.known.hasher().hash_one(&**text);
        let own = Text { hash, text: Arc::downgrade(text) };
        if let Some(known) = self.known.get(&own).and_then(|known| known.text.upgrade()) {
            *text = known;
            return;
        }
        if self.known.len() >= self.limit {
            self.known.retain(|known| known.text.strong_count() > 0);
            self.limit = (2 * self.known.len()).max(64);
        }
        self.known.insert(own);
    }
}
