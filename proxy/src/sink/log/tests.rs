use std::{fs, path::Path};

use super::*;
use crate::{
    record::Outcome,
    sink::{Ledger, ledger::Line, queue::Offer},
};

/// The sink at work, and its books.
struct Running {
    ledger: Arc<Ledger>,
    offer: Option<Offer>,
    task: tokio::task::JoinHandle<()>,
}

fn run(target: &Path) -> Running {
    let ledger = Arc::new(Ledger::default());
    let (target, account) = (target.to_str().unwrap(), ledger.account("log"));
    let Exporter { offer, task } =
        start(target, Capture::Redacted, account, Shutdown::default()).unwrap();
    Running { ledger, offer: Some(offer), task }
}

impl Running {
    fn calls(&self, calls: usize) {
        for _ in 0..calls {
            self.ledger.observed();
            let call = Arc::new(Call::of_tool("read", Outcome::Ok));
            self.offer.as_ref().unwrap().offer(&call);
        }
    }

    /// Ends the observer's side and waits for the sink: its line in the books.
    async fn end(mut self) -> Line {
        self.offer = None;
        tokio::time::timeout(Duration::from_mins(1), self.task).await.unwrap().unwrap();
        let books = self.ledger.snapshot();
        assert!(books.sinks[0].balances(books.observed), "{books:?}");
        assert_eq!(books.sinks[0].queued, 0, "{books:?}");
        books.sinks[0].clone()
    }
}

#[tokio::test]
async fn every_call_becomes_a_line_of_json() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let log = run(file.path());
    log.calls(2500);
    assert_eq!(log.end().await.delivered, 2500);
    let text = fs::read_to_string(file.path()).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2500);
    assert!(lines.iter().all(|line| line["tool"] == "read" && line["outcome"] == "ok"));
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn what_cannot_be_written_is_dropped_by_name() {
    let log = run(Path::new("/dev/full"));
    log.calls(3);
    let line = log.end().await;
    assert_eq!((line.delivered, line.dropped["write_error"]), (0, 3));
}
