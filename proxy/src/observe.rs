//! Turns what the tap saw into records: framing, correlation, outcomes.

use std::time::{Duration, Instant};

use crate::{config::Limits, sink::Sinks, traffic::Seen};

/// Follows every stream and tells the sinks what happened on it.
#[derive(Debug)]
pub struct Observer {
    sinks: Sinks,
    limits: Limits,
}

impl Observer {
    /// An observer that has seen nothing yet.
    pub fn new(sinks: Sinks, limits: Limits) -> Self {
        Self { sinks, limits }
    }

    /// Takes in one thing that was seen, in the order of the tap.
    pub fn see(&mut self, seen: Seen) {
        let _ = (&self.sinks, &self.limits, seen);
    }

    /// Lets time pass: expires what waited too long, publishes the calls in flight.
    pub fn tick(&mut self, _now: Instant) {}

    /// How long nothing needs to be done if nothing is seen.
    pub fn idle_for(&self) -> Duration {
        Duration::from_secs(1)
    }

    /// Ends every call that is still open. Nothing is seen after this.
    pub fn finish(&mut self, _now: Instant) {}
}
