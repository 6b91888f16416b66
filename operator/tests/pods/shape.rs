//! The pods of this folder as they go in, with their `McpServer`s.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use mcpulse_operator::{
    crd::{Injection, McpServer},
    render::{self, Defaults, Order},
    target,
};
use serde_json::Value;

/// A pod and its `McpServer`.
pub(crate) struct Shape {
    pub(crate) pod: Value,
    pub(crate) server: McpServer,
}

impl Shape {
    /// The shape of this name.
    pub(crate) fn read(name: &str) -> Self {
        let text = read(&root().join("pods").join(format!("{name}.in.yaml")));
        let named = text.lines().next().and_then(|line| line.strip_prefix("# with: "));
        let named = named.unwrap_or_else(|| panic!("{name} does not begin with `# with: SERVER`"));
        let path = root().join("servers").join(format!("{named}.yaml"));
        let server: McpServer = serde_yaml::from_str(&read(&path)).unwrap();
        Self { pod: serde_yaml::from_str(&text).unwrap(), server }
    }
}

/// What a `McpServer` with a selector puts into its pods.
pub(crate) fn injection(server: &McpServer) -> Injection {
    let target = target::resolve(server, None).unwrap();
    let defaults =
        Defaults { image: "example.com/mcpulse-proxy:1".to_owned(), ..Defaults::default() };
    let order = Order {
        server,
        target: &target,
        older: &[],
        services: &[],
        limits: &[],
        defaults: &defaults,
    };
    render::render(order).unwrap()
}

/// The names of the shapes.
pub(crate) fn names() -> Vec<String> {
    let entries = fs::read_dir(root().join("pods")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: BTreeSet<String> =
        names.filter_map(|name| Some(name.strip_suffix(".in.yaml")?.to_owned())).collect();
    names.into_iter().collect()
}

/// Where it is written how a pod comes out.
pub(crate) fn golden(name: &str) -> PathBuf {
    root().join("pods").join(format!("{name}.out.yaml"))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../operator/tests")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}
