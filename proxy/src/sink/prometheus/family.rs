//! Metric families by name, and a collector for those whose values are read at the scrape.

use std::{collections::HashMap, fmt};

use prometheus::{
    core::{Collector, Desc},
    proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType},
};

/// What the documentation says about a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// Its type.
    pub kind: Kind,
    /// Its name, with the unit and `_total` where Prometheus asks for them.
    pub name: &'static str,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// One sentence, shown as `# HELP`.
    pub help: &'static str,
}

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Observations in buckets.
    Histogram,
}

impl Kind {
    /// As `# TYPE` spells it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

impl Family {
    /// A counter.
    pub const fn counter(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self { kind: Kind::Counter, name, labels, help }
    }

    /// A gauge.
    pub const fn gauge(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self { kind: Kind::Gauge, name, labels, help }
    }

    pub(super) fn desc(&self) -> prometheus::Result<Desc> {
        let labels = self.labels.iter().map(ToString::to_string).collect();
        Desc::new(self.name.to_owned(), self.help.to_owned(), labels, HashMap::new())
    }

    /// The family with these samples: label values in the order of `labels`, and a value.
    pub(super) fn filled<'a, L>(&self, samples: impl IntoIterator<Item = (L, f64)>) -> MetricFamily
    where
        L: IntoIterator<Item = &'a str>,
    {
        let metrics = samples.into_iter().map(|(values, value)| {
            let mut labels: Vec<_> =
                self.labels.iter().zip(values).map(|(name, value)| pair(name, value)).collect();
            labels.sort();
            self.metric(labels, value)
        });
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(match self.kind {
            Kind::Counter => MetricType::COUNTER,
            Kind::Gauge | Kind::Histogram => MetricType::GAUGE,
        });
        family.set_metric(metrics.collect());
        family
    }

    fn metric(&self, labels: Vec<LabelPair>, value: f64) -> Metric {
        let mut metric = Metric::from_label(labels);
        if self.kind == Kind::Counter {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        metric
    }
}

fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

/// A whole number as Prometheus has it.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
pub(super) fn figure(number: u64) -> f64 {
    number as f64
}

/// Reads its families together, once a scrape, so that they agree with each other.
pub(super) struct Scraped<F> {
    descs: Vec<Desc>,
    read: F,
}

impl<F: Fn() -> Vec<MetricFamily> + Send + Sync> Scraped<F> {
    pub(super) fn new(descs: Vec<Desc>, read: F) -> Self {
        Self { descs, read }
    }
}

impl<F: Fn() -> Vec<MetricFamily> + Send + Sync> Collector for Scraped<F> {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        (self.read)()
    }
}

impl<F> fmt::Debug for Scraped<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scraped").field("descs", &self.descs).finish_non_exhaustive()
    }
}
