//! A proxy that is killed outright: what it had on disk, the next one reports, under the same
//! ids.

use std::{collections::BTreeSet, fs, path::Path};

use mcpulse_proto::v1::ToolCallMetric;
use mcpulse_tests::{Mood, eventually};
use rustix::process::Signal;

use super::{Counts, Ends, PATIENCE, balanced, by, pipe::Pipe};

/// Calls of the first process and of the second.
const CALLS: u64 = 50;
const MORE: u64 = 10;
/// What a call takes in the spool, at least.
const BYTES: u64 = 60;

/// Bytes of all files below a directory.
fn used(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let size = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    let paths = entries.flatten().map(|entry| entry.path());
    paths.map(|path| if path.is_dir() { used(&path) } else { size(&path) }).sum()
}

fn ids(calls: &[ToolCallMetric]) -> BTreeSet<&str> {
    calls.iter().map(|call| &*call.id).collect()
}

#[tokio::test]
async fn what_a_killed_proxy_had_on_disk_is_reported_by_the_next() {
    let ends = Ends::start().await;
    let spool = ends.directory.path().join("spool");
    let flags = ["--spool-dir", spool.to_str().expect("a path that is text")];

    // It gets every call, and the proxy never learns of it.
    ends.mcpulse.set_mood(Mood::Mute);
    let mut first = Pipe::with(ends, &flags).await;
    for id in 0..CALLS {
        first.call(&id.to_string()).await;
    }
    // Only MCPulse is owed anything, and that is on disk.
    let owed = Counts::from([("mcpulse".to_owned(), CALLS)]);
    eventually("all calls are on disk", PATIENCE, async || {
        let scrape = balanced(&first.proxy).await;
        let queued = by(&scrape, "mcpulse_report_queue_length", "sink");
        (queued == owed && used(&spool) > CALLS * BYTES).then_some(())
    })
    .await;
    let sent = first.ends.mcpulse.wait_for(1, PATIENCE).await;
    first.proxy.signal(Signal::KILL);
    first.proxy.wait(PATIENCE).await;
    let Pipe { ends, .. } = first;

    let mut second = Pipe::with(ends, &flags).await;
    eventually("the calls are found", PATIENCE, async || {
        let scrape = balanced(&second.proxy).await;
        (by(&scrape, "mcpulse_reports_restored_total", "sink") == owed).then_some(())
    })
    .await;
    for id in 0..MORE {
        second.call(&id.to_string()).await;
    }
    second.ends.mcpulse.set_mood(Mood::Accept);
    second.assert_settled(&[("ok", MORE)], &[]).await;

    let all = second.ends.mcpulse.metrics();
    let (before, after) = all.split_at(sent.len());
    assert!(ids(before).is_subset(&ids(after)), "what came before comes again under its id");
    assert_eq!(ids(&all), ids(after));
    second.close(CALLS + MORE).await;
}
