use serde_json::json;
use tokio::time::timeout;

use super::*;
use crate::{platform::Orphans, ready::Ready, relay::bridge::Bridge, tap::Tap};

#[tokio::test(start_paused = true)]
async fn a_program_that_does_not_answer_initialize_is_ended_and_another_tried() {
    let command = serde_json::from_value(json!({ "program": "sleep", "args": ["1000"] })).unwrap();
    let listen = serde_json::from_value(json!({ "address": "127.0.0.1:0" })).unwrap();
    let bound = "127.0.0.1:1".parse().unwrap();
    let ready = Ready::default();
    let orphans = Arc::new(Orphans::adopt());
    let bridge = Bridge::new(command, Vec::new(), listen, "x".into(), Arc::default(), orphans);
    let gate = ready.gate("server");
    let exchanges = bridge.begin(bound, Tap::new(1 << 20).0, gate, Shutdown::default());
    exchanges.health.rise();
    let text = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}"#;
    let begun = Instant::now();
    let headers = HeaderMap::new();
    let response = exchanges.post(&headers, BytesMut::from(text), Answer(None)).await;
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(begun.elapsed().as_secs(), PROBE_PATIENCE.as_secs());
    assert_eq!(exchanges.launcher.counters.ended(Ended::Uninitialized), 1);
    // It is only in doubt.
    assert!(ready.closed().is_empty() && exchanges.health.is_up());
    assert!(timeout(Duration::ZERO, exchanges.health.doubted()).await.is_ok());
    exchanges.end().await;
}
