//! The one stream of a session of HTTP+SSE (2024-11-05), and what is awaited on it.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    events::Messages,
    passing,
    problem::Told,
    questions::Questions,
    said::{Asked, messages},
    server::Server,
    words,
};
use crate::{
    jsonrpc::{self, Id, Kind},
    relay::http::download::Download,
    scan::{Frame, Message},
};

/// Most requests whose answers are left out should they still come.
const MOST_GIVEN_UP: usize = 1024;

/// A stream that was opened.
#[derive(Debug)]
pub(super) struct Line {
    /// Where the server takes messages.
    pub(super) posts: Server,
    /// Grows with each stream.
    pub(super) number: u64,
    /// What is asked on it, and on others.
    questions: Arc<Questions<u64>>,
    /// In the order in which they were asked; none once the stream has ended.
    open: Mutex<Option<Vec<Open>>>,
    ended: CancellationToken,
    /// Something came for the client.
    useful: AtomicBool,
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

    /// What was asked, if no answer came.
    pub(super) fn left(&self) -> Option<&Asked> {
        self.came.is_none().then_some(&self.asked)
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
    pub(super) fn new(
        posts: Server,
        number: u64,
        questions: Arc<Questions<u64>>,
        ended: CancellationToken,
    ) -> Self {
        let (open, useful) = (Mutex::new(Some(Vec::new())), AtomicBool::new(false));
        Self { posts, number, questions, open, ended, useful }
    }

    pub(super) fn is_open(&self) -> bool {
        !self.ended.is_cancelled()
    }

    pub(super) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Whether something came on it for the client.
    pub(super) fn was_useful(&self) -> bool {
        self.useful.load(Ordering::Relaxed)
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
        open.iter_mut().for_each(bound);
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
        let parts = parts(&text, |kind, message| self.questions.hear(kind, message, &self.number));
        let Some(parts) = parts else {
            super::conversation::no_message();
            return;
        };
        let heard = self.take_all(&parts);
        self.pass_on(text, heard, told).await;
    }

    /// Takes in what came in the response to a message that `asked` this, if it answers what is
    /// awaited; the same may then come on the stream as well, where it is left out. Returns
    /// whether it did.
    pub(super) async fn hear_aside(
        &self,
        mut text: Bytes,
        asked: &[Asked],
        told: &mpsc::Sender<Told>,
    ) -> bool {
        let Some(mut parts) = parts(&text, |_, _| {}) else { return false };
        if let ([Part::Nameless], [asked]) = (&parts[..], asked)
            && let Some(named) = words::under_id(&text, asked)
        {
            (text, parts) = (named, vec![Part::Answer(asked.id.clone(), false)]);
        }
        let heard = self.take_all(&parts);
        if heard.answered.is_empty() {
            return false;
        }
        if let Some(open) = &mut *self.open.lock().unwrap_or_else(PoisonError::into_inner) {
            for (answered, _) in &heard.answered {
                let (answer, _) = oneshot::channel();
                open.push(Open { id: answered.id.clone(), answer, own: false, given_up: true });
            }
            bound(open);
        }
        self.pass_on(text, heard, told).await;
        true
    }

    fn take_all(&self, parts: &[Part]) -> Heard {
        let mut heard = Heard::default();
        for part in parts {
            let Part::Answer(id, good) = part else {
                heard.passes.push(true);
                continue;
            };
            let open = self.take(id);
            heard.passes.push(open.as_ref().is_some_and(|open| !open.own && !open.given_up));
            heard.answered.extend(open.map(|open| (open, *good)));
        }
        heard
    }

    /// Tells what the server said: first the client, for who has waited for it may end the
    /// session.
    async fn pass_on(&self, text: Bytes, heard: Heard, told: &mpsc::Sender<Told>) {
        if let Some(text) = only(text, &heard.passes) {
            self.useful.store(true, Ordering::Relaxed);
            passing::tell(told, text).await;
        } else {
            tracing::debug!("an answer that the client does not await is left out");
        }
        for (open, good) in heard.answered {
            // It may have been withdrawn just now.
            let _ = open.answer.send(good);
        }
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

/// A message of a text.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    /// It answers this, with a result or not.
    Answer(Id, bool),
    /// It is an error, and does not say to what.
    Nameless,
    Other,
}

/// What a text means for what is awaited.
#[derive(Default)]
struct Heard {
    answered: Vec<(Open, bool)>,
    /// Whether the client is told it, for each message.
    passes: Vec<bool>,
}

/// The messages of a text; nothing if it is none. `other` is told of what answers nothing.
fn parts(text: &Bytes, mut other: impl FnMut(Kind, &Message)) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    let frame = messages(text, |message| {
        parts.push(match Kind::of(message) {
            Kind::Answer(id) => Part::Answer(id, !jsonrpc::is_error(message)),
            Kind::Refusal => Part::Nameless,
            kind => {
                other(kind, message);
                Part::Other
            }
        });
    });
    (frame == Frame::Whole).then_some(parts)
}

/// The messages of a text that pass, as they stand in it; nothing if none does.
fn only(text: Bytes, passes: &[bool]) -> Option<Bytes> {
    if !passes.contains(&false) {
        return Some(text);
    }
    if !passes.contains(&true) {
        return None;
    }
    let batch = serde_json::from_slice::<Vec<&RawValue>>(&text).ok();
    let batch = batch.filter(|batch| batch.len() == passes.len());
    let kept: Option<Vec<_>> = batch.map(|batch| {
        let kept = batch.into_iter().zip(passes).filter(|(_, passes)| **passes);
        kept.map(|(message, _)| Bytes::copy_from_slice(message.get().as_bytes())).collect()
    });
    // Rather twice than not at all.
    Some(kept.map_or(text, |kept| [b"[", &kept.join(&b","[..])[..], b"]"].concat().into()))
}

/// Forgets what was given up first, beyond the most that is kept.
fn bound(open: &mut Vec<Open>) {
    let given_up = open.iter().filter(|open| open.given_up).count();
    let mut forget = given_up.saturating_sub(MOST_GIVEN_UP);
    if forget > 0 {
        open.retain(|open| {
            let forgotten = open.given_up && forget > 0;
            forget -= usize::from(forgotten);
            !forgotten
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(ids: &[i64]) -> Vec<Asked> {
        ids.iter().map(|id| Asked { id: Id::Number(*id), written: id.to_string().into() }).collect()
    }

    #[test]
    fn of_a_batch_is_left_out_what_the_client_does_not_await() {
        let batch = Bytes::from_static(
            br#"[ {"id": 1.0,"result":{ }} , {"id":2,"result":{}},{"method":"m"}]"#,
        );
        assert_eq!(only(batch.clone(), &[true; 3]).unwrap(), batch);
        assert_eq!(
            only(batch.clone(), &[true, false, true]).unwrap(),
            r#"[{"id": 1.0,"result":{ }},{"method":"m"}]"#
        );
        assert_eq!(only(batch.clone(), &[false; 3]), None);
        // What cannot be told apart stays.
        assert_eq!(only(batch.clone(), &[false, true]).unwrap(), batch);
    }

    #[test]
    fn no_more_is_kept_of_what_was_given_up() {
        let mut open: Vec<_> = (0..)
            .map(|id| (Id::Number(id), oneshot::channel().0, id % 3 != 0))
            .map(|(id, answer, given_up)| Open { id, answer, own: false, given_up })
            .take(3 * MOST_GIVEN_UP)
            .collect();
        bound(&mut open);
        let (kept, others): (Vec<_>, Vec<_>) = open.iter().partition(|open| open.given_up);
        assert_eq!((kept.len(), others.len()), (MOST_GIVEN_UP, MOST_GIVEN_UP));
        let last = i64::try_from(3 * MOST_GIVEN_UP).unwrap() - 1;
        assert_eq!(kept.last().unwrap().id, Id::Number(last), "the latest stay");
    }

    #[tokio::test]
    async fn an_end_is_an_end_each_time_it_is_asked_for() {
        let (sender, answer) = oneshot::channel();
        let asked = asked(&[1]).remove(0);
        let mut awaited = [Awaited { asked, answer: Some(answer), came: None }];
        drop(sender);
        for _ in 0..2 {
            assert!(!all_answered(&mut awaited).await);
        }
        assert!(!awaited[0].is_result());
    }
}
