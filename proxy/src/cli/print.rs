//! `--print-config`: the effective configuration as the YAML that `run --config` reads, each
//! value with where it came from. Secrets are `***`.

use std::fmt::Write;

use serde_yaml::Value;

use super::layer::Origins;
use crate::config::Config;

/// The configuration and its origins.
pub(super) fn config(config: &Config, origins: &Origins) -> String {
    let mut text = String::new();
    if let Ok(Value::Mapping(map)) = serde_yaml::to_value(config) {
        for (key, value) in &map {
            entry(&mut text, "", key.as_str().unwrap_or_default(), value, origins, 0);
        }
    }
    text
}

fn entry(
    text: &mut String,
    parent: &str,
    key: &str,
    value: &Value,
    origins: &Origins,
    depth: usize,
) {
    let path = if parent.is_empty() { key.to_owned() } else { format!("{parent}.{key}") };
    let indent = "  ".repeat(depth);
    let origin = origins.get(&path);
    match value {
        Value::Mapping(map) if origin.is_none() && !map.is_empty() => {
            let _ = writeln!(text, "{indent}{key}:");
            for (key, value) in map {
                entry(text, &path, key.as_str().unwrap_or_default(), value, origins, depth + 1);
            }
        }
        value => {
            let origin = origin.map_or("default", String::as_str);
            let value = shown(value);
            if value.contains('\n') {
                let _ = writeln!(text, "{indent}{key}:  # {origin}");
                for line in value.lines() {
                    let _ = writeln!(text, "{indent}  {line}");
                }
            } else {
                let _ = writeln!(text, "{indent}{key}: {value}  # {origin}");
            }
        }
    }
}

fn shown(value: &Value) -> String {
    let text = serde_yaml::to_string(value).unwrap_or_default();
    let text = text.trim_end();
    match value {
        Value::Sequence(items) if !items.is_empty() => {
            format!("\n{text}").trim_start_matches('\n').to_owned()
        }
        _ => text.to_owned(),
    }
}
