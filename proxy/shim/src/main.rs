//! The binary: arguments in, an exit code out.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    use mcpulse_shim::{arguments::Arguments, supervisor};

    /// What was asked for makes no sense (`EX_USAGE`).
    const USAGE: u8 = 64;

    let arguments = match Arguments::parse(std::env::args_os().skip(1)) {
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

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("mcpulse-shim: it runs in containers of Linux");
    ExitCode::FAILURE
}
