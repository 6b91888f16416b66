//! The ledger as metrics, from one snapshot a scrape: in every scrape `mcpulse_calls_total`
//! plus restored calls equals what the reports of each sink add up to, plus its queue.

use prometheus::proto::MetricFamily;

use super::{
    family::{Family, figure},
    series::Kinds,
};
use crate::sink::{Ledger, ledger::Books, lock};

const CALLS: Family = Family::counter(
    "mcpulse_calls_total",
    &["mcpulse_server_id", "gen_ai_tool_name", "outcome"],
    "Tool calls observed, by tool and outcome.",
);
const REPORTS: Family = Family::counter(
    "mcpulse_reports_total",
    &["sink", "result"],
    "Tool calls that a sink is done with: delivered, rejected, or dropped for a named reason. \
     What a spool lost where its end is damaged is counted as 1, for nobody knows the number.",
);
const RESTORED: Family = Family::counter(
    "mcpulse_reports_restored_total",
    &["sink"],
    "Tool calls of an earlier process that a sink read back from its spool.",
);
const QUEUE: Family = Family::gauge(
    "mcpulse_report_queue_length",
    &["sink"],
    "Tool calls that a sink still owes: waiting, spooled, or sent and not acknowledged.",
);

/// The families that [`read`] returns.
pub(super) const FAMILIES: [Family; 4] = [CALLS, REPORTS, RESTORED, QUEUE];

/// Reads `ledger`, whose calls are numbered by `kinds`.
pub(super) fn read(ledger: &Ledger, kinds: &Kinds) -> Vec<MetricFamily> {
    let books = ledger.snapshot();
    // After the snapshot: a kind is there before its first call is counted.
    let kinds = lock(kinds).clone();
    let calls = kinds
        .iter()
        .zip(&books.by_kind)
        .map(|((server, tool, outcome), calls)| ([&**server, &**tool, *outcome], figure(*calls)));
    vec![
        CALLS.filled(calls),
        reports(&books),
        RESTORED.filled(books.sinks.iter().map(|line| ([line.sink], figure(line.restored)))),
        QUEUE.filled(books.sinks.iter().map(|line| ([line.sink], figure(line.queued)))),
    ]
}

fn reports(books: &Books) -> MetricFamily {
    let results: Vec<_> = books
        .sinks
        .iter()
        .flat_map(|line| {
            let settled =
                [("delivered".to_owned(), line.delivered), ("rejected".to_owned(), line.rejected)];
            let dropped =
                line.dropped.iter().map(|(why, calls)| (format!("dropped_{why}"), *calls));
            settled.into_iter().chain(dropped).map(|(result, calls)| (line.sink, result, calls))
        })
        .collect();
    REPORTS.filled(
        results.iter().map(|(sink, result, calls)| ([*sink, result.as_str()], figure(*calls))),
    )
}
