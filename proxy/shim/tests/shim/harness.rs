//! A shim that runs, and what the system tells of it.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::sidecar::Sidecar;

/// Longest wait for anything, on a machine that has much else to do.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until something is there.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A shim, which is ended with the test.
pub(crate) struct Shim {
    pub(crate) child: Child,
    /// Its process, which is not the child when that is something that starts it.
    pub(crate) process: u32,
    directory: TempDir,
    log: Arc<Mutex<Vec<String>>>,
}

impl Shim {
    /// One with these options, which starts this command for each session.
    pub(crate) fn start(options: &[&str], command: &[&str]) -> Self {
        Self::start_by(Command::new(env!("CARGO_BIN_EXE_mcpulse-shim")), options, command)
    }

    /// One that is started by a command, to which its options are given.
    pub(crate) fn start_by(mut by: Command, options: &[&str], command: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        by.arg("--listen").arg(directory.path().join("mcp.sock")).args(options);
        by.arg("--").args(command).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = by.spawn().expect("the shim starts");
        let log = Arc::default();
        let errors = child.stderr.take().expect("a pipe");
        let kept = Arc::clone(&log);
        thread::spawn(move || keep(errors, &kept));
        let shim = Self { process: child.id(), child, directory, log };
        eventually("the socket", || shim.socket().exists().then_some(()));
        shim
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("mcp.sock")
    }

    /// A new session.
    pub(crate) fn open(&self, token: &str) -> Sidecar {
        Sidecar::open(&self.socket(), token)
    }

    /// The log so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().expect("no panic").clone()
    }

    /// Waits for a line of the log.
    pub(crate) fn logged(&self, part: &str) -> String {
        let found = || self.log().into_iter().find(|line| line.contains(part));
        eventually(part, found)
    }

    /// Asks it to end.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(pid(self.process), signal).expect("it lives");
    }

    /// How it ended.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        eventually("its end", || self.child.try_wait().expect("a child"))
    }

    /// The processes below it.
    pub(crate) fn children(&self) -> Vec<u32> {
        children(self.process)
    }

    /// Waits until it has no child, and no more descriptors than these.
    pub(crate) fn is_clean(&self, descriptors: usize) {
        eventually("that no child is left", || self.children().is_empty().then_some(()));
        eventually("that no descriptor is left", || {
            (self.descriptors() == descriptors).then_some(())
        });
    }

    /// How many descriptors it has open.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.process)).expect("its descriptors").count()
    }

    /// How many KiB of memory it has resident.
    pub(crate) fn resident(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process));
        let status = status.expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        // A second time means at once, and programs are then ended by it.
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = kill_process(pid(self.process), Signal::TERM);
            while kill_process(pid(self.process), Signal::TERM).is_ok()
                && self.child.try_wait().is_ok_and(|ended| ended.is_none())
            {
                thread::sleep(Duration::from_millis(20));
            }
            let _ = self.child.wait();
        }
    }
}

fn keep(errors: ChildStderr, log: &Mutex<Vec<String>>) {
    for line in BufReader::new(errors).split(b'\n').map_while(Result::ok) {
        log.lock().expect("no panic").push(String::from_utf8_lossy(&line).into_owned());
    }
}

/// A number as the system has it.
pub(crate) fn pid(number: u32) -> Pid {
    Pid::from_raw(number.cast_signed()).expect("a number")
}

/// The children of a process, of whichever of its threads.
pub(crate) fn children(of: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{of}/task")).into_iter().flatten().flatten();
    let lists = tasks.map(|task| fs::read_to_string(task.path().join("children")));
    let lists: Vec<String> = lists.map(Result::unwrap_or_default).collect();
    let words = lists.iter().flat_map(|list| list.split_ascii_whitespace());
    words.map(|word| word.parse().expect("a number")).collect()
}

/// Whether a process runs, and is no zombie.
pub(crate) fn runs(number: u32) -> bool {
    let status = fs::read_to_string(Path::new("/proc").join(number.to_string()).join("stat"));
    status.is_ok_and(|status| {
        let state = status.rsplit_once(") ").map(|(_, rest)| rest.as_bytes()[0]);
        !matches!(state, None | Some(b'Z' | b'X'))
    })
}
