//! Where the system gives the descendants of a process to nobody but the first one: what programs
//! leave behind outside of their group goes its own ways.

use std::time::Duration;

use tokio::sync::watch;

/// None end late.
pub const STRAYS: Duration = Duration::ZERO;

/// Nobody.
#[derive(Debug)]
pub struct Orphans(watch::Sender<()>);

impl Orphans {
    /// Takes nobody.
    pub fn adopt() -> Self {
        Self(watch::Sender::default())
    }

    /// Lets it last.
    pub async fn beside(&self, serving: impl Future<Output = ()>) {
        serving.await;
    }

    /// Finds none.
    pub fn end(&self, _mark: Option<&str>, _force: bool, _asked: &mut Vec<u32>) -> usize {
        0
    }

    /// Tells of nothing.
    pub fn ends(&self) -> watch::Receiver<()> {
        self.0.subscribe()
    }
}
