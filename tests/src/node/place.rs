//! The namespaces of Linux in which a node is, and how threads and programs get into them.

use std::{
    fs::{self, File},
    io,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process, thread,
    time::{Duration, Instant},
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::NamedTempFile;

use super::{leftovers, network};
use crate::{daemon::Daemon, program};

/// Longest wait for the namespaces.
const PATIENCE: Duration = Duration::from_secs(30);
/// What the commands for a place make last.
const READY: &str = "run/place-is-ready";

/// A network, a mount and a process namespace, and a control group, of their own. Dropped, all
/// processes in them end.
#[derive(Debug)]
pub struct Place {
    /// Keeps the first process.
    _unshare: Daemon,
    /// The first process, as it is seen from outside.
    first: u32,
    cgroup: String,
    /// Of what the commands say.
    _log: NamedTempFile,
}

impl Place {
    /// Makes one.
    ///
    /// # Panics
    /// Where that is not possible: it takes root, and Linux.
    pub fn make() -> Self {
        let cgroup = leftovers::name(process::id());
        leftovers::remove_orphans();
        leftovers::make(&cgroup);
        let log = NamedTempFile::new().expect("a file");
        // What programs of the node keep where they please is then in memory, and its own.
        let script = format!(
            "set -e
             for volatile in /run /var/lib /var/log; do mount -t tmpfs -o mode=755 none $volatile; done
             {}
             touch /{READY}
             # It takes the children of those that have ended, as process 1.
             sleep infinity & wait",
            network()
        );
        let args = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
        let args = args.into_iter().chain(["bash", "-c", &script]).map(str::to_owned).collect();
        let mut unshare = Daemon::start(Path::new("unshare"), args, log.path());
        let deadline = Instant::now() + PATIENCE;
        let first = loop {
            if let Some(first) = child(unshare.pid())
                && Path::new(&format!("/proc/{first}/root/{READY}")).exists()
            {
                break first;
            }
            let failed = unshare.has_ended() || Instant::now() > deadline;
            assert!(!failed, "no namespaces, which root may make: {}", unshare.last_words());
            thread::sleep(Duration::from_millis(10));
        };
        Self { _unshare: unshare, first, cgroup, _log: log }
    }

    /// Has this thread, and the threads and processes that it starts from now on, be in the
    /// network of the place.
    ///
    /// # Errors
    /// When the place is gone.
    pub fn enter(&self) -> io::Result<()> {
        let network = File::open(format!("/proc/{}/ns/net", self.first))?;
        Ok(move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?)
    }

    /// A path of the place, as it is seen from outside.
    pub fn path(&self, inside: &str) -> PathBuf {
        format!("/proc/{}/root{inside}", self.first).into()
    }

    /// The control group below which all pods are.
    pub fn cgroup(&self) -> &str {
        &self.cgroup
    }

    /// The words that put a program into all of the place's namespaces, where it ends with the
    /// one who started it.
    pub fn words(&self) -> Vec<String> {
        let bound = program::program("bound");
        let target = format!("--target={}", self.first);
        let words = ["nsenter", &target, "--net", "--mount", "--pid", &bound.display().to_string()];
        words.map(str::to_owned).into()
    }

    /// Starts a program in it.
    pub(super) fn start(&self, program: &Path, args: Vec<String>, log: &Path) -> Daemon {
        let mut words = self.words();
        words.push(program.display().to_string());
        words.extend(args);
        let nsenter = words.remove(0);
        Daemon::start(Path::new(&nsenter), words, log)
    }
}

/// The only child of a process.
fn child(of: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{of}/task/{of}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}
