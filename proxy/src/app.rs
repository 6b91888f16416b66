//! Composes everything; it alone knows every part. What is started last to first by the flow
//! (sinks, observer, tap, relay) ends first to last, all of it by the shutdown's deadline.

use std::{ffi::OsString, pin::pin, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context;
use tokio::net::TcpListener;

use crate::{
    bind::bind,
    config::{Command, Config, Listen, Remote, Upstream},
    platform::{self, Hangup, Orphans, STRAYS, Stop},
    ready::Ready,
    relay::{
        bridge::{Bridge, STOPPING},
        http::{self, HttpRelay, Listener},
        remote::RemoteSession,
        site::Site,
        stdio::{Client, Session},
    },
    shutdown::Shutdown,
    sink::veil,
    traffic::HttpTransport,
};

mod figures;
pub mod process;
mod reporting;

use reporting::Reporting;

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

/// Runs the proxy until its client or server ends, or a signal does it. `environment` is what
/// a child inherits, `lost` counts what the process had to drop of what it says of itself; the
/// code is the child's own in stdio mode.
///
/// # Errors
/// When the proxy cannot start: an address is taken, a file is of no use, the server cannot be
/// started.
pub async fn run(
    config: Config,
    environment: Vec<(OsString, OsString)>,
    lost: Lost,
) -> anyhow::Result<ExitCode> {
    let (ready, shutdown) = (Ready::default(), Shutdown::default());
    let reporting = Reporting::start(&config, &ready, &shutdown).await?;
    reporting.show_lost(lost)?;
    let process = Running { config: &config, ready, shutdown, reporting: &reporting };
    let result = match (&config.upstream, &config.listen) {
        (Upstream::Stdio(command), None) => process.stdio(command, environment).await,
        (Upstream::Http(remote), Some(listen)) => {
            process.http(remote, listen, HttpTransport::Streamable).await
        }
        (Upstream::Sse(remote), Some(listen)) => {
            process.http(remote, listen, HttpTransport::LegacySse).await
        }
        (Upstream::Stdio(command), Some(listen)) => {
            process.bridge(command, environment, listen).await
        }
        (Upstream::Http(remote), None) => process.remote(remote, HttpTransport::Streamable).await,
        (Upstream::Sse(remote), None) => process.remote(remote, HttpTransport::LegacySse).await,
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
    reporting: &'a Reporting,
}

impl Running<'_> {
    async fn stdio(
        &self,
        command: &Command,
        environment: Vec<(OsString, OsString)>,
    ) -> anyhow::Result<ExitCode> {
        let session = Session {
            client: Client::of_process()?,
            command,
            environment,
            server_id: self.server_id(),
            tap: self.reporting.tap(),
            gate: self.ready.gate("server"),
            shutdown: &self.shutdown,
        };
        Ok(ExitCode::from(session.run(given_up()?).await?))
    }

    async fn http(
        &self,
        remote: &Remote,
        listen: &Listen,
        transport: HttpTransport,
    ) -> anyhow::Result<ExitCode> {
        let counters = Arc::<http::Counters>::default();
        self.reporting.show_relay(Arc::clone(&counters))?;
        let listener = Listener::new(listen, Arc::clone(&counters), self.shutdown.clone())?;
        let (server, clients) = (remote.clone(), listen.clone());
        let relay = HttpRelay::new(server, clients, transport, self.server_id(), counters)?;
        let socket = bound(listen).await?;
        let address = socket.local_addr()?;
        tracing::info!(%address, upstream = veil::address(&remote.url), "listening");
        let (tap, gate) = (self.reporting.tap().clone(), self.ready.gate("upstream"));
        let site = Site::of_remote(relay, address, tap, gate, self.shutdown.clone());
        self.until_stopped(site.serve(listener, socket), listen.drain_timeout, FLUSH).await
    }

    async fn remote(&self, remote: &Remote, transport: HttpTransport) -> anyhow::Result<ExitCode> {
        let counters = Arc::default();
        self.reporting.show_relay(Arc::clone(&counters))?;
        let session = RemoteSession {
            client: Client::of_process()?,
            remote,
            transport,
            server_id: self.server_id(),
            tap: self.reporting.tap(),
            gate: self.ready.gate("upstream"),
            shutdown: &self.shutdown,
            counters,
        };
        session.run(given_up()?).await?;
        Ok(ExitCode::SUCCESS)
    }

    async fn bridge(
        &self,
        command: &Command,
        environment: Vec<(OsString, OsString)>,
        listen: &Listen,
    ) -> anyhow::Result<ExitCode> {
        let counters = Arc::<http::Counters>::default();
        self.reporting.show_relay(Arc::clone(&counters))?;
        let listener = Listener::new(listen, Arc::clone(&counters), self.shutdown.clone())?;
        let (program, clients) = (command.clone(), listen.clone());
        let (orphans, id) = (Arc::new(Orphans::default()), self.server_id());
        let bridge = Bridge::new(program, environment, clients, id, counters, Arc::clone(&orphans));
        self.reporting.show_bridge(bridge.counters())?;
        let socket = bound(listen).await?;
        let address = socket.local_addr()?;
        tracing::info!(%address, program = veil::program(&command.program), "listening");
        let (tap, gate) = (self.reporting.tap().clone(), self.ready.gate("server"));
        let site = Site::of_program(bridge, address, tap, gate, self.shutdown.clone());
        let serving = orphans.beside(site.serve(listener, socket));
        let rest = STOPPING + STRAYS + FLUSH;
        self.until_stopped(serving, listen.drain_timeout, rest).await
    }

    /// Serves until a signal asks the process to end, and then for as long as that takes: at
    /// most for `drain`, which another signal cuts short, and then for `rest`.
    async fn until_stopped(
        &self,
        serving: impl Future<Output = ()>,
        drain: Duration,
        rest: Duration,
    ) -> anyhow::Result<ExitCode> {
        let (mut stop, mut hangup) = signals()?;
        let mut serving = pin!(serving);
        loop {
            tokio::select! {
                () = &mut serving => break,
                () = stop.next() => {
                    if self.shutdown.has_begun() {
                        self.shutdown.hasten(rest);
                    } else {
                        tracing::info!("draining; another signal cuts that short");
                        self.shutdown.begin(drain + rest);
                    }
                }
                () = hangup.next() => tracing::info!(
                    "SIGHUP changes nothing: keys, certificates and a rotated call log are \
                     noticed without it"
                ),
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn server_id(&self) -> Arc<str> {
        self.config.server_id.as_str().into()
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
