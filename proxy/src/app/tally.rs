//! What the parts of each server count, kept by its id for as long as the process lives: of a
//! server that leaves and comes again no counter goes back.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use crate::relay::{bridge, http};

/// The counters of all servers that there are or were, and of the listener.
#[derive(Clone, Debug, Default)]
pub(super) struct Tallies {
    servers: Arc<Mutex<BTreeMap<Arc<str>, Tally>>>,
    listener: Arc<OnceLock<Arc<http::Counters>>>,
}

/// The counters of one server.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Of its exchanges.
    pub(super) http: Arc<http::Counters>,
    /// Of its sessions with programs, once it had any.
    pub(super) bridge: Option<Arc<bridge::Counters>>,
}

impl Tallies {
    /// Of what belongs to no server: connections, and requests that nobody could read.
    pub(super) fn listener(&self) -> Arc<http::Counters> {
        Arc::clone(self.listener.get_or_init(Arc::default))
    }

    /// The same; none without a listener.
    pub(super) fn of_listener(&self) -> Option<&http::Counters> {
        self.listener.get().map(|counters| &**counters)
    }

    /// Of the exchanges of a server.
    pub(super) fn http(&self, server_id: &Arc<str>) -> Arc<http::Counters> {
        Arc::clone(&self.lock().entry(Arc::clone(server_id)).or_default().http)
    }

    /// Of a server's sessions with programs.
    pub(super) fn bridge(&self, server_id: &Arc<str>) -> Arc<bridge::Counters> {
        let mut servers = self.lock();
        let tally = servers.entry(Arc::clone(server_id)).or_default();
        Arc::clone(tally.bridge.get_or_insert_default())
    }

    /// All of them now, by server id.
    pub(super) fn all(&self) -> Vec<(Arc<str>, Tally)> {
        self.lock().iter().map(|(id, tally)| (Arc::clone(id), tally.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Tally>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
