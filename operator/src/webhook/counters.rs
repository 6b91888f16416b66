//! What the webhook counts.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, IntCounterVec, Opts, Registry};

/// What the webhook counts.
#[derive(Clone, Debug)]
pub struct Counters {
    injections: IntCounterVec,
    time: Histogram,
}

impl Counters {
    /// Counters that `registry` shows.
    ///
    /// # Errors
    /// When it shows such counters already.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let injections = Opts::new(
            "mcpulse_injections_total",
            "Pods that the webhook was asked about, by what became of them and why",
        );
        let injections = IntCounterVec::new(injections, &["result", "reason"])?;
        let time = HistogramOpts::new(
            "mcpulse_injection_duration_seconds",
            "Time that the webhook took to answer",
        );
        let time = time.buckets(vec![0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0]);
        let time = Histogram::with_opts(time)?;
        registry.register(Box::new(injections.clone()))?;
        registry.register(Box::new(time.clone()))?;
        Ok(Self { injections, time })
    }

    pub(super) fn count(&self, result: &str, reason: &str, took: Duration) {
        self.injections.with_label_values(&[result, reason]).inc();
        self.time.observe(took.as_secs_f64());
    }
}
