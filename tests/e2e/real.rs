//! Real clients and real servers, unchanged: through the proxy every byte arrives as it was
//! sent, every call ends as it does without the proxy, and every tool call is reported once.

use std::{net::SocketAddr, path::Path, time::Duration};

use mcpulse_proto::v1::MetricStatus;
use mcpulse_tests::{Client, Receiver, Scrape, Tools, eventually, record::ToolCall};
use serde_json::Value;

mod http;
mod stdio;

/// Longest wait for reports, on a machine that has much else to do.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
pub(crate) const SERVER_ID: &str = "real";

/// The tools that a client and a server need, or none and a word why.
pub(crate) fn tools(parts: [Option<&str>; 2]) -> Option<&'static Tools> {
    Tools::with(&parts.into_iter().flatten().collect::<Vec<_>>())
}

/// Outcomes of sessions on different directories can be compared without their names.
pub(crate) fn comparable(outcomes: &Value, directory: &Path) -> String {
    outcomes.to_string().replace(directory.to_str().expect("a path that is text"), "DIRECTORY")
}

/// Checks that exactly these calls of this client arrive at the receiver, each once, and that
/// the books of the proxy then balance.
pub(crate) async fn assert_reported(
    receiver: &Receiver,
    metrics: SocketAddr,
    client: Client,
    expected: &[ToolCall],
) {
    let settled = async || {
        let scrape = Scrape::of(metrics).await;
        let delivered = [("sink", "mcpulse"), ("result", "delivered")];
        let delivered = scrape.sum("mcpulse_reports_total", &delivered);
        (delivered.round() >= expected.len().to_string().parse().expect("a number"))
            .then_some(scrape)
    };
    let scrape = eventually("every call is delivered", PATIENCE, settled).await;
    let sinks = scrape.assert_balanced();
    assert!(sinks.iter().any(|sink| sink == "mcpulse"), "{sinks:?}");

    let reported = receiver.metrics();
    let call = |tool: &String, error_type: &String| ToolCall {
        tool: tool.clone(),
        error_type: error_type.clone(),
    };
    let mut calls: Vec<_> =
        reported.iter().map(|metric| call(&metric.tool_name, &metric.error_type)).collect();
    calls.sort();
    assert_eq!(calls, expected, "left: reported; right: read from the recording");
    for metric in &reported {
        let wanted = (SERVER_ID, client.name(), client.version());
        let found = (&*metric.server_id, &*metric.client_name, &*metric.client_version);
        assert_eq!(found, wanted, "{metric:?}");
        assert!(metric.protocol_version.starts_with("202"), "{metric:?}");
        let failed = metric.status() != MetricStatus::Success;
        assert_eq!(failed, !metric.error_type.is_empty(), "{metric:?}");
    }
}
