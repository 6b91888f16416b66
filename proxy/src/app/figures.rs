//! What the parts count for themselves, shown as metrics: they know nothing of Prometheus.

use std::{collections::BTreeMap, sync::Arc};

use super::{Lost, reload::Reloads, tally::Tallies};
use crate::{
    observe::Counters as Observed,
    relay::{
        bridge::{
            self,
            counters::{Ended, Use},
        },
        http::{
            self,
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
/// The label of what belongs to a server.
const SERVER: &str = "mcpulse_server_id";

const HTTP_REQUESTS: Family =
    Family::counter("mcpulse_http_requests_total", &[SERVER], "HTTP requests of clients.");
const HTTP_REFUSED: Family = Family::counter(
    "mcpulse_http_refused_total",
    &[SERVER, "reason"],
    "HTTP requests that the proxy answered itself, by reason, or would have: `body_aborted` is of \
     clients that vanished within the body; without a server those that nobody could read or that \
     named none.",
);
const HTTP_FAILED: Family = Family::counter(
    "mcpulse_http_upstream_failures_total",
    &[SERVER, "kind"],
    "HTTP requests that the upstream failed, by kind.",
);
const HTTP_DIALLED: Family = Family::counter(
    "mcpulse_http_upstream_connections_total",
    &[SERVER],
    "Connections made to the upstream.",
);
const HTTP_RESENT: Family = Family::counter(
    "mcpulse_http_resent_total",
    &[SERVER],
    "Requests sent again because the connection had closed before any byte of them left, or, for \
     a client on standard streams, because the server said that it had not looked at them (HTTP/2).",
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
    &[SERVER],
    "Sessions with a program, or a conversation with a server, of their own that have not ended.",
);
const SESSIONS_ENDED: Family = Family::counter(
    "mcpulse_bridge_sessions_ended_total",
    &[SERVER, "reason"],
    "Such sessions that ended, by reason.",
);
const PROGRAMS: Family = Family::gauge(
    "mcpulse_bridge_programs",
    &[SERVER, "use"],
    "Programs, or conversations, that run, by what they are for: session, shared, warm, probe.",
);
const SHARED: Family = Family::counter(
    "mcpulse_bridge_shared_started_total",
    &[SERVER],
    "Programs, or conversations, started for clients without sessions, which share them.",
);
const MESSAGES_DROPPED: Family = Family::counter(
    "mcpulse_bridge_dropped_total",
    &[SERVER],
    "Messages of programs that reached no client, because none asked, listened or kept up.",
);
const GARBAGE: Family = Family::counter(
    "mcpulse_bridge_garbage_total",
    &[SERVER],
    "Lines that programs wrote to standard output and that were no messages.",
);

const RELOADS: Family = Family::counter(
    "mcpulse_config_reloads_total",
    &["result"],
    "Times that the file of run was read again, by what came of it: applied or refused.",
);
const RELOAD_GOOD: Family = Family::gauge(
    "mcpulse_config_last_reload_successful",
    &[],
    "1 when the file was applied that was read last, 0 when an older one stays in force.",
);
const RELOAD_AT: Family = Family::gauge(
    "mcpulse_config_last_reload_success_timestamp_seconds",
    &[],
    "When a file was last applied, the start included, in seconds since 1970.",
);

/// As OpenTelemetry has it for Prometheus: what holds for the whole process, in one place.
const POD: Family = Family::gauge(
    "target_info",
    &[
        "k8s_namespace_name",
        "k8s_pod_name",
        "k8s_node_name",
        "k8s_deployment_name",
        "k8s_statefulset_name",
        "k8s_daemonset_name",
        "k8s_job_name",
    ],
    "1 in a pod, with its namespace, name, node and workload.",
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

/// The labels of what belongs to the process.
const NO_LABELS: [&str; 0] = [];

/// Reads one counter of a part.
type Read<C> = fn(&C) -> u64;

/// Reads the counters of a part by the values of a label.
type ReadBy<C> = fn(&C) -> Vec<(&'static str, u64)>;

/// Shows what the tap had to drop.
pub(super) fn show_tap(metrics: &Metrics, tap: &Tap) -> Result<()> {
    let things = tap.clone();
    metrics.pull(TAP_DROPPED, move || vec![(NO_LABELS, things.lost().0)])?;
    let bytes = tap.clone();
    metrics.pull(TAP_DROPPED_BYTES, move || vec![(NO_LABELS, bytes.lost().1)])
}

/// Shows what the observer met that no well-behaved peer sends.
pub(super) fn show_observer(metrics: &Metrics, counters: Arc<Observed>) -> Result<()> {
    metrics.pull(ODDITIES, move || counters.all().map(|(kind, count)| ([kind], count)).collect())
}

/// Shows the pod in which the process runs, where the attributes of its resource tell of one.
pub(super) fn show_pod(metrics: &Metrics, attributes: &BTreeMap<String, String>) -> Result<()> {
    let value = |label: &&str| attributes.get(&label.replace('_', ".")).cloned();
    let labels: [Option<String>; 7] = std::array::from_fn(|at| value(&POD.labels[at]));
    let is_in_pod = labels.iter().any(Option::is_some);
    let labels = labels.map(Option::unwrap_or_default);
    metrics.pull(POD, move || if is_in_pod { vec![(labels.clone(), 1)] } else { Vec::new() })
}

/// Shows what was dropped of what the process says of itself.
pub(super) fn show_lost(metrics: &Metrics, Lost { lines, spans }: Lost) -> Result<()> {
    metrics.pull(LOG_DROPPED, move || vec![(NO_LABELS, lines())])?;
    metrics.pull(OWN_SPANS_DROPPED, move || vec![(NO_LABELS, spans())])
}

/// Shows what the listener counts.
pub(super) fn show_listener(metrics: &Metrics, tallies: &Tallies) -> Result<()> {
    let away = tallies.listener();
    metrics.pull(HTTP_TURNED_AWAY, move || {
        Away::ALL.iter().map(|why| ([why.label()], away.turned_away(*why))).collect()
    })?;
    let full = tallies.listener();
    metrics.pull(HTTP_FULL, move || vec![(NO_LABELS, full.full())])
}

/// Shows what each server counts, whichever there come to be.
pub(super) fn show_servers(metrics: &Metrics, tallies: &Tallies) -> Result<()> {
    let of_relay: [(Family, Read<http::Counters>); 3] = [
        (HTTP_REQUESTS, http::Counters::requests),
        (HTTP_DIALLED, http::Counters::dialled),
        (HTTP_RESENT, http::Counters::resent),
    ];
    for (family, read) in of_relay {
        let tallies = tallies.clone();
        metrics.pull(family, move || {
            tallies.all().into_iter().map(|(id, tally)| ([id], read(&tally.http))).collect()
        })?;
    }
    let of_relay: [(Family, ReadBy<http::Counters>); 2] = [
        (HTTP_REFUSED, |counters| counters.refused().collect()),
        (HTTP_FAILED, |counters| {
            Failed::ALL.iter().map(|kind| (kind.label(), counters.failed(*kind))).collect()
        }),
    ];
    for (family, read) in of_relay {
        let tallies = tallies.clone();
        metrics.pull(family, move || {
            let mut samples = Vec::new();
            if let Some(listener) = tallies.of_listener().filter(|_| family == HTTP_REFUSED) {
                samples.extend(by_label("", &read(listener)));
            }
            for (id, tally) in tallies.all() {
                samples.extend(by_label(&id, &read(&tally.http)));
            }
            samples
        })?;
    }
    let of_bridge: [(Family, Read<bridge::Counters>); 4] = [
        (SESSIONS, bridge::Counters::open),
        (SHARED, bridge::Counters::shared),
        (MESSAGES_DROPPED, bridge::Counters::dropped),
        (GARBAGE, bridge::Counters::garbage),
    ];
    for (family, read) in of_bridge {
        let tallies = tallies.clone();
        metrics.pull(family, move || {
            let bridges = tallies.all().into_iter();
            bridges.filter_map(|(id, tally)| Some(([id], read(&*tally.bridge?)))).collect()
        })?;
    }
    let programs = tallies.clone();
    metrics.pull(PROGRAMS, move || {
        let mut samples = Vec::new();
        for (id, tally) in programs.all() {
            let Some(bridge) = tally.bridge else { continue };
            let running = Use::ALL.map(|is| (is.label(), bridge.programs(is)));
            samples.extend(by_label(&id, &running));
        }
        samples
    })?;
    let tallies = tallies.clone();
    metrics.pull(SESSIONS_ENDED, move || {
        let mut samples = Vec::new();
        for (id, tally) in tallies.all() {
            let Some(bridge) = tally.bridge else { continue };
            let ended = Ended::ALL.map(|why| (why.label(), bridge.ended(why)));
            samples.extend(by_label(&id, &ended));
        }
        samples
    })
}

/// Shows what came of reading the file of `run` again.
pub(super) fn show_reloads(metrics: &Metrics, reloads: &Arc<Reloads>) -> Result<()> {
    let counts = Arc::clone(reloads);
    metrics.pull(RELOADS, move || counts.counts().map(|(result, n)| ([result], n)).to_vec())?;
    let good = Arc::clone(reloads);
    metrics.pull(RELOAD_GOOD, move || vec![(NO_LABELS, u64::from(good.last_is_good()))])?;
    let at = Arc::clone(reloads);
    metrics.pull(RELOAD_AT, move || vec![(NO_LABELS, at.last_good_at())])
}

fn by_label(id: &str, counts: &[(&str, u64)]) -> Vec<([String; 2], u64)> {
    counts.iter().map(|(label, count)| ([id.to_owned(), (*label).to_owned()], *count)).collect()
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
        show_listener(&metrics, &Tallies::default()).unwrap();
        show_servers(&metrics, &Tallies::default()).unwrap();
        show_reloads(&metrics, &Arc::default()).unwrap();
        show_pod(&metrics, &BTreeMap::default()).unwrap();
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
