//! The answers that messages on their way wait for, whichever stream they come on: servers are to
//! answer a request on its own stream, and some use another.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::said::Asked;
use crate::jsonrpc::Id;

/// What one message asked and is not answered yet.
#[derive(Debug, Default)]
pub(super) struct Awaited {
    state: Mutex<State>,
    /// Cancelled when the client has been told the last answer.
    pub(super) answered: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    left: Vec<Open>,
    /// Answers that came elsewhere than on the exchange of the message.
    elsewhere: Vec<Bytes>,
}

#[derive(Debug)]
struct Open {
    asked: Asked,
    /// The client waits for it no more.
    withdrawn: bool,
}

impl Awaited {
    pub(super) fn new(asked: &[Asked], answered: CancellationToken) -> Self {
        let open = |asked: &Asked| Open { asked: asked.clone(), withdrawn: false };
        let state = State { left: asked.iter().map(open).collect(), elsewhere: Vec::new() };
        Self { state: Mutex::new(state), answered }
    }

    /// An answer has come, on the exchange itself or `elsewhere`. Returns whether it is to this.
    pub(super) fn answer(&self, id: &Id, elsewhere: Option<&Bytes>) -> bool {
        let mut state = self.lock();
        let Some(at) = state.left.iter().position(|open| open.asked.id == *id) else {
            return false;
        };
        state.left.remove(at);
        let elsewhere = elsewhere.filter(|text| state.elsewhere.last() != Some(*text));
        state.elsewhere.extend(elsewhere.cloned());
        true
    }

    /// The client waits for this answer no more. Returns whether it waits for none.
    pub(super) fn withdraw(&self, id: &Id) -> bool {
        let mut state = self.lock();
        for open in state.left.iter_mut().filter(|open| open.asked.id == *id) {
            open.withdrawn = true;
        }
        state.left.iter().all(|open| open.withdrawn)
    }

    /// Whether everything has been answered.
    pub(super) fn is_over(&self) -> bool {
        self.lock().left.is_empty()
    }

    /// Whether the client still waits.
    pub(super) fn is_wanted(&self) -> bool {
        self.lock().left.iter().any(|open| !open.withdrawn)
    }

    /// What has not been answered.
    pub(super) fn left(&self) -> Vec<Asked> {
        self.lock().left.iter().map(|open| open.asked.clone()).collect()
    }

    /// No answer that still comes is to this. Returns what the client waits for.
    pub(super) fn give_up(&self) -> Vec<Asked> {
        let left = std::mem::take(&mut self.lock().left);
        left.into_iter().filter(|open| !open.withdrawn).map(|open| open.asked).collect()
    }

    /// Takes the answers that came elsewhere.
    pub(super) fn take_elsewhere(&self) -> Vec<Bytes> {
        std::mem::take(&mut self.lock().elsewhere)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everything that is awaited in a conversation, by its id.
#[derive(Debug, Default)]
pub(super) struct Register {
    open: Mutex<HashMap<Id, Vec<Arc<Awaited>>>>,
}

/// Keeps what a message awaits in the register.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    register: &'a Register,
    asked: &'a [Asked],
    awaited: &'a Arc<Awaited>,
}

impl Register {
    /// Lets answers be found that come elsewhere than on the exchange of the message.
    pub(super) fn enter<'a>(&'a self, asked: &'a [Asked], awaited: &'a Arc<Awaited>) -> Entry<'a> {
        let mut open = self.lock();
        for asked in asked {
            open.entry(asked.id.clone()).or_default().push(Arc::clone(awaited));
        }
        Entry { register: self, asked, awaited }
    }

    /// An answer has come in `text`, on the exchange of no message that awaits it. Returns what
    /// awaited it, the first asked if it is several.
    pub(super) fn answer(&self, id: &Id, text: &Bytes) -> Option<Arc<Awaited>> {
        let open = self.lock();
        open.get(id)?.iter().find(|awaited| awaited.answer(id, Some(text))).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Id, Vec<Arc<Awaited>>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        let mut open = self.register.lock();
        for asked in self.asked {
            let Some(those) = open.get_mut(&asked.id) else { continue };
            those.retain(|awaited| !Arc::ptr_eq(awaited, self.awaited));
            if those.is_empty() {
                open.remove(&asked.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(ids: &[i64]) -> Vec<Asked> {
        ids.iter().map(|id| Asked { id: Id::Number(*id), written: id.to_string().into() }).collect()
    }

    #[test]
    fn an_answer_counts_once_wherever_it_comes() {
        let (register, text) = (Register::default(), Bytes::from_static(b"{}"));
        let (first, second) = (asked(&[1, 2]), asked(&[1]));
        let [one, other] = [&first, &second]
            .map(|asked| Arc::new(Awaited::new(asked, CancellationToken::default())));
        let entry = register.enter(&first, &one);
        let _other = register.enter(&second, &other);
        let id = Id::Number(1);
        assert!(one.answer(&id, None) && !one.answer(&id, None));
        assert!(Arc::ptr_eq(&register.answer(&id, &text).unwrap(), &other));
        assert!(register.answer(&id, &text).is_none());
        assert_eq!(
            (one.take_elsewhere(), other.take_elsewhere()),
            (Vec::new(), vec![text.clone()])
        );
        assert!(other.is_over() && !one.is_over());
        drop(entry);
        assert!(register.answer(&Id::Number(2), &text).is_none());
    }

    #[test]
    fn a_batch_is_wanted_until_all_of_it_is_answered_or_withdrawn() {
        let awaited = Awaited::new(&asked(&[1, 2, 3]), CancellationToken::default());
        assert!(!awaited.withdraw(&Id::Number(1)));
        assert!(awaited.answer(&Id::Number(2), None) && awaited.is_wanted());
        assert!(awaited.withdraw(&Id::Number(3)) && !awaited.is_wanted());
        // It may be answered all the same.
        assert!(awaited.answer(&Id::Number(1), None) && !awaited.is_over());
        assert_eq!((awaited.give_up(), awaited.is_over()), (Vec::new(), true));
    }
}
