//! Processes that were left to this one. Linux gives descendants whose parents have ended to the
//! nearest ancestor that asks for them; it asks, to end them and to let no zombie stay.
//!
//! One sweep after another, none of them on a worker of the runtime, looks at all of them for
//! everybody who has something to end, and nobody else reaps one: so a number in a sweep's hands
//! is no stranger's.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    convert::Infallible,
    fs, future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::process::{
    Pid, Signal, WaitOptions, getpgid, getpid, kill_process, set_child_subreaper, waitpid,
};
use tokio::{
    signal::unix::{self, SignalKind, signal},
    sync::{Notify, oneshot},
    task::spawn_blocking,
    time::{sleep, timeout},
};

use super::{MARK, Mark};

/// How long those may take to end at last that are of no program that is known.
pub const STRAYS: Duration = Duration::from_millis(500);

/// The processes that were left to this one.
#[derive(Debug)]
pub struct Orphans {
    /// Who has what to end. Held for no system call.
    wanted: Mutex<HashMap<Whose, Wanted>>,
    /// Somebody has something to end, or wants it ended at once.
    changed: Notify,
    /// Before this was the proxy, the process had children, which are not ours: what has no mark
    /// may be theirs.
    had_children: bool,
}

/// Whose descendants: those of the program with this mark, or all there are.
type Whose = Option<Mark>;

/// How something is to end.
#[derive(Clone, Copy, Debug)]
struct Wish {
    /// The group that the program has led, whose number it still keeps: the group as such is
    /// asked by somebody else.
    group: Option<Pid>,
    force: bool,
}

/// A wish, and who waits until it has come true.
#[derive(Debug)]
struct Wanted {
    wish: Wish,
    /// Dropped when nothing of it is left.
    _left: oneshot::Sender<Infallible>,
}

impl Orphans {
    /// Takes them from now on: before any program starts, or what that leaves is lost.
    pub fn adopt() -> Self {
        let had_children = !children().is_empty();
        if let Err(error) = set_child_subreaper(Some(getpid())) {
            tracing::debug!(%error, "what programs leave behind goes to another process");
        }
        Self { wanted: Mutex::default(), changed: Notify::new(), had_children }
    }

    /// Reaps those that end, and ends what is to end, while it lasts; then ends those that are
    /// left, which takes at most [`STRAYS`].
    pub async fn beside(self: &Arc<Self>, serving: impl Future<Output = ()>) {
        let serving = async {
            serving.await;
            if !self.had_children {
                let all = self.end_those(None, None, sleep(STRAYS / 2));
                let _ = timeout(STRAYS, all).await;
            }
        };
        tokio::select! {
            () = serving => {}
            () = self.sweep() => {}
        }
    }

    /// Asks to end what is left of a program that has ended and led this group: of that what
    /// carries the mark and has left it, for the group as such is the caller's. Ends it once
    /// `force` completes. Completes when nothing is left of either.
    pub async fn end(&self, mark: Mark, group: Option<u32>, force: impl Future<Output = ()>) {
        let group = group.and_then(|group| Pid::from_raw(group.cast_signed()));
        self.end_those(Some(mark), group, force).await;
    }

    async fn end_those(&self, whose: Whose, group: Option<Pid>, force: impl Future<Output = ()>) {
        let (left, mut nothing_left) = oneshot::channel();
        let wish = Wish { group, force: false };
        self.lock().insert(whose, Wanted { wish, _left: left });
        self.changed.notify_one();
        tokio::select! {
            // It fails when the sender is dropped, which is what that is for.
            _ = &mut nothing_left => return,
            () = force => {}
        }
        if let Some(wanted) = self.lock().get_mut(&whose) {
            wanted.wish.force = true;
            self.changed.notify_one();
        }
        let _ = nothing_left.await;
    }

    /// Sweeps whenever a child has ended or something is to end, for ever.
    async fn sweep(self: &Arc<Self>) {
        let mut ends = signal(SignalKind::child())
            .inspect_err(|error| {
                tracing::warn!(%error, "cannot notice that what programs left behind ends");
            })
            .ok();
        let mut sweep = Sweep::default();
        loop {
            let orphans = Arc::clone(self);
            let sweeping = spawn_blocking(move || {
                while sweep.pass(&orphans) {}
                sweep
            });
            sweep = sweeping.await.unwrap_or_default();
            tokio::select! {
                () = next(ends.as_mut()) => {}
                () = self.changed.notified() => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Whose, Wanted>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Completes with the next signal.
async fn next(ends: Option<&mut unix::Signal>) {
    match ends {
        Some(ends) => drop(ends.recv().await),
        None => future::pending().await,
    }
}

/// What is known of those that were not reaped yet.
#[derive(Debug, Default)]
struct Sweep {
    /// The marks that they were seen with.
    marks: HashMap<Pid, Vec<Mark>>,
    /// Who was asked to end: a second time may mean something else.
    asked: HashSet<Pid>,
}

impl Sweep {
    /// Looks at each once. Returns whether to look again, since one has ended that may have left
    /// its own children meanwhile.
    fn pass(&mut self, orphans: &Orphans) -> bool {
        let wishes: HashMap<Whose, Wish> =
            orphans.lock().iter().map(|(whose, wanted)| (*whose, wanted.wish)).collect();
        let groups: HashMap<Pid, Whose> =
            wishes.iter().filter_map(|(whose, wish)| Some((wish.group?, *whose))).collect();
        let (mut left, mut again) = (HashSet::<Whose>::new(), false);
        for child in children() {
            let (mut ours, mut tells) = (Vec::new(), true);
            let group = getpgid(Some(child)).ok();
            if wishes.is_empty() {
            } else if let Some(marks) = self.marks(child) {
                let of_group = group.and_then(|group| groups.get(&group)).copied();
                let whose = marks.iter().copied().map(Some).chain(of_group).chain([None]);
                ours.extend(whose.filter(|whose| wishes.contains_key(whose)));
            } else {
                // Its children may be anybody's. Who is ended does not wait for them.
                tells = false;
                ours.extend(wishes.iter().filter(|(_, wish)| !wish.force).map(|(whose, _)| whose));
            }
            left.extend(&ours);
            // Fails for none: nobody else waits for these.
            if !matches!(waitpid(Some(child), WaitOptions::NOHANG), Ok(None)) {
                self.marks.remove(&child);
                self.asked.remove(&child);
                again |= !ours.is_empty();
            } else if tells {
                self.signal(child, group, ours.iter().filter_map(|whose| wishes.get(whose)));
            }
        }
        orphans.lock().retain(|whose, _| left.contains(whose) || !wishes.contains_key(whose));
        again
    }

    /// Does to one, of this group, what is wished.
    fn signal<'a>(
        &mut self,
        child: Pid,
        group: Option<Pid>,
        wishes: impl Iterator<Item = &'a Wish>,
    ) {
        let wishes: Vec<_> = wishes.collect();
        let in_group = wishes.iter().any(|wish| wish.group.is_some() && wish.group == group);
        // It may have ended meanwhile.
        if wishes.iter().any(|wish| wish.force) {
            let _ = kill_process(child, Signal::KILL);
        } else if !wishes.is_empty() && !in_group && self.asked.insert(child) {
            let _ = kill_process(child, Signal::TERM);
        }
    }

    /// The marks that a process carries, which it has from the programs that it descends from.
    /// None when it is about to end, or has, and no longer tells.
    fn marks(&mut self, process: Pid) -> Option<&[Mark]> {
        match self.marks.entry(process) {
            Entry::Occupied(known) => Some(known.into_mut()),
            Entry::Vacant(unknown) => {
                let variables = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
                if variables.is_empty() {
                    // It has none, or not yet, or no more.
                    return (!is_ending(process)).then_some(&[]);
                }
                Some(unknown.insert(marks_in(&variables)))
            }
        }
    }
}

/// The marks in an environment.
fn marks_in(variables: &[u8]) -> Vec<Mark> {
    let values = variables
        .split(|byte| *byte == 0)
        .filter_map(|variable| variable.strip_prefix(MARK.as_bytes())?.strip_prefix(b"="));
    values.flat_map(|marks| marks.split(|byte| *byte == b',')).filter_map(Mark::read).collect()
}

/// All of them. The kernel gives them to the main thread, which starts no programs itself.
fn children() -> Vec<Pid> {
    let path = format!("/proc/self/task/{}/children", getpid());
    let children = fs::read_to_string(path).unwrap_or_default();
    let numbers = children.split_ascii_whitespace().filter_map(|number| number.parse().ok());
    numbers.filter_map(Pid::from_raw).collect()
}

/// The kernel's flag of a process that is about to end (`PF_EXITING`).
const EXITING: u32 = 4;

/// Whether a process has begun to end: from then on it has no environment.
fn is_ending(process: Pid) -> bool {
    let state = || {
        let status = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // Behind the name, in which anything may stand.
        let mut fields = status.rsplit_once(") ")?.1.split_ascii_whitespace();
        let ended = matches!(fields.next()?, "Z" | "X");
        let flags: u32 = fields.nth(5)?.parse().ok()?;
        Some(ended || flags & EXITING != 0)
    };
    // That of another user may be hidden.
    state().unwrap_or(false)
}
