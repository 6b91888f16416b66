//! The command line, and the commands that need no cluster.

use std::{ffi::OsString, io::Write, process::ExitCode};

use anyhow::Context;
use clap::{Parser, Subcommand};

use crate::crd;

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
    /// Print the definition of McpServer, for kubectl apply -f -
    Crd,
    /// Print pods as they would come out, or why they would not change
    Inject(inject::Arguments),
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
        Command::Crd => {
            let text = crd::yaml().context("write the definition of McpServer")?;
            out.write_all(text.as_bytes()).context("write to standard output")?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Inject(arguments) => {
            let all = inject::run(&arguments, out, err)?;
            Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}
