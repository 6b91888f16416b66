//! Readiness: the proxy is ready while every gate is open, and not before there is one.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// All gates of the process, each with why it is closed.
#[derive(Clone, Debug, Default)]
pub struct Ready {
    gates: Arc<Mutex<Gates>>,
}

#[derive(Debug, Default)]
struct Gates {
    /// In the order in which they were made.
    states: BTreeMap<GateId, State>,
    made: GateId,
}

/// The name of a gate, and why it is closed.
type State = (Arc<str>, Option<String>);

/// Tells the gates of a process apart.
pub type GateId = usize;

impl Ready {
    /// Adds a gate, closed until [`Gate::open`] is called.
    pub fn gate(&self, name: impl Into<Arc<str>>) -> Gate {
        let mut gates = self.gates();
        let id = gates.made;
        gates.made += 1;
        gates.states.insert(id, (name.into(), Some("not up yet".to_owned())));
        Gate { ready: self.clone(), id }
    }

    /// From now on nothing depends on this gate, whatever it says.
    pub fn remove(&self, id: GateId) {
        self.gates().states.remove(&id);
    }

    /// The closed gates and their reasons; empty when ready.
    pub fn closed(&self) -> Vec<(Arc<str>, String)> {
        let gates = self.gates();
        if gates.states.is_empty() {
            return vec![("process".into(), "is starting".to_owned())];
        }
        let closed = |(name, reason): &State| Some((Arc::clone(name), reason.clone()?));
        gates.states.values().filter_map(closed).collect()
    }

    fn set(&self, id: GateId, reason: Option<String>) {
        if let Some(state) = self.gates().states.get_mut(&id) {
            state.1 = reason;
        }
    }

    fn gates(&self) -> MutexGuard<'_, Gates> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One condition of readiness, owned by the part that knows it.
#[derive(Debug)]
pub struct Gate {
    ready: Ready,
    id: GateId,
}

impl Gate {
    /// What [`Ready::remove`] knows it by.
    pub fn id(&self) -> GateId {
        self.id
    }

    /// The condition holds.
    pub fn open(&self) {
        self.ready.set(self.id, None);
    }

    /// The condition does not hold, and why.
    pub fn close(&self, reason: impl Into<String>) {
        self.ready.set(self.id, Some(reason.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_only_while_every_gate_is_open() {
        let ready = Ready::default();
        assert_eq!(ready.closed().len(), 1, "asked before anything is up");
        let (first, second) = (ready.gate("first"), ready.gate("second"));
        assert_eq!(ready.closed().len(), 2);
        first.open();
        second.open();
        assert!(ready.closed().is_empty());
        second.close("went away");
        assert_eq!(ready.closed(), [("second".into(), "went away".to_owned())]);
        ready.remove(second.id());
        second.close("went further");
        assert!(ready.closed().is_empty());
    }
}
