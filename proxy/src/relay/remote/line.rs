//! The one stream of a session of HTTP+SSE (2024-11-05), and what is awaited on it.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    events::Messages,
    passing,
    problem::Told,
    said::{Asked, messages},
    server::Server,
};
use crate::{
    jsonrpc::{self, Id, Kind},
    relay::http::download::Download,
    scan::Frame,
};

/// Most requests whose answers are left out should they still come.
const MOST_GIVEN_UP: usize = 1024;

/// A stream that was opened.
#[derive(Debug)]
pub(super) struct Line {
    /// Where the server takes messages.
    pub(super) posts: Server,
    /// In the order in which they were asked; none once the stream has ended.
    open: Mutex<Option<Vec<Open>>>,
    ended: CancellationToken,
}

/// A request that is not answered yet.
#[derive(Debug)]
struct Open {
    id: Id,
    /// Takes whether the answer is a result.
    answer: oneshot::Sender<bool>,
    /// The proxy asked, and not the client.
    own: bool,
    /// The client was told that none comes, so it must not.
    given_up: bool,
}

/// An answer that is awaited.
#[derive(Debug)]
pub(super) struct Awaited {
    asked: Asked,
    /// None once it came or the stream has ended.
    answer: Option<oneshot::Receiver<bool>>,
    /// Whether it was a result, once it came.
    came: Option<bool>,
}

impl Awaited {
    /// Waits for it. Returns whether it came, or else the stream has ended.
    pub(super) async fn answered(&mut self) -> bool {
        if let Some(answer) = &mut self.answer {
            self.came = answer.await.ok();
            self.answer = None;
        }
        self.came.is_some()
    }

    /// Whether it came and is a result.
    pub(super) fn is_result(&self) -> bool {
        self.came == Some(true)
    }
}

/// Waits for all of them. Returns whether they came, or else the stream has ended.
pub(super) async fn all_answered(awaited: &mut [Awaited]) -> bool {
    for awaited in awaited {
        if !awaited.answered().await {
            return false;
        }
    }
    true
}

/// A stream as far as it was read.
pub(super) struct Reading {
    pub(super) download: Download,
    pub(super) events: Messages,
    /// Messages that came together with the announcement.
    pub(super) early: Vec<Bytes>,
}

impl Line {
    pub(super) fn new(posts: Server, ended: CancellationToken) -> Self {
        Self { posts, open: Mutex::new(Some(Vec::new())), ended }
    }

    pub(super) fn is_open(&self) -> bool {
        !self.ended.is_cancelled()
    }

    pub(super) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Ends the stream when it is dropped.
    pub(super) fn guard(&self) -> DropGuard {
        self.ended.clone().drop_guard()
    }

    /// Awaits these answers from now on. On a stream that has ended none comes.
    pub(super) fn expect(&self, asked: &[Asked], own: bool) -> Vec<Awaited> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // Of those that were withdrawn nobody knows whether they are answered.
        open.iter_mut().for_each(|open| {
            open.retain(|open| {
                let again = asked.iter().any(|asked| asked.id == open.id);
                !open.answer.is_closed() || (open.given_up && !again)
            });
        });
        let expect = |asked: &Asked| {
            let (sender, answer) = oneshot::channel();
            if let Some(open) = &mut *open {
                open.push(Open { id: asked.id.clone(), answer: sender, own, given_up: false });
            }
            Awaited { asked: asked.clone(), answer: Some(answer), came: None }
        };
        asked.iter().map(expect).collect()
    }

    /// Gives up what has not been answered, and returns it: answers that still come are left out.
    pub(super) fn give_up(&self, awaited: Vec<Awaited>) -> Vec<Asked> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left = Vec::new();
        for Awaited { asked, mut answer, came } in awaited {
            let came_just_now = answer.as_mut().is_some_and(|answer| {
                answer.close();
                answer.try_recv().is_ok()
            });
            if came.is_some() || came_just_now {
                continue;
            }
            if let Some(open) = &mut *open {
                let waits = |open: &&mut Open| {
                    open.id == asked.id && open.answer.is_closed() && !open.given_up
                };
                // Else its answer is on its way to the client.
                let Some(open) = open.iter_mut().find(waits) else { continue };
                open.given_up = true;
            }
            left.push(asked);
        }
        let given_up = open.iter().flatten().filter(|open| open.given_up).count();
        let mut forget = given_up.saturating_sub(MOST_GIVEN_UP);
        open.iter_mut().for_each(|open| {
            open.retain(|open| {
                !open.given_up || forget == 0 || {
                    forget -= 1;
                    false
                }
            });
        });
        left
    }

    /// Reads the stream to its end: what it says is for the client, and answers are for those
    /// who wait for them as well.
    pub(super) async fn read(self: Arc<Self>, reading: Reading, told: mpsc::Sender<Told>) {
        self.ended.run_until_cancelled(self.pass(reading, &told)).await;
        self.ended.cancel();
        self.open.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    async fn pass(&self, reading: Reading, told: &mpsc::Sender<Told>) {
        let Reading { mut download, mut events, early } = reading;
        let mut came = early;
        loop {
            for text in came {
                self.hear(text, told).await;
            }
            let chunk = loop {
                let Some(Ok(frame)) = download.frame().await else { return };
                if let Ok(chunk) = frame.into_data() {
                    break chunk;
                }
            };
            came = match events.read(&chunk) {
                Ok(came) => came,
                Err(problem) => {
                    tracing::warn!("the stream of the session: {problem}");
                    return;
                }
            };
        }
    }

    /// Takes in what came on the stream.
    async fn hear(&self, text: Bytes, told: &mpsc::Sender<Told>) {
        let Some(answers) = answers(&text) else {
            super::conversation::no_message();
            return;
        };
        let answered = self.take_all(&answers);
        // First the client, for who has waited for it may end the session.
        if !answered.iter().any(|(open, _)| open.own || open.given_up) {
            passing::tell(told, text).await;
        }
        settle(answered);
    }

    /// Takes in what came in the response to a message, if it answers what is awaited; the same
    /// may then come on the stream as well, where it is left out. Returns whether it did.
    pub(super) async fn hear_aside(&self, text: Bytes, told: &mpsc::Sender<Told>) -> bool {
        let Some(answers) = answers(&text) else { return false };
        let answered = self.take_all(&answers);
        if answered.is_empty() {
            return false;
        }
        if let Some(open) = &mut *self.open.lock().unwrap_or_else(PoisonError::into_inner) {
            for (answered, _) in &answered {
                let (answer, _) = oneshot::channel();
                open.push(Open { id: answered.id.clone(), answer, own: false, given_up: true });
            }
        }
        if !answered.iter().any(|(open, _)| open.own || open.given_up) {
            passing::tell(told, text).await;
        }
        settle(answered);
        true
    }

    fn take_all(&self, answers: &[(Id, bool)]) -> Vec<(Open, bool)> {
        answers.iter().filter_map(|(id, good)| Some((self.take(id)?, *good))).collect()
    }

    /// The first request that an answer may be to.
    fn take(&self, id: &Id) -> Option<Open> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let open = open.as_mut()?;
        let waits = |open: &Open| open.id == *id && (open.given_up || !open.answer.is_closed());
        let at = open.iter().position(waits)?;
        Some(open.remove(at))
    }
}

/// The ids that a message answers, and whether with a result; nothing if it is no message.
fn answers(text: &Bytes) -> Option<Vec<(Id, bool)>> {
    let mut answers = Vec::new();
    let frame = messages(text, |message| {
        if let Kind::Answer(id) = Kind::of(message) {
            answers.push((id, !jsonrpc::is_error(message)));
        }
    });
    (frame == Frame::Whole).then_some(answers)
}

/// Tells those who wait.
fn settle(answered: Vec<(Open, bool)>) {
    for (open, good) in answered {
        // It may have been withdrawn just now.
        let _ = open.answer.send(good);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_end_is_an_end_each_time_it_is_asked_for() {
        let (sender, answer) = oneshot::channel();
        let asked = Asked { id: Id::Number(1), written: "1".into() };
        let mut awaited = [Awaited { asked, answer: Some(answer), came: None }];
        drop(sender);
        for _ in 0..2 {
            assert!(!all_answered(&mut awaited).await);
        }
        assert!(!awaited[0].is_result());
    }
}
