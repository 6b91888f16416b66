//! `mcpulse-proxy stdio` as a client sees it: whatever its streams are, whatever it says,
//! and however the session ends.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::{fd::OwnedFd, unix::process::ExitStatusExt as _},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use mcpulse_tests::Proxy;
use rustix::process::{Pid, Signal, kill_process};

mod ending;
mod payload;
mod streams;

/// The proxy in front of this server, reporting to nobody.
fn in_front_of(server: &[&str]) -> Command {
    reporting_to("none", server)
}

fn reporting_to(mcpulse: &str, server: &[&str]) -> Command {
    with_flags(&["--mcpulse-url", mcpulse], server)
}

fn with_flags(flags: &[&str], server: &[&str]) -> Command {
    let options = ["stdio", "--server-id", "test"];
    Proxy::command(options.iter().chain(flags).chain(&["--"]).chain(server)).into_std()
}

/// The proxy and its server; killed when the test is over.
struct Session(Child);

impl Session {
    /// Starts it with a pipe for each stream that the test has not set.
    fn start(mut command: Command) -> Self {
        Self(command.spawn().expect("the proxy starts"))
    }

    /// Starts it with pipes.
    fn piped(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Self::start(command)
    }

    /// Closes what the client says.
    fn close(&mut self) {
        drop(self.0.stdin.take());
    }

    fn say(&mut self, bytes: &[u8]) {
        self.0.stdin.as_mut().expect("not closed").write_all(bytes).expect("the proxy reads");
    }

    /// The next line that the server says, without its end.
    fn line(&mut self) -> String {
        let stdout = self.0.stdout.as_mut().expect("standard output is a pipe");
        let mut line = Vec::new();
        loop {
            let mut byte = [0];
            stdout.read_exact(&mut byte).expect("the line has an end");
            if byte == *b"\n" {
                return String::from_utf8(line).expect("the servers here speak UTF-8");
            }
            line.extend(byte);
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it takes signals");
    }

    /// How it ended, and how long that took from `since` on.
    fn end(&mut self, since: Instant) -> (ExitStatus, Duration) {
        loop {
            if let Some(status) = self.0.try_wait().expect("it is our child") {
                return (status, since.elapsed());
            }
            assert!(since.elapsed() < Duration::from_mins(1), "it does not end");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
