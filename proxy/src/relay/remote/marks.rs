//! What is known of a message on its way, for those who wait for more than its end.

use std::{convert::Infallible, pin::pin, sync::Arc};

use tokio::{sync::mpsc, task};
use tokio_util::sync::CancellationToken;

use super::{awaited::Awaited, said::Asked};
use crate::{jsonrpc::Id, relay::http::download::Answer, traffic::End};

/// What others know of a message on its way.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks {
    /// Its last byte has left.
    pub(super) sent: CancellationToken,
    /// The server has taken it: its response, which is no refusal, has begun.
    pub(super) taken: CancellationToken,
    /// The last of its answers has come; the response may go on.
    pub(super) answered: CancellationToken,
    /// Nobody waits for its answer any more.
    pub(super) withdrawn: CancellationToken,
    /// Whatever came of it.
    pub(super) over: CancellationToken,
    /// The answers that are still to come.
    pub(super) awaited: Arc<Awaited>,
}

/// What a message comes to on its way.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// The server has taken it; it will not be sent again.
    Taken,
    /// Nothing is awaited of it any more.
    Answered,
}

impl Marks {
    /// Those of a message that asks this.
    pub(super) fn of(asked: &[Asked]) -> Self {
        let answered = CancellationToken::new();
        let awaited = Arc::new(Awaited::new(asked, answered.clone()));
        Self { answered, awaited, ..Self::default() }
    }

    /// Nobody waits for this answer any more. Returns whether that is so of all.
    pub(super) fn withdraw(&self, id: &Id) -> bool {
        let all = self.awaited.withdraw(id);
        if all {
            self.withdrawn.cancel();
        }
        all
    }

    /// Lets an exchange come to its end, but gives up its `place` as soon as nobody waits for an answer.
    pub(super) async fn hold<T>(&self, place: impl Sized, exchange: impl Future<Output = T>) -> T {
        let mut exchange = pin!(exchange);
        tokio::select! {
            done = &mut exchange => return done,
            () = self.answered.cancelled() => {}
            () = self.withdrawn.cancelled() => {}
        }
        drop(place);
        exchange.await
    }

    /// Tells the steps of the errand that runs this, whether or not it `asks` anything.
    pub(super) async fn report(
        &self,
        asks: bool,
        steps: &mpsc::Sender<(task::Id, Step)>,
    ) -> Infallible {
        let number = task::id();
        // Nobody listens once the session is over.
        self.taken.cancelled().await;
        let _ = steps.send((number, Step::Taken)).await;
        if asks {
            self.answered.cancelled().await;
        }
        let _ = steps.send((number, Step::Answered)).await;
        std::future::pending().await
    }
}

/// What the tap is shown of what comes of a message. Only the client ends one that is dropped: it
/// withdraws what it asked, or leaves.
pub(super) struct Shown(pub(super) Answer);

impl Shown {
    pub(super) fn take(&mut self) -> Answer {
        std::mem::replace(&mut self.0, Answer(None))
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.0.end(End::Withdrawn);
    }
}

/// A message that waits to be sent. If it never is, the tap is shown by this that its client
/// withdrew it.
pub(super) struct Unsent<F: Fn()>(Option<F>);

impl<F: Fn()> Unsent<F> {
    pub(super) fn or(show: F) -> Self {
        Self(Some(show))
    }

    /// It is sent.
    pub(super) fn sent(mut self) {
        self.0 = None;
    }
}

impl<F: Fn()> Drop for Unsent<F> {
    fn drop(&mut self) {
        if let Some(show) = &self.0 {
            show();
        }
    }
}
