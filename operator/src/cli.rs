//! The command line, and the commands that need no cluster.

use std::{ffi::OsString, io::Write, process::ExitCode};

use anyhow::Context;
use clap::{Parser, Subcommand};

use crate::crd;

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
}

/// Does what the command line asks for, and says how it ended.
///
/// # Errors
/// When it could not be done, for another reason than what was asked.
pub fn run(
    arguments: impl IntoIterator<Item = OsString>,
    out: &mut impl Write,
    _err: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let line = match Line::try_parse_from(arguments) {
        Ok(line) => line,
        Err(error) => {
            error.print().context("write the help")?;
            return Ok(if error.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS });
        }
    };
    match line.command {
        Command::Crd => {
            let text = crd::yaml().context("write the definition of McpServer")?;
            out.write_all(text.as_bytes()).context("write to standard output")?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
