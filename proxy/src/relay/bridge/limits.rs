//! How many sessions and programs there may be, and how fast programs may start.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::counters::{Counters, Use};
use crate::config;

/// What is left of all that may be.
#[derive(Debug)]
pub(super) struct Limits {
    sessions: Arc<Semaphore>,
    programs: Arc<Semaphore>,
    starts: Mutex<Starts>,
    /// Nothing begins any more.
    closed: AtomicBool,
    counters: Arc<Counters>,
}

/// How many programs may start: at a steady rate, and ahead of that as many as were saved up.
#[derive(Debug)]
struct Starts {
    /// Between two at that rate.
    apart: Duration,
    /// How far ahead of it they may come.
    ahead: Duration,
    /// When the next would be due.
    due: Instant,
}

impl Starts {
    /// Whether the next may start now.
    fn allow(&self) -> Result<(), Full> {
        let wait = (self.due - Instant::now()).saturating_sub(self.ahead);
        if wait.is_zero() { Ok(()) } else { Err(Full::Starts(wait)) }
    }

    fn take(&mut self) -> Result<(), Full> {
        self.allow()?;
        self.due = self.due.max(Instant::now()) + self.apart;
        Ok(())
    }
}

/// Why there is no room now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// There are as many sessions as may be.
    Sessions,
    /// There are as many programs as may be.
    Programs,
    /// So many have started of late that the next has to wait for so long.
    Starts(Duration),
    /// Everything comes to its end here: it is for others to serve.
    Draining,
}

impl Full {
    /// The value of a counter's label.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::Programs => "programs",
            Self::Starts(_) => "starts",
            Self::Draining => "draining",
        }
    }

    /// How long it lasts, where that is known.
    pub(super) fn lasts(self) -> Option<Duration> {
        match self {
            Self::Sessions | Self::Programs | Self::Draining => None,
            Self::Starts(wait) => Some(wait),
        }
    }
}

/// Room for a session, given back when this is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    _room: OwnedSemaphorePermit,
}

/// Room for a program, held and counted until that has ended.
#[derive(Debug)]
pub(super) struct Place {
    counters: Arc<Counters>,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    is: Use,
    _room: Option<OwnedSemaphorePermit>,
    seat: Option<Seat>,
}

impl Limits {
    pub(super) fn new(bounds: &config::Sessions, counters: Arc<Counters>) -> Self {
        let room = |most: usize| Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        let apart = Duration::from_secs(1) / bounds.rate.max(1);
        let saved = u32::try_from(bounds.limit.saturating_sub(1)).unwrap_or(u32::MAX);
        let ahead = apart.saturating_mul(saved);
        let starts = Mutex::new(Starts { apart, ahead, due: Instant::now() });
        let (sessions, programs) = (room(bounds.limit), room(bounds.most_programs()));
        Self { sessions, programs, starts, closed: AtomicBool::new(false), counters }
    }

    /// Room for another session.
    pub(super) fn seat(&self) -> Result<Seat, Full> {
        self.open()?;
        let seat = Arc::clone(&self.sessions).try_acquire_owned();
        seat.map(|room| Seat { _room: room }).map_err(|_| Full::Sessions)
    }

    /// Room for another program, which may start now.
    pub(super) fn place(&self, is: Use) -> Result<Arc<Place>, Full> {
        let room = Arc::clone(&self.programs).try_acquire_owned().map_err(|_| Full::Programs)?;
        self.start(is, room)
    }

    /// Whether another program may start now, if there is room for it.
    pub(super) fn allow_start(&self) -> Result<(), Full> {
        self.starts().allow()
    }

    /// As [`place`](Self::place), when there is room again: who waits longest gets it.
    pub(super) async fn place_in_turn(&self, is: Use) -> Result<Arc<Place>, Full> {
        let room = Arc::clone(&self.programs).acquire_owned().await;
        self.start(is, room.map_err(|_| Full::Programs)?)
    }

    /// From now on there is room for nothing more.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    fn open(&self) -> Result<(), Full> {
        if self.closed.load(Ordering::Relaxed) { Err(Full::Draining) } else { Ok(()) }
    }

    fn start(&self, is: Use, room: OwnedSemaphorePermit) -> Result<Arc<Place>, Full> {
        self.open()?;
        self.starts().take()?;
        Ok(self.placed(is, Some(room)))
    }

    fn starts(&self) -> MutexGuard<'_, Starts> {
        self.starts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A program outside of all limits, which only tells whether programs can be used.
    pub(super) fn probe(&self) -> Arc<Place> {
        self.placed(Use::Probe, None)
    }

    /// The place of a session that was there before this process: it may be one too many.
    pub(super) fn taken_over(&self) -> Arc<Place> {
        let place = self.placed(Use::Session, Arc::clone(&self.programs).try_acquire_owned().ok());
        if let Ok(seat) = self.seat() {
            place.hold(seat);
        }
        place
    }

    fn placed(&self, is: Use, room: Option<OwnedSemaphorePermit>) -> Arc<Place> {
        self.counters.count_program(is);
        let held = Mutex::new(Held { is, _room: room, seat: None });
        Arc::new(Place { counters: Arc::clone(&self.counters), held })
    }
}

impl Place {
    /// From now on the program is that of a session.
    pub(super) fn seat(&self, seat: Seat) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        self.counters.count_program(Use::Session);
        self.counters.uncount_program(held.is);
        held.is = Use::Session;
        held.seat = Some(seat);
    }

    fn hold(&self, seat: Seat) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).seat = Some(seat);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let held = self.held.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.counters.uncount_program(held.is);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time;

    use super::*;

    fn limits(sessions: usize, programs: Option<usize>) -> (Limits, Arc<Counters>) {
        let bounds =
            config::Sessions { limit: sessions, rate: 2, programs, ..config::Sessions::default() };
        let counters = Arc::new(Counters::default());
        (Limits::new(&bounds, Arc::clone(&counters)), counters)
    }

    #[tokio::test(start_paused = true)]
    async fn room_is_what_others_gave_back() {
        let (limits, counters) = limits(2, Some(2));
        let place = limits.place(Use::Warm).unwrap();
        let shared = limits.place(Use::Shared).unwrap();
        assert_eq!(limits.place(Use::Session).unwrap_err(), Full::Programs);
        assert_eq!((counters.programs(Use::Warm), counters.programs(Use::Session)), (1, 0));
        place.seat(limits.seat().unwrap());
        assert_eq!((counters.programs(Use::Warm), counters.programs(Use::Session)), (0, 1));
        let other = limits.seat().unwrap();
        assert_eq!(limits.seat().unwrap_err(), Full::Sessions);
        drop(other);
        drop(shared);
        time::advance(Duration::from_millis(500)).await;
        let probe = limits.probe();
        let shared = limits.place(Use::Shared).unwrap();
        drop((probe, shared, place));
        assert!(limits.seat().is_ok());
        assert!(Use::ALL.iter().all(|is| counters.programs(*is) == 0));
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_start_at_once_and_then_so_many_a_second() {
        let (limits, _) = limits(3, None);
        let start = || limits.place(Use::Session).ok().map(drop);
        let started = || std::iter::from_fn(start).count();
        assert_eq!(started(), 3);
        let wait = |millis| Full::Starts(Duration::from_millis(millis));
        for _ in 0..3 {
            assert_eq!(limits.place(Use::Session).unwrap_err(), wait(500));
            time::advance(Duration::from_millis(499)).await;
            assert_eq!(limits.place(Use::Session).unwrap_err(), wait(1));
            time::advance(Duration::from_millis(1)).await;
            assert_eq!(started(), 1);
        }
        time::advance(Duration::from_secs(100)).await;
        assert_eq!(started(), 3);
    }
}
