//! Processes that were left to this one. Linux gives descendants whose parents have ended to the
//! nearest ancestor that asks for them; it asks, to end them and to let no zombie stay.

use std::{
    fs, future, io,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::timeout,
};

use super::MARK;

/// How long those may take to end at last that are of no program that is known.
pub const STRAYS: Duration = Duration::from_millis(500);
/// Most of them that are looked into for one program.
const MOST: usize = 1024;

/// The processes that were left to this one.
#[derive(Debug)]
pub struct Orphans {
    /// Held while one is signalled or reaped, so that no number is a stranger's meanwhile.
    held: Mutex<()>,
    /// Told when a child of this process has ended.
    ended: watch::Sender<()>,
}

impl Orphans {
    /// Takes them from now on: before any program starts, or what that leaves is lost.
    pub fn adopt() -> Self {
        if let Err(error) = set_child_subreaper(Some(getpid())) {
            tracing::debug!(%error, "what programs leave behind goes to another process");
        }
        Self { held: Mutex::default(), ended: watch::Sender::default() }
    }

    /// Reaps those that end, while it lasts; then ends those that are left, which takes at most
    /// [`STRAYS`].
    pub async fn beside(&self, serving: impl Future<Output = ()>) {
        let reaping = async {
            if let Err(error) = self.reap().await {
                tracing::warn!(%error, "cannot notice that what programs left behind ends");
            }
            future::pending::<()>().await;
        };
        let serving = async {
            serving.await;
            for force in [false, true] {
                let _ = timeout(STRAYS / 2, self.end_all(force)).await;
            }
        };
        tokio::select! {
            () = serving => {}
            () = reaping => {}
        }
    }

    /// Completes when none is left.
    async fn end_all(&self, force: bool) {
        let (mut ends, mut asked) = (self.ends(), Vec::new());
        while self.end(None, force, &mut asked) > 0 && ends.changed().await.is_ok() {}
    }

    /// Reaps those that have ended, for ever. No other child is waited for.
    async fn reap(&self) -> io::Result<()> {
        let mut ends = signal(SignalKind::child())?;
        loop {
            self.reap_ended();
            self.ended.send_replace(());
            ends.recv().await;
        }
    }

    fn reap_ended(&self) {
        let _held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        for orphan in all() {
            // Fails for none: nobody else waits for these.
            let _ = waitpid(Some(orphan), WaitOptions::NOHANG);
        }
    }

    /// Asks those to end that carry this mark, or all, each once: `asked` remembers whom. With
    /// `force` it ends them. Returns how many there still are.
    pub fn end(&self, mark: Option<&str>, force: bool, asked: &mut Vec<u32>) -> usize {
        let _held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left = 0;
        for orphan in all().take(MOST) {
            if !carries(orphan, mark) {
                continue;
            }
            left += 1;
            let number = orphan.as_raw_nonzero().get().cast_unsigned();
            // Nothing of this hits a stranger: a child keeps its number until it is reaped.
            if force {
                let _ = kill_process(orphan, Signal::KILL);
            } else if !asked.contains(&number) {
                asked.push(number);
                let _ = kill_process(orphan, Signal::TERM);
            }
        }
        left
    }

    /// Tells of ends of children from now on.
    pub fn ends(&self) -> watch::Receiver<()> {
        self.ended.subscribe()
    }
}

/// All of them. The kernel gives them to the main thread, which starts no programs itself.
fn all() -> impl Iterator<Item = Pid> {
    let path = format!("/proc/self/task/{}/children", getpid());
    let children = fs::read_to_string(path).unwrap_or_default();
    let numbers = children.split_ascii_whitespace().filter_map(|number| number.parse().ok());
    numbers.filter_map(Pid::from_raw).collect::<Vec<_>>().into_iter()
}

/// Whether a process runs and carries the mark, which it has from the program that it descends
/// from. All that run carry none in particular. One that is about to end has no environment any
/// more, and may have children that were not left to us yet: whatever those carry, it does.
fn carries(process: Pid, mark: Option<&str>) -> bool {
    let Some(flags) = flags_of_running(process) else { return false };
    let Some(mark) = mark else { return true };
    let variables = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
    let mut values = variables
        .split(|byte| *byte == 0)
        .filter_map(|variable| variable.strip_prefix(MARK.as_bytes())?.strip_prefix(b"="));
    flags & EXITING != 0
        || values.any(|marks| marks.split(|byte| *byte == b',').any(|it| it == mark.as_bytes()))
        // It may have begun to end since.
        || flags_of_running(process).is_some_and(|flags| flags & EXITING != 0)
}

/// The kernel's flag of a process that is about to end (`PF_EXITING`).
const EXITING: u32 = 4;

/// The kernel's flags of a process that has not ended, reaped or not.
fn flags_of_running(process: Pid) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // Behind the name, in which anything may stand.
    let mut fields = status.rsplit_once(") ")?.1.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") { None } else { fields.nth(5)?.parse().ok() }
}
