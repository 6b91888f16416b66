//! The one thread: it waits for whatever can be done, and does it.

use std::{
    fs,
    io::ErrorKind,
    os::unix::net::UnixListener,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use crate::{
    arguments::Arguments,
    gate::{self, Fate, Newcomer},
    journal::Journal,
    listener, program,
    session::{Room, Session, Source},
    signals::Signals,
    strays::{Marks, Strays},
};

/// How long the log may take to take what is left for it.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long nobody is let in when that failed, for want of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves sessions until SIGTERM, and then until they are over.
///
/// # Errors
/// What cannot be done, with the remedy.
pub fn run(arguments: Arguments) -> Result<(), String> {
    let signals = Signals::catch().map_err(|error| format!("cannot catch signals: {error}"))?;
    let journal = Journal::start().map_err(|error| format!("cannot start a thread: {error}"))?;
    program::adopt().map_err(|error| format!("cannot adopt what loses its parent: {error}"))?;
    let listener = listener::bind(&arguments.listen)?;
    let mut supervisor = Supervisor {
        signals,
        listener,
        deaf_until: None,
        newcomers: Vec::new(),
        sessions: Vec::new(),
        strays: Strays::default(),
        stopping: Stopping::No,
        room: Room { arguments, journal, marks: Marks::new(), drains: false },
    };
    let served = supervisor.serve();
    let _ = fs::remove_file(&supervisor.room.arguments.listen);
    supervisor.room.journal.flush(LAST_WORDS);
    served.map_err(|error| format!("cannot wait for sessions: {error}"))
}

#[derive(Debug)]
struct Supervisor {
    signals: Signals,
    listener: UnixListener,
    /// Until when nobody is let in.
    deaf_until: Option<Instant>,
    newcomers: Vec<Newcomer>,
    sessions: Vec<Session>,
    strays: Strays,
    stopping: Stopping,
    room: Room,
}

/// How far the end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopping {
    No,
    /// Calls may finish until then.
    Drains(Instant),
    /// Programs are being ended.
    Ends,
}

/// What a descriptor is of.
#[derive(Clone, Copy, Debug)]
enum Of {
    Signals,
    Listener,
    Newcomer,
    Session(usize, Source),
}

impl Supervisor {
    fn serve(&mut self) -> Result<(), Errno> {
        loop {
            let ready = self.wait()?;
            let now = Instant::now();
            for (of, came) in &ready {
                if let Of::Session(at, source) = *of {
                    self.sessions[at].ready(source, *came, now, &self.room);
                }
            }
            if ready.iter().any(|(of, _)| matches!(of, Of::Listener)) {
                self.accept(now);
            }
            self.greet(now);
            self.heed(now);
            self.sessions.retain_mut(|session| !session.settle(now, &self.room));
            let is_over = self.sessions.is_empty() && self.strays.when().is_none();
            if self.stopping != Stopping::No && is_over {
                return Ok(());
            }
        }
    }

    /// Waits until something can be done, or is due.
    fn wait(&self) -> Result<Vec<(Of, PollFlags)>, Errno> {
        let now = Instant::now();
        let mut of = vec![Of::Signals];
        let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN)];
        if self.newcomers.len() < gate::MOST && self.deaf_until.is_none_or(|until| until <= now) {
            of.push(Of::Listener);
            fds.push(PollFd::new(&self.listener, PollFlags::IN));
        }
        for newcomer in &self.newcomers {
            let awaited = if newcomer.is_answered() { PollFlags::OUT } else { PollFlags::IN };
            of.push(Of::Newcomer);
            fds.push(PollFd::new(newcomer, awaited));
        }
        for (at, session) in self.sessions.iter().enumerate() {
            session.sources(&self.room, |source, fd| {
                of.push(Of::Session(at, source));
                fds.push(fd);
            });
        }
        let due = self.when().map(|due| due.saturating_duration_since(now));
        // A clock that is coarser than the due time must not have the wait end before it.
        let due = due.and_then(|due| Timespec::try_from(due + Duration::from_micros(1)).ok());
        match poll(&mut fds, due.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        let came = of.into_iter().zip(fds.iter().map(PollFd::revents));
        Ok(came.filter(|(_, came)| !came.is_empty()).collect())
    }

    /// When something is due, whatever happens.
    fn when(&self) -> Option<Instant> {
        let drained = match self.stopping {
            Stopping::Drains(until) => Some(until),
            Stopping::No | Stopping::Ends => None,
        };
        let sessions = self.sessions.iter().filter_map(Session::when);
        let newcomers = self.newcomers.iter().map(Newcomer::when);
        let others = self.deaf_until.into_iter().chain(drained).chain(self.strays.when());
        sessions.chain(newcomers).chain(others).min()
    }

    /// Lets in who has connected.
    fn accept(&mut self, now: Instant) {
        self.deaf_until = None;
        while self.newcomers.len() < gate::MOST {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    if stream.set_nonblocking(true).is_ok() {
                        self.newcomers.push(Newcomer::new(stream, now));
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    self.room.journal.say(&format!("cannot let the sidecar in: {error}"));
                    self.deaf_until = Some(now + PAUSE);
                    return;
                }
            }
        }
    }

    /// Hears those who have no session.
    fn greet(&mut self, now: Instant) {
        for newcomer in std::mem::take(&mut self.newcomers) {
            if newcomer.when() <= now {
                continue;
            }
            if let Fate::Waits(newcomer) = newcomer.ready(&mut self.sessions, now, &self.room) {
                self.newcomers.push(newcomer);
            }
        }
    }

    /// Does what signals ask for, and reaps.
    fn heed(&mut self, now: Instant) {
        let caught = self.signals.take();
        while caught.children
            && let Some((number, exit)) = program::reap()
        {
            self.strays.reaped(number);
            let is_of = |one: &&mut Session| one.number() == number && one.mark().is_some();
            if let Some(session) = self.sessions.iter_mut().find(is_of) {
                session.ended(exit, now, &self.room.arguments);
            }
        }
        if caught.children || self.strays.when().is_some_and(|due| due <= now) {
            let groups = self.sessions.iter().map(Session::number).collect();
            let running = self.sessions.iter().filter_map(Session::mark).collect();
            let kill_after = self.room.arguments.kill_after;
            self.strays.sweep(&self.room.marks, &groups, &running, now, kill_after);
        }
        let mut stops = caught.stops;
        if stops > 0 && self.stopping == Stopping::No {
            stops -= 1;
            self.room.drains = true;
            self.stopping = Stopping::Drains(now + self.room.arguments.drain_timeout);
            self.sessions.iter_mut().for_each(Session::drain);
        }
        let is_over = match self.stopping {
            Stopping::No | Stopping::Ends => false,
            // Whoever asks a second time does not want to wait.
            Stopping::Drains(until) => until <= now || stops > 0,
        };
        if is_over {
            self.stopping = Stopping::Ends;
            self.sessions.iter_mut().for_each(|session| session.stop(now, &self.room.arguments));
        }
    }
}
