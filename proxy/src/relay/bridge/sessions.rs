//! The sessions that there are: found by their ids, bounded in number, ended when nobody uses
//! them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{self, Instant, Interval},
};

use super::{counters::Ended, program::Audience as _, session::Session};
use crate::config;

/// How often sessions are looked at that nobody may use, at most.
const LOOK: Duration = Duration::from_secs(30);
/// And at least.
const SHORTEST_LOOK: Duration = Duration::from_millis(10);

/// How often to look for what was not used for so long.
pub(super) fn looks(idle_timeout: Duration) -> Interval {
    time::interval(LOOK.min(idle_timeout / 4).max(SHORTEST_LOOK))
}

/// All sessions of one bridge.
#[derive(Debug)]
pub(super) struct Sessions {
    live: Mutex<HashMap<String, Arc<Session>>>,
    room: Arc<Semaphore>,
    starts: Mutex<Starts>,
    idle_timeout: Duration,
}

/// How many sessions may start: at a steady rate, and ahead of that as many as were saved up.
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
    fn take(&mut self) -> bool {
        let due = self.due.max(Instant::now());
        let allowed = due - Instant::now() <= self.ahead;
        if allowed {
            self.due = due + self.apart;
        }
        allowed
    }
}

/// Why there is no other session now: the value of a counter's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full(pub(super) &'static str);

impl Sessions {
    /// Room for sessions within these bounds.
    pub(super) fn new(bounds: &config::Sessions) -> Self {
        let room = Arc::new(Semaphore::new(bounds.limit.min(Semaphore::MAX_PERMITS)));
        let apart = Duration::from_secs(1) / bounds.rate.max(1);
        let saved = u32::try_from(bounds.limit.saturating_sub(1)).unwrap_or(u32::MAX);
        let ahead = apart.saturating_mul(saved);
        let starts = Mutex::new(Starts { apart, ahead, due: Instant::now() });
        Self { live: Mutex::default(), room, starts, idle_timeout: bounds.idle_timeout }
    }

    /// Room for another session, held until its program has ended.
    pub(super) fn room(&self) -> Result<OwnedSemaphorePermit, Full> {
        let room = Arc::clone(&self.room).try_acquire_owned().map_err(|_| Full("sessions"))?;
        let allowed = self.starts.lock().unwrap_or_else(PoisonError::into_inner).take();
        if allowed { Ok(room) } else { Err(Full("starts")) }
    }

    /// The session of this id; none once it has ended.
    pub(super) fn find(&self, id: &str) -> Option<Arc<Session>> {
        self.lock().get(id).filter(|session| !session.is_over()).cloned()
    }

    /// From now on the session can be found, unless it has ended meanwhile.
    pub(super) fn insert(&self, session: Arc<Session>) {
        let mut live = self.lock();
        // Who ends it removes it afterwards, and needs the lock for that.
        if !session.is_over() {
            live.insert(session.id.clone(), session);
        }
    }

    /// The session has ended, and its program with it.
    pub(super) fn remove(&self, id: &str) {
        self.lock().remove(id);
    }

    /// Ends sessions that nobody uses, for ever.
    pub(super) async fn expire(&self) {
        let mut looks = looks(self.idle_timeout);
        loop {
            looks.tick().await;
            for session in self.all() {
                if session.idle() >= self.idle_timeout {
                    tracing::info!(session = %session.tag, "ended a session that nobody used");
                    session.end(Ended::Idle);
                }
            }
        }
    }

    /// Ends all sessions.
    pub(super) fn end_all(&self) {
        for session in self.all() {
            session.end(Ended::Shutdown);
        }
    }

    fn all(&self) -> Vec<Arc<Session>> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Session>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::relay::bridge::counters::Counters;

    fn sessions(limit: usize) -> Sessions {
        let idle_timeout = Duration::from_mins(30);
        Sessions::new(&config::Sessions { limit, rate: 2, idle_timeout, ..Default::default() })
    }

    fn session(id: &str) -> Arc<Session> {
        let (input, _) = mpsc::channel(1);
        Arc::new(Session::new(
            id.to_owned(),
            "tag".into(),
            false,
            input,
            Arc::new(Counters::default()),
        ))
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_is_found_until_it_is_removed() {
        let sessions = sessions(2);
        sessions.insert(session("a"));
        assert!(sessions.find("a").is_some() && sessions.find("A").is_none());
        sessions.remove("a");
        assert!(sessions.find("a").is_none());
        let ended = session("b");
        ended.end(Ended::Exited);
        sessions.insert(ended);
        assert!(sessions.find("b").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn room_is_what_ended_sessions_gave_back() {
        let sessions = sessions(1);
        let room = sessions.room().unwrap();
        assert_eq!(sessions.room().unwrap_err(), Full("sessions"));
        drop(room);
        time::advance(Duration::from_millis(500)).await;
        assert!(sessions.room().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_start_at_once_and_then_so_many_a_second() {
        let sessions = sessions(3);
        let started = || std::iter::from_fn(|| sessions.room().ok().map(drop)).count();
        assert_eq!(started(), 3);
        assert_eq!(sessions.room().unwrap_err(), Full("starts"));
        for _ in 0..3 {
            time::advance(Duration::from_millis(499)).await;
            assert_eq!(started(), 0);
            time::advance(Duration::from_millis(1)).await;
            assert_eq!(started(), 1);
        }
        time::advance(Duration::from_secs(100)).await;
        assert_eq!(started(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_unused_expire() {
        let sessions = Arc::new(sessions(2));
        let (unused, used) = (session("a"), session("b"));
        sessions.insert(Arc::clone(&unused));
        sessions.insert(Arc::clone(&used));
        let stream = used.listen().unwrap();
        let expiring = tokio::spawn({
            let sessions = Arc::clone(&sessions);
            async move { sessions.expire().await }
        });
        let begun = tokio::time::Instant::now();
        unused.ended().await;
        let took = begun.elapsed();
        assert!(took >= Duration::from_mins(30) && took < Duration::from_mins(31), "{took:?}");
        assert!(used.listen().is_ok());
        drop(stream);
        expiring.abort();
    }
}
