//! The binary: arguments in, an exit code out.

use std::{env, process::ExitCode};

use mcpulse_shim::{arguments::Arguments, supervisor};

/// What was asked for makes no sense (`EX_USAGE`).
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let arguments = match Arguments::parse(env::args_os().skip(1)) {
        Ok(arguments) => arguments,
        Err(problems) => {
            eprintln!("mcpulse-shim: {problems}");
            return USAGE.into();
        }
    };
    match supervisor::run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mcpulse-shim: {error}");
            ExitCode::FAILURE
        }
    }
}
