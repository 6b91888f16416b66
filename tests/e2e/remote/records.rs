//! One record a call, which says what its client was told, however the call ends.

use std::time::Duration;

use super::{
    PATIENCE,
    faults::waiting,
    script::{Script, Talk},
};

/// How each call was reported, once there are so many.
async fn ends(talk: &Talk, calls: usize) -> Vec<String> {
    let records = talk.receiver.wait_for(calls, PATIENCE).await;
    records.into_iter().map(|call| call.error_type).collect()
}

#[tokio::test]
async fn a_client_that_hears_no_more_has_left() {
    let script = Script::start(|asked, _| async move {
        match (&*asked.name(), asked.body["id"].as_u64()) {
            ("tools/call", Some(2..)) => std::future::pending().await,
            _ => asked.usual("one"),
        }
    })
    .await;
    let mut talk = Talk::to(&script).await;
    talk.begin().await;
    talk.call(2).await;
    waiting(&script, 1).await;
    talk.deafen();
    // Its answer is what the proxy cannot say.
    talk.call(1).await;
    let status = talk.end(Duration::from_secs(10)).await;
    assert!(status.success(), "{status}: {}", talk.proxy.stderr());
    assert_eq!(script.names().last().map(String::as_str), Some("DELETE"));
    assert_eq!(ends(&talk, 2).await, ["", "cancelled"]);
}
