//! What the server has asked the client, and in which session: an answer is for whoever asked.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    jsonrpc::{Id, Kind},
    mcp::{Field, method},
    scan::Message,
};

/// Most questions that are remembered; clients answer each that is not withdrawn.
const MOST: usize = 1024;

/// The questions that the client has not answered, the first one first, and the session of each.
#[derive(Debug)]
pub(super) struct Questions<S>(Mutex<VecDeque<(Id, S)>>);

impl<S> Default for Questions<S> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<S: Clone + PartialEq> Questions<S> {
    /// The server says this, of this kind, in the session `of`: it may ask, or withdraw what it
    /// asked.
    pub(super) fn hear(&self, kind: Kind, message: &Message, of: &S) {
        match kind {
            Kind::Request(id) => {
                let mut open = self.lock();
                // On a stream that is gone on with it may come again.
                if !open.iter().any(|(asked, by)| *asked == id && by == of) {
                    if open.len() == MOST {
                        open.pop_front();
                    }
                    open.push_back((id, of.clone()));
                }
            }
            Kind::Notification
                if message.text(Field::Method).as_deref() == Some(method::CANCELLED) =>
            {
                if let Some(id) = Id::of(message, Field::RequestId) {
                    self.lock().retain(|(asked, by)| *asked != id || by != of);
                }
            }
            _ => {}
        }
    }

    /// The client answers these. Returns the session in which they were asked, if that is known.
    /// Where two have used one id, the first is answered first, for nothing tells them apart; what
    /// answers several at once is for the first of them, so that no later one hears of it.
    pub(super) fn answer(&self, ids: &[Id]) -> Option<S> {
        let (mut left, mut of): (Vec<_>, _) = (ids.iter().collect(), None);
        self.lock().retain(|(asked, by)| {
            let Some(at) = left.iter().position(|id| *id == asked) else { return true };
            left.swap_remove(at);
            of.get_or_insert_with(|| by.clone());
            false
        });
        of
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Id, S)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::remote::said::messages;

    fn hear(questions: &Questions<u64>, text: &str, of: u64) {
        messages(text.as_bytes(), |message| questions.hear(Kind::of(message), message, &of));
    }

    fn ask(id: u64) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"roots/list"}}"#)
    }

    fn ids(ids: &[i64]) -> Vec<Id> {
        ids.iter().copied().map(Id::Number).collect()
    }

    #[test]
    fn an_answer_is_for_the_first_that_asked() {
        let questions = Questions::default();
        // What comes again is the same question.
        for (id, of) in [(1, 1), (1, 1), (2, 1), (1, 2), (3, 2)] {
            hear(&questions, &ask(id), of);
        }
        let of = |asked: &[i64]| questions.answer(&ids(asked));
        assert_eq!([of(&[1]), of(&[1]), of(&[1])], [Some(1), Some(2), None]);
        assert_eq!([of(&[4, 3, 2]), of(&[2, 3])], [Some(1), None]);
    }

    #[test]
    fn what_is_withdrawn_was_not_asked() {
        let questions = Questions::default();
        let withdraw =
            r#"{"method":"notifications/cancelled","params":{"requestId":1,"reason":"late"}}"#;
        for of in 1..=2 {
            hear(&questions, &ask(1), of);
        }
        hear(&questions, withdraw, 1);
        assert_eq!(questions.answer(&ids(&[1])), Some(2));
    }

    #[test]
    fn no_more_is_remembered_than_there_is_room_for() {
        let questions = Questions::default();
        for id in 0..=MOST as u64 {
            hear(&questions, &ask(id), 1);
        }
        assert_eq!(questions.lock().len(), MOST);
        assert_eq!(questions.answer(&ids(&[0])), None);
    }
}
