//! What the proxy says about itself: on standard error, since standard output may be the
//! protocol's. Nothing waits for whoever reads it: lines beyond a bound are dropped, and the
//! next line that gets through says how many.

use std::{
    io::{self, IsTerminal, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

use anyhow::Context;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use crate::config::{Log, LogFormat};

/// Lines that wait for the reader of standard error.
const LINES: usize = 1024;

/// Longest wait at the end for the last lines.
const FLUSH: Duration = Duration::from_millis(100);

/// Keeps the log going; at its end the last lines are written.
#[derive(Debug)]
pub struct Guard {
    lines: SyncSender<Message>,
    done: Receiver<()>,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    End,
}

/// Sends the log to standard error from here on.
///
/// # Errors
/// When the level cannot be read, or there is a log already.
pub fn init(log: &Log) -> anyhow::Result<Guard> {
    let filter = EnvFilter::try_new(&log.level)
        .with_context(|| format!("read the log level '{}'; write e.g. info", log.level))?;
    let (writer, guard) = writer(io::stderr(), LINES).context("start the log's thread")?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .log_internal_errors(false)
        .with_ansi(io::stderr().is_terminal());
    match log.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    }
    .map_err(|error| anyhow::anyhow!("start the log: {error}"))?;
    Ok(guard)
}

/// Hands lines to the thread that writes them, and waits for nothing.
#[derive(Clone, Debug)]
struct Writer {
    lines: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

fn writer(mut to: impl Write + Send + 'static, lines: usize) -> io::Result<(Writer, Guard)> {
    let (lines, taken) = sync_channel(lines);
    let (tell, done) = sync_channel(1);
    let dropped = Arc::new(AtomicU64::new(0));
    let writer = Writer { lines: lines.clone(), dropped: Arc::clone(&dropped) };
    thread::Builder::new().name("log".to_owned()).spawn(move || {
        while let Ok(Message::Line(line)) = taken.recv() {
            let missed = dropped.swap(0, Ordering::Relaxed);
            if missed > 0 {
                let _ = writeln!(to, "{missed} lines of the log were dropped: nobody read them");
            }
            // When nobody listens any more there is nobody to tell.
            let _ = to.write_all(&line);
        }
        let _ = tell.send(());
    })?;
    Ok((writer, Guard { lines, done }))
}

impl Write for Writer {
    /// Takes one whole line: the subscriber writes each event at once.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Err(TrySendError::Full(_)) = self.lines.try_send(Message::Line(line.to_owned())) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Writer {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Full means that nobody reads; then the last lines are lost as well.
        if self.lines.try_send(Message::End).is_ok() {
            let _: Result<(), RecvTimeoutError> = self.done.recv_timeout(FLUSH);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};

    use super::*;

    /// Writes only while the gate lets it.
    struct Gated {
        gate: mpsc::Receiver<()>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Gated {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let _ = self.gate.recv();
            self.written.lock().unwrap().write(line)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_sleeps_holds_up_nothing_and_learns_what_it_missed() {
        let (open, gate) = mpsc::channel();
        let written = Arc::new(Mutex::new(Vec::new()));
        let (mut writer, guard) = writer(Gated { gate, written: Arc::clone(&written) }, 2).unwrap();
        for line in 0..100 {
            writer.write_all(format!("line {line}\n").as_bytes()).unwrap();
        }
        drop(open);
        while guard.lines.try_send(Message::End).is_err() {
            thread::yield_now();
        }
        guard.done.recv().unwrap();
        let written = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert!(written.contains("line 0\n"), "{written}");
        assert!(written.contains("lines of the log were dropped"), "{written}");
        assert!(written.lines().count() <= 5, "{written}");
    }

    #[test]
    fn the_last_lines_are_written_at_the_end() {
        let (open, gate) = mpsc::channel();
        drop(open);
        let written = Arc::new(Mutex::new(Vec::new()));
        let (mut writer, guard) = writer(Gated { gate, written: Arc::clone(&written) }, 8).unwrap();
        writer.write_all(b"last\n").unwrap();
        drop(guard);
        assert_eq!(*written.lock().unwrap(), b"last\n");
    }
}
