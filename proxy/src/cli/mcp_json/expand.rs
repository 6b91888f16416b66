//! References in `mcp.json`: `${env:X}` as VS Code and Cursor have it, `${X}` and
//! `${X:-default}` as Claude Code has it, and `${userHome}`.

use std::path::{Path, PathBuf};

use super::Text;
use crate::cli::Environment;

/// Replaces references, and collects those that it cannot.
pub(super) struct Expander<'a> {
    environment: &'a Environment,
    workspace: Option<PathBuf>,
    /// What to do about each, and the line on which it stands.
    pub(super) unresolved: Vec<(usize, String)>,
}

impl<'a> Expander<'a> {
    /// `workspace` is what stands for `${workspaceFolder}`.
    pub(super) fn new(environment: &'a Environment, workspace: Option<PathBuf>) -> Self {
        Self { environment, workspace, unresolved: Vec::new() }
    }

    /// What relative paths begin at; empty for where the proxy runs.
    pub(super) fn folder(&self) -> &Path {
        self.workspace.as_deref().unwrap_or(Path::new(""))
    }

    /// The text with its references replaced; those that cannot be stay.
    pub(super) fn expand(&mut self, text: &Text) -> String {
        let mut expanded = String::with_capacity(text.value.len());
        let mut rest = text.value.as_str();
        while let Some((before, after)) = rest.split_once("${") {
            let Some((reference, behind)) = after.split_once('}') else { break };
            expanded.push_str(before);
            if let Some(value) = self.resolve(reference) {
                expanded.push_str(&value);
            } else {
                self.unresolved.push((text.line, remedy(reference)));
                expanded.extend(["${", reference, "}"]);
            }
            rest = behind;
        }
        expanded.push_str(rest);
        expanded
    }

    /// The same; none when there is one that cannot be replaced.
    pub(super) fn whole(&mut self, text: &Text) -> Option<String> {
        let before = self.unresolved.len();
        let expanded = self.expand(text);
        (self.unresolved.len() == before).then_some(expanded)
    }

    fn resolve(&self, reference: &str) -> Option<String> {
        let variable = |name: &str| self.environment.get(name).map(str::to_owned);
        match reference.split_once(':') {
            Some(("env", name)) => variable(name),
            Some((name, default)) => {
                let default = default.strip_prefix('-')?;
                variable(name).or_else(|| Some(default.to_owned()))
            }
            None if reference == "userHome" => variable("HOME").or_else(|| variable("USERPROFILE")),
            None if reference == "workspaceFolder" => {
                self.workspace.as_ref().map(|folder| folder.display().to_string())
            }
            None => variable(reference),
        }
    }
}

fn remedy(reference: &str) -> String {
    match reference.split_once(':') {
        Some(("env", name)) => format!("it needs the variable {name}, which is not set"),
        None if reference == "workspaceFolder" => {
            "it has ${workspaceFolder}, and only a file in .vscode or .cursor stands in one; \
             write the path"
                .to_owned()
        }
        Some(("input", _)) => format!(
            "it has ${{{reference}}}, which only an editor can ask for; write ${{env:NAME}} in its \
             place and set that variable"
        ),
        // What follows may be a default, and that a secret.
        Some((name, _)) => {
            format!("it has ${{{name}:…}}, which is no reference; write ${{env:NAME}}")
        }
        None => format!("it has ${{{reference}}}, which is no variable that is set"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_replaced_and_the_rest_is_named() {
        let variables = [("A", "1"), ("HOME", "/home/x")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let environment = Environment { variables: variables.into(), program: None };
        let text = |value: &str| Text { value: value.to_owned(), line: 7 };
        let mut expander = Expander::new(&environment, Some("/w".into()));
        let known =
            text("a ${env:A}${A} ${B:-two} ${A:-two} ${userHome}/b ${workspaceFolder}/c $A ${");
        assert_eq!(expander.expand(&known), "a 11 two 1 /home/x/b /w/c $A ${");
        assert!(expander.unresolved.is_empty());
        let mut expander = Expander::new(&environment, None);
        let unknown = text("${env:B} ${input:api-key} ${workspaceFolder}");
        assert_eq!(expander.expand(&unknown), unknown.value);
        let all = format!("{:?}", expander.unresolved);
        for part in ["7, ", "variable B", "${input:api-key}", "${workspaceFolder}"] {
            assert!(all.contains(part), "{all}");
        }
    }
}
