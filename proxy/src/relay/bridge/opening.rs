//! How a session begins: with a program that waits for one already, or with a new one.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use tokio::{sync::mpsc, time::timeout};

use super::{
    STOPPING,
    counters::{Ended, Use},
    farewell::Farewell,
    launcher::{Audience as _, Launcher},
    limits::{Full, Place},
    session::Session,
};
use crate::{
    observe,
    relay::{child::StartError, remote::rights::Rights},
};

/// A session that was not initialized yet. Dropped, it ends.
#[derive(Debug)]
pub(super) struct Opening {
    session: Arc<Session>,
    place: Arc<Place>,
    is_kept: bool,
}

/// Why there is no other session now.
#[derive(Debug)]
pub(super) enum Unopened {
    /// There is no room for it, or for its program.
    Full(Full),
    /// Its program does not start.
    Unstarted(StartError),
}

impl Opening {
    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// It was initialized and goes on.
    pub(super) fn keep(mut self) -> Arc<Session> {
        self.is_kept = true;
        Arc::clone(&self.session)
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if !self.is_kept {
            self.session.end(Ended::Uninitialized);
        }
    }
}

impl From<StartError> for Unopened {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Full(_) => Self::Full(Full::Programs),
            error => Self::Unstarted(error),
        }
    }
}

impl From<Full> for Unopened {
    fn from(full: Full) -> Self {
        Self::Full(full)
    }
}

impl Launcher {
    /// A session, with a program that waits for one or that is started, for a client with this
    /// right. For `is_line` see [`Session::begin`].
    pub(super) async fn open(
        self: Arc<Self>,
        is_line: bool,
        right: Option<&HeaderValue>,
    ) -> Result<Opening, Unopened> {
        let seat = self.limits.seat()?;
        let opening = match self.warm.take() {
            Some(waiting) => waiting,
            None => match self.limits.place(Use::Session) {
                Ok(place) => Arc::clone(&self).start_for_session(place).await?,
                Err(full) => self.warm.take_any().await.ok_or(full)?,
            },
        };
        opening.place.seat(seat);
        opening.session.rights.set(right);
        opening.session.begin(is_line);
        Ok(opening)
    }

    /// Room for a program that clients share. One that only waits for a session gives way, and
    /// this waits until it has ended.
    pub(super) async fn place_of_shared(&self) -> Result<Arc<Place>, Full> {
        let placed = self.limits.place(Use::Shared);
        if !matches!(placed, Err(Full::Programs)) {
            return placed;
        }
        // Nobody gives way to one that may not start.
        self.limits.allow_start()?;
        if self.warm.take_any().await.is_none() {
            return placed;
        }
        let placed = timeout(STOPPING, self.limits.place_in_turn(Use::Shared)).await;
        placed.unwrap_or(Err(Full::Programs))
    }

    /// A program for a session that nobody wants yet.
    pub(super) async fn warm_up(self: Arc<Self>) -> Result<Opening, Unopened> {
        let place = self.limits.place(Use::Warm)?;
        Ok(self.start_for_session(place).await?)
    }

    /// A program that no client has asked for, and that none gets.
    pub(super) async fn probe(self: Arc<Self>) -> Result<Opening, StartError> {
        let place = self.limits.probe();
        self.start_for_session(place).await
    }

    /// What makes the session of this id of the way to its program, and what follows when that
    /// has ended.
    pub(super) fn session_of(
        self: &Arc<Self>,
        id: String,
        rights: Rights,
    ) -> (impl FnOnce(mpsc::Sender<Bytes>) -> Session + use<>, impl FnOnce() + Send + use<>) {
        let gone = {
            let (launcher, id) = (Arc::clone(self), id.clone());
            move || {
                launcher.sessions.remove(&id);
                launcher.warm.wake();
            }
        };
        let tag = observe::session_name(&self.server_id, id.as_bytes());
        let counters = Arc::clone(&self.counters);
        let farewell = Farewell::of(&self.tap, &self.server_id, &id);
        let begin = move |lines| Session::new(id, tag, rights, lines, counters, farewell);
        (begin, gone)
    }

    async fn start_for_session(self: Arc<Self>, place: Arc<Place>) -> Result<Opening, StartError> {
        let rights = Rights::default();
        let (begin, gone) = self.session_of(uuid::Uuid::new_v4().to_string(), rights.clone());
        // A task of its own, so that no program is forgotten when the client leaves meanwhile.
        let starting = async move {
            let session = self.start(begin, Arc::clone(&place), gone, rights).await?;
            Ok(Opening { session, place, is_kept: false })
        };
        match tokio::spawn(starting).await {
            Ok(started) => started,
            Err(error) => Err(StartError::Thread(error.into())),
        }
    }
}
