//! Serves a program that speaks MCP on standard input and output to clients over HTTP: each
//! session has a program of its own. A conversation with a remote server can stand in for the
//! program: so clients of one HTTP transport get at a server of the other.
//!
//! A client's request comes in by the listener of the HTTP relay and passes the same guard; the
//! `exchange` finds its session among the `sessions`, `splice` makes one line of its body, and a
//! task writes it to the `program`. What the program says is read by another task, which asks
//! `routing` whom it concerns and puts it into that stream's `outbox`; there the client's
//! connection fetches it as a `reply`. The tap is shown what passes on the HTTP side, and by a
//! `farewell` the end of a session that no client ended.

use std::{ffi::OsString, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use bytes::BytesMut;
use serde_json::json;
use tokio::time;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    http::{
        Beside, Counters as HttpCounters, forward::Forward, guard, guard::Guard, health::Health,
    },
    remote::server::Reach,
};
use crate::{
    config::{self, Command, ErrorStatus, Listen},
    platform::Orphans,
    ready::Gate,
    shutdown::Shutdown,
    tap::Tap,
};

mod accepts;
pub(in crate::relay) mod answers;
mod asides;
mod batch;
mod cors;
pub mod counters;
pub(in crate::relay) mod exchange;
mod farewell;
mod hearing;
mod launcher;
mod limits;
pub(in crate::relay) mod line;
mod mirrored;
mod modern;
mod objection;
mod opening;
mod outbox;
mod owed;
mod pool;
mod pools;
mod program;
mod replay;
pub(in crate::relay) mod reply;
mod restarts;
mod routing;
mod session;
mod sessions;
mod shared;
mod shim;
mod splice;
mod streams;
mod unanswered;
mod warm;

pub use counters::Counters;
pub use program::STOPPING;

use self::{
    exchange::Exchanges,
    launcher::{Behind, Launcher},
    limits::Limits,
    pools::Pools,
    program::Programs,
    reply::{First, first},
    sessions::Sessions,
    shim::Shim,
    warm::Warm,
};

/// Longest wait for the first answer of a program; `npx` may have to download it first.
const PROBE_PATIENCE: Duration = Duration::from_mins(1);
/// The pauses between two looks at a program that could not be used: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A bridge to programs that is set up and has not begun.
#[derive(Debug)]
pub struct Bridge {
    command: Command,
    environment: Vec<(OsString, OsString)>,
    listen: Listen,
    server_id: Arc<str>,
    /// What clients have before each path.
    prefix: String,
    http: Arc<HttpCounters>,
    counters: Arc<Counters>,
    orphans: Arc<Orphans>,
}

impl Bridge {
    /// Sets up a bridge to programs that `command` starts, each with `environment`. What they
    /// leave behind is among the `orphans` of the process. Starts nothing.
    pub fn new(
        command: Command,
        environment: Vec<(OsString, OsString)>,
        listen: Listen,
        server_id: Arc<str>,
        http: Arc<HttpCounters>,
        orphans: Arc<Orphans>,
    ) -> Self {
        let (prefix, counters) = (String::new(), Arc::default());
        Self { command, environment, listen, server_id, prefix, http, counters, orphans }
    }

    /// The same bridge where clients have `prefix` (as `/api`) before each path. What it is
    /// asked has none of that any more.
    #[must_use]
    pub fn below(self, prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), ..self }
    }

    /// The same bridge, which counts there what sessions come to.
    #[must_use]
    pub fn counted_by(self, counters: Arc<Counters>) -> Self {
        Self { counters, ..self }
    }

    /// Begins to answer clients that come by a listener `bound` to this address, until the
    /// shutdown. `gate` is open while the program can be used.
    pub(in crate::relay) fn begin(
        self,
        bound: SocketAddr,
        tap: Tap,
        gate: Gate,
        shutdown: Shutdown,
    ) -> Exchanges {
        let Self { command, environment, listen, server_id, prefix, http, counters, orphans } =
            self;
        let token = command.bearer_token.clone();
        guard::warn_of_exposure(&listen, bound, token.as_ref());
        let bounds = command.sessions.clone();
        let behind = match &command.socket {
            Some(socket) => Behind::Shim(Box::new(Shim::at(socket.clone()))),
            None => Behind::Programs(Box::new(Programs { command, environment, orphans })),
        };
        let setup = Setup {
            bounds,
            behind,
            health: Arc::new(Health::new(gate)),
            guard: Guard::new(&listen, bound, token),
            error_status: ErrorStatus::Gateway,
            server_id,
            prefix,
            counters,
            tap,
            shutdown,
            http,
        };
        setup.exchanges(&listen)
    }
}

/// What a bridge is made of.
struct Setup {
    behind: Behind,
    bounds: config::Sessions,
    health: Arc<Health>,
    guard: Guard,
    error_status: ErrorStatus,
    server_id: Arc<str>,
    prefix: String,
    counters: Arc<Counters>,
    tap: Tap,
    shutdown: Shutdown,
    http: Arc<HttpCounters>,
}

impl Setup {
    fn exchanges(self, listen: &Listen) -> Exchanges {
        let Self { behind, bounds, health, server_id, counters, .. } = self;
        let launcher = Arc::new(Launcher {
            behind,
            server_id,
            sessions: Sessions::new(bounds.idle_timeout),
            limits: Limits::new(&bounds, Arc::clone(&counters)),
            warm: Warm::new(bounds.warm),
            counters,
            tap: self.tap.clone(),
            tasks: TaskTracker::new(),
        });
        Exchanges {
            guard: self.guard,
            pools: Pools::new(bounds, Arc::clone(&launcher), Arc::clone(&health)),
            launcher,
            health,
            prefix: self.prefix,
            max_header: listen.max_header,
            max_body: listen.max_body,
            error_status: self.error_status,
            read_timeout: listen.read_timeout,
            tap: self.tap,
            shutdown: self.shutdown,
            counters: self.http,
            abandoned: CancellationToken::new(),
        }
    }
}

/// What answers clients that do not speak the transport of `remote`, beside `forward`, which
/// answers those who do, on a listener `bound` to this address. The counters are of sessions.
pub(in crate::relay) fn beside(
    forward: &Forward,
    Beside { place, remote, listen, prefix }: Beside,
    counters: Arc<Counters>,
    bound: SocketAddr,
) -> Exchanges {
    let (upstream, http) = (Arc::clone(&forward.upstream), Arc::clone(&forward.counters));
    let health = Arc::clone(upstream.health());
    let reach = Reach::by(upstream, place, &remote, forward.transport, Arc::clone(&http));
    let setup = Setup {
        behind: Behind::Remote(Arc::new(reach)),
        bounds: remote.sessions.clone(),
        health,
        guard: Guard::new(&listen, bound, remote.bearer_token.clone()),
        error_status: remote.error_status,
        server_id: Arc::clone(&forward.server_id),
        prefix,
        counters,
        tap: forward.tap.clone(),
        shutdown: forward.shutdown.clone(),
        http,
    };
    setup.exchanges(&listen)
}

impl Exchanges {
    /// Ends what nobody uses, starts what may be wanted, and keeps the gate of programs true, for
    /// ever.
    pub(in crate::relay) async fn keep(&self) {
        let Self { launcher, pools, health, .. } = self;
        let watch = async {
            match &launcher.behind {
                Behind::Programs(_) => {
                    tokio::join!(launcher.warm.keep(launcher, health), watch(launcher, health));
                }
                Behind::Shim(shim) => {
                    let watching = shim::watch(launcher, shim, health);
                    let warming = launcher.warm.keep(launcher, health);
                    tokio::join!(watching, warming, self.drain(shim));
                }
                // Whether a remote server can be reached, its relay knows.
                Behind::Remote(_) => {}
            }
        };
        tokio::join!(launcher.sessions.expire(), pools.expire(), watch);
    }

    /// No session begins any more, and no program. Where a shim has them it is as if it had said
    /// so itself.
    pub(in crate::relay) fn close(&self) {
        self.launcher.limits.close();
        if let Behind::Shim(shim) = &self.launcher.behind {
            shim.ends.pod.cancel();
        }
    }

    /// Ends every program, which takes them at most [`STOPPING`]. Those that a shim has outlive
    /// this, where a session has them and the pod goes on.
    pub(in crate::relay) async fn end(&self) {
        let Launcher { behind, sessions, warm, tasks, .. } = &*self.launcher;
        if let Behind::Shim(shim) = behind {
            shim.ends.sidecar.cancel();
        }
        warm.end();
        sessions.end_all();
        self.pools.end();
        tasks.close();
        if time::timeout(STOPPING, tasks.wait()).await.is_err() {
            tracing::debug!("not everything of the programs has ended in time");
        }
    }
}

/// What the shim that listens at this socket says of itself, which starts no program.
///
/// # Errors
/// That it does not answer, and why.
pub async fn look(socket: &Path) -> Result<String, String> {
    let state = Shim::at(socket.to_owned()).look().await.map_err(|error| error.to_string())?;
    let (sessions, most) = state.sessions;
    Ok(format!("the shim at {} has {sessions} of {most} sessions", socket.display()))
}

/// Keeps the gate true, for ever: a program is tried at the start, again while it fails, and when
/// one has failed a client.
async fn watch(launcher: &Arc<Launcher>, health: &Health) {
    let mut pause = FIRST_PAUSE;
    loop {
        match probe(launcher).await {
            Ok(()) => {
                pause = FIRST_PAUSE;
                health.rise();
                while health.is_up() {
                    tokio::select! {
                        () = health.fallen() => {}
                        () = health.doubted() => break,
                    }
                }
            }
            Err(problem) => health.fall(&problem),
        }
        time::sleep(pause).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

/// Starts a program that no client has asked for, and sees whether it answers.
async fn probe(launcher: &Arc<Launcher>) -> Result<(), String> {
    let opening = Arc::clone(launcher).probe().await.map_err(|error| error.to_string())?;
    let question = json!({
        "jsonrpc": "2.0",
        "id": "mcpulse-proxy",
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": { "name": "mcpulse-proxy", "version": env!("CARGO_PKG_VERSION") },
        },
    });
    let question = BytesMut::from(&*question.to_string());
    let question = splice::read_one(question).map_err(|fault| fault.to_string())?;
    let answered = async {
        let (mut inbox, _) = opening.session().ask(question, false).await.ok()?;
        match first(&mut inbox, None).await {
            First::Answer(..) => Some(()),
            First::Failed(..) | First::Other(_) | First::Nothing | First::Withdrawn => None,
        }
    };
    match time::timeout(PROBE_PATIENCE, answered).await {
        Ok(Some(())) => Ok(()),
        Ok(None) => Err("the server ended without an answer to initialize".to_owned()),
        Err(_) => Err(format!("the server has not answered initialize in {PROBE_PATIENCE:?}")),
    }
}
