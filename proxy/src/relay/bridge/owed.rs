//! What a program owes a client whose one stream has every answer (2024-11-05), where nothing
//! else tells whether that stream can be ended.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use crate::jsonrpc::{Id, Kind};

/// Most answers that are remembered to be owed; a stream is ended without regard to others.
const MOST: usize = 1024;

/// The answers that a program owes.
#[derive(Debug, Default)]
pub(super) struct Owed {
    count: watch::Sender<usize>,
    answers: Mutex<HashMap<Id, Owing>>,
}

/// One answer, owed until this is dropped.
#[derive(Debug)]
pub(super) struct Owing(watch::Sender<usize>);

impl Drop for Owing {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Owed {
    /// The answer to a request that is on its way.
    pub(super) fn one_more(&self) -> Owing {
        self.count.send_modify(|count| *count += 1);
        Owing(self.count.clone())
    }

    /// The request with this id has reached the program.
    pub(super) fn remember(&self, id: Id, owing: Owing) {
        let mut answers = self.lock();
        if answers.len() < MOST {
            answers.insert(id, owing);
        }
    }

    /// The client has cancelled this one: it may never be answered.
    pub(super) fn forget(&self, id: &Id) {
        self.lock().remove(id);
    }

    /// The program has answered.
    pub(super) fn settle(&self, answer: &Kind) {
        let mut answers = self.lock();
        match answer {
            Kind::Answer(id) => {
                answers.remove(id);
            }
            // An error without an id: only where one is owed it is clear which.
            Kind::Refusal if answers.len() == 1 => answers.clear(),
            _ => {}
        }
    }

    /// Whether nothing is owed.
    pub(super) fn is_nothing(&self) -> bool {
        *self.count.borrow() == 0
    }

    /// Completes when nothing is owed.
    pub(super) async fn nothing(&self) {
        // It cannot fail: this sender is alive while it is borrowed.
        let _ = self.count.subscribe().wait_for(|count| *count == 0).await;
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Id, Owing>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
