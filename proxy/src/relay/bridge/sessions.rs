//! The sessions that there are: found by their ids, ended when nobody uses them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{self, Interval};

use super::{counters::Ended, launcher::Audience as _, session::Session};

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
    idle_timeout: Duration,
}

impl Sessions {
    /// None yet; they end when nobody has used them for so long.
    pub(super) fn new(idle_timeout: Duration) -> Self {
        Self { live: Mutex::default(), idle_timeout }
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

    /// All that have not ended, or just have.
    pub(super) fn all(&self) -> Vec<Arc<Session>> {
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
    use crate::relay::remote::rights::Rights;

    fn session(id: &str) -> Arc<Session> {
        let (input, _) = mpsc::channel(1);
        Arc::new(Session::new(
            id.to_owned(),
            "tag".into(),
            Rights::default(),
            input,
            Arc::default(),
            None,
        ))
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_is_found_until_it_is_removed() {
        let sessions = Sessions::new(Duration::from_mins(30));
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
    async fn only_the_unused_expire() {
        let sessions = Arc::new(Sessions::new(Duration::from_mins(30)));
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
