//! Raw relay between a client on our standard streams and a server that is our child: bytes
//! in are bytes out, both ways. Nothing is ever injected, and nothing is held back.
//!
//! Each direction is a thread of its own that blocks in read or write: the fastest way, and
//! one that works alike for pipes, sockets, files and terminals. Nobody joins these threads,
//! for the client may leave them blocked for ever; they end with the process.

use std::{
    ffi::OsString,
    fs::File,
    io,
    pin::pin,
    process::{ChildStdin, ChildStdout},
    sync::Arc,
    thread,
    time::Duration,
};

use tokio::sync::mpsc;

use crate::{
    config::Command,
    platform::{self, Wait as _},
    ready::Gate,
    shutdown::Shutdown,
    tap::{Probe, Tap},
    traffic::{End, StreamKind},
};

mod pump;
#[cfg(test)]
mod tests;

pub use super::child::StartError;

use super::{
    child::{self, Bond},
    ending::{Ending, Grace, Step, take},
};
use pump::{Broken, Progress, pump};

/// From the end of the input on. Python servers were seen to take 1.3 s to end by themselves;
/// clients lose patience after 2 s (`TypeScript` and Python SDKs).
const INPUT_ENDED: Grace = Grace {
    terminate: Duration::from_millis(1450),
    kill: Duration::from_millis(1650),
    leave: Duration::from_millis(1720),
    flush: Duration::from_millis(1800),
};
/// From a signal on. Clients that send one wait no longer than 1 s.
const STOPPED: Grace = Grace {
    terminate: Duration::ZERO,
    kill: Duration::from_millis(500),
    leave: Duration::from_millis(600),
    flush: Duration::from_millis(800),
};
/// What the sinks have left once a server that ended by itself has said everything.
const SERVER_ENDED: Duration = Duration::from_millis(800);
/// Silence after which the output of a server that has ended counts as complete, although a
/// descendant of it still holds the pipe open: while the client stays, and while it leaves.
const SILENCE: Duration = Duration::from_secs(1);
/// See [`SILENCE`].
const LAST_SILENCE: Duration = Duration::from_millis(200);
/// The code of a server that outlived SIGKILL (128 + 9): it hangs in the kernel.
const KILLED: u8 = 137;

/// The client's two streams, as the proxy has them.
#[derive(Debug)]
pub struct Client {
    /// What the client says.
    pub input: File,
    /// What it hears; closed as soon as the server has closed its own.
    pub output: File,
}

impl Client {
    /// The client at the process's own standard input and output, which are taken out of the
    /// process: nothing can slip into the protocol by accident.
    pub fn of_process() -> io::Result<Self> {
        let (input, output) = platform::take_stdio()?;
        Ok(Self { input, output })
    }
}

/// What the threads of a session report.
#[derive(Debug)]
enum Event {
    /// The client said its last word; some of what it said may still wait for the server. A
    /// file ends with its last byte: until the server has taken that, nobody has left.
    InputEnded,
    /// The server said its last word.
    OutputEnded,
    /// The client takes no more output.
    OutputRefused,
    /// The server has ended, with this code.
    Exited(u8),
}

/// A session to be: who talks, and who is shown what they say.
#[derive(Debug)]
pub struct Session<'a> {
    /// The client's streams.
    pub client: Client,
    /// The server.
    pub command: &'a Command,
    /// The proxy's own variables. The server gets them, without `MCPULSE_PROXY_*`.
    pub environment: Vec<(OsString, OsString)>,
    /// The MCPulse server id.
    pub server_id: Arc<str>,
    /// Where what passes is shown.
    pub tap: &'a Tap,
    /// Open while the server runs.
    pub gate: Gate,
    /// Begun with the end of the session, at the latest when [`Session::run`] returns.
    pub shutdown: &'a Shutdown,
}

impl Session<'_> {
    /// Starts the server and relays until it has ended and what it said has reached the
    /// client. Returns the code to pass on: the server's own, or 128 + the number of the
    /// signal that ended it.
    ///
    /// At the end of the client's input the server's ends as well, and it has 1.45 s to exit;
    /// when `stop` completes it is told at once (SIGTERM) and has 0.5 s. Then it is killed.
    ///
    /// # Errors
    /// When the server cannot be started.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<u8, StartError> {
        let (report, mut events) = mpsc::channel(8);
        let exited = report.clone();
        let ended = move |server: child::Ended| {
            // Nobody listens any more once the session is over.
            let _ = exited.blocking_send(Event::Exited(server.code()));
        };
        let server = child::start(self.command, self.environment, Bond::Shared, ended).await?;
        self.gate.open();
        let (to_server, to_client) = self.tap.open(self.server_id, StreamKind::Lines);
        let progress = Arc::new(Progress::default());
        let Client { input, output } = self.client;
        forward_input(input, server.input, to_server, report.clone())
            .and(forward_output(server.output, output, to_client, Arc::clone(&progress), report))
            .map_err(StartError::Thread)?;

        let mut ending = Ending::default();
        let mut stop = pin!(stop);
        let (mut stopped, mut complete, mut code) = (false, false, None);
        while !complete || code.is_none() {
            let silence = if ending.has_begun() { LAST_SILENCE } else { SILENCE };
            let begin = tokio::select! {
                Some(event) = events.recv() => match event {
                    Event::InputEnded => Some(INPUT_ENDED),
                    Event::OutputEnded => {
                        complete = true;
                        None
                    }
                    Event::OutputRefused => {
                        complete = true;
                        Some(INPUT_ENDED)
                    }
                    Event::Exited(own) => {
                        code = Some(own);
                        None
                    }
                },
                () = &mut stop, if !stopped => {
                    stopped = true;
                    Some(STOPPED)
                }
                step = ending.next() => {
                    take(step, &server.process);
                    if step == Step::Leave {
                        break;
                    }
                    None
                }
                () = progress.silent(silence), if code.is_some() => break,
            };
            if let Some(grace) = begin {
                self.shutdown.begin(grace.flush);
                ending.begin(grace);
            }
        }
        self.gate.close("the server has ended");
        self.shutdown.begin(SERVER_ENDED);
        Ok(code.unwrap_or(KILLED))
    }
}

fn forward_input(
    mut client: File,
    mut server: ChildStdin,
    mut probe: Probe,
    report: mpsc::Sender<Event>,
) -> io::Result<()> {
    spawn("to-server", move || {
        if let Err(error) = platform::never_block(&server) {
            tracing::debug!(%error, "an end of the input shows only to a server that reads");
        }
        let mut left = false;
        let blocked = |client: &File, server: &ChildStdin| {
            if left {
                return server.writable();
            }
            // A server that does not read must not hide that the client has gone.
            left = platform::writable_or_closed(server, client)?;
            if left {
                let _ = report.blocking_send(Event::InputEnded);
            }
            Ok(())
        };
        let progress = Progress::default();
        let pumped = pump(&mut client, &mut server, &mut probe, &progress, blocked);
        // Closed before anything else, for the server's end may depend on it.
        drop(server);
        let end = match pumped {
            Ok(()) => End::Clean,
            Err(Broken::Read(error)) => {
                tracing::debug!(%error, "the client can no longer be read");
                End::ClientGone
            }
            Err(Broken::Write(error)) => {
                tracing::debug!(%error, "the server takes no more input");
                // The end of a client that speaks to nobody is the end all the same.
                let heard =
                    pump(&mut client, &mut io::sink(), &mut probe, &progress, |_, _| Ok(()));
                if left || heard.is_err() { End::ClientGone } else { End::ServerGone }
            }
        };
        probe.end(end);
        // Nobody listens any more once the session is over.
        let _ = report.blocking_send(Event::InputEnded);
    })
}

fn forward_output(
    mut server: ChildStdout,
    mut client: File,
    mut probe: Probe,
    progress: Arc<Progress>,
    report: mpsc::Sender<Event>,
) -> io::Result<()> {
    spawn("to-client", move || {
        let blocked = |_: &ChildStdout, client: &File| client.writable();
        let pumped = pump(&mut server, &mut client, &mut probe, &progress, blocked);
        let (end, event) = match pumped {
            Ok(()) => (End::Clean, Event::OutputEnded),
            Err(Broken::Read(error)) => {
                tracing::debug!(%error, "the server can no longer be read");
                (End::ServerGone, Event::OutputEnded)
            }
            Err(Broken::Write(error)) => {
                tracing::debug!(%error, "the client takes no more output");
                (End::ClientGone, Event::OutputRefused)
            }
        };
        probe.end(end);
        drop((server, client));
        let _ = report.blocking_send(event);
    })
}

/// A thread that nobody joins.
fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
}
