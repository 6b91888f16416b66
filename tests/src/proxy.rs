//! The binary under test as a process of its own.

use std::{
    ffi::OsStr,
    io::Write as _,
    net::SocketAddr,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use crate::{Scrape, eventually, program, scrape};

/// Longest wait for what the proxy does at once.
const SOON: Duration = Duration::from_secs(10);
/// Longest wait for what needs others too, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running `mcpulse-proxy`. Dropping it kills it; when a test fails, what it said on
/// standard error is shown.
#[derive(Debug)]
pub struct Proxy {
    child: Child,
    said: Said,
}

impl Proxy {
    /// The program with nothing set: no variable that configures it, and no MCPulse.
    pub fn command<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Command {
        let mut command = unconfigured(Command::new(program("mcpulse-proxy")));
        command.args(args);
        command
    }

    /// Starts it with these arguments.
    pub fn start<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Self {
        Self::run(Self::command(args))
    }

    /// Starts what [`Proxy::command`] gave and the test may have changed, or another program.
    pub fn run(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().expect("the program starts");
        let stderr = child.stderr.take().expect("standard error is piped");
        Self { child, said: Said::listen(stderr) }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("the proxy runs")
    }

    /// Takes its standard input; dropping that is the end of file.
    pub fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("standard input was not taken before")
    }

    /// Takes its standard output.
    pub fn stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().expect("standard output was not taken before")
    }

    /// Everything that it has said on standard error so far.
    pub fn stderr(&self) -> String {
        self.said.text()
    }

    /// Waits until it has said `text` on standard error.
    pub async fn wait_for_stderr(&self, text: &str) {
        let what = format!("standard error says {text:?}");
        eventually(&what, SOON, async || self.stderr().contains(text).then_some(())).await;
    }

    /// Where clients connect (`--listen 127.0.0.1:0`).
    pub async fn address(&self) -> SocketAddr {
        self.said.address(CLIENTS).await
    }

    /// Where it serves `/metrics` (`--metrics-listen 127.0.0.1:0`).
    pub async fn metrics_address(&self) -> SocketAddr {
        self.said.address(METRICS).await
    }

    /// Scrapes `/metrics`.
    pub async fn scrape(&self) -> Scrape {
        Scrape::of(self.metrics_address().await).await
    }

    /// Waits until `/readyz` is so; what it says then.
    pub async fn wait_until_ready(&self, ready: bool) -> String {
        let address = self.metrics_address().await;
        eventually(&format!("ready is {ready}"), PATIENCE, async || {
            let (status, said) = scrape::get(address, "/readyz").await;
            (status.is_success() == ready).then_some(said)
        })
        .await
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("the proxy takes signals");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it has not ended `within` this time.
    pub async fn wait(&mut self, within: Duration) -> ExitStatus {
        let ended = timeout(within, self.child.wait()).await;
        ended.unwrap_or_else(|_| panic!("the proxy has not ended within {within:?}")).expect("wait")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- standard error of the program:\n{}---", self.stderr());
        }
    }
}

/// The same without any variable of this process that would configure a proxy.
pub fn unconfigured(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let ours = text.starts_with("MCPULSE_") || text.starts_with("OTEL_") || text == "RUST_LOG";
        if ours || text.to_ascii_uppercase().ends_with("_PROXY") {
            command.env_remove(&name);
        }
    }
    command
}

/// How the proxy announces its listeners.
pub const CLIENTS: &str = "listening address=";
/// See [`CLIENTS`].
pub const METRICS: &str = "metrics address=";

/// What a process says on standard error, collected while it runs.
#[derive(Clone, Debug, Default)]
pub struct Said(Arc<Mutex<Vec<u8>>>);

impl Said {
    /// Collects from now on until the end of `stderr`.
    pub fn listen(mut stderr: impl AsyncRead + Send + Unpin + 'static) -> Self {
        let said = Self::default();
        let bytes = Arc::clone(&said.0);
        tokio::spawn(async move {
            let mut chunk = vec![0; 8192];
            while let Ok(count @ 1..) = stderr.read(&mut chunk).await {
                let mut bytes = bytes.lock().unwrap_or_else(PoisonError::into_inner);
                let _ = bytes.write_all(&chunk[..count]);
            }
        });
        said
    }

    /// All of it so far.
    pub fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The address that was said after `announcement`, once it was.
    pub async fn address(&self, announcement: &str) -> SocketAddr {
        eventually(&format!("{announcement:?} is announced"), SOON, async || {
            announced(&self.text(), announcement)
        })
        .await
    }
}

/// The address that follows `announcement` in what the proxy said.
pub fn announced(said: &str, announcement: &str) -> Option<SocketAddr> {
    let (_, rest) = said.split_once(announcement)?;
    // Only a line that is complete surely has the whole address.
    let (rest, _) = rest.split_once('\n')?;
    let address = rest.trim_start_matches(|c: char| !c.is_ascii_digit() && c != '[');
    let end = address.find(|c: char| !(c.is_ascii_hexdigit() || "[]:.".contains(c)));
    address[..end.unwrap_or(address.len())].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_what_was_said() {
        let said = "INFO app: metrics address=127.0.0.1:19464\n\
                    INFO app: listening address=[::1]:8080 upstream=a\n";
        assert_eq!(announced(said, METRICS), Some(([127, 0, 0, 1], 19464).into()));
        assert_eq!(announced(said, CLIENTS), "[::1]:8080".parse().ok());
        assert_eq!(announced("metrics address=127.0.0.1:194", METRICS), None);
    }
}
