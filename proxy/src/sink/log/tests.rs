use std::{fs, path::Path};

use super::*;
use crate::{
    record::Outcome,
    sink::{Ledger, ledger::Line, queue::Offer},
};

/// Makes a named pipe.
#[cfg(unix)]
fn pipe(folder: &tempfile::TempDir) -> std::path::PathBuf {
    let path = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    path
}

/// The sink at work, and its books.
struct Running {
    ledger: Arc<Ledger>,
    offer: Option<Offer>,
    task: tokio::task::JoinHandle<()>,
    shutdown: Shutdown,
}

fn run(target: &Path) -> Running {
    let ledger = Arc::new(Ledger::default());
    let shutdown = Shutdown::default();
    let (target, account) = (target.to_str().unwrap(), ledger.account("log"));
    let Exporter { offer, task } =
        start(target, Capture::Redacted, account, shutdown.clone()).unwrap();
    Running { ledger, offer: Some(offer), task, shutdown }
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

#[tokio::test]
#[cfg(unix)]
async fn a_pipe_that_nobody_reads_holds_up_neither_start_nor_check() {
    let folder = tempfile::tempdir().unwrap();
    let path = pipe(&folder);
    assert!(check(path.to_str().unwrap()).unwrap().contains("once somebody reads the pipe"));
    assert!(path.exists());
    let log = run(&path);
    log.calls(3);
    let line = log.end().await;
    assert_eq!((line.delivered, line.dropped["write_error"]), (0, 3));
}

#[tokio::test]
#[cfg(unix)]
async fn a_pipe_is_written_once_somebody_reads_it() {
    use std::io::{BufRead, BufReader};
    let folder = tempfile::tempdir().unwrap();
    let path = pipe(&folder);
    let log = run(&path);
    let reader = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        BufReader::new(fs::File::open(path).unwrap()).read_line(&mut line).unwrap();
        line
    });
    // Opening to read waits for the writer, which tries again with every call.
    while !reader.is_finished() {
        log.calls(1);
        tokio::task::yield_now().await;
    }
    assert!(reader.await.unwrap().contains(r#""tool":"read""#));
    assert!(log.end().await.delivered > 0);
}

#[tokio::test]
#[cfg(unix)]
async fn what_a_stalled_reader_leaves_at_the_end_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = pipe(&folder);
    let reader = rustix::fs::open(
        &path,
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK,
        rustix::fs::Mode::empty(),
    )
    .unwrap();
    let log = run(&path);
    // More than a pipe holds.
    log.calls(5000);
    log.shutdown.begin(Duration::from_millis(200));
    // Real time: a clock that is stopped waits for the thread that writes.
    let line = log.end().await;
    assert!(line.dropped["shutdown"] > 0, "{line:?}");
    // And no more than that: what is in the pipe was written. One read takes all of it.
    let mut bytes = vec![0; 1 << 20];
    let read = rustix::io::read(reader, &mut bytes).unwrap();
    let lines = String::from_utf8_lossy(&bytes[..read]).matches('\n').count();
    assert_eq!(line.delivered, lines as u64);
}
