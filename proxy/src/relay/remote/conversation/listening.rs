//! The session beside its messages: the stream on which the server says what it says by itself,
//! and the end.

use std::{ops::ControlFlow, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{Conversation, Messages, PAUSE, resuming::may_pass};

/// The longest pause between two tries to open the stream.
pub(in crate::relay::remote) const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// From one opening of the stream to the next at least, whatever the server says.
const LEAST_APART: Duration = Duration::from_millis(250);

impl Conversation {
    /// Keeps the stream open on which the server says what it says by itself, until there is
    /// none to be had.
    pub(in crate::relay::remote) async fn listen(&self) {
        let mut events = Messages::default();
        let mut generation = self.current().generation;
        let mut pause = PAUSE;
        loop {
            let last = events.cursor().last.clone();
            match self.resume(&self.current(), last.as_ref()).await {
                Ok(Ok(mut download)) => {
                    events.begin();
                    let begun = Instant::now();
                    tokio::select! {
                        read = self.events(&mut events, &mut download, None) => {
                            if let Err(problem) = read {
                                tracing::warn!("the server's own stream: {problem}");
                                events = Messages::default();
                            }
                        }
                        // A server may leave the stream of a session open that it has forgotten.
                        () = self.session.replaced(generation) => events = Messages::default(),
                    }
                    let retry = events.cursor().retry.unwrap_or(PAUSE).min(LONGEST_PAUSE);
                    pause = retry.max(LEAST_APART.saturating_sub(begun.elapsed()));
                }
                Ok(Err(status)) => {
                    if self.refused(status, generation).await.is_break() {
                        return;
                    }
                    pause = LONGEST_PAUSE.min(pause * 2);
                }
                Err(problem) => {
                    tracing::debug!("the server's own stream: {problem}");
                    pause = LONGEST_PAUSE.min(pause * 2);
                }
            }
            sleep(pause).await;
            let current = self.current().generation;
            if std::mem::replace(&mut generation, current) != current {
                events = Messages::default();
            }
        }
    }

    /// The server gave no stream: whether to ask again.
    async fn refused(&self, status: StatusCode, generation: u64) -> ControlFlow<()> {
        let has_id = self.current().id.is_some();
        if status == StatusCode::NOT_FOUND && has_id && self.heal(generation).await.is_ok() {
            return ControlFlow::Continue(());
        }
        if may_pass(status) {
            return ControlFlow::Continue(());
        }
        if status == StatusCode::METHOD_NOT_ALLOWED {
            tracing::debug!("the server has no stream of its own to offer");
        } else {
            tracing::warn!(
                "the server gives no stream of its own: {status}; it is not asked again"
            );
        }
        ControlFlow::Break(())
    }

    /// Ends the session, if there is one that can be.
    pub(in crate::relay::remote) async fn leave(&self) {
        let state = self.current();
        if state.id.is_none() {
            return;
        }
        let mut headers = HeaderMap::new();
        state.put(&mut headers);
        let (to_server, mut answer) = self.server.observe(Method::DELETE, &headers);
        let (mut probe, sent) = (to_server, CancellationToken::new());
        let body = Bytes::new();
        match self.server.send(&Method::DELETE, &headers, &body, &mut probe, &sent).await {
            Ok(response) => response.refusal().await.show(answer),
            Err(problem) => {
                answer.end(problem.end);
                tracing::debug!("end the session: {problem}");
            }
        }
    }
}
