//! Composes everything; it alone knows every part. What is started last to first by the flow
//! (sinks, observer, tap, relay) ends first to last, all of it by the shutdown's deadline.

use std::{ffi::OsString, net::SocketAddr, pin::pin, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, anyhow};
use tokio::net::TcpListener;

use crate::{
    bind::bind,
    cli::Reread,
    config::{Config, Listen, Remote, Served, Server, Upstream},
    platform::{self, Hangup, Orphans, STRAYS, Stop},
    ready::Ready,
    relay::{
        bridge::STOPPING,
        http::Listener,
        remote::RemoteSession,
        stdio::{Client, Session},
    },
    shutdown::{Drain, Shutdown},
    sink::veil,
    traffic::HttpTransport,
};

mod delivery;
mod drain;
mod figures;
mod plan;
pub mod process;
mod reload;
mod reporting;
mod servers;
mod tally;

use reload::{Cause, Reload};
use reporting::Reporting;
use servers::Servers;

/// What the sinks have left after the last exchange has been drained.
const FLUSH: Duration = Duration::from_secs(3);

/// Reads a figure that only grows.
pub type Figure = Box<dyn Fn() -> u64 + Send + Sync>;

/// What was dropped since the start of what the process says of itself.
pub struct Lost {
    /// Lines of the log.
    pub lines: Figure,
    /// The proxy's own spans.
    pub spans: Figure,
}

/// Runs the proxy until its client or server ends, or a signal does it. With a listener,
/// `reread` is followed while it runs. `environment` is what a child inherits, `lost` counts what
/// the process had to drop of what it says of itself; the code is the child's own in stdio mode.
///
/// # Errors
/// When the proxy cannot start: an address is taken, a file is of no use, the server cannot be
/// started.
pub async fn run(
    config: Config,
    reread: Option<Reread>,
    environment: Vec<(OsString, OsString)>,
    lost: Lost,
) -> anyhow::Result<ExitCode> {
    // Before `/healthz` answers, for which the server's container waits.
    if let Some(place) = &config.install_shim {
        delivery::deliver(place)?;
    }
    let (ready, shutdown) = (Ready::default(), Shutdown::default());
    let drain = Drain::default();
    let reporting = Reporting::start(&config, &ready, &shutdown, &drain).await?;
    reporting.show_lost(lost)?;
    let process = Running { config: &config, ready, shutdown, drain, reporting: &reporting };
    let result = match (&config.listen, &config.served) {
        (Some(listen), _) => process.listen(listen, environment, reread).await,
        (None, Served::One(server)) => process.converse(server, environment).await,
        (None, Served::Several { .. }) => Err(anyhow!("several servers need a listener")),
    };
    let shutdown = process.shutdown.clone();
    shutdown.begin(FLUSH);
    reporting.finish(&shutdown).await;
    result
}

struct Running<'a> {
    config: &'a Config,
    ready: Ready,
    shutdown: Shutdown,
    drain: Drain,
    reporting: &'a Reporting,
}

impl Running<'_> {
    /// Serves the client on standard streams.
    async fn converse(
        &self,
        server: &Server,
        environment: Vec<(OsString, OsString)>,
    ) -> anyhow::Result<ExitCode> {
        let server_id = Arc::from(&*server.server_id);
        match &server.upstream {
            Upstream::Stdio(command) => {
                let session = Session {
                    client: Client::of_process()?,
                    command,
                    environment,
                    server_id,
                    tap: self.reporting.tap(),
                    gate: self.ready.gate("server"),
                    shutdown: &self.shutdown,
                };
                Ok(ExitCode::from(session.run(given_up()?).await?))
            }
            Upstream::Http(remote) => {
                self.remote(server_id, remote, HttpTransport::Streamable).await
            }
            Upstream::Sse(remote) => self.remote(server_id, remote, HttpTransport::LegacySse).await,
        }
    }

    async fn remote(
        &self,
        server_id: Arc<str>,
        remote: &Remote,
        transport: HttpTransport,
    ) -> anyhow::Result<ExitCode> {
        let session = RemoteSession {
            client: Client::of_process()?,
            remote,
            transport,
            counters: self.reporting.tallies().http(&server_id),
            server_id,
            tap: self.reporting.tap(),
            gate: self.ready.gate("upstream"),
            watched: self.config.metrics_listen.is_some(),
            shutdown: &self.shutdown,
        };
        session.run(given_up()?).await?;
        Ok(ExitCode::SUCCESS)
    }

    /// Serves the clients of a listener until a signal asks the process to end, and then for as
    /// long as that takes: at most for the drain, which another signal cuts short, and for what
    /// comes after it.
    async fn listen(
        &self,
        listen: &Listen,
        environment: Vec<(OsString, OsString)>,
        reread: Option<Reread>,
    ) -> anyhow::Result<ExitCode> {
        self.reporting.show_listener()?;
        let mut reload = reread.map(|reread| Reload::new(reread, self.config.clone()));
        if let Some(reload) = &reload {
            self.reporting.show_reloads(&reload.counters())?;
        }
        let of_clients = self.reporting.tallies().listener();
        let listener = Listener::new(listen, of_clients, self.shutdown.clone())?;
        let (mut stop, mut hangup) = signals()?;
        let socket = bound(listen).await?;
        let address = socket.local_addr()?;
        let (ready, shutdown) = (self.ready.clone(), self.shutdown.clone());
        let orphans = Arc::new(Orphans::adopt());
        let of_servers = Arc::clone(&orphans);
        let mut servers = Servers::none(
            self.reporting,
            ready,
            environment,
            listen,
            address,
            shutdown,
            of_servers,
        );
        servers.replace(&self.config.served).map_err(|mut wrong| wrong.remove(0))?;
        announce(address, &self.config.served);
        let router = Arc::clone(&servers.router);
        let serving = async {
            let mut serving = pin!(router.serve(listener, socket));
            loop {
                let cause = tokio::select! {
                    () = &mut serving => break,
                    () = stop.next() => {
                        let strays = if servers.has_programs() { STRAYS } else { Duration::ZERO };
                        let rest = STOPPING + strays + FLUSH;
                        if self.shutdown.has_begun() {
                            self.shutdown.hasten(rest);
                        } else {
                            tracing::info!("draining; another signal cuts that short");
                            self.shutdown.begin(listen.drain_timeout + rest);
                        }
                        continue;
                    }
                    () = self.drain.begun(), if !servers.drains() => {
                        tracing::info!("no session begins any more; others finish their calls");
                        servers.drain();
                        continue;
                    }
                    () = hangup.next() => Cause::Signal,
                    () = changed(reload.as_mut()), if !self.shutdown.has_begun() => Cause::Change,
                };
                match &mut reload {
                    _ if self.shutdown.has_begun() => {}
                    Some(reload) => reload.reload(&mut servers, cause).await,
                    None => tracing::info!(
                        "SIGHUP changes nothing without a file of run: keys, certificates and a \
                     rotated call log are noticed without it"
                    ),
                }
            }
            servers.end().await;
        };
        orphans.beside(serving).await;
        Ok(ExitCode::SUCCESS)
    }
}

/// Completes when the file that is followed has changed.
async fn changed(reload: Option<&mut Reload>) {
    match reload {
        Some(reload) => reload.changed().await,
        None => std::future::pending().await,
    }
}

fn announce(address: SocketAddr, served: &Served) {
    match served {
        Served::One(Server { upstream: Upstream::Stdio(command), .. }) => {
            if let Some(socket) = &command.socket {
                tracing::info!(%address, shim = %socket.display(), "listening");
            } else {
                tracing::info!(%address, program = veil::program(&command.program), "listening");
            }
        }
        Served::One(Server {
            upstream: Upstream::Http(remote) | Upstream::Sse(remote), ..
        }) => {
            tracing::info!(%address, upstream = veil::address(&remote.url), "listening");
        }
        Served::Several { servers } => {
            let ids: Vec<&str> = servers.iter().map(|server| &*server.server_id).collect();
            tracing::info!(%address, servers = ids.join(", "), "listening");
        }
    }
}

async fn bound(listen: &Listen) -> anyhow::Result<TcpListener> {
    if let Err(error) = platform::raise_file_limit() {
        tracing::debug!("raise the limit of open files: {error}");
    }
    bind(&listen.address).await.with_context(|| format!("listen on {}", listen.address))
}

/// What ends the session of a client on standard streams: a signal to end, or the loss of the
/// terminal at which this was started, and with it of the client. Caught from now on.
fn given_up() -> anyhow::Result<impl Future<Output = ()>> {
    let (mut stop, mut hangup) = signals()?;
    Ok(async move {
        tokio::select! {
            () = stop.next() => {}
            () = hangup.next() => {}
        }
    })
}

/// What asks the process to end, and what asks nothing of a server. Both are caught from now on.
fn signals() -> anyhow::Result<(Stop, Hangup)> {
    let signals = Stop::catch().and_then(|stop| Ok((stop, Hangup::catch()?)));
    signals.context("listen for signals")
}
