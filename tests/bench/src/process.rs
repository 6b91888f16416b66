//! Processes under measurement: started, asked for their address, read from `/proc`, ended.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::Context;

/// Prints the address at which a server of ours listens, as its parent expects it.
pub(crate) fn announce(address: SocketAddr) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{address}")?;
    Ok(out.flush()?)
}

/// A child that ends with its owner.
pub(crate) struct Running {
    pub(crate) child: Child,
}

impl Running {
    /// Starts a program that talks on standard input and output.
    pub(crate) fn stdio(command: &[String]) -> anyhow::Result<Self> {
        let child = prepare(command)?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {command:?}"))?;
        Ok(Self { child })
    }

    /// Starts a server that prints its address first.
    pub(crate) fn server(command: &[String]) -> anyhow::Result<(Self, SocketAddr)> {
        let mut running = Self::stdio(command)?;
        let out = running.child.stdout.take().context("no stdout")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        let address = line.trim().parse().with_context(|| format!("{command:?}: {line:?}"))?;
        Ok((running, address))
    }

    /// Starts a server on an address of the caller's choice and waits until it listens.
    pub(crate) fn listening(command: &[String], address: SocketAddr) -> anyhow::Result<Self> {
        let running = Self::stdio(command)?;
        for _ in 0..1000 {
            if std::net::TcpStream::connect(address).is_ok() {
                return Ok(running);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        anyhow::bail!("{command:?} does not listen on {address}")
    }

    /// What the process has used so far, its children not counted.
    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        Usage::of(self.child.id())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Closing its input ends a stdio program and all behind it; a server needs a signal.
        drop(self.child.stdin.take());
        for _ in 0..200 {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            if self.child.stdout.is_none() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn prepare(command: &[String]) -> anyhow::Result<Command> {
    let (program, arguments) = command.split_first().context("an empty command")?;
    let mut prepared = Command::new(program);
    prepared.args(arguments).stderr(Stdio::null()).env_remove("RUST_LOG");
    Ok(prepared)
}

/// Processor time and memory of one process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    pub(crate) resident_kib: u64,
    pub(crate) peak_kib: u64,
}

impl Usage {
    fn of(pid: u32) -> anyhow::Result<Self> {
        let schedstat = |task: String| -> Option<u64> {
            fs::read_to_string(task).ok()?.split(' ').next()?.parse().ok()
        };
        let mut nanoseconds = 0;
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let path = task?.path().join("schedstat");
            nanoseconds += schedstat(path.display().to_string()).unwrap_or(0);
        }
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let kib = |key: &str| -> Option<u64> {
            let line = status.lines().find(|line| line.starts_with(key))?;
            line.split_whitespace().nth(1)?.parse().ok()
        };
        Ok(Self {
            cpu: Duration::from_nanos(nanoseconds),
            resident_kib: kib("VmRSS:").context("no VmRSS")?,
            peak_kib: kib("VmHWM:").context("no VmHWM")?,
        })
    }
}
