//! The session with a server of the era that has them (up to 2025-11-25): what every request of
//! it carries, and what it takes to begin it anew.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use tokio::{sync::watch, time::Instant};
use tokio_util::task::TaskTracker;

use super::problem::Problem;
use crate::mcp::header::{PROTOCOL_VERSION, SESSION_ID};

/// How long a server may take to begin a session that is begun anew.
pub(super) const BEGUN_WITHIN: Duration = Duration::from_secs(30);

/// The session, as far as there is one.
#[derive(Debug, Default)]
pub(super) struct Session {
    state: Mutex<State>,
    /// The last generation that may be used, for who waits for the next one.
    usable: watch::Sender<u64>,
    /// What the client has left behind by beginning another session, and nobody has ended yet.
    former: Mutex<Vec<State>>,
    /// Held by the one who begins it anew.
    /// When that failed last, and why.
    pub(super) healing: tokio::sync::Mutex<Option<(Instant, Problem)>>,
}

/// What is known of the session. That of one generation is the same however much is known of it.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// Grows with each session.
    pub(super) generation: u64,
    /// Its id, a secret; not every server mints one.
    pub(super) id: Option<HeaderValue>,
    /// The protocol version agreed upon.
    version: Option<HeaderValue>,
    /// How the client began it.
    pub(super) initialize: Option<Bytes>,
    /// What it said next.
    pub(super) initialized: Option<Bytes>,
    /// The exchanges in it.
    pub(super) exchanges: TaskTracker,
}

impl Session {
    /// The session as it is now.
    pub(super) fn current(&self) -> State {
        self.lock().clone()
    }

    /// The server has accepted `initialize` of the client.
    pub(super) fn begin(
        &self,
        initialize: &Bytes,
        id: Option<HeaderValue>,
        version: Option<HeaderValue>,
    ) {
        let mut state = self.lock();
        let next = State {
            generation: state.generation + 1,
            id,
            version,
            initialize: Some(initialize.clone()),
            ..State::default()
        };
        let before = std::mem::replace(&mut *state, next);
        // Some servers know their clients, and give each the same id again.
        if before.id.is_some() && before.id != state.id {
            self.former().push(before);
        }
    }

    /// The server has accepted `initialize`, said again, in place of a session that is gone.
    pub(super) fn begin_anew(&self, id: Option<HeaderValue>, version: Option<HeaderValue>) {
        let mut state = self.lock();
        state.generation += 1;
        (state.id, state.version) = (id, version);
        state.exchanges = TaskTracker::new();
        self.usable.send_replace(state.generation);
    }

    /// Completes when the session is no longer that of this generation, and the one after it is
    /// ready.
    pub(super) async fn replaced(&self, generation: u64) {
        // It can be asked for as long as there is a session.
        let _ = self.usable.subscribe().wait_for(|now| *now > generation).await;
        drop(self.healing.lock().await);
    }

    /// The server has been told that the client is ready.
    pub(super) fn ready(&self, initialized: &Bytes) {
        let mut state = self.lock();
        state.initialized = Some(initialized.clone());
        self.usable.send_replace(state.generation);
    }

    /// What the client has left behind.
    pub(super) fn former(&self) -> MutexGuard<'_, Vec<State>> {
        self.former.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.generation == other.generation
    }
}

impl State {
    /// Puts in what every request of the session carries.
    pub(super) fn put(&self, headers: &mut HeaderMap) {
        headers.extend(self.id.clone().map(|id| (SESSION_ID, id)));
        headers.extend(self.version.clone().map(|version| (PROTOCOL_VERSION, version)));
    }
}
