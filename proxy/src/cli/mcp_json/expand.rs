//! References in `mcp.json`: `${env:X}` as VS Code and Cursor have it, `${X}` and
//! `${X:-default}` as Claude Code has it, and `${userHome}`.

use crate::cli::Environment;

/// Replaces references, and collects those that it cannot.
pub(super) struct Expander<'a> {
    environment: &'a Environment,
    /// What to do about each, to follow the server's name.
    pub unresolved: Vec<String>,
}

impl<'a> Expander<'a> {
    pub(super) fn new(environment: &'a Environment) -> Self {
        Self { environment, unresolved: Vec::new() }
    }

    pub(super) fn expand(&mut self, text: &str) -> String {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let Some((reference, behind)) = after.split_once('}') else { break };
            expanded.push_str(before);
            match self.resolve(reference) {
                Some(value) => expanded.push_str(&value),
                None => self.unresolved.push(remedy(reference)),
            }
            rest = behind;
        }
        expanded.push_str(rest);
        expanded
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
            None => variable(reference),
        }
    }
}

fn remedy(reference: &str) -> String {
    match reference.split_once(':') {
        Some(("env", name)) => format!("needs the variable {name}, which is not set"),
        Some(("input", _)) => format!(
            "has ${{{reference}}}, which only an editor can ask for; write ${{env:NAME}} in its \
             place and set that variable"
        ),
        _ => format!("has ${{{reference}}}, which is no variable that is set"),
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
        let mut expander = Expander::new(&environment);
        let known = "a ${env:A}${A} ${B:-two} ${A:-two} ${userHome}/b $A ${";
        assert_eq!(expander.expand(known), "a 11 two 1 /home/x/b $A ${");
        assert!(expander.unresolved.is_empty());
        expander.expand("${env:B} ${input:api-key} ${workspaceFolder}");
        let all = expander.unresolved.join("\n");
        for part in ["variable B", "${input:api-key}", "${workspaceFolder}"] {
            assert!(all.contains(part), "{all}");
        }
    }
}
