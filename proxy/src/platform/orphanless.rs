//! Where the system gives the descendants of a process to nobody but the first one: what programs
//! leave behind outside of their group goes its own ways.

use std::{sync::Arc, time::Duration};

use super::Mark;

/// None end late.
pub const STRAYS: Duration = Duration::ZERO;

/// Nobody.
#[derive(Debug)]
pub struct Orphans;

impl Orphans {
    /// Takes nobody.
    pub fn adopt() -> Self {
        Self
    }

    /// Lets it last.
    pub async fn beside(self: &Arc<Self>, serving: impl Future<Output = ()>) {
        serving.await;
    }

    /// Finds none.
    pub async fn end(&self, _mark: Mark, _group: Option<u32>, _force: impl Future<Output = ()>) {}
}
