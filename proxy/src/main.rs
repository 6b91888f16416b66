//! `mcpulse-proxy`: parse, then telemetry, then the runtime, then the proxy, then an exit code.

use std::{io::Write, process::ExitCode};

use mcpulse_proxy::{
    app,
    cli::{self, Environment, Request},
    config::Config,
    telemetry,
};

fn main() -> ExitCode {
    let request = cli::read(std::env::args_os(), &Environment::of_process());
    let result = match request {
        Ok(Request::Show(text)) => show(&text),
        Ok(Request::Serve(config) | Request::Check(config)) => serve(*config),
        Err(refusal) => {
            eprintln!("mcpulse-proxy: {refusal}");
            return ExitCode::from(refusal.exit_code());
        }
    };
    result.unwrap_or_else(|error| {
        eprintln!("mcpulse-proxy: {error:#}");
        ExitCode::FAILURE
    })
}

fn show(text: &str) -> anyhow::Result<ExitCode> {
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn serve(config: Config) -> anyhow::Result<ExitCode> {
    telemetry::init(&config.log)?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(config.workers).enable_all().build()?;
    let result = runtime.block_on(app::run(config, std::env::vars_os().collect()));
    // A thread that still waits for standard input must not hold up the exit.
    runtime.shutdown_background();
    result
}
