//! `mcpulse-operator`: the command line becomes an exit code.

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
};

use mcpulse_operator::cli;

fn main() -> ExitCode {
    // Not locked: the log is written by another thread.
    cli::run(env::args_os(), &mut io::stdout(), &mut io::stderr()).unwrap_or_else(|error| {
        // Nobody may be listening.
        let _ = writeln!(io::stderr(), "mcpulse-operator: {error:#}");
        ExitCode::FAILURE
    })
}
