//! Readiness: the proxy is ready while every gate is open.

use std::sync::{Arc, Mutex, PoisonError};

/// All gates of the process, each with why it is closed.
#[derive(Clone, Debug, Default)]
pub struct Ready {
    gates: Arc<Mutex<Vec<State>>>,
}

/// The name of a gate, and why it is closed.
type State = (&'static str, Option<String>);

impl Ready {
    /// Adds a gate, closed until [`Gate::open`] is called.
    pub fn gate(&self, name: &'static str) -> Gate {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        gates.push((name, Some("not up yet".to_owned())));
        Gate { ready: self.clone(), index: gates.len() - 1 }
    }

    /// The closed gates and their reasons; empty when ready.
    pub fn closed(&self) -> Vec<(&'static str, String)> {
        let gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        gates.iter().filter_map(|(name, reason)| Some((*name, reason.clone()?))).collect()
    }

    fn set(&self, index: usize, reason: Option<String>) {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        gates[index].1 = reason;
    }
}

/// One condition of readiness, owned by the part that knows it.
#[derive(Debug)]
pub struct Gate {
    ready: Ready,
    index: usize,
}

impl Gate {
    /// The condition holds.
    pub fn open(&self) {
        self.ready.set(self.index, None);
    }

    /// The condition does not hold, and why.
    pub fn close(&self, reason: impl Into<String>) {
        self.ready.set(self.index, Some(reason.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_only_while_every_gate_is_open() {
        let ready = Ready::default();
        let (first, second) = (ready.gate("first"), ready.gate("second"));
        assert_eq!(ready.closed().len(), 2);
        first.open();
        second.open();
        assert!(ready.closed().is_empty());
        second.close("went away");
        assert_eq!(ready.closed(), [("second", "went away".to_owned())]);
    }
}
