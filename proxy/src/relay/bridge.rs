//! Serves a program that speaks MCP on standard input and output to clients over HTTP: each
//! session has a program of its own.
//!
//! A client's request comes in by the listener of the HTTP relay and passes the same guard; the
//! `exchange` finds its session among the `sessions`, `splice` makes one line of its body, and a
//! task writes it to the `program`. What the program says is read by another task, which asks
//! `routing` whom it concerns and puts it into that stream's `outbox`; there the client's
//! connection fetches it as a `reply`. The tap is shown what passes on the HTTP side.

use std::{
    ffi::OsString,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use bytes::BytesMut;
use serde_json::json;
use tokio::{net::TcpListener, time};
use tokio_util::task::TaskTracker;

use super::http::{
    Counters as HttpCounters, guard,
    guard::Guard,
    health::Health,
    listener::{Listener, MAX_CONNECTIONS},
};
use crate::{
    config::{self, Command, Listen},
    ready::Gate,
    shutdown::Shutdown,
    tap::Tap,
    tls::{Acceptor, TlsError},
};

mod accepts;
mod batch;
mod cors;
pub mod counters;
mod exchange;
mod line;
mod mirrored;
mod modern;
mod objection;
mod outbox;
mod pool;
mod program;
mod replay;
mod reply;
mod routing;
mod session;
mod sessions;
mod shared;
mod splice;

pub use counters::Counters;
pub use program::STOPPING;

use self::{
    counters::Ended,
    exchange::Exchanges,
    pool::Pool,
    program::Launcher,
    reply::{First, first},
    sessions::Sessions,
};

/// Longest wait for the first answer of a program; `npx` may have to download it first.
const PROBE_PATIENCE: Duration = Duration::from_mins(1);
/// The pauses between two looks at a program that could not be used: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A bridge that is set up and has not begun.
#[derive(Debug)]
pub struct Bridge {
    command: Command,
    environment: Vec<(OsString, OsString)>,
    listen: Listen,
    tls: Option<Acceptor>,
    server_id: Arc<str>,
    http: Arc<HttpCounters>,
    counters: Arc<Counters>,
}

impl Bridge {
    /// Sets up a bridge to programs that `command` starts, each with `environment`. Reads
    /// certificates, starts nothing.
    ///
    /// # Errors
    /// When a certificate file is of no use.
    pub fn new(
        command: Command,
        environment: Vec<(OsString, OsString)>,
        listen: Listen,
        server_id: Arc<str>,
    ) -> Result<Self, TlsError> {
        let tls = listen.tls.as_ref().map(Acceptor::new).transpose()?;
        let (http, counters) = (Arc::default(), Arc::default());
        Ok(Self { command, environment, listen, tls, server_id, http, counters })
    }

    /// What the listener counts, from now on.
    pub fn http_counters(&self) -> Arc<HttpCounters> {
        Arc::clone(&self.http)
    }

    /// What sessions come to, from now on.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Serves clients on `listener` until the shutdown begins, the drain is over, and every
    /// program has ended, which takes them at most [`STOPPING`]. `gate` is open while the
    /// program can be used.
    ///
    /// # Errors
    /// When the listener has no local address.
    pub async fn serve(
        self,
        listener: TcpListener,
        tap: Tap,
        gate: Gate,
        shutdown: Shutdown,
    ) -> std::io::Result<()> {
        let bound = listener.local_addr()?;
        let Self { command, environment, listen, tls, server_id, http, counters } = self;
        let token = command.bearer_token.clone();
        guard::warn_of_exposure(&listen, bound, token.as_ref());
        let config::Sessions { shared, idle_timeout, .. } = command.sessions;
        let sessions = Arc::new(Sessions::new(&command.sessions));
        let tasks = TaskTracker::new();
        let launcher = Arc::new(Launcher {
            command,
            environment,
            server_id,
            sessions: Arc::clone(&sessions),
            counters,
            tasks: tasks.clone(),
        });
        let health = Arc::new(Health::new(gate));
        let pool = Pool::new(shared, Arc::clone(&launcher), Arc::clone(&health), idle_timeout);
        let exchanges = Arc::new(Exchanges {
            guard: Guard::new(&listen, bound, token),
            pool: Arc::new(pool),
            launcher: Arc::clone(&launcher),
            health: Arc::clone(&health),
            max_header: listen.max_header,
            max_body: listen.max_body,
            read_timeout: listen.read_timeout,
            tap,
            shutdown: shutdown.clone(),
            counters: http,
            abandoned: AtomicBool::new(false),
        });
        let listening =
            Listener::new(Arc::clone(&exchanges), &listen, tls, MAX_CONNECTIONS, shutdown);
        tokio::select! {
            () = listening.run(listener) => {}
            () = sessions.expire() => {}
            () = exchanges.pool.expire() => {}
            () = watch(&launcher, &health) => {}
        }
        sessions.end_all();
        exchanges.pool.end();
        tasks.close();
        if time::timeout(STOPPING, tasks.wait()).await.is_err() {
            tracing::debug!("not everything of the programs has ended in time");
        }
        Ok(())
    }
}

/// Keeps the gate true, for ever: a program is tried at the start, and again while it fails.
async fn watch(launcher: &Arc<Launcher>, health: &Health) {
    let mut pause = FIRST_PAUSE;
    loop {
        match probe(launcher).await {
            Ok(()) => {
                pause = FIRST_PAUSE;
                health.rise();
                while health.is_up() {
                    health.fallen().await;
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
    let opening = Arc::clone(launcher).open(false, None, Ended::Probe).await;
    let opening = opening.map_err(|error| error.to_string())?;
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
            First::Other(_) | First::Nothing => None,
        }
    };
    match time::timeout(PROBE_PATIENCE, answered).await {
        Ok(Some(())) => Ok(()),
        Ok(None) => Err("the server ended without an answer to initialize".to_owned()),
        Err(_) => Err(format!("the server has not answered initialize in {PROBE_PATIENCE:?}")),
    }
}
