#![expect(clippy::float_cmp, reason = "the figures are whole numbers, exact in f64")]

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use super::*;
use crate::{
    record::Outcome,
    sink::{Sinks, queue},
};

/// Series of a scrape: the text up to the value, and the value.
fn scrape(metrics: &Metrics) -> BTreeMap<String, f64> {
    let text = metrics.render().unwrap();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        })
        .collect()
}

fn sum(scrape: &BTreeMap<String, f64>, name: &str, having: &str) -> f64 {
    let of_family = |series: &str| series.split('{').next() == Some(name);
    let these = scrape.iter().filter(|(series, _)| of_family(series) && series.contains(having));
    these.map(|(_, value)| value).sum()
}

fn count(scrape: &BTreeMap<String, f64>, name: &str) -> usize {
    scrape.keys().filter(|series| series.split('{').next() == Some(name)).count()
}

fn sinks(tools: usize) -> (Sinks, Arc<Metrics>, Arc<Ledger>) {
    let ledger = Arc::new(Ledger::default());
    let metrics = Arc::new(Metrics::new(&ledger, tools).unwrap());
    (Sinks::new(Arc::clone(&metrics), Arc::clone(&ledger), Vec::new()), metrics, ledger)
}

#[test]
fn a_call_is_in_the_histogram_under_all_its_labels() {
    let (sinks, metrics, _) = sinks(10);
    sinks.call(Call::of_tool("read", Outcome::Ok));
    sinks.call(Call::of_tool("read", Outcome::RpcError(-32602)));
    let scrape = scrape(&metrics);
    let series = |error: &str, more: &str| {
        format!(
            "{}{{error_type=\"{error}\",gen_ai_tool_name=\"read\",\
             mcp_method_name=\"tools/call\",mcp_protocol_version=\"2025-06-18\",\
             mcpulse_server_id=\"files\"{more}}}",
            if more.is_empty() {
                format!("{}_count", DURATION.name)
            } else {
                format!("{}_bucket", DURATION.name)
            }
        )
    };
    assert_eq!(scrape[&series("", "")], 1.0);
    assert_eq!(scrape[&series("-32602", "")], 1.0);
    assert_eq!(scrape[&series("", ",le=\"0.01\"")], 1.0);
    assert_eq!(count(&scrape, &format!("{}_bucket", DURATION.name)), 2 * 15);
    assert_eq!(sum(&scrape, "mcpulse_call_bytes_total", "message=\"request\""), 200.0);
    assert_eq!(sum(&scrape, "mcpulse_call_bytes_total", "message=\"response\""), 2000.0);
}

#[test]
fn other_methods_are_operations_but_no_tool_calls() {
    let (sinks, metrics, ledger) = sinks(10);
    let list =
        || Call { method: "tools/list".into(), tool: None, ..Call::of_tool("", Outcome::Ok) };
    sinks.call(list());
    sinks.call(Call { method: "made/up".into(), ..list() });
    let scrape = scrape(&metrics);
    let operations = format!("{}_count", DURATION.name);
    assert_eq!(sum(&scrape, &operations, "mcp_method_name=\"tools/list\""), 1.0);
    assert_eq!(sum(&scrape, &operations, "mcp_method_name=\"_OTHER\""), 1.0);
    assert_eq!(sum(&scrape, "mcpulse_labels_folded_total", "mcp_method_name"), 1.0);
    assert_eq!(sum(&scrape, "mcpulse_calls_total", ""), 0.0);
    assert_eq!(ledger.snapshot().observed, 0);
}

#[test]
fn steps_of_an_operation_are_counted_and_not_timed() {
    let (sinks, metrics, _) = sinks(10);
    for outcome in [Outcome::InputRequired, Outcome::Task, Outcome::Other, Outcome::Unobserved] {
        sinks.call(Call::of_tool("read", outcome));
    }
    let scrape = scrape(&metrics);
    assert_eq!(sum(&scrape, &format!("{}_count", DURATION.name), ""), 0.0);
    assert_eq!(sum(&scrape, "mcpulse_operations_unmeasured_total", ""), 4.0);
    assert_eq!(sum(&scrape, "mcpulse_calls_total", "outcome=\"input_required\""), 1.0);
}

#[test]
fn a_tool_earns_its_series_by_being_listed_or_by_succeeding() {
    let (sinks, metrics, _) = sinks(2);
    let calls = |tool: &str| {
        sum(&scrape(&metrics), "mcpulse_calls_total", &format!("gen_ai_tool_name=\"{tool}\""))
    };
    sinks.call(Call::of_tool("typo", Outcome::ToolError));
    assert_eq!((calls("typo"), calls("__other__")), (0.0, 1.0));
    sinks.tools(&"files".into(), &["listed"]);
    sinks.call(Call::of_tool("listed", Outcome::ToolError));
    assert_eq!(calls("listed"), 1.0);
    sinks.call(Call::of_tool("works", Outcome::Ok));
    assert_eq!(calls("works"), 1.0);
    sinks.call(Call::of_tool("third", Outcome::Ok));
    assert_eq!((calls("third"), calls("__other__")), (0.0, 2.0));
    let scrape = scrape(&metrics);
    assert_eq!(sum(&scrape, "mcpulse_tools_with_series", ""), 2.0);
    assert_eq!(sum(&scrape, "mcpulse_labels_folded_total", "gen_ai_tool_name"), 2.0);
}

#[test]
fn an_endless_tool_name_earns_nothing() {
    let (sinks, metrics, _) = sinks(10);
    sinks.call(Call::of_tool(&"x".repeat(1 << 20), Outcome::Ok));
    assert!(metrics.render().unwrap().len() < 20_000);
}

#[test]
fn made_up_names_cannot_make_series_without_bound() {
    const TOOLS: usize = 20;
    let (sinks, metrics, ledger) = sinks(TOOLS);
    for i in 0..10_000_i64 {
        let outcome = match i % 5 {
            0 => Outcome::Ok,
            1 => Outcome::RpcError(i),
            2 => Outcome::HttpError(u16::try_from(i % 600).unwrap()),
            3 => Outcome::RpcError(-32602),
            _ => Outcome::ToolError,
        };
        let call = Call::of_tool(&format!("tool{}", i % 777), outcome);
        let version = Some(format!("2025-{i}").into());
        sinks.call(Call { protocol_version: version, ..call.clone() });
        sinks.call(call.clone());
        sinks.call(Call { tool: None, method: format!("method/{i}").into(), ..call });
        if i % 100 == 0 {
            let names = [format!("listed{i}")];
            sinks.tools(&"files".into(), &[names[0].as_str()]);
        }
    }
    let scrape = scrape(&metrics);
    let operations = count(&scrape, &format!("{}_count", DURATION.name));
    assert!(operations <= 5 * TOOLS + 200 + 4, "{operations} operations");
    let calls = count(&scrape, "mcpulse_calls_total");
    assert!(calls <= (TOOLS + 1) * Outcome::LABELS.len(), "{calls} kinds of calls");
    assert!(scrape.len() < 20 * operations + calls + 200, "{} series in all", scrape.len());
    assert_eq!(sum(&scrape, &format!("{}_count", DURATION.name), ""), 30_000.0, "none is lost");
    assert_eq!(sum(&scrape, "mcpulse_calls_total", ""), 20_000.0);
    assert_eq!(ledger.snapshot().observed, 20_000);
}

#[test]
fn the_age_of_the_oldest_call_grows_while_nothing_happens() {
    let (sinks, metrics, _) = sinks(10);
    let server = "files".into();
    let long_ago = Instant::now().checked_sub(Duration::from_secs(50)).unwrap();
    sinks.in_flight(&server, 3, Some(long_ago));
    let first = scrape(&metrics);
    assert_eq!(sum(&first, IN_FLIGHT.name, ""), 3.0);
    assert!(sum(&first, OLDEST.name, "") >= 50.0);
    assert!(sum(&scrape(&metrics), OLDEST.name, "") > sum(&first, OLDEST.name, ""));
    sinks.in_flight(&server, 0, None);
    assert_eq!(sum(&scrape(&metrics), OLDEST.name, ""), 0.0);
}

#[test]
fn figures_of_other_parts_are_read_at_the_scrape() {
    let (_, metrics, _) = sinks(10);
    let lost = Family::counter("lost_total", &["what"], "What was lost.");
    metrics.pull(lost, || vec![(["bytes"], 7), (["things"], 1)]).unwrap();
    assert_eq!(scrape(&metrics)["lost_total{what=\"bytes\"}"], 7.0);
    assert!(metrics.pull(lost, || vec![(["twice"], 1)]).is_err());
    assert!(metrics.catalogue().contains(&lost));
}

#[test]
fn the_books_balance_at_every_scrape_under_load() {
    let ledger = Arc::new(Ledger::default());
    let metrics = Arc::new(Metrics::new(&ledger, 10).unwrap());
    let (slow, fast) = (ledger.account("slow"), ledger.account("fast"));
    // One queue is emptied all the time; the other overflows.
    let (slow_offer, _slow_take) = queue::queue(8, 1 << 20, slow.clone(), "");
    let (fast_offer, mut fast_take) = queue::queue(1024, 1 << 20, fast.clone(), "");
    let sinks = Sinks::new(Arc::clone(&metrics), Arc::clone(&ledger), vec![slow_offer, fast_offer]);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for i in 0..20_000 {
                let outcome = if i % 3 == 0 { Outcome::ToolError } else { Outcome::Ok };
                sinks.call(Call::of_tool(&format!("tool{}", i % 30), outcome));
            }
            done.store(true, Ordering::SeqCst);
        });
        scope.spawn(|| {
            fast.restored(3);
            while !done.load(Ordering::SeqCst) {
                match fast_take.try_next() {
                    Some(call) if call.tool.as_deref() == Some("tool7") => fast.rejected(1),
                    Some(_) => fast.delivered(1),
                    None => std::thread::yield_now(),
                }
            }
        });
        let mut scrapes = 0;
        while !done.load(Ordering::SeqCst) || scrapes == 0 {
            let scrape = scrape(&metrics);
            let calls = sum(&scrape, "mcpulse_calls_total", "");
            for sink in ["sink=\"slow\"", "sink=\"fast\""] {
                let owed = calls + sum(&scrape, "mcpulse_reports_restored_total", sink);
                let settled = sum(&scrape, "mcpulse_reports_total", sink);
                let queued = sum(&scrape, "mcpulse_report_queue_length", sink);
                assert_eq!(owed, settled + queued, "{sink} in {scrape:#?}");
            }
            scrapes += 1;
        }
    });
}
