//! Who of the era without sessions may share programs with whom: everybody, but before a remote
//! server that asks clients for their rights only those with the same.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::HeaderValue;

use super::{launcher::Launcher, pool::Pool, sessions};
use crate::{
    config,
    relay::{http::health::Health, mirrored::Tools, remote::rights::Rights},
};

/// A pool for each right, and one for those without.
#[derive(Debug)]
pub(super) struct Pools {
    launcher: Arc<Launcher>,
    health: Arc<Health>,
    bounds: config::Sessions,
    /// What the server's tools want to see in headers.
    pub(super) mirrors: Arc<Tools>,
    common: Arc<Pool>,
    by_right: Mutex<HashMap<HeaderValue, Arc<Pool>>>,
}

/// Whether somebody needs it.
fn is_used(pool: &Arc<Pool>) -> bool {
    Arc::strong_count(pool) > 1 || pool.is_used()
}

impl Pools {
    pub(super) fn new(
        bounds: config::Sessions,
        launcher: Arc<Launcher>,
        health: Arc<Health>,
    ) -> Self {
        let mirrors = Arc::<Tools>::default();
        let (starts, tells, learns) =
            (Arc::clone(&launcher), Arc::clone(&health), Arc::clone(&mirrors));
        let common = Pool::new(bounds.shared, starts, tells, learns, Rights::default());
        let common = Arc::new(common);
        Self { launcher, health, bounds, mirrors, common, by_right: Mutex::default() }
    }

    /// The pool of those with this right. There are as many as have programs.
    pub(super) fn of(&self, right: Option<&HeaderValue>) -> Arc<Pool> {
        let Some(right) = right else { return Arc::clone(&self.common) };
        let mut pools = self.lock();
        if let Some(pool) = pools.get(right) {
            return Arc::clone(pool);
        }
        pools.retain(|_, pool| is_used(pool));
        let rights = Rights::default();
        rights.set(Some(right));
        let (launcher, health) = (Arc::clone(&self.launcher), Arc::clone(&self.health));
        let mirrors = Arc::clone(&self.mirrors);
        let pool = Arc::new(Pool::new(self.bounds.shared, launcher, health, mirrors, rights));
        let mut right = right.clone();
        right.set_sensitive(true);
        pools.insert(right, Arc::clone(&pool));
        pool
    }

    /// Ends programs that nobody uses, for ever.
    pub(super) async fn expire(&self) {
        let mut looks = sessions::looks(self.bounds.idle_timeout);
        loop {
            looks.tick().await;
            self.common.end_unused(self.bounds.idle_timeout);
            let mut pools = self.lock();
            pools.values().for_each(|pool| pool.end_unused(self.bounds.idle_timeout));
            pools.retain(|_, pool| is_used(pool));
        }
    }

    /// Ends programs on which nobody waits.
    pub(super) fn end_at_rest(&self) {
        self.common.end_at_rest();
        self.lock().values().for_each(|pool| pool.end_at_rest());
    }

    /// Ends all programs, for good.
    pub(super) fn end(&self) {
        self.common.end();
        self.lock().values().for_each(|pool| pool.end());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<HeaderValue, Arc<Pool>>> {
        self.by_right.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
