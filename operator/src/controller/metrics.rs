//! What the controller counts.

use std::{sync::Arc, time::Duration};

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use crate::crd::status::PodCounts;

/// What the controller counts.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    leading: IntGauge,
    pods: IntGaugeVec,
    missed: IntCounterVec,
    deeds: IntCounterVec,
    reconciles: IntCounterVec,
    reconcile_seconds: Histogram,
    status_writes: IntCounter,
    watch_failures: IntCounterVec,
}

impl Metrics {
    /// Makes them, and shows them in `registry`.
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Arc<Self>> {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            prometheus::Result::Ok(counters)
        };
        let metrics = Self {
            leading: IntGauge::new(
                "mcpulse_operator_leading",
                "1 on the replica that leads, 0 on the others.",
            )?,
            pods: IntGaugeVec::new(
                Opts::new("mcpulse_pods", "Pods of a McpServer, by what there is to say of them."),
                &["namespace", "server", "state"],
            )?,
            missed: counters(
                "mcpulse_pods_missed_total",
                "Pods that should have been created with the sidecar, and were not.",
                &["namespace", "server"],
            )?,
            deeds: counters(
                "mcpulse_rollout_actions_total",
                "What was done about pods that run: configure, upgrade, restart, evict.",
                &["action", "result"],
            )?,
            reconciles: counters(
                "mcpulse_reconciles_total",
                "How often a McpServer was looked at, and how that ended.",
                &["result"],
            )?,
            reconcile_seconds: Histogram::with_opts(HistogramOpts::new(
                "mcpulse_reconcile_duration_seconds",
                "How long that took.",
            ))?,
            status_writes: IntCounter::new(
                "mcpulse_status_writes_total",
                "How often the status of a McpServer was written.",
            )?,
            watch_failures: counters(
                "mcpulse_watch_failures_total",
                "How often a watch failed, by the kind that it is for.",
                &["kind"],
            )?,
        };
        registry.register(Box::new(metrics.leading.clone()))?;
        registry.register(Box::new(metrics.pods.clone()))?;
        registry.register(Box::new(metrics.reconcile_seconds.clone()))?;
        registry.register(Box::new(metrics.status_writes.clone()))?;
        Ok(Arc::new(metrics))
    }

    /// This replica leads, or does not. One that does not knows of no pods.
    pub(super) fn leading(&self, leads: bool) {
        self.leading.set(leads.into());
        if !leads {
            self.pods.reset();
        }
    }

    /// What is counted of the pods of a `McpServer`.
    pub(super) fn pods(&self, namespace: &str, server: &str, counts: &PodCounts, missed: usize) {
        for (state, count) in states(counts, missed) {
            self.pods.with_label_values(&[namespace, server, state]).set(count);
        }
    }

    /// The `McpServer` is gone.
    pub(super) fn forget(&self, namespace: &str, server: &str) {
        for (state, _) in states(&PodCounts::default(), 0) {
            let _ = self.pods.remove_label_values(&[namespace, server, state]);
        }
        let _ = self.missed.remove_label_values(&[namespace, server]);
    }

    /// So many pods were missed.
    pub(super) fn missed(&self, namespace: &str, server: &str, pods: u64) {
        self.missed.with_label_values(&[namespace, server]).inc_by(pods);
    }

    /// Something was done about pods.
    pub(super) fn deed(&self, action: &str, result: &str) {
        self.deeds.with_label_values(&[action, result]).inc();
    }

    /// A `McpServer` was looked at.
    pub(super) fn reconciled(&self, result: &str, took: Duration) {
        self.reconciles.with_label_values(&[result]).inc();
        self.reconcile_seconds.observe(took.as_secs_f64());
    }

    /// A status was written.
    pub(super) fn status_written(&self) {
        self.status_writes.inc();
    }

    /// A watch failed.
    pub(super) fn watch_failed(&self, kind: &str) {
        self.watch_failures.with_label_values(&[kind]).inc();
    }
}

fn states(counts: &PodCounts, missed: usize) -> [(&'static str, i64); 8] {
    [
        ("matched", counts.matched.into()),
        ("injected", counts.injected.into()),
        ("ready", counts.ready.into()),
        ("up_to_date", counts.up_to_date.into()),
        ("outdated", counts.outdated.into()),
        ("skipped", counts.skipped.into()),
        ("failing", counts.failing.into()),
        ("missed", i64::try_from(missed).unwrap_or(i64::MAX)),
    ]
}
