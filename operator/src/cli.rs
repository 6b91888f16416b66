//! The command line, and the commands that need no cluster.

use std::{ffi::OsString, io::Write, process::ExitCode};

use anyhow::Context;
use clap::{Parser, Subcommand};

use crate::{
    crd, policy,
    run::{self, Options, namespace},
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
    /// Print the policy by which API servers inject pods (Kubernetes 1.36), likewise
    Policy(Policy),
    /// Print pods as they would come out, or why they would not change
    Inject(inject::Arguments),
}

#[derive(Debug, clap::Args)]
struct Policy {
    /// Where the operator itself runs, whose pods are left alone
    #[arg(long, value_name = "NAME", default_value = "mcpulse-system", value_parser = namespace)]
    namespace: String,
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
        Command::Policy(Policy { namespace }) => {
            let text = policy::yaml(&namespace);
            out.write_all(text.as_bytes()).context("write to standard output")?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Inject(arguments) => {
            let all = inject::run(&arguments, out, err)?;
            Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}
