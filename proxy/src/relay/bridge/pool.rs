//! The program that clients of the era without sessions share: started when it is first needed,
//! again when it has ended, and ended when nobody has used it for long.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Mutex, time::Instant};

use super::{
    FIRST_PAUSE, LONGEST_PAUSE,
    counters::Ended,
    mirrored::Mirrors,
    outbox::Inbox,
    program::{Audience as _, Launcher},
    session::Unheard,
    sessions,
    shared::Shared,
    splice::Said,
};
use crate::relay::{child::StartError, http::health::Health};

/// What the log knows the program by.
const TAG: &str = "shared";

/// Keeps one program.
#[derive(Debug)]
pub(super) struct Pool {
    launcher: Arc<Launcher>,
    health: Arc<Health>,
    idle_timeout: Duration,
    /// What the server's tools want to see in headers.
    pub(super) mirrors: Arc<Mirrors>,
    slot: Arc<Mutex<Slot>>,
}

#[derive(Debug, Default)]
struct Slot {
    program: Option<(Arc<Shared>, Instant)>,
    /// The pause after the last end; none after a program that lived for long.
    pause: Option<Duration>,
    not_before: Option<Instant>,
    /// Some program has answered something.
    has_answered: bool,
}

/// Why there is no program to ask.
#[derive(Debug)]
pub(super) enum Unavailable {
    /// It does not start.
    Unstarted(StartError),
    /// It ended too often to be started again right now.
    Paused {
        for_: Duration,
        /// It has never answered anything.
        mute: bool,
    },
    Unheard(Unheard),
}

impl Pool {
    pub(super) fn new(
        launcher: Arc<Launcher>,
        health: Arc<Health>,
        idle_timeout: Duration,
    ) -> Self {
        let (mirrors, slot) = (Arc::default(), Arc::default());
        Self { launcher, health, idle_timeout, mirrors, slot }
    }

    /// See [`Shared::ask`].
    pub(super) async fn ask(
        &self,
        said: &Said,
        takes_events: bool,
    ) -> Result<(Arc<Shared>, Inbox), Unavailable> {
        let program = self.program().await?;
        let (program, asked) = match program.ask(said, takes_events).await {
            // It ended between two looks, and nothing was said to it.
            Err(Unheard::Over) => {
                let program = self.program().await?;
                let asked = program.ask(said, takes_events).await;
                (program, asked)
            }
            asked => (program, asked),
        };
        asked.map(|inbox| (program, inbox)).map_err(Unavailable::Unheard)
    }

    /// Passes on what wants no answer, if there is a program that may know what it is about.
    pub(super) async fn tell(&self, said: &Said) {
        let program = self.slot.lock().await.program.as_ref().map(|(it, _)| Arc::clone(it));
        if let Some(program) = program {
            // Nobody is told what becomes of it.
            let _ = program.tell(said).await;
        }
    }

    async fn program(&self) -> Result<Arc<Shared>, Unavailable> {
        let mut slot = Arc::clone(&self.slot).lock_owned().await;
        if let Some(program) = slot.living() {
            return Ok(program);
        }
        let now = Instant::now();
        if let Some(until) = slot.not_before.filter(|until| *until > now) {
            return Err(Unavailable::Paused { for_: until - now, mute: !slot.has_answered });
        }
        let (launcher, health) = (Arc::clone(&self.launcher), Arc::clone(&self.health));
        let mirrors = Arc::clone(&self.mirrors);
        // A task of its own, so that no program is forgotten when the client leaves meanwhile.
        let starting = tokio::spawn(async move {
            let counters = Arc::clone(&launcher.counters);
            let begin = |lines| Shared::new(TAG.into(), lines, counters, health, mirrors);
            let program = launcher.start(begin, || {}).await?;
            launcher.counters.count_shared();
            slot.program = Some((Arc::clone(&program), Instant::now()));
            Ok(program)
        });
        let started = starting.await.unwrap_or_else(|error| Err(StartError::Thread(error.into())));
        started.map_err(Unavailable::Unstarted)
    }

    /// Ends the program when nobody uses it, for ever.
    pub(super) async fn expire(&self) {
        let mut looks = sessions::looks(self.idle_timeout);
        loop {
            looks.tick().await;
            if let Some((program, _)) = &self.slot.lock().await.program
                && program.idle() >= self.idle_timeout
            {
                program.end(Ended::Idle);
            }
        }
    }

    /// Ends the program.
    pub(super) async fn end(&self) {
        if let Some((program, _)) = &self.slot.lock().await.program {
            program.end(Ended::Shutdown);
        }
    }
}

impl Slot {
    /// The program, if it goes on; otherwise takes to heart how it ended.
    fn living(&mut self) -> Option<Arc<Shared>> {
        let (program, started) = self.program.as_ref()?;
        let Some((why, at)) = program.over() else { return Some(Arc::clone(program)) };
        self.has_answered |= program.has_answered();
        if why == Ended::Exited {
            let lived_long = at - *started > LONGEST_PAUSE;
            let pause = match self.pause.filter(|_| !lived_long) {
                None => Duration::ZERO,
                Some(pause) => LONGEST_PAUSE.min(FIRST_PAUSE.max(pause * 2)),
            };
            self.pause = Some(pause);
            self.not_before = Some(at + pause);
        }
        self.program = None;
        None
    }
}
