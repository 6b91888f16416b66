//! Figures, their medians and spread, and the table of ratios.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "statistics of counts far below 2^52"
)]

use std::{fmt::Write, time::Duration};

use serde::Serialize;

use crate::{process::Usage, stdio_load::Load};

/// Everything that one run gave.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    pub(crate) machine: String,
    pub(crate) rounds: usize,
    pub(crate) scenarios: Vec<Scenario>,
}

/// One scenario with its contenders' medians.
#[derive(Debug, Serialize)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) contenders: Vec<(&'static str, Figures)>,
}

/// What was measured of one contender; of several rounds, the median of each figure.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Figures {
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
    calls_per_second: f64,
    /// Of the contender's own process.
    cpu_us_per_call: f64,
    resident_mib: f64,
    peak_mib: f64,
    /// (largest - smallest) / median of calls/s over the rounds.
    spread: f64,
}

impl Figures {
    /// The figures of one round.
    pub(crate) fn new(load: &Load, before: Usage, after: Usage) -> Self {
        let calls = load.latencies.len() as f64;
        let cpu = after.cpu.saturating_sub(before.cpu);
        Self {
            p50_us: quantile(&load.latencies, 0.50),
            p99_us: quantile(&load.latencies, 0.99),
            p999_us: quantile(&load.latencies, 0.999),
            calls_per_second: calls / load.elapsed.as_secs_f64(),
            cpu_us_per_call: cpu.as_secs_f64() * 1e6 / calls,
            resident_mib: after.resident_kib as f64 / 1024.0,
            peak_mib: after.peak_kib as f64 / 1024.0,
            spread: 0.0,
        }
    }

    /// The median of each figure on its own.
    pub(crate) fn median(rounds: &[Self]) -> Self {
        let sorted = |figure: fn(&Self) -> f64| {
            let mut values: Vec<f64> = rounds.iter().map(figure).collect();
            values.sort_unstable_by(f64::total_cmp);
            values
        };
        let of = |figure| {
            let values = sorted(figure);
            values.get(values.len() / 2).copied().unwrap_or_default()
        };
        let rates = sorted(|figures| figures.calls_per_second);
        let width = rates.last().zip(rates.first()).map_or(0.0, |(last, first)| last - first);
        Self {
            p50_us: of(|figures| figures.p50_us),
            p99_us: of(|figures| figures.p99_us),
            p999_us: of(|figures| figures.p999_us),
            calls_per_second: of(|figures| figures.calls_per_second),
            cpu_us_per_call: of(|figures| figures.cpu_us_per_call),
            resident_mib: of(|figures| figures.resident_mib),
            peak_mib: of(|figures| figures.peak_mib),
            spread: width / of(|figures| figures.calls_per_second),
        }
    }
}

fn quantile(sorted: &[Duration], share: f64) -> f64 {
    let index = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(index).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e6)
}

/// The table, with each contender's ratio to the limit where one says more than the figure.
pub(crate) fn table(results: &Results) -> String {
    let mut out = format!("{} rounds on {}\n\n", results.rounds, results.machine);
    out.push_str(
        "| scenario | contender | p50 us | p99 us | calls/s | of limit | CPU us/call | of limit \
         | RSS MiB | spread |\n|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for scenario in &results.scenarios {
        let limit = scenario.contenders.iter().find(|(name, _)| *name == "limit");
        for (name, figures) in &scenario.contenders {
            let rate = limit
                .map_or(f64::NAN, |(_, limit)| figures.calls_per_second / limit.calls_per_second);
            let cpu = limit
                .map_or(f64::NAN, |(_, limit)| figures.cpu_us_per_call / limit.cpu_us_per_call);
            // Writing to a string cannot fail.
            let _ = writeln!(
                out,
                "| {} | {name} | {:.1} | {:.1} | {:.0} | {rate:.2} | {:.1} | {cpu:.2} | {:.1} | \
                 {:.0} % |",
                scenario.name,
                figures.p50_us,
                figures.p99_us,
                figures.calls_per_second,
                figures.cpu_us_per_call,
                figures.resident_mib,
                figures.spread * 100.0,
            );
        }
    }
    out
}
