//! The session with a server of the era that has them (up to 2025-11-25): what every request of
//! it carries, and what it takes to begin it anew.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use tokio::{sync::watch, time::Instant};

use super::problem::Problem;
use crate::mcp::header::{PROTOCOL_VERSION, SESSION_ID};

/// How long a server may take to begin a session that is begun anew.
pub(super) const BEGUN_WITHIN: Duration = Duration::from_secs(30);

/// The session, as far as there is one.
#[derive(Debug, Default)]
pub(super) struct Session {
    state: Mutex<State>,
    /// The generation of the state, for who waits for the next one.
    generation: watch::Sender<u64>,
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
}

impl Session {
    /// The session as it is now.
    pub(super) fn current(&self) -> State {
        self.lock().clone()
    }

    /// The server has accepted `initialize`.
    pub(super) fn begin(
        &self,
        initialize: &Bytes,
        id: Option<HeaderValue>,
        version: Option<HeaderValue>,
    ) {
        let mut state = self.lock();
        state.generation += 1;
        state.id = id;
        state.version = version;
        if state.initialize.as_ref() != Some(initialize) {
            state.initialized = None;
        }
        state.initialize = Some(initialize.clone());
        self.generation.send_replace(state.generation);
    }

    /// Completes when the session is no longer that of this generation, and the one after it is
    /// ready.
    pub(super) async fn replaced(&self, generation: u64) {
        // It can be asked for as long as there is a session.
        let _ = self.generation.subscribe().wait_for(|now| *now != generation).await;
        drop(self.healing.lock().await);
    }

    /// The server has been told that the client is ready.
    pub(super) fn ready(&self, initialized: &Bytes) {
        self.lock().initialized = Some(initialized.clone());
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
