//! `--print-config`: the effective configuration as the YAML that `run --config` reads, each
//! value with where it came from. Secrets are `***`.

use std::fmt::{Result, Write};

use serde_yaml::{Mapping, Value};

use super::{layer::Origins, several};
use crate::{config::Config, sink::veil};

/// The configuration and its origins.
pub(super) fn config(config: &Config, origins: &Origins) -> String {
    let mut printer = Printer { text: String::new(), origins };
    if let Value::Mapping(map) = veil::config(config) {
        // Writing to a String cannot fail.
        let _ = printer.section("", &map, 0);
    }
    printer.text
}

struct Printer<'a> {
    text: String,
    origins: &'a Origins,
}

impl Printer<'_> {
    fn section(&mut self, above: &str, map: &Mapping, depth: usize) -> Result {
        let indent = "  ".repeat(depth);
        for (key, value) in map {
            let key = key.as_str().unwrap_or_default();
            let path = match above {
                "" => key.to_owned(),
                above if above.ends_with('.') => format!("{above}{key}"),
                above => format!("{above}.{key}"),
            };
            let origin = self.origins.get(&path).map(String::as_str);
            match (value, origin) {
                (Value::Mapping(inner), None) => {
                    writeln!(self.text, "{indent}{key}:")?;
                    self.section(&path, inner, depth + 1)?;
                }
                (Value::Sequence(servers), None) if path == "servers" => {
                    writeln!(self.text, "{indent}{key}:")?;
                    self.servers(servers)?;
                }
                (value, origin) => self.value(&indent, key, value, origin.unwrap_or("default"))?,
            }
        }
        Ok(())
    }

    /// The entries of a list of servers, each with settings of its own.
    fn servers(&mut self, servers: &[Value]) -> Result {
        for (at, server) in servers.iter().enumerate() {
            let Value::Mapping(server) = server else { continue };
            let begin = self.text.len();
            self.section(&several::place(at, ""), server, 2)?;
            // The entry begins where its first key does.
            self.text.replace_range(begin..begin + 4, "  - ");
        }
        Ok(())
    }

    fn value(&mut self, indent: &str, key: &str, value: &Value, origin: &str) -> Result {
        let text = serde_yaml::to_string(value).unwrap_or_default();
        let lines = match value {
            Value::Mapping(map) => !map.is_empty(),
            Value::Sequence(list) => !list.is_empty(),
            _ => false,
        };
        if lines {
            writeln!(self.text, "{indent}{key}:  # {origin}")?;
            return text.lines().try_for_each(|line| writeln!(self.text, "{indent}  {line}"));
        }
        writeln!(self.text, "{indent}{key}: {}  # {origin}", text.trim_end())
    }
}
