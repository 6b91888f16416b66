//! `mcpulse-proxy check`: is the client of a proxy that runs as it would, and says in plain
//! words what works. It changes nothing: the server is asked for no more than who it is,
//! MCPulse and the collector are sent an empty batch, and files are tried and left as they were.

use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

use crate::{
    bind::bind,
    config::{Command, Config, Listen, Served, Upstream},
    relay::bridge,
    sink::{log, mcpulse, otel, veil},
    tls,
    traffic::HttpTransport,
};

mod hello;
mod http;
mod stdio;

/// Looks at everything that the configuration names, and tells on standard output of each as
/// it comes. `environment` is what the server inherits. The code is that of success when all
/// of it works.
///
/// # Errors
/// When standard output takes no more.
pub async fn run(
    config: Config,
    environment: Vec<(OsString, OsString)>,
) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    let mut tell = |subject: &str, news: Result<String, String>| {
        let (verdict, news) = match news {
            Ok(news) => ("works", news),
            Err(news) => {
                code = ExitCode::FAILURE;
                ("FAILS", news)
            }
        };
        let news = veil::said(&news, &config);
        match writeln!(io::stdout(), "{verdict}  {subject}: {news}") {
            // Whoever reads has seen enough; the code still tells.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    };
    let ids: Vec<&str> = config.served.all().iter().map(|server| &*server.server_id).collect();
    let settings = match (&config.served, ids.join(", ")) {
        (Served::One(_), id) => format!("the server id is {id}"),
        (Served::Several { .. }, ids) => format!("the server ids are {ids}"),
    };
    tell("settings", Ok(settings))?;
    for server in config.served.all() {
        let subject = match config.served {
            Served::One(_) => "server",
            Served::Several { .. } => &format!("server {}", server.server_id),
        };
        let answer = match &server.upstream {
            Upstream::Stdio(Command { socket: Some(socket), .. }) => bridge::look(socket).await,
            Upstream::Stdio(command) => stdio::ask(command, environment.clone()).await,
            Upstream::Http(remote) => http::ask(remote, HttpTransport::Streamable).await,
            Upstream::Sse(remote) => http::ask(remote, HttpTransport::LegacySse).await,
        };
        tell(subject, answer)?;
    }
    if let Some(listen) = &config.listen {
        tell("listener", can_listen(listen).await)?;
    }
    if let Some(address) = &config.metrics_listen {
        tell("metrics", can_bind(address).await)?;
    }
    let reports = if config.mcpulse.enabled() {
        mcpulse::check(&config.mcpulse).await
    } else {
        Ok("off, as --mcpulse-url none says".to_owned())
    };
    tell("MCPulse", reports)?;
    if let Some(folder) = &config.mcpulse.spool_dir {
        tell("spool", mcpulse::check_spool(folder))?;
    }
    if config.otel.endpoint.is_some() {
        tell("OpenTelemetry", otel::check(&config.otel).await)?;
    }
    if let Some(target) = &config.call_log {
        tell("call log", log::check(target))?;
    }
    Ok(code)
}

async fn can_listen(listen: &Listen) -> Result<String, String> {
    if let Some(files) = &listen.tls {
        tls::Acceptor::new(files).map_err(|error| error.to_string())?;
    }
    can_bind(&listen.address).await
}

async fn can_bind(address: &str) -> Result<String, String> {
    match bind(address).await {
        Ok(_) => Ok(format!("{address} is free")),
        Err(error) => Err(format!("{address} cannot be had: {error}")),
    }
}
