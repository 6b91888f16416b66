//! What was observed, as Prometheus metrics. The registry is the process's own and every
//! label value comes from a bounded set.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::{Instant, SystemTime},
};

use ::prometheus::{
    HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use self::{
    family::{Scraped, figure},
    series::{Families, Series},
};
use super::{Ledger, lock};
use crate::record::Call;

mod books;
mod family;
mod labels;
mod process;
mod series;

pub use ::prometheus::{Error, Result, TEXT_FORMAT};
pub use family::{Family, Kind};

/// `mcp.server.operation.duration` of the OpenTelemetry conventions for MCP, with the
/// boundaries that they advise.
const DURATION: Family = Family {
    kind: Kind::Histogram,
    name: "mcp_server_operation_duration_seconds",
    labels: &[
        "mcpulse_server_id",
        "mcp_method_name",
        "gen_ai_tool_name",
        "error_type",
        "mcp_protocol_version",
    ],
    help: "From a request to its outcome, as the proxy saw them pass; all methods.",
};
const DURATION_BUCKETS: [f64; 14] =
    [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];

const UNMEASURED: Family = Family::counter(
    "mcpulse_operations_unmeasured_total",
    &["mcpulse_server_id", "mcp_method_name", "outcome"],
    "Requests that are not in the histogram: input_required, task, other, unobserved.",
);
const BYTES: Family = Family::counter(
    "mcpulse_call_bytes_total",
    &["mcpulse_server_id", "gen_ai_tool_name", "message"],
    "Bytes of the messages of tool calls: request or response.",
);
const TOOLS: Family = Family::gauge(
    "mcpulse_tools_with_series",
    &["mcpulse_server_id"],
    "Tools that have series of their own.",
);
const FOLDED: Family = Family::counter(
    "mcpulse_labels_folded_total",
    &["label"],
    "Requests whose own value of this label was replaced by the one that stands for many.",
);
const IN_FLIGHT: Family = Family::gauge(
    "mcpulse_calls_in_flight",
    &["mcpulse_server_id"],
    "Tool calls without an outcome yet.",
);
const OLDEST: Family = Family::gauge(
    "mcpulse_oldest_call_seconds",
    &["mcpulse_server_id"],
    "Age of the oldest tool call without an outcome; 0 when there is none.",
);
const BUILD: Family =
    Family::gauge("mcpulse_build_info", &["version"], "1, with the version of the proxy.");

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    catalogue: Mutex<BTreeMap<&'static str, Family>>,
    series: Mutex<Series>,
    flights: Arc<Mutex<Flights>>,
}

/// Calls in flight and when the oldest began, by server.
type Flights = HashMap<Arc<str>, (usize, Option<Instant>)>;

impl Metrics {
    /// Metrics that show `ledger` and give series of their own to `tools` tools a server.
    ///
    /// # Errors
    /// When a name is malformed or taken, which is a mistake in the program.
    pub fn new(ledger: &Arc<Ledger>, tools: usize) -> Result<Self> {
        let kinds = series::Kinds::default();
        let flights = Arc::<Mutex<Flights>>::default();
        let counter =
            |family: Family| IntCounterVec::new(Opts::new(family.name, family.help), family.labels);
        let families = Families {
            durations: HistogramVec::new(
                HistogramOpts::new(DURATION.name, DURATION.help).buckets(DURATION_BUCKETS.to_vec()),
                DURATION.labels,
            )?,
            unmeasured: counter(UNMEASURED)?,
            bytes: counter(BYTES)?,
            tools: IntGaugeVec::new(Opts::new(TOOLS.name, TOOLS.help), TOOLS.labels)?,
            folded: counter(FOLDED)?,
        };
        let registered: [(Family, Box<dyn Collector>); 5] = [
            (DURATION, Box::new(families.durations.clone())),
            (UNMEASURED, Box::new(families.unmeasured.clone())),
            (BYTES, Box::new(families.bytes.clone())),
            (TOOLS, Box::new(families.tools.clone())),
            (FOLDED, Box::new(families.folded.clone())),
        ];
        let metrics = Self {
            registry: Registry::new(),
            catalogue: Mutex::default(),
            series: Mutex::new(Series::new(families, Arc::clone(&kinds), tools)),
            flights: Arc::clone(&flights),
        };
        for (family, collector) in registered {
            metrics.registry.register(collector)?;
            metrics.list_families(&[family]);
        }
        let ledger = Arc::clone(ledger);
        metrics.scrape(&books::FAMILIES, move || books::read(&ledger, &kinds))?;
        metrics.scrape(&[IN_FLIGHT, OLDEST], move || read_flights(&flights))?;
        let started = SystemTime::now();
        metrics.scrape(&process::FAMILIES, move || process::read(started))?;
        let build = BUILD.filled([([env!("CARGO_PKG_VERSION")], 1.0)]);
        metrics.scrape(&[BUILD], move || vec![build.clone()])?;
        Ok(metrics)
    }

    /// Shows figures that another part keeps: `read` is called at every scrape and returns
    /// samples, each the label values in the order of `family.labels` and the figure.
    ///
    /// # Errors
    /// When the name is malformed or taken.
    pub fn pull<L: AsRef<str>, const LABELS: usize>(
        &self,
        family: Family,
        read: impl Fn() -> Vec<([L; LABELS], u64)> + Send + Sync + 'static,
    ) -> Result<()> {
        self.scrape(&[family], move || {
            let samples = read();
            let filled = samples
                .iter()
                .map(|(labels, number)| (labels.iter().map(AsRef::as_ref), figure(*number)));
            vec![family.filled(filled)]
        })
    }

    /// Every metric, by name.
    pub fn catalogue(&self) -> Vec<Family> {
        lock(&self.catalogue).values().copied().collect()
    }

    /// The text that Prometheus scrapes, of type [`TEXT_FORMAT`].
    ///
    /// # Errors
    /// When a family is malformed, which is a mistake in the program.
    pub fn render(&self) -> Result<String> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    /// Counts a request; for a tool call, returns the kind that the ledger counts it under.
    pub(super) fn count(&self, call: &Call) -> Option<usize> {
        lock(&self.series).count(call)
    }

    /// The server has these tools.
    pub(super) fn list(&self, server_id: &Arc<str>, names: &[&str]) {
        lock(&self.series).list(server_id, names);
    }

    /// Tool calls of the server that have no outcome, and when the oldest began.
    pub(super) fn in_flight(&self, server_id: &Arc<str>, calls: usize, oldest: Option<Instant>) {
        let mut flights = lock(&self.flights);
        match flights.get_mut(server_id) {
            Some(flight) => *flight = (calls, oldest),
            None => drop(flights.insert(Arc::clone(server_id), (calls, oldest))),
        }
    }

    fn scrape(
        &self,
        families: &[Family],
        read: impl Fn() -> Vec<MetricFamily> + Send + Sync + 'static,
    ) -> Result<()> {
        let descs = families.iter().map(Family::desc).collect::<Result<Vec<Desc>>>()?;
        self.registry.register(Box::new(Scraped::new(descs, read)))?;
        self.list_families(families);
        Ok(())
    }

    fn list_families(&self, families: &[Family]) {
        lock(&self.catalogue).extend(families.iter().map(|family| (family.name, *family)));
    }
}

fn read_flights(flights: &Mutex<Flights>) -> Vec<MetricFamily> {
    let flights = lock(flights).clone();
    let age = |oldest: Option<Instant>| oldest.map_or(0.0, |at| at.elapsed().as_secs_f64());
    let count = |calls| f64::from(u32::try_from(calls).unwrap_or(u32::MAX));
    vec![
        IN_FLIGHT.filled(flights.iter().map(|(id, (calls, _))| ([&**id], count(*calls)))),
        OLDEST.filled(flights.iter().map(|(id, (_, oldest))| ([&**id], age(*oldest)))),
    ]
}

#[cfg(test)]
mod tests;
