//! Where calls are reported to, beside Prometheus.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Header, Secret, units};

/// Reporting to MCPulse.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Mcpulse {
    /// `HOST:PORT` or a URL; TLS for `https` and for port 443. `none` turns it off.
    pub url: String,
    /// Sent as `x-api-key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<Secret>,
    /// TLS whatever the URL says (`true`, `false`); by scheme and port when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<bool>,
    /// PEM file of certificate authorities to trust besides the built-in ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// What of a call's arguments and error texts is reported.
    pub capture: Capture,
    /// Calls that are sent together without waiting longer.
    pub batch_size: usize,
    /// Longest wait for a batch to fill up.
    #[serde(with = "units::duration")]
    pub flush_interval: Duration,
    /// Most calls in one request, when there is a backlog.
    pub batch_max: usize,
    /// Calls queued in memory while MCPulse is away, besides up to 3 batches.
    pub queue_calls: usize,
    /// Bytes queued in memory while MCPulse is away, besides up to 3 batches.
    #[serde(with = "units::size")]
    pub queue_bytes: u64,
    /// Longest wait for the answer to a batch.
    #[serde(with = "units::duration")]
    pub timeout: Duration,
    /// Directory in which calls wait for MCPulse across restarts; off when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spool_dir: Option<PathBuf>,
    /// Most bytes of its calls there, for each process.
    #[serde(with = "units::size")]
    pub spool_limit: u64,
}

impl Mcpulse {
    /// The value of `url` that turns the sink off.
    pub const OFF: &'static str = "none";

    /// Whether calls are reported to MCPulse at all.
    pub fn enabled(&self) -> bool {
        self.url != Self::OFF
    }
}

impl Default for Mcpulse {
    fn default() -> Self {
        Self {
            url: "localhost:50051".to_owned(),
            api_key: None,
            tls: None,
            ca_file: None,
            capture: Capture::default(),
            batch_size: 100,
            flush_interval: Duration::from_secs(2),
            batch_max: 1000,
            queue_calls: 10_000,
            queue_bytes: 8 << 20,
            timeout: Duration::from_secs(10),
            spool_dir: None,
            spool_limit: 64 << 20,
        }
    }
}

/// What of a call's arguments and error texts leaves the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Capture {
    /// Neither arguments nor error texts.
    None,
    /// Both, with secrets replaced by `[REDACTED]`.
    #[default]
    Redacted,
    /// Both as they are.
    Full,
}

/// Reporting to an OpenTelemetry collector over OTLP/gRPC; filled from the standard
/// `OTEL_*` variables.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Otel {
    /// URL of the collector; off when absent (`OTEL_EXPORTER_OTLP_ENDPOINT`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// PEM file of certificate authorities to trust besides the built-in ones
    /// (`OTEL_EXPORTER_OTLP_CERTIFICATE`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Metadata of every export (`OTEL_EXPORTER_OTLP_HEADERS`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<Header>,
    /// Longest wait for one export (`OTEL_EXPORTER_OTLP_TIMEOUT`).
    #[serde(with = "units::duration")]
    pub timeout: Duration,
    /// `service.name`; the server id when absent (`OTEL_SERVICE_NAME`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_name: Option<String>,
    /// Further resource attributes (`OTEL_RESOURCE_ATTRIBUTES`).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub resource_attributes: BTreeMap<String, String>,
    /// Share of calls that become spans where no parent decides, 0 to 1 (`--trace-sample`).
    pub sample: f64,
    /// Whether the sampled flag of a call's parent decides for it.
    pub follow_parent: bool,
    /// Whether calls that failed become spans whatever else says.
    pub keep_failed: bool,
    /// Whether the proxy's own spans are exported as well.
    pub own_spans: bool,
    /// Spans kept in memory while the collector is away.
    pub queue_calls: usize,
}

impl Default for Otel {
    fn default() -> Self {
        Self {
            endpoint: None,
            ca_file: None,
            headers: Vec::new(),
            timeout: Duration::from_secs(10),
            service_name: None,
            resource_attributes: BTreeMap::new(),
            sample: 1.0,
            follow_parent: true,
            keep_failed: true,
            own_spans: false,
            queue_calls: 10_000,
        }
    }
}
