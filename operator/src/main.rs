//! `mcpulse-operator`: the command line becomes an exit code.

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
};

use mcpulse_operator::cli;

fn main() -> ExitCode {
    cli::run(env::args_os(), &mut io::stdout().lock(), &mut io::stderr().lock()).unwrap_or_else(
        |error| {
            // Nobody may be listening.
            let _ = writeln!(io::stderr(), "mcpulse-operator: {error:#}");
            ExitCode::FAILURE
        },
    )
}
