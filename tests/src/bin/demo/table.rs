//! The table of tools.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use mcpulse_proto::v1::{MetricStatus, ToolCallMetric};
use serde_json::Value;

#[derive(Default)]
struct Tool {
    errors: BTreeMap<String, usize>,
    /// Milliseconds.
    durations: Vec<f64>,
}

/// A table of what was reported, a line a tool. Reports have whole milliseconds; the exact
/// durations are those of the call log, found by the id of the call.
pub(crate) fn of(reported: &[ToolCallMetric], log: &str) -> String {
    let exact: BTreeMap<String, f64> = log.lines().filter_map(duration).collect();
    let mut tools = BTreeMap::<_, Tool>::new();
    let mut seen = BTreeSet::new();
    // Reports come at least once.
    for call in reported.iter().filter(|call| seen.insert(&call.id)) {
        let tool = tools.entry(call.tool_name.as_str()).or_default();
        #[expect(clippy::cast_precision_loss, reason = "no call lasts 2^53 ms")]
        let whole = call.duration_ms as f64;
        tool.durations.push(exact.get(&call.id).copied().unwrap_or(whole));
        if call.status() != MetricStatus::Success {
            *tool.errors.entry(call.error_type.clone()).or_default() += 1;
        }
    }
    let mut table = format!(
        "  {:<30} {:>5} {:>6} {:>10} {:>10}  {}\n",
        "tool", "calls", "errors", "p50", "p95", "kinds of errors"
    );
    for (name, tool) in &mut tools {
        tool.durations.sort_by(f64::total_cmp);
        let errors: usize = tool.errors.values().sum();
        let kinds: Vec<_> = tool.errors.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
        let _ = writeln!(
            table,
            "  {name:<30} {:>5} {errors:>6} {:>7.2} ms {:>7.2} ms  {}",
            tool.durations.len(),
            quantile(&tool.durations, 0.50),
            quantile(&tool.durations, 0.95),
            kinds.join(", ")
        );
    }
    table
}

/// The id and the duration, in milliseconds, of a line of the call log.
fn duration(line: &str) -> Option<(String, f64)> {
    let call: Value = serde_json::from_str(line).ok()?;
    Some((call["id"].as_str()?.to_owned(), call["duration_us"].as_f64()? / 1000.0))
}

/// The nearest rank.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a few calls")]
    let rank = (sorted.len() as f64 * share).ceil();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few calls")]
    let index = (rank as usize).saturating_sub(1);
    sorted.get(index).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let durations: Vec<f64> = (1..=20).map(f64::from).collect();
        assert!((quantile(&durations, 0.5) - 10.0).abs() < f64::EPSILON);
        assert!((quantile(&durations, 0.95) - 19.0).abs() < f64::EPSILON);
        assert!(quantile(&[], 0.5).abs() < f64::EPSILON);
    }
}
