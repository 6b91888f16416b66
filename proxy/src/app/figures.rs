//! What the parts count for themselves, shown as metrics: they know nothing of Prometheus.

use std::sync::Arc;

use super::Lost;
use crate::{
    observe::Counters as Observed,
    relay::{
        bridge::{
            self,
            counters::{Ended, Use},
        },
        http::{
            Counters,
            counters::{Away, Failed},
        },
    },
    sink::{
        Metrics,
        prometheus::{Family, Result},
    },
    tap::Tap,
};

const TAP_DROPPED: Family = Family::counter(
    "mcpulse_tap_dropped_total",
    &[],
    "Chunks, heads and ends that passed unobserved because the observer was behind.",
);
const TAP_DROPPED_BYTES: Family = Family::counter(
    "mcpulse_tap_dropped_bytes_total",
    &[],
    "Bytes that passed unobserved because the observer was behind.",
);
const ODDITIES: Family = Family::counter(
    "mcpulse_oddities_total",
    &["kind"],
    "What was forwarded and could not be followed as it should, by kind.",
);
const HTTP_REQUESTS: Family =
    Family::counter("mcpulse_http_requests_total", &[], "HTTP requests of clients.");
const HTTP_REFUSED: Family = Family::counter(
    "mcpulse_http_refused_total",
    &["reason"],
    "HTTP requests that the proxy answered itself, by reason.",
);
const HTTP_FAILED: Family = Family::counter(
    "mcpulse_http_upstream_failures_total",
    &["kind"],
    "HTTP requests that the upstream failed, by kind.",
);
const HTTP_DIALLED: Family = Family::counter(
    "mcpulse_http_upstream_connections_total",
    &[],
    "Connections made to the upstream.",
);
const HTTP_RESENT: Family = Family::counter(
    "mcpulse_http_resent_total",
    &[],
    "Requests sent again because the connection had closed before any byte of them left.",
);
const HTTP_TURNED_AWAY: Family = Family::counter(
    "mcpulse_http_turned_away_total",
    &["reason"],
    "Connections of clients that ended before a request, by reason: no_tls, silent, not_accepted.",
);
const HTTP_FULL: Family = Family::counter(
    "mcpulse_http_full_total",
    &[],
    "Times that as many clients were connected as may be, and the next had to wait.",
);

const SESSIONS: Family = Family::gauge(
    "mcpulse_bridge_sessions",
    &[],
    "Sessions with a program of their own that have not ended.",
);
const SESSIONS_ENDED: Family = Family::counter(
    "mcpulse_bridge_sessions_ended_total",
    &["reason"],
    "Sessions with a program of their own that ended, by reason.",
);
const PROGRAMS: Family = Family::gauge(
    "mcpulse_bridge_programs",
    &["use"],
    "Programs that run, by what they are for: session, shared, warm, probe.",
);
const SHARED: Family = Family::counter(
    "mcpulse_bridge_shared_started_total",
    &[],
    "Programs started for clients without sessions, which share them.",
);
const MESSAGES_DROPPED: Family = Family::counter(
    "mcpulse_bridge_dropped_total",
    &[],
    "Messages of programs that reached no client, because none asked, listened or kept up.",
);
const GARBAGE: Family = Family::counter(
    "mcpulse_bridge_garbage_total",
    &[],
    "Lines that programs wrote to standard output and that were no messages.",
);

const LOG_DROPPED: Family = Family::counter(
    "mcpulse_log_dropped_total",
    &[],
    "Lines of the proxy's own log that were dropped because nobody reads them.",
);
const OWN_SPANS_DROPPED: Family = Family::counter(
    "mcpulse_own_spans_dropped_total",
    &[],
    "Spans of the proxy's own that the collector did not take in time.",
);

/// Reads one counter of the HTTP relay, or of another part.
type Read<C = Counters> = fn(&C) -> u64;

/// Shows what the tap had to drop.
pub(super) fn show_tap(metrics: &Metrics, tap: &Tap) -> Result<()> {
    let things = tap.clone();
    metrics.pull(TAP_DROPPED, move || vec![([], things.lost().0)])?;
    let bytes = tap.clone();
    metrics.pull(TAP_DROPPED_BYTES, move || vec![([], bytes.lost().1)])
}

/// Shows what the observer met that no well-behaved peer sends.
pub(super) fn show_observer(metrics: &Metrics, counters: Arc<Observed>) -> Result<()> {
    metrics.pull(ODDITIES, move || counters.all().map(|(kind, count)| ([kind], count)).collect())
}

/// Shows what was dropped of what the process says of itself.
pub(super) fn show_lost(metrics: &Metrics, Lost { lines, spans }: Lost) -> Result<()> {
    metrics.pull(LOG_DROPPED, move || vec![([], lines())])?;
    metrics.pull(OWN_SPANS_DROPPED, move || vec![([], spans())])
}

/// Shows what the HTTP relay counts.
pub(super) fn show_relay(metrics: &Metrics, counters: Arc<Counters>) -> Result<()> {
    let single: [(Family, Read); 4] = [
        (HTTP_REQUESTS, Counters::requests),
        (HTTP_DIALLED, Counters::dialled),
        (HTTP_RESENT, Counters::resent),
        (HTTP_FULL, Counters::full),
    ];
    for (family, read) in single {
        let counters = Arc::clone(&counters);
        metrics.pull(family, move || vec![([], read(&counters))])?;
    }
    let refused = Arc::clone(&counters);
    metrics.pull(HTTP_REFUSED, move || {
        refused.refused().map(|(reason, count)| ([reason], count)).collect()
    })?;
    let away = Arc::clone(&counters);
    metrics.pull(HTTP_TURNED_AWAY, move || {
        Away::ALL.iter().map(|why| ([why.label()], away.turned_away(*why))).collect()
    })?;
    metrics.pull(HTTP_FAILED, move || {
        Failed::ALL.iter().map(|kind| ([kind.label()], counters.failed(*kind))).collect()
    })
}

/// Shows what a bridge counts.
pub(super) fn show_bridge(metrics: &Metrics, counters: Arc<bridge::Counters>) -> Result<()> {
    let single: [(Family, Read<bridge::Counters>); 4] = [
        (SESSIONS, bridge::Counters::open),
        (SHARED, bridge::Counters::shared),
        (MESSAGES_DROPPED, bridge::Counters::dropped),
        (GARBAGE, bridge::Counters::garbage),
    ];
    for (family, read) in single {
        let counters = Arc::clone(&counters);
        metrics.pull(family, move || vec![([], read(&counters))])?;
    }
    let programs = Arc::clone(&counters);
    metrics.pull(PROGRAMS, move || {
        Use::ALL.iter().map(|is| ([is.label()], programs.programs(*is))).collect()
    })?;
    metrics.pull(SESSIONS_ENDED, move || {
        Ended::ALL.iter().map(|why| ([why.label()], counters.ended(*why))).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::Ledger;

    /// The table in README.md, row for row.
    #[test]
    fn the_readme_lists_every_metric() {
        let metrics = Metrics::new(&Arc::new(Ledger::default()), 10).unwrap();
        show_tap(&metrics, &Tap::new(1).0).unwrap();
        show_observer(&metrics, Arc::default()).unwrap();
        show_relay(&metrics, Arc::default()).unwrap();
        show_bridge(&metrics, Arc::default()).unwrap();
        show_lost(&metrics, Lost { lines: Box::new(|| 0), spans: Box::new(|| 0) }).unwrap();
        let row = |family: &Family| {
            let labels: Vec<_> = family.labels.iter().map(|label| format!("`{label}`")).collect();
            let (name, kind) = (family.name, family.kind.label());
            format!("| `{name}` | {kind} | {} | {} |", labels.join(", "), family.help)
        };
        let rows: Vec<_> = metrics.catalogue().iter().map(row).collect();
        let documented: Vec<_> = include_str!("../../../README.md")
            .lines()
            .skip_while(|line| *line != "## Metrics")
            .skip_while(|line| !line.starts_with("| `"))
            .take_while(|line| line.starts_with("| `"))
            .collect();
        assert_eq!(documented, rows, "README.md should say:\n{}", rows.join("\n"));
    }
}
