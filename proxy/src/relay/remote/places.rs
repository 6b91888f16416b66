//! The places of requests in flight, and the requests that wait until it makes sense to wait for
//! one.

use std::collections::VecDeque;

use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};

use super::said::Said;
use crate::{jsonrpc::Id, mcp::method};

/// The places of requests in flight. Subscriptions last and shall keep nothing else waiting, so
/// they have places of their own.
#[derive(Debug)]
pub(super) struct Places {
    calls: Semaphore,
    subscriptions: Semaphore,
}

impl Places {
    /// So many of each kind.
    pub(super) fn new(in_flight: usize) -> Self {
        Self { calls: Semaphore::new(in_flight), subscriptions: Semaphore::new(in_flight) }
    }

    /// Waits for a place; what asks nothing needs none.
    ///
    /// # Errors
    /// When nothing more is sent.
    pub(super) async fn take(
        &self,
        said: &Said,
    ) -> Result<Option<SemaphorePermit<'_>>, AcquireError> {
        if said.asked.is_empty() {
            return Ok(None);
        }
        let places = if subscribes(said) { &self.subscriptions } else { &self.calls };
        places.acquire().await.map(Some)
    }

    /// Nothing more is sent.
    pub(super) fn close(&self) {
        self.calls.close();
        self.subscriptions.close();
    }
}

/// Requests that wait, in order, while enough of their kind are under way: one under way takes far
/// more room than its text.
#[derive(Debug)]
pub(super) struct Crowd {
    /// Subscriptions and all others.
    waiting: [VecDeque<Said>; 2],
    under_way: [usize; 2],
    most: usize,
}

impl Crowd {
    /// As many of each kind are under way as have places, and as many that are there to take
    /// those at once.
    pub(super) fn new(in_flight: usize) -> Self {
        Self { waiting: Default::default(), under_way: [0; 2], most: 2 * in_flight }
    }

    pub(super) fn join(&mut self, said: Said) {
        self.waiting[kind(&said)].push_back(said);
    }

    /// The next that may leave; it counts from now on until it is [`Self::done`].
    pub(super) fn next(&mut self) -> Option<Said> {
        let (waiting, under_way) = (&mut self.waiting, &mut self.under_way);
        let mut kinds = waiting.iter_mut().zip(under_way);
        kinds.find_map(|(waiting, under_way)| {
            let next = (*under_way < self.most).then(|| waiting.pop_front())??;
            *under_way += 1;
            Some(next)
        })
    }

    /// Nobody waits any more for an answer to this one that left.
    pub(super) fn done(&mut self, said: &Said) {
        self.under_way[kind(said)] -= 1;
    }

    /// Whether one waits that asks this alone.
    pub(super) fn has(&self, id: &Id) -> bool {
        self.waiting.iter().flatten().any(|said| said.asks_only(id))
    }

    /// Takes out the first that asks this alone.
    pub(super) fn remove(&mut self, id: &Id) -> Option<Said> {
        self.waiting.iter_mut().find_map(|waiting| remove(waiting, id))
    }

    /// Takes out all of them.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Said> {
        self.waiting.iter_mut().flat_map(|waiting| waiting.drain(..))
    }
}

/// Takes out the first of these that asks this alone.
pub(super) fn remove(waiting: &mut VecDeque<Said>, id: &Id) -> Option<Said> {
    let at = waiting.iter().position(|said| said.asks_only(id))?;
    waiting.remove(at)
}

fn kind(said: &Said) -> usize {
    usize::from(!subscribes(said))
}

fn subscribes(said: &Said) -> bool {
    said.is(method::LISTEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(id: i64, method: &str) -> Said {
        let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}"}}"#);
        Said::read(text.into()).unwrap().unwrap()
    }

    #[test]
    fn those_of_a_kind_wait_for_one_another_in_order() {
        let mut crowd = Crowd::new(1);
        for id in 1..=5 {
            crowd.join(said(id, "tools/call"));
        }
        for id in 6..=8 {
            crowd.join(said(id, method::LISTEN));
        }
        let left =
            |crowd: &mut Crowd| -> Vec<Said> { std::iter::from_fn(|| crowd.next()).collect() };
        let ids =
            |left: &[Said]| -> Vec<Id> { left.iter().map(|it| it.asked[0].id.clone()).collect() };
        let first = left(&mut crowd);
        assert_eq!(ids(&first), [6, 7, 1, 2].map(Id::Number));
        assert!(crowd.has(&Id::Number(3)) && !crowd.has(&Id::Number(1)));
        assert!(crowd.remove(&Id::Number(3)).is_some() && crowd.remove(&Id::Number(3)).is_none());
        crowd.done(&first[2]);
        assert_eq!(ids(&left(&mut crowd)), [4].map(Id::Number));
        crowd.done(&first[0]);
        assert_eq!(ids(&left(&mut crowd)), [8].map(Id::Number));
        assert_eq!(crowd.drain().count(), 1);
    }
}
