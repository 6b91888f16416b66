//! `mcpulse-proxy`: the command line becomes a request, the request an exit code.

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
};

use mcpulse_proxy::{
    app::process,
    cli::{self, Environment},
    config::problem::Refusal,
};

fn main() -> ExitCode {
    let request = cli::read(env::args_os(), &Environment::of_process());
    let result = request.map_err(Into::into);
    let result = result.and_then(|request| process::run(request, env::vars_os().collect()));
    result.unwrap_or_else(|error: anyhow::Error| {
        // Nobody may be listening.
        let _ = writeln!(io::stderr(), "mcpulse-proxy: {}", told(&error));
        error.downcast_ref().map_or(ExitCode::FAILURE, Refusal::exit_code)
    })
}

/// The error and its causes, but for those that a text before them carries already.
fn told(error: &anyhow::Error) -> String {
    let causes = error.chain().map(ToString::to_string);
    let told = causes.reduce(
        |told, cause| {
            if told.contains(&cause) { told } else { format!("{told}: {cause}") }
        },
    );
    told.unwrap_or_default()
}
