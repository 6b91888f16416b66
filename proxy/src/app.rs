//! Composes everything; it alone knows every part. What is started last to first by the flow
//! (sinks, observer, tap, relay) ends first to last, all of it by the shutdown's deadline.

use std::{ffi::OsString, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, bail};

use crate::{
    bind::bind,
    config::{Command, Config, Listen, Remote, Upstream, secret::without_query},
    platform,
    ready::Ready,
    relay::{
        http::HttpRelay,
        stdio::{Client, Session},
    },
    shutdown::Shutdown,
    traffic::HttpTransport,
};

mod figures;
mod reporting;

use reporting::Reporting;

/// What the sinks have left after the last exchange has been drained.
const FLUSH: Duration = Duration::from_secs(3);

/// Runs the proxy until its client or server ends, or a signal does it. `environment` is what
/// a child inherits, `lost_lines` counts what the log had to drop; the code is the child's own
/// in stdio mode.
///
/// # Errors
/// When the proxy cannot start: an address is taken, a file is of no use, the server cannot be
/// started.
pub async fn run(
    config: Config,
    environment: Vec<(OsString, OsString)>,
    lost_lines: impl Fn() -> u64 + Send + Sync + 'static,
) -> anyhow::Result<ExitCode> {
    let (ready, shutdown) = (Ready::default(), Shutdown::default());
    let reporting = Reporting::start(&config, &ready, &shutdown).await?;
    reporting.show_log(lost_lines)?;
    let process = Running { config: &config, ready, shutdown, reporting: &reporting };
    let result = match (&config.upstream, &config.listen) {
        (Upstream::Stdio(command), None) => process.stdio(command, environment).await,
        (Upstream::Http(remote), Some(listen)) => {
            process.http(remote, listen, HttpTransport::Streamable).await
        }
        (Upstream::Sse(remote), Some(listen)) => {
            process.http(remote, listen, HttpTransport::LegacySse).await
        }
        (Upstream::Stdio(_), Some(_)) => bail!("a stdio server cannot be served over HTTP yet"),
        (_, None) => bail!("a remote server cannot be served on standard input and output yet"),
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
        let stop = platform::stop_signal().context("listen for signals")?;
        Ok(ExitCode::from(session.run(stop).await?))
    }

    async fn http(
        &self,
        remote: &Remote,
        listen: &Listen,
        transport: HttpTransport,
    ) -> anyhow::Result<ExitCode> {
        let relay = HttpRelay::new(remote.clone(), listen.clone(), transport, self.server_id())?;
        self.reporting.show_relay(relay.counters())?;
        let listener = bind(&listen.address).await.with_context(|| {
            format!("listen on {}; is another process using it?", listen.address)
        })?;
        let address = listener.local_addr()?;
        tracing::info!(%address, upstream = without_query(&remote.url), "listening");
        let stop = platform::stop_signal().context("listen for signals")?;
        let gate = self.ready.gate("upstream");
        let serving =
            relay.serve(listener, self.reporting.tap().clone(), gate, self.shutdown.clone());
        let mut serving = std::pin::pin!(serving);
        tokio::select! {
            result = &mut serving => result?,
            () = stop => {
                tracing::info!("draining");
                self.shutdown.begin(listen.drain_timeout + FLUSH);
                serving.await?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn server_id(&self) -> Arc<str> {
        self.config.server_id.as_str().into()
    }
}
