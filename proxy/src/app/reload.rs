//! Reads the file of `run` again, when it has changed or a signal asks for it, and makes its
//! servers the ones that are served. Of a file that cannot be used nothing is.

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::{
    plan::{Plan, of_next_start},
    servers::Servers,
};
use crate::{cli::Reread, config::Config, relay::router::Segment};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What reloading came to since the start, counted for `/metrics`.
#[derive(Debug)]
pub(super) struct Reloads {
    applied: AtomicU64,
    refused: AtomicU64,
    /// Whether the last one was applied; the start counts as one.
    good: AtomicBool,
    /// When that was, in seconds since 1970.
    at: AtomicU64,
}

impl Default for Reloads {
    fn default() -> Self {
        Self {
            applied: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            good: AtomicBool::new(true),
            at: AtomicU64::new(now()),
        }
    }
}

impl Reloads {
    /// How many there were, by what came of them.
    pub(super) fn counts(&self) -> [(&'static str, u64); 2] {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [("applied", read(&self.applied)), ("refused", read(&self.refused))]
    }

    /// Whether the last was applied.
    pub(super) fn last_is_good(&self) -> bool {
        self.good.load(Ordering::Relaxed)
    }

    /// When the last was applied, in seconds since 1970.
    pub(super) fn last_good_at(&self) -> u64 {
        self.at.load(Ordering::Relaxed)
    }

    fn count(&self, good: bool) {
        if good {
            self.at.store(now(), Ordering::Relaxed);
        }
        let count = if good { &self.applied } else { &self.refused };
        count.fetch_add(1, Ordering::Relaxed);
        self.good.store(good, Ordering::Relaxed);
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Follows one file.
pub(super) struct Reload {
    reread: Arc<Reread>,
    /// What holds: the servers of the file as it was last used, all else as at the start.
    running: Config,
    looks: Interval,
    /// What was in the file when it was last tried; nothing before the first look.
    tried: Option<Content>,
    /// What was in it at the last look.
    seen: Option<Content>,
    counters: Arc<Reloads>,
}

/// What is in a file; none when it cannot be read.
type Content = Option<Vec<u8>>;

/// Why the file is read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// It changed.
    Change,
    /// Somebody asked for it.
    Signal,
}

impl Reload {
    /// Follows the file from which `running` was read.
    pub(super) fn new(reread: Reread, running: Config) -> Self {
        let mut looks = interval_at(Instant::now() + LOOK, LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let reread = Arc::new(reread);
        Self { reread, running, looks, tried: None, seen: None, counters: Arc::default() }
    }

    /// What it counts, from now on.
    pub(super) fn counters(&self) -> Arc<Reloads> {
        Arc::clone(&self.counters)
    }

    /// Completes when something else is in the file than was tried last, and has been for a
    /// look: an editor may be writing it. The path is looked up each time, for it may be a
    /// symlink that leads elsewhere now, as in a mounted ConfigMap. May be dropped and called
    /// again.
    pub(super) async fn changed(&mut self) {
        loop {
            self.looks.tick().await;
            let content = tokio::fs::read(&self.reread.path).await.ok();
            let stays = self.seen.as_ref() == Some(&content);
            if stays && self.tried.as_ref() != Some(&content) {
                return;
            }
            self.seen = Some(content);
        }
    }

    /// Reads the file and applies what it says, or says why not.
    pub(super) async fn reload(&mut self, servers: &mut Servers<'_>, cause: Cause) {
        self.tried = Some(tokio::fs::read(&self.reread.path).await.ok());
        let reread = Arc::clone(&self.reread);
        let read = tokio::task::spawn_blocking(move || reread.config()).await;
        let wrong: Vec<String> = match read {
            Ok(Ok(new)) if cause == Cause::Change && new == self.running => return,
            Ok(Ok(new)) => match servers.replace(&new.served) {
                Ok(plan) => return self.applied(&plan, new),
                Err(wrong) => wrong.iter().map(|error| format!("{error:#}")).collect(),
            },
            Ok(Err(refusal)) => refusal.problems().iter().map(|it| it.text.clone()).collect(),
            Err(error) => vec![error.to_string()],
        };
        self.counters.count(false);
        for problem in &wrong {
            tracing::error!("the configuration stays as it was: {problem}");
        }
    }

    fn applied(&mut self, plan: &Plan, new: Config) {
        self.counters.count(true);
        let waiting = of_next_start(&self.running, &new);
        self.running.served = new.served;
        tracing::info!("the configuration was read again: {}", told(plan));
        if !waiting.is_empty() {
            let keys = waiting.join(", ");
            tracing::warn!("what changed in {keys} needs a restart; the rest is applied");
        }
    }
}

/// What was done, in words.
fn told(plan: &Plan) -> String {
    if plan.is_empty() {
        return "every server stays as it is".to_owned();
    }
    let mut text = String::new();
    let parts = [("began", &plan.added), ("replaced", &plan.changed), ("ends", &plan.removed)];
    for (verb, segments) in parts.into_iter().filter(|(_, segments)| !segments.is_empty()) {
        let name = |segment: &Segment| segment.as_deref().unwrap_or("the only server").to_owned();
        let names: Vec<String> = segments.iter().map(name).collect();
        let comma = if text.is_empty() { "" } else { "; " };
        // Writing to a String cannot fail.
        let _ = write!(text, "{comma}{verb} {}", names.join(", "));
    }
    text
}
