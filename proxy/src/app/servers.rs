//! The servers behind a listener: each is begun, replaced and ended by itself, while the others
//! go on.

use std::{collections::BTreeMap, ffi::OsString, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use futures_util::future::join_all;
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::task::TaskTracker;

use super::{
    FLUSH,
    plan::{Placed, Plan, placed},
    reporting::Reporting,
};
use crate::{
    config::{Listen, Served, Server, Upstream},
    platform::Orphans,
    ready::{GateId, Ready},
    relay::{
        bridge::{Bridge, STOPPING},
        http::HttpRelay,
        router::{Router, Segment},
        site::Site,
    },
    shutdown::Shutdown,
    traffic::HttpTransport,
};

/// The time in which those hear of it who still wait when the drain is over.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Longer than anything drains.
const FAR: Duration = Duration::from_hours(24);

/// All servers of a listener.
pub(super) struct Servers<'a> {
    reporting: &'a Reporting,
    ready: Ready,
    /// What programs inherit.
    environment: Vec<(OsString, OsString)>,
    listen: Listen,
    /// Where the listener is.
    bound: SocketAddr,
    /// Of the whole process.
    shutdown: Shutdown,
    /// What programs leave behind.
    orphans: Arc<Orphans>,
    /// What leads clients to them.
    pub(super) router: Arc<Router>,
    live: BTreeMap<Segment, Live>,
    leaving: TaskTracker,
    drains: bool,
}

/// A server that clients find.
struct Live {
    server: Server,
    site: Arc<Site>,
    gate: GateId,
    /// Its own, which comes no later than that of the process.
    shutdown: Shutdown,
    keeping: JoinHandle<()>,
}

impl Live {
    fn drain(&self) {
        self.site.drain();
        // Of an end that somebody else begins, nobody knows the time.
        self.shutdown.begin(FAR);
    }
}

/// A server that is set up and has not begun.
enum SetUp {
    Remote(Box<HttpRelay>),
    Program(Box<Bridge>),
}

impl<'a> Servers<'a> {
    /// None yet, for the clients of a listener `bound` to this address.
    pub(super) fn none(
        reporting: &'a Reporting,
        ready: Ready,
        environment: Vec<(OsString, OsString)>,
        listen: &Listen,
        bound: SocketAddr,
        shutdown: Shutdown,
        orphans: Arc<Orphans>,
    ) -> Self {
        let router = Router::new(listen, bound, reporting.tallies().listener());
        Self {
            reporting,
            ready,
            environment,
            listen: listen.clone(),
            bound,
            shutdown,
            orphans,
            router: Arc::new(router),
            live: BTreeMap::new(),
            leaving: TaskTracker::new(),
            drains: false,
        }
    }

    /// Makes these the servers: begins, replaces and ends what differs, and says what that was.
    ///
    /// # Errors
    /// What is wrong with each that cannot be set up; then all stay as they were.
    pub(super) fn replace(&mut self, served: &Served) -> Result<Plan, Vec<anyhow::Error>> {
        let (old, mut new) = (self.placed(), placed(served));
        let plan = Plan::between(&old, &new);
        let (mut set_up, mut wrong) = (Vec::new(), Vec::new());
        for segment in plan.added.iter().chain(&plan.changed) {
            let Some(server) = new.remove(segment) else { continue };
            let found = self.set_up(segment, &server);
            match found.with_context(|| format!("server {}", server.server_id)) {
                Ok(it) => set_up.push((segment.clone(), server, it)),
                Err(error) => wrong.push(error),
            }
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        for (segment, server, it) in set_up {
            self.begin(segment, server, it);
        }
        for segment in &plan.removed {
            self.router.clear(segment);
            if let Some(live) = self.live.remove(segment) {
                self.retire(segment.clone(), live);
            }
        }
        Ok(plan)
    }

    /// Whether some server is a program of ours, which may leave others behind.
    pub(super) fn has_programs(&self) -> bool {
        let is_ours = |upstream: &Upstream| matches!(upstream, Upstream::Stdio(command) if command.socket.is_none());
        self.live.values().any(|live| is_ours(&live.server.upstream))
    }

    /// Whether sessions begin no more.
    pub(super) fn drains(&self) -> bool {
        self.drains
    }

    /// Has no session begin any more, and those end that nobody waits for; calls go on.
    pub(super) fn drain(&mut self) {
        self.drains = true;
        for live in self.live.values() {
            live.drain();
        }
    }

    /// Ends all in order: no client is served any more.
    pub(super) async fn end(self) {
        let end = async |Live { site, keeping, .. }| {
            keeping.abort();
            let _ = keeping.await;
            site.end().await;
        };
        join_all(self.live.into_values().map(end)).await;
        self.leaving.close();
        self.leaving.wait().await;
    }

    fn placed(&self) -> Placed {
        self.live.iter().map(|(segment, live)| (segment.clone(), live.server.clone())).collect()
    }

    fn set_up(&self, segment: &Segment, server: &Server) -> anyhow::Result<SetUp> {
        let id: Arc<str> = server.server_id.as_str().into();
        let prefix = segment.as_ref().map(|segment| format!("/{segment}")).unwrap_or_default();
        let tallies = self.reporting.tallies();
        let counters = tallies.http(&id);
        let remote = |remote, transport| {
            HttpRelay::new(
                remote,
                self.listen.clone(),
                transport,
                Arc::clone(&id),
                counters.clone(),
            )
        };
        Ok(match &server.upstream {
            Upstream::Http(it) => SetUp::Remote(Box::new(
                remote(it.clone(), HttpTransport::Streamable)?.below(&prefix),
            )),
            Upstream::Sse(it) => SetUp::Remote(Box::new(
                remote(it.clone(), HttpTransport::LegacySse)?.below(&prefix),
            )),
            Upstream::Stdio(command) => {
                let (environment, listen) = (self.environment.clone(), self.listen.clone());
                let (command, of_bridge) = (command.clone(), tallies.bridge(&id));
                let orphans = Arc::clone(&self.orphans);
                let bridge = Bridge::new(command, environment, listen, id, counters, orphans);
                SetUp::Program(Box::new(bridge.below(&prefix).counted_by(of_bridge)))
            }
        })
    }

    /// From now on clients find this server at its place.
    fn begin(&mut self, segment: Segment, server: Server, set_up: SetUp) {
        let gate = match (&segment, &set_up) {
            (Some(id), _) => self.ready.gate(Arc::clone(id)),
            (None, SetUp::Remote(_)) => self.ready.gate("upstream"),
            (None, SetUp::Program(_)) => self.ready.gate("server"),
        };
        let id = gate.id();
        let (tap, shutdown) = (self.reporting.tap().clone(), Shutdown::default());
        let site = Arc::new(match set_up {
            SetUp::Remote(relay) => {
                let sessions = self.reporting.tallies().bridge(&server.server_id.as_str().into());
                Site::of_remote(*relay, sessions, self.bound, tap, gate, shutdown.clone())
            }
            SetUp::Program(it) => Site::of_program(*it, self.bound, tap, gate, shutdown.clone()),
        });
        let keeping = tokio::spawn({
            let (site, own, of_process) =
                (Arc::clone(&site), shutdown.clone(), self.shutdown.clone());
            async move {
                tokio::join!(site.keep(), own.follow(&of_process));
            }
        });
        self.router.place(&segment, Arc::clone(&site));
        let live = Live { server, site, gate: id, shutdown, keeping };
        if self.drains {
            live.drain();
        }
        if let Some(before) = self.live.insert(segment.clone(), live) {
            self.retire(segment, before);
        }
    }

    /// Ends a server that is at its place no more, once what is under way has come to its end or
    /// the drain is over.
    fn retire(&self, segment: Segment, live: Live) {
        let Live { server, site, gate, shutdown, keeping } = live;
        self.ready.remove(gate);
        shutdown.begin(self.listen.drain_timeout + STOPPING + FLUSH);
        let (router, drain) = (Arc::clone(&self.router), self.listen.drain_timeout);
        self.leaving.spawn(async move {
            tokio::select! {
                () = site.quiet() => {}
                _ = timeout(drain, shutdown.hastened()) => {
                    tracing::warn!(server = server.server_id, "cut off who was still served");
                    site.break_off();
                }
            }
            keeping.abort();
            // What it was doing is over once it is gone, a look at the program included.
            let _ = keeping.await;
            site.end().await;
            // Who waited for a program that has ended is told so meanwhile.
            let _ = timeout(LAST_WORDS, site.quiet()).await;
            router.forget(&segment, &site);
            tracing::info!(server = server.server_id, "a server that was taken away has ended");
        });
    }
}
