//! The programs that clients of the era without sessions share: one is started when the others
//! have something to do, again when it has ended, and ended when nobody has used it for long.

use std::{
    iter,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{Notify, mpsc},
    task::JoinError,
    time::Instant,
};

use super::{
    counters::Ended,
    launcher::{Audience as _, Launcher},
    opening::Unopened,
    outbox::Inbox,
    restarts::Restarts,
    session::Unheard,
    shared::{Shared, Turn},
    splice::{Gist, Said},
};
use crate::relay::{
    child::StartError, http::health::Health, mirrored::Tools, remote::rights::Rights,
};

/// Keeps at most so many programs as there are slots.
#[derive(Debug)]
pub(super) struct Pool {
    launcher: Arc<Launcher>,
    health: Arc<Health>,
    /// What the server's tools want to see in headers.
    mirrors: Arc<Tools>,
    /// By which its programs ask, where they are conversations with a remote server.
    rights: Rights,
    slots: Mutex<Slots>,
    /// A program was started, or could not be.
    settled: Notify,
}

#[derive(Debug)]
struct Slots {
    all: Vec<Slot>,
    /// Some program has answered something.
    has_answered: bool,
    /// No program is wanted any more.
    over: bool,
}

/// A place for one program after another.
#[derive(Debug, Default)]
struct Slot {
    holds: Holds,
    restarts: Restarts,
}

#[derive(Debug, Default)]
enum Holds {
    #[default]
    Nothing,
    Starting,
    Program(Arc<Shared>, Instant),
}

/// What to do about a message.
enum Choice {
    Ask(Turn),
    /// Start a program in this slot, and ask it; if that fails, the other.
    Start(usize, Option<Turn>),
    /// The only programs there may be are being started.
    Wait,
    Pause(Unavailable),
}

/// Why there is no program to ask.
#[derive(Debug)]
pub(super) enum Unavailable {
    /// It does not start, or must not.
    Unopened(Unopened),
    /// It ended too often to be started again right now.
    Paused {
        for_: Duration,
        /// It has never answered anything.
        mute: bool,
    },
    Unheard(Unheard),
}

impl Pool {
    /// A pool of at most so many programs.
    pub(super) fn new(
        most: usize,
        launcher: Arc<Launcher>,
        health: Arc<Health>,
        mirrors: Arc<Tools>,
        rights: Rights,
    ) -> Self {
        let all = iter::repeat_with(Slot::default).take(most).collect();
        let slots = Mutex::new(Slots { all, has_answered: false, over: false });
        Self { launcher, health, mirrors, rights, slots, settled: Notify::new() }
    }

    /// Asks the program that has the least to do; see [`Shared::ask`].
    pub(super) async fn ask(
        self: &Arc<Self>,
        said: &Said,
        takes_events: bool,
    ) -> Result<(Arc<Shared>, Inbox), Unavailable> {
        let mut turn = self.turn(&said.gist).await?;
        let mut asked = turn.program().ask(said, takes_events).await;
        if let Err(Unheard::Over) = asked {
            // It ended between two looks, and nothing was said to it; perhaps it is about to.
            turn.program().ended().await;
            turn = self.turn(&said.gist).await?;
            asked = turn.program().ask(said, takes_events).await;
        }
        let program = Arc::clone(turn.program());
        asked.map(|inbox| (program, inbox)).map_err(Unavailable::Unheard)
    }

    /// Passes on what wants no answer, if there is a program that may know what it is about.
    pub(super) async fn tell(&self, said: &Said) {
        let turn = self.lock().least_busy().map(Turn::at);
        if let Some(turn) = turn {
            // Nobody is told what becomes of it.
            let _ = turn.program().tell(said).await;
        }
    }

    async fn turn(self: &Arc<Self>, gist: &Gist) -> Result<Turn, Unavailable> {
        loop {
            let settled = self.settled.notified();
            let choice = self.lock().choose(gist);
            match choice {
                Choice::Ask(turn) => return Ok(turn),
                Choice::Start(slot, otherwise) => {
                    let started = self.start(slot).await;
                    return started.or_else(|error| otherwise.ok_or(error));
                }
                Choice::Wait => settled.await,
                Choice::Pause(why) => return Err(why),
            }
        }
    }

    async fn start(self: &Arc<Self>, slot: usize) -> Result<Turn, Unavailable> {
        let (pool, launcher) = (Arc::clone(self), Arc::clone(&self.launcher));
        // A task of its own, so that no program is forgotten when the client leaves meanwhile.
        let starting = tokio::spawn(async move {
            let begin = |lines| pool.begin(slot, lines);
            let turn = match pool.launcher.place_of_shared().await {
                Ok(place) => {
                    let gone = move || launcher.warm.wake();
                    let started =
                        pool.launcher.start(begin, place, gone, pool.rights.clone()).await;
                    started.map(|program| Turn::at(&program)).map_err(Unopened::from)
                }
                Err(full) => Err(full.into()),
            };
            if turn.is_ok() {
                pool.launcher.counters.count_shared();
            }
            pool.lock().settle(slot, turn.as_ref().ok());
            pool.settled.notify_waiters();
            turn
        });
        let failed = |error: JoinError| Err(StartError::Thread(error.into()).into());
        starting.await.unwrap_or_else(failed).map_err(Unavailable::Unopened)
    }

    fn begin(&self, slot: usize, lines: mpsc::Sender<Bytes>) -> Shared {
        let tag = format!("shared-{}", slot + 1).into();
        let (counters, health) = (Arc::clone(&self.launcher.counters), Arc::clone(&self.health));
        Shared::new(tag, lines, counters, health, Arc::clone(&self.mirrors))
    }

    /// Whether there is a program, or one is being started.
    pub(super) fn is_used(&self) -> bool {
        let slots = self.lock();
        slots.all.iter().any(|slot| match &slot.holds {
            Holds::Nothing => false,
            Holds::Starting => true,
            Holds::Program(program, _) => program.over().is_none(),
        })
    }

    /// Ends programs that nobody has used for so long.
    pub(super) fn end_unused(&self, idle_timeout: Duration) {
        let slots = self.lock();
        let unused = slots.programs().filter(|it| it.idle() >= idle_timeout);
        unused.for_each(|program| program.end(Ended::Idle));
    }

    /// Ends programs on which nobody waits.
    pub(super) fn end_at_rest(&self) {
        let slots = self.lock();
        let at_rest = slots.programs().filter(|it| it.load().0 == 0);
        at_rest.for_each(|program| program.end(Ended::Shutdown));
    }

    /// Ends all programs, for good.
    pub(super) fn end(&self) {
        let mut slots = self.lock();
        slots.over = true;
        slots.programs().for_each(|program| program.end(Ended::Shutdown));
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slots {
    fn choose(&mut self, gist: &Gist) -> Choice {
        for slot in &mut self.all {
            self.has_answered |= slot.look();
        }
        // What else is said of a task is for the program that has it.
        let task = gist.task.as_deref().filter(|_| gist.asks_of_a_task());
        let has_it = task.and_then(|task| self.programs().find(|it| it.has_task(task)));
        if let Some(program) = has_it {
            return Choice::Ask(Turn::at(program));
        }
        let least_busy = self.least_busy();
        if let Some(program) = least_busy.filter(|it| it.load().0 == 0) {
            return Choice::Ask(Turn::at(program));
        }
        let otherwise = least_busy.map(Turn::at);
        let empty = || self.all.iter().enumerate().filter(|(_, slot)| slot.is_empty());
        let next = empty().map(|(at, slot)| (slot.restarts.pause(), at)).min();
        match (next, otherwise) {
            (Some((Duration::ZERO, at)), otherwise) => {
                self.all[at].holds = Holds::Starting;
                Choice::Start(at, otherwise)
            }
            (_, Some(turn)) => Choice::Ask(turn),
            (Some((for_, _)), None) if empty().count() == self.all.len() => {
                Choice::Pause(Unavailable::Paused { for_, mute: !self.has_answered })
            }
            _ => Choice::Wait,
        }
    }

    /// The program that works on the fewest requests; of several the one that waits on the
    /// fewest subscriptions, then the first, so that the last are left to end unused.
    fn least_busy(&self) -> Option<&Arc<Shared>> {
        self.programs().filter(|it| it.over().is_none()).min_by_key(|program| program.load())
    }

    fn programs(&self) -> impl Iterator<Item = &Arc<Shared>> {
        self.all.iter().filter_map(|slot| match &slot.holds {
            Holds::Program(program, _) => Some(program),
            Holds::Nothing | Holds::Starting => None,
        })
    }

    /// The start in a slot is over.
    fn settle(&mut self, slot: usize, started: Option<&Turn>) {
        self.all[slot].holds = started.map_or(Holds::Nothing, |turn| {
            if self.over {
                turn.program().end(Ended::Shutdown);
            }
            Holds::Program(Arc::clone(turn.program()), Instant::now())
        });
    }
}

impl Slot {
    fn is_empty(&self) -> bool {
        matches!(self.holds, Holds::Nothing)
    }

    /// Notices that its program has ended, and takes to heart how. Returns whether that one has
    /// answered anything.
    fn look(&mut self) -> bool {
        let Holds::Program(program, started) = &self.holds else { return false };
        let Some((why, at)) = program.over() else { return false };
        let has_answered = program.has_answered();
        if why == Ended::Exited {
            self.restarts.ended(*started, at);
        }
        self.holds = Holds::Nothing;
        has_answered
    }
}
