//! What the proxy says about itself: on standard error, since standard output may be the
//! protocol's. Nothing waits for whoever reads it: lines beyond a bound are dropped, and the
//! next line that gets through says how many.

use std::{
    io::{self, IsTerminal, Write},
    panic::{self, PanicHookInfo},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

use anyhow::Context;
use opentelemetry_sdk::trace::SdkTracer;
use tracing::Level;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::Targets,
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::{
    config::{Log, LogFormat},
    platform,
};

/// Lines that wait for the reader of standard error.
const LINES: usize = 1024;

/// Longest wait at the end for the last lines.
const FLUSH: Duration = Duration::from_millis(100);

/// Keeps the log going; at its end the last lines are written.
#[derive(Debug)]
pub struct Guard {
    writer: Writer,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// Everything before is to be written; answer then.
    Flush(SyncSender<()>),
}

/// Sends the log to standard error from here on, panics included, and the program's own spans
/// to `spans` where there is one.
///
/// # Errors
/// When the level cannot be read, or there is a log already.
pub fn init(log: &Log, spans: Option<SdkTracer>) -> anyhow::Result<Guard> {
    let filter = EnvFilter::try_new(&log.level)
        .with_context(|| format!("read the log level '{}'; write e.g. info", log.level))?;
    let writer = writer(Stderr, LINES).context("start the log's thread")?;
    // What tracing has to say about a writer that fails it would print, and panic if it cannot.
    let layer = fmt::layer()
        .with_writer(writer.clone())
        .with_ansi(io::stderr().is_terminal())
        .log_internal_errors(false);
    let layer = match log.format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().boxed(),
    };
    // Only what is ours: the libraries that export have spans too, and would export themselves.
    let ours = Targets::new().with_target(env!("CARGO_CRATE_NAME"), Level::INFO);
    let spans =
        spans.map(|tracer| tracing_opentelemetry::layer().with_tracer(tracer).with_filter(ours));
    Registry::default()
        .with(spans)
        .with(layer.with_filter(filter))
        .try_init()
        .context("start the log")?;
    let last = writer.clone();
    panic::set_hook(Box::new(move |info| {
        report(info);
        last.finish();
    }));
    Ok(Guard { writer })
}

/// A panic is one line, as everything else.
fn report(info: &PanicHookInfo<'_>) {
    let what = info.payload_as_str().unwrap_or("no message");
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let thread = thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    tracing::error!("panic in thread {thread} at {place}: {what}; please report this bug");
}

/// Standard error, also where somebody else made it non-blocking.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (written, result) = platform::write(&mut io::stderr(), bytes);
        result.map(|()| written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Hands lines to the thread that writes them, and waits for nothing.
#[derive(Clone, Debug)]
struct Writer {
    lines: SyncSender<Message>,
    dropped: Arc<Dropped>,
}

/// Lines that were dropped.
#[derive(Debug, Default)]
struct Dropped {
    all: AtomicU64,
    /// Since the log last said so.
    unsaid: AtomicU64,
}

fn writer(mut to: impl Write + Send + 'static, lines: usize) -> io::Result<Writer> {
    let (lines, taken) = sync_channel(lines);
    let writer = Writer { lines, dropped: Arc::default() };
    let dropped = Arc::clone(&writer.dropped);
    thread::Builder::new().name("log".to_owned()).spawn(move || {
        for message in taken {
            let line = match message {
                Message::Line(line) => line,
                Message::Flush(done) => {
                    let _ = done.try_send(());
                    continue;
                }
            };
            let missed = dropped.unsaid.swap(0, Ordering::Relaxed);
            if missed > 0 {
                let _ = writeln!(to, "{missed} lines of the log were dropped: nobody read them");
            }
            // When nobody listens any more there is nobody to tell.
            let _ = to.write_all(&line);
        }
    })?;
    Ok(writer)
}

impl Writer {
    /// Waits a moment for what was said so far to be written.
    fn finish(&self) {
        let (done, written) = sync_channel(1);
        // Full means that nobody reads; then the last lines are lost as well.
        if self.lines.try_send(Message::Flush(done)).is_ok() {
            let _ = written.recv_timeout(FLUSH);
        }
    }
}

impl Write for Writer {
    /// Takes one whole line: the subscriber writes each event at once.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Err(TrySendError::Full(_)) = self.lines.try_send(Message::Line(line.to_owned())) {
            self.dropped.all.fetch_add(1, Ordering::Relaxed);
            self.dropped.unsaid.fetch_add(1, Ordering::Relaxed);
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

impl Guard {
    /// Reads how many lines were dropped since the start.
    pub fn dropped(&self) -> impl Fn() -> u64 + Send + Sync + use<> {
        let dropped = Arc::clone(&self.writer.dropped);
        move || dropped.all.load(Ordering::Relaxed)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.writer.finish();
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
        let mut writer = writer(Gated { gate, written: Arc::clone(&written) }, 2).unwrap();
        for line in 0..100 {
            writer.write_all(format!("line {line}\n").as_bytes()).unwrap();
        }
        drop(open);
        let (tell, done) = mpsc::sync_channel(1);
        writer.lines.send(Message::Line(b"end\n".to_vec())).unwrap();
        writer.lines.send(Message::Flush(tell)).unwrap();
        done.recv().unwrap();
        let dropped = Guard { writer }.dropped()();
        assert!((96..100).contains(&dropped), "{dropped}");
        let written = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert!(written.contains("line 0\n"), "{written}");
        assert!(written.contains("lines of the log were dropped"), "{written}");
        // Four lines at most, and a word of what is missing before the first two.
        assert!(written.lines().count() <= 6, "{written}");
    }

    #[test]
    fn the_last_lines_are_written_at_the_end() {
        let (open, gate) = mpsc::channel();
        drop(open);
        let written = Arc::new(Mutex::new(Vec::new()));
        let mut writer = writer(Gated { gate, written: Arc::clone(&written) }, 8).unwrap();
        writer.write_all(b"last\n").unwrap();
        drop(Guard { writer });
        assert_eq!(*written.lock().unwrap(), b"last\n");
    }
}
