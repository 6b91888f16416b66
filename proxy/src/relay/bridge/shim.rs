//! The shim in the container of the server, which starts its programs: one connection to its
//! socket is one session with one. What the socket speaks is specified by
//! [`mcpulse_shim::protocol`]; this is the sidecar's side of it.
//!
//! The shim outlives a sidecar that is started anew, and the programs of sessions with it: their
//! tokens are the ids by which clients know the sessions, so that the next sidecar takes them over:
//! all that wait when it has found the shim, and later any that a client asks for.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use mcpulse_shim::protocol::{Attached, FromShim, FromSidecar, Refusal};
use tokio::{
    sync::{Mutex, mpsc},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    hearing::Hearing,
    launcher::{Audience, Launcher, MOST_LINES},
    limits::Place,
};
use crate::{
    backoff::{Backoff, Pace},
    relay::{child::StartError, http::health::Health},
};

mod adoption;
mod attachment;
mod drain;
mod flow;
mod link;

use self::{attachment::Attachment, link::Link};

/// How long the shim may take to answer a greeting; it starts a program meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often is looked whether the shim is there.
const LOOK: Duration = Duration::from_secs(5);
/// The pauses between two looks at a shim that is away.
const AWAY: Pace = Pace { first: Duration::from_millis(20), longest: Duration::from_secs(1) };
/// How long a client waits at most whose session may be one that is still to be taken over.
const ACQUAINTANCE: Duration = Duration::from_secs(2);
/// What begins the tokens of programs that no session has.
const SHARED: &str = "shared-";

/// The shim behind a bridge.
#[derive(Debug)]
pub(super) struct Shim {
    socket: PathBuf,
    pub(super) ends: Ends,
    /// The sessions of the sidecar before were taken over.
    acquainted: CancellationToken,
    /// Held while one is taken over.
    taking_over: Mutex<()>,
}

/// What ends, as far as is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Ends {
    /// The pod, as the shim says: calls finish, and sessions end.
    pub(super) pod: CancellationToken,
    /// This sidecar: the next one takes over its sessions, unless the pod ends as well.
    pub(super) sidecar: CancellationToken,
}

/// How the shim is.
pub(super) struct State {
    /// Sessions that there are, and that there may be.
    pub(super) sessions: (u32, u32),
    /// The pod ends.
    drains: bool,
    /// Tokens of sessions that wait for a sidecar.
    detached: Vec<Vec<u8>>,
}

impl Shim {
    /// The one that listens at this socket, or will.
    pub(super) fn at(socket: PathBuf) -> Self {
        let (ends, acquainted) = (Ends::default(), CancellationToken::new());
        Self { socket, ends, acquainted, taking_over: Mutex::default() }
    }

    /// Whether it is known which sessions there are.
    pub(super) fn is_acquainted(&self) -> bool {
        self.acquainted.is_cancelled()
    }

    /// Completes once that is known, or will not be soon.
    async fn acquainted(&self) {
        let _ = timeout(ACQUAINTANCE, self.acquainted.cancelled()).await;
    }

    /// Asks the shim how it is.
    pub(super) async fn look(&self) -> Result<State, StartError> {
        let looked = async {
            let mut link = Link::connect(&self.socket).await?;
            link.say(FromSidecar::Look);
            let mut state = match link.receive().await? {
                FromShim::State { sessions, most, drains } => {
                    State { sessions: (sessions, most), drains, detached: Vec::new() }
                }
                _ => return Err(io::ErrorKind::InvalidData.into()),
            };
            loop {
                match link.receive().await {
                    Ok(FromShim::Detached(token)) => state.detached.push(token.to_vec()),
                    Ok(_) => return Err(io::ErrorKind::InvalidData.into()),
                    // With this it has said everything.
                    Err(_) => return Ok(state),
                }
            }
        };
        self.in_time(looked).await
    }

    /// A connection that has the session which this greeting is for.
    async fn greet(&self, greeting: FromSidecar<'_>) -> Result<(Link, Attached), StartError> {
        let greeted = async {
            let mut link = Link::connect(&self.socket).await?;
            link.say(greeting);
            let attached = match link.receive().await? {
                FromShim::Attached(attached) => Ok(attached),
                FromShim::Refused(refusal, why) => Err((refusal, why.to_owned())),
                _ => return Err(io::ErrorKind::InvalidData.into()),
            };
            Ok(attached.map(|attached| (link, attached)))
        };
        self.in_time(greeted).await?.map_err(|(refusal, why)| match refusal {
            Refusal::Full => StartError::Full(why),
            Refusal::Draining => {
                self.ends.pod.cancel();
                StartError::Full(why)
            }
            Refusal::Protocol | Refusal::Unknown | Refusal::Taken | Refusal::Start => {
                StartError::Refused(why)
            }
        })
    }

    async fn in_time<T>(
        &self,
        asking: impl Future<Output = io::Result<T>>,
    ) -> Result<T, StartError> {
        let asked = timeout(PATIENCE, asking).await;
        asked
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|cause| StartError::Away { socket: self.socket.display().to_string(), cause })
    }
}

impl Launcher {
    /// Has the shim start a program. See [`Launcher::start`].
    pub(super) async fn open_at<A: Audience>(
        &self,
        shim: &Shim,
        begin: impl FnOnce(mpsc::Sender<Bytes>) -> A,
        place: Arc<Place>,
        gone: impl FnOnce() + Send + 'static,
    ) -> Result<Arc<A>, StartError> {
        let (lines, to_program) = mpsc::channel(MOST_LINES);
        let audience = Arc::new(begin(lines));
        let token = match audience.token() {
            Some(token) => token.to_owned(),
            None => format!("{SHARED}{}", Uuid::new_v4()),
        };
        let tag = audience.tag().as_bytes();
        let greeting = FromSidecar::Open { token: token.as_bytes(), tag };
        let (link, attached) = shim.greet(greeting).await?;
        tracing::debug!(session = %audience.tag(), "the shim has started a program");
        self.follow(shim, (link, &attached), Arc::clone(&audience), to_program, place, gone);
        Ok(audience)
    }

    /// Has the session of this connection last.
    fn follow<A: Audience>(
        &self,
        shim: &Shim,
        (link, attached): (Link, &Attached),
        audience: Arc<A>,
        lines: mpsc::Receiver<Bytes>,
        place: Arc<Place>,
        gone: impl FnOnce() + Send + 'static,
    ) {
        let hearing = Hearing::new(Arc::clone(&audience), Arc::clone(&self.counters));
        let ends = shim.ends.clone();
        let attachment = Attachment::new(link, attached, audience, hearing, lines, ends);
        self.tasks.spawn(async move {
            attachment.run().await;
            drop(place);
            gone();
        });
    }
}

/// Takes over the sessions that there are and keeps the gate true, for ever: it is open while the
/// shim answers, for which no program is started.
pub(super) async fn watch(launcher: &Arc<Launcher>, shim: &Shim, health: &Health) {
    let mut backoff = Backoff::default();
    loop {
        match shim.look().await {
            Err(error) => {
                health.fall(&error);
                sleep(backoff.next(AWAY)).await;
                continue;
            }
            Ok(state) => {
                if !shim.is_acquainted() {
                    launcher.take_over(shim, &state.detached).await;
                    shim.acquainted.cancel();
                }
                if state.drains {
                    shim.ends.pod.cancel();
                }
            }
        }
        backoff.reset();
        if shim.ends.pod.is_cancelled() {
            health.fall(&"the pod ends");
        } else {
            health.rise();
        }
        tokio::select! {
            () = sleep(LOOK) => {}
            () = health.fallen() => {}
            () = health.doubted() => {}
            () = shim.ends.pod.cancelled(), if !shim.ends.pod.is_cancelled() => {}
        }
        // However often it is in doubt.
        sleep(AWAY.first).await;
    }
}
