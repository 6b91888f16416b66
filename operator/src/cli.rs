//! The command line, and the commands that need no cluster.

use std::{ffi::OsString, io::Write, process::ExitCode};

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};

use crate::{
    crd, policy, rbac,
    release::Release,
    run::{self, Options},
    verify,
};

mod documents;
mod inject;

/// Puts mcpulse-proxy beside MCP servers in Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "mcpulse-operator", version)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the operator in the cluster that KUBECONFIG names, or in which it runs
    Run(Box<Options>),
    /// Print the definition of McpServer, for kubectl apply -f -
    Crd,
    /// Print the policies that API servers apply themselves, likewise
    Policy(Policy),
    /// Print the roles that the operator needs, likewise
    Rbac(Release),
    /// Print pods as they would come out, or why they would not change
    Inject(inject::Arguments),
    /// Wait until pods that a McpServer means would come with the sidecar
    Verify(verify::Options),
}

#[derive(Debug, clap::Args)]
struct Policy {
    /// Which of them; all unless given
    #[arg(value_enum)]
    parts: Vec<Part>,
    #[command(flatten)]
    release: Release,
}

/// A part of the policies.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Part {
    /// Injects pods (Kubernetes 1.36)
    Injection,
    /// Refuses pods without the sidecar where a McpServer asks for that
    Refusal,
    /// Holds the operator to what it needs
    Guard,
}

impl Policy {
    fn yaml(&self) -> String {
        let parts = if self.parts.is_empty() { Part::value_variants() } else { &self.parts };
        let texts = parts.iter().map(|part| match part {
            Part::Injection => policy::injection(&policy::FORMATS, &self.release),
            Part::Refusal => policy::refusal(&self.release),
            Part::Guard => policy::guard(&self.release),
        });
        texts.collect::<Vec<_>>().join("---\n")
    }
}

/// Does what the command line asks for, and says how it ended.
///
/// # Errors
/// When it could not be done.
pub fn run(
    arguments: impl IntoIterator<Item = OsString>,
    out: &mut impl Write,
    err: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let line = match Line::try_parse_from(arguments) {
        Ok(line) => line,
        Err(error) if error.use_stderr() => {
            write!(err, "{error}").context("write to standard error")?;
            return Ok(ExitCode::from(64));
        }
        Err(help) => {
            write!(out, "{help}").context("write to standard output")?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    match line.command {
        Command::Run(options) => {
            run::run(*options)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Crd => {
            let text = crd::yaml().context("write the definition of McpServer")?;
            out.write_all(text.as_bytes()).context("write to standard output")?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Policy(policy) => {
            out.write_all(policy.yaml().as_bytes()).context("write to standard output")?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Rbac(release) => {
            let text = rbac::yaml(&release);
            out.write_all(text.as_bytes()).context("write to standard output")?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Verify(options) => {
            let told = verify::run(&options)?;
            writeln!(out, "{told}").context("write to standard output")?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Inject(arguments) => {
            let all = inject::run(&arguments, out, err)?;
            Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path::Path};

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_one() {
        Line::command().debug_assert();
    }

    #[test]
    fn readme_has_the_flags_of_run() {
        let mut line = Line::command();
        let run = line.find_subcommand_mut("run").unwrap();
        let cell = |text: &str| if text.is_empty() { String::new() } else { format!("`{text}`") };
        let row = |flag: &clap::Arg| {
            let name = flag.get_long()?;
            let values = flag.get_value_names().filter(|_| flag.get_action().takes_values());
            let values = values.unwrap_or_default().join(" ");
            let variable = flag.get_env().map(|name| name.to_string_lossy().into_owned());
            let defaults = flag.get_default_values().iter().map(|value| value.to_string_lossy());
            let default = defaults.collect::<Vec<_>>().join(" ");
            let (flag, help) = (cell(format!("--{name} {values}").trim_end()), flag.get_help()?);
            let variable = cell(&variable.unwrap_or_default());
            Some(format!("| {flag} | {variable} | {} | {help} |\n", cell(&default)))
        };
        let table: String = run.get_arguments().filter_map(row).collect();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
        let readme = fs::read_to_string(path).unwrap();
        assert!(readme.contains(&format!("|---|---|---|---|\n{table}\n")), "{table}");
    }
}
