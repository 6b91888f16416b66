//! Starts what a session, or those who share one, talk with: a program of ours or of the shim's, or
//! in place of it a conversation with a remote server.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use tokio::{
    sync::{Semaphore, mpsc},
    time::Instant,
};
use tokio_util::task::TaskTracker;

use super::{
    counters::{Counters, Ended},
    hearing::Hearing,
    limits::{Limits, Place},
    program::Programs,
    sessions::Sessions,
    shim::Shim,
    splice::Gist,
    warm::Warm,
};
use crate::{
    relay::{
        child::StartError,
        remote::{
            problem::{Problem, Told},
            rights::Rights,
            server::Reach,
            talk::Talk,
        },
    },
    tap::Tap,
};

/// Messages that wait until the program reads them; further ones wait with their clients.
pub(super) const MOST_LINES: usize = 16;
/// How long it may take to tell a remote server that a session has ended.
const LEAVE: Duration = Duration::from_millis(1500);

/// Whoever a program talks with.
pub(super) trait Audience: Send + Sync + 'static {
    /// What the log knows it by.
    fn tag(&self) -> &Arc<str>;
    /// The program has said something, or the proxy for this reason in place of an answer.
    /// Returns whether it was a message.
    fn hear_of(&self, text: Bytes, gist: &Gist, why: Option<Problem>) -> bool;
    /// The program has said something. Returns whether it was a message.
    fn hear(&self, text: Bytes, gist: &Gist) -> bool {
        self.hear_of(text, gist, None)
    }
    /// Nothing more is said, once: what waits for an answer is told at once that none will come,
    /// the program that nothing more will.
    fn end(&self, why: Ended);
    /// Completes when it has ended.
    fn ended(&self) -> impl Future<Output = ()> + Send;
    /// By what a program is found again that outlives this process; none of one that does not.
    fn token(&self) -> Option<&str>;
    /// Whether it has ended only because this process does: another one may go on with it.
    fn outlives_us(&self) -> bool;
}

/// What is behind the bridge.
#[derive(Debug)]
pub(super) enum Behind {
    /// A program for whoever needs one.
    Programs(Box<Programs>),
    /// What starts a program in its own container for whoever needs one.
    Shim(Box<Shim>),
    /// A remote server: a conversation with it stands in for a program.
    Remote(Arc<Reach>),
}

/// How to start programs.
#[derive(Debug)]
pub(super) struct Launcher {
    pub(super) behind: Behind,
    pub(super) server_id: Arc<str>,
    pub(super) sessions: Sessions,
    pub(super) limits: Limits,
    /// Programs that wait for a session.
    pub(super) warm: Warm,
    pub(super) counters: Arc<Counters>,
    /// Where the ends of sessions are shown.
    pub(super) tap: Tap,
    /// Everything that runs for a program.
    pub(super) tasks: TaskTracker,
}

impl Launcher {
    /// The right by which a client asks, where that goes to the server.
    pub(super) fn right<'a>(&self, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
        match &self.behind {
            Behind::Remote(reach) if reach.takes_rights() => headers.get(AUTHORIZATION),
            _ => None,
        }
    }

    /// Starts a program for the audience that `begin` makes of the way to it. It holds `place`
    /// until it has been reaped; then `gone` is called, or when nobody waits for that any more.
    /// It asks by these `rights`, where it is a remote server that is asked.
    pub(super) async fn start<A: Audience>(
        &self,
        begin: impl FnOnce(mpsc::Sender<Bytes>) -> A,
        place: Arc<Place>,
        gone: impl FnOnce() + Send + 'static,
        rights: Rights,
    ) -> Result<Arc<A>, StartError> {
        match &self.behind {
            Behind::Programs(programs) => self.run(programs, begin, place, gone).await,
            Behind::Shim(shim) => self.open_at(shim, begin, place, gone).await,
            Behind::Remote(reach) => {
                let gone = move || {
                    drop(place);
                    gone();
                };
                Ok(self.converse(reach, begin, gone, rights))
            }
        }
    }

    /// Begins a conversation with a remote server, which ends with its audience.
    fn converse<A: Audience>(
        &self,
        reach: &Arc<Reach>,
        begin: impl FnOnce(mpsc::Sender<Bytes>) -> A,
        gone: impl FnOnce() + Send + 'static,
        rights: Rights,
    ) -> Arc<A> {
        let (lines, to_server) = mpsc::channel(MOST_LINES);
        let (told, mut to_client) = mpsc::channel(MOST_LINES);
        let audience = Arc::new(begin(lines));
        let mut hearing = Hearing::new(Arc::clone(&audience), Arc::clone(&self.counters));
        self.tasks.spawn(async move {
            while let Some(Told { text, why }) = to_client.recv().await {
                hearing.take(&text, why);
            }
        });
        // How many may wait, the bridge has a bound of its own for.
        let mut talk = Talk::unobserved(Arc::clone(reach), rights, told, Semaphore::MAX_PERMITS);
        let session = Arc::clone(&audience);
        self.tasks.spawn(async move {
            tokio::select! {
                () = talk.run(to_server) => {}
                () = session.ended() => {}
            }
            session.end(Ended::Exited);
            let now = Instant::now();
            talk.end(now, now + LEAVE).await;
            gone();
        });
        audience
    }
}
