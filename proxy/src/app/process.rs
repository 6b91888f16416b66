//! The process around a proxy: its runtime, its log, its own spans, and its end.

use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

use tokio::runtime::{Builder, Runtime};

use super::{Figure, Lost, drain};
use crate::{
    check,
    cli::{CHAIN, Request, Start},
    config::{Config, Log},
    sink::otel::OwnSpans,
    telemetry,
};

/// The service of the proxy's own spans where no server id can be it.
const OWN_NAME: &str = "mcpulse-proxy";

/// Does what the command line asks for. `environment` is what a child inherits.
///
/// # Errors
/// When the proxy cannot start, or standard output takes no answer.
pub fn run(
    request: Request,
    mut environment: Vec<(OsString, OsString)>,
) -> anyhow::Result<ExitCode> {
    let mut inherit = |start: &Start| {
        environment.extend(start.chain.iter().map(|chain| (CHAIN.into(), chain.into())));
        std::mem::take(&mut environment)
    };
    match request {
        Request::Show(text) => match io::stdout().write_all(text.as_bytes()) {
            // Whoever reads has seen enough, as in `--help | head`.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(ExitCode::SUCCESS),
        },
        Request::Serve(start) => {
            let environment = inherit(&start);
            serve(start, environment)
        }
        Request::Check(start) => {
            let environment = inherit(&start);
            check(start, environment)
        }
        Request::Drain(config) => {
            runtime(&config)?.block_on(drain::ask(&config))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn serve(start: Start, environment: Vec<(OsString, OsString)>) -> anyhow::Result<ExitCode> {
    let config = *start.config;
    let runtime = runtime(&config)?;
    let own_spans = {
        let _within = runtime.enter();
        own_spans(&config)?
    };
    let log = telemetry::init(&config.log, own_spans.as_ref().map(OwnSpans::tracer))?;
    start.notices.iter().for_each(|notice| tracing::warn!("{notice}"));
    let spans: Figure = match &own_spans {
        Some(own_spans) => Box::new(own_spans.lost()),
        None => Box::new(|| 0),
    };
    let lost = Lost { lines: Box::new(log.dropped()), spans };
    let work = super::run(config, start.reread, environment, lost);
    // By a thread that carries what it wakes itself, and not by this one.
    let result = runtime.block_on(async { runtime.spawn(work).await })?;
    if let Some(own_spans) = own_spans {
        runtime.block_on(own_spans.finish());
    }
    // A thread that waits for standard input must not hold up the exit.
    runtime.shutdown_background();
    result
}

fn check(start: Start, environment: Vec<(OsString, OsString)>) -> anyhow::Result<ExitCode> {
    let config = *start.config;
    let runtime = runtime(&config)?;
    // What the relay's own look at the upstream says, the check says as well.
    let level = format!("{},mcpulse_proxy::relay::http::health=off", config.log.level);
    let _log = telemetry::init(&Log { level, ..config.log.clone() }, None)?;
    start.notices.iter().for_each(|notice| tracing::warn!("{notice}"));
    let result = runtime.block_on(check::run(config, environment));
    runtime.shutdown_background();
    result
}

fn runtime(config: &Config) -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(config.workers).enable_all().build()
}

fn own_spans(config: &Config) -> anyhow::Result<Option<OwnSpans>> {
    let otel = &config.otel;
    let wanted = otel.own_spans && otel.endpoint.is_some();
    Ok(wanted
        .then(|| OwnSpans::start(otel, config.served.sole_id().unwrap_or(OWN_NAME)))
        .transpose()?)
}
