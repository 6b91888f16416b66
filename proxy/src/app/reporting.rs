//! Everything behind the tap: observer, sinks, exporters, and the listener that shows them.

use std::sync::Arc;

use anyhow::Context;
use tokio::task::{JoinHandle, JoinSet};

use super::{Lost, figures, reload::Reloads, tally::Tallies};
use crate::{
    admin::{self, Ends},
    config::Config,
    observe::Observer,
    ready::Ready,
    shutdown::{Drain, Shutdown},
    sink::{self, Exporter, Ledger, Metrics, Sinks},
    tap::Tap,
};

/// The observing side of the process, at work.
pub(super) struct Reporting {
    tap: Tap,
    metrics: Arc<Metrics>,
    tallies: Tallies,
    observing: JoinHandle<()>,
    exporting: JoinSet<()>,
    /// Answers until the end of the process, so that a drain can be watched.
    admin: Option<JoinHandle<()>>,
}

impl Reporting {
    /// Starts everything that the configuration asks for.
    pub(super) async fn start(
        config: &Config,
        ready: &Ready,
        shutdown: &Shutdown,
        drain: &Drain,
    ) -> anyhow::Result<Self> {
        let ledger = Arc::new(Ledger::default());
        let metrics = Arc::new(Metrics::new(&ledger, config.limits.tools)?);
        let mut exporting = JoinSet::new();
        let offers = exporters(config, &ledger, shutdown)?
            .into_iter()
            .map(|Exporter { offer, task }| {
                exporting.spawn(async {
                    if let Err(error) = task.await {
                        tracing::error!("an exporter ended early: {error}");
                    }
                });
                offer
            })
            .collect();
        let sinks = Sinks::new(Arc::clone(&metrics), ledger, offers);
        let observer = Observer::new(sinks, config.limits.clone());
        let (tap, observed) = Tap::new(usize::try_from(config.limits.tap_bytes)?);
        figures::show_tap(&metrics, &tap)?;
        figures::show_observer(&metrics, observer.counters())?;
        let tallies = Tallies::default();
        figures::show_servers(&metrics, &tallies)?;
        let observing = tokio::spawn(observed.run(observer));
        figures::show_pod(&metrics, &config.otel.resource_attributes)?;
        let ends = Ends { shutdown: shutdown.clone(), drain: Some(drain.clone()) };
        let admin = admin(config, &metrics, ready, ends).await?;
        Ok(Self { tap, metrics, tallies, observing, exporting, admin })
    }

    /// Where relays show what passes.
    pub(super) fn tap(&self) -> &Tap {
        &self.tap
    }

    /// Shows what was dropped of what the process says of itself.
    pub(super) fn show_lost(&self, lost: Lost) -> anyhow::Result<()> {
        Ok(figures::show_lost(&self.metrics, lost)?)
    }

    /// The counters of the servers, which are shown.
    pub(super) fn tallies(&self) -> &Tallies {
        &self.tallies
    }

    /// Shows what came of reading the configuration again.
    pub(super) fn show_reloads(&self, reloads: &Arc<Reloads>) -> anyhow::Result<()> {
        Ok(figures::show_reloads(&self.metrics, reloads)?)
    }

    /// Shows what the listener counts.
    pub(super) fn show_listener(&self) -> anyhow::Result<()> {
        Ok(figures::show_listener(&self.metrics, &self.tallies)?)
    }

    /// Waits until everything observed is settled, at most until the deadline of `shutdown`,
    /// which has begun. The relays have ended.
    pub(super) async fn finish(mut self, shutdown: &Shutdown) {
        self.tap.close();
        let settled = async {
            // Both only fail by a panic, which the hook has reported.
            let _ = (&mut self.observing).await;
            while self.exporting.join_next().await.is_some() {}
        };
        tokio::select! {
            () = settled => {}
            () = shutdown.expired() => tracing::warn!("not everything was reported in time"),
        }
        if let Some(admin) = self.admin {
            admin.abort();
        }
    }
}

fn exporters(
    config: &Config,
    ledger: &Arc<Ledger>,
    shutdown: &Shutdown,
) -> anyhow::Result<Vec<Exporter>> {
    let mut exporters = Vec::new();
    if config.mcpulse.enabled() {
        let account = ledger.account("mcpulse");
        let attributes = &config.otel.resource_attributes;
        let exporter = sink::mcpulse::start(&config.mcpulse, attributes, account, shutdown.clone());
        exporters.push(exporter.context("report to MCPulse")?);
    }
    if config.otel.endpoint.is_some() {
        let account = ledger.account("otel");
        let exporter = sink::otel::start(&config.otel, account, shutdown.clone());
        exporters.push(exporter.context("report to the OpenTelemetry collector")?);
    }
    if let Some(target) = &config.call_log {
        let (account, capture) = (ledger.account("log"), config.mcpulse.capture);
        let exporter = sink::log::start(target, capture, account, shutdown.clone());
        exporters.push(exporter.context("keep the call log")?);
    }
    Ok(exporters)
}

async fn admin(
    config: &Config,
    metrics: &Arc<Metrics>,
    ready: &Ready,
    ends: Ends,
) -> anyhow::Result<Option<JoinHandle<()>>> {
    let Some(address) = &config.metrics_listen else { return Ok(None) };
    let Some(listener) = admin::bind(address, config.listen.is_none()).await? else {
        return Ok(None);
    };
    tracing::info!(address = %listener.local_addr()?, "metrics");
    let metrics = Arc::clone(metrics);
    let render = Arc::new(move || metrics.render());
    let serving = admin::serve(listener, render, ready.clone(), ends);
    Ok(Some(tokio::spawn(serving)))
}
