//! `mcpulse-proxy`: parse, then telemetry, then the runtime, then the proxy, then an exit code.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use mcpulse_proxy::{
    app::{self, Figure, Lost},
    check,
    cli::{self, Environment, Request, Start},
    config::{Config, problem::Refusal},
    sink::otel::OwnSpans,
    telemetry,
};
use tokio::runtime::{Builder, Runtime};

fn main() -> ExitCode {
    let result = match cli::read(std::env::args_os(), &Environment::of_process()) {
        Ok(Request::Show(text)) => show(&text),
        Ok(Request::Serve(start)) => serve(start),
        Ok(Request::Check(start)) => check(start),
        Err(refusal) => Err(refusal.into()),
    };
    result.unwrap_or_else(|error| {
        // Nobody may be listening.
        let _ = writeln!(io::stderr(), "mcpulse-proxy: {error:#}");
        error.downcast_ref().map_or(ExitCode::FAILURE, Refusal::exit_code)
    })
}

fn show(text: &str) -> anyhow::Result<ExitCode> {
    io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn serve(start: Start) -> anyhow::Result<ExitCode> {
    let config = *start.config;
    let runtime = runtime(&config)?;
    let own_spans = {
        let _within = runtime.enter();
        own_spans(&config)?
    };
    let log = telemetry::init(&config.log, own_spans.as_ref().map(OwnSpans::tracer))?;
    start.notices.iter().for_each(|notice| tracing::warn!("{notice}"));
    let inherited = std::env::vars_os().collect();
    let spans: Figure = match &own_spans {
        Some(own_spans) => Box::new(own_spans.lost()),
        None => Box::new(|| 0),
    };
    let lost = Lost { lines: Box::new(log.dropped()), spans };
    let result = runtime.block_on(app::run(config, inherited, lost));
    if let Some(own_spans) = own_spans {
        runtime.block_on(own_spans.finish());
    }
    // A thread that waits for standard input must not hold up the exit.
    runtime.shutdown_background();
    result
}

fn check(start: Start) -> anyhow::Result<ExitCode> {
    let config = *start.config;
    let runtime = runtime(&config)?;
    let _log = telemetry::init(&config.log, None)?;
    start.notices.iter().for_each(|notice| tracing::warn!("{notice}"));
    let result = runtime.block_on(check::run(config, std::env::vars_os().collect()));
    runtime.shutdown_background();
    result
}

fn runtime(config: &Config) -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(config.workers).enable_all().build()
}

fn own_spans(config: &Config) -> anyhow::Result<Option<OwnSpans>> {
    let otel = &config.otel;
    let wanted = otel.own_spans && otel.endpoint.is_some();
    Ok(wanted.then(|| OwnSpans::start(otel, &config.server_id)).transpose()?)
}
