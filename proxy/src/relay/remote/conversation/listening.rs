//! The session beside its messages: the stream on which the server says what it says by itself,
//! and the end.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, Method, StatusCode};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    A_WHILE, Conversation, Messages, PAUSE, State,
    resuming::{LEAST_APART, may_pass},
};

/// The longest pause between two tries to open the stream, unless the server names a longer one.
pub(in crate::relay::remote) const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The stream on which the server says what it says by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Own {
    /// The server is being asked for it, or will be next.
    Asked,
    /// It is there.
    Given,
    /// There is none.
    Missing,
}

impl Conversation {
    /// The server has been told that the client is ready, and is asked for a stream next.
    pub(in crate::relay::remote) fn ready(&self, initialized: &Bytes) {
        self.session.ready(initialized);
        self.own.send_replace(Own::Asked);
    }

    /// Waits until the server has answered whether it has a stream of its own, for some servers
    /// drop what they say by themselves while there is none. But not for long: others begin their
    /// answer with the first event.
    pub(in crate::relay::remote) async fn settled(&self) {
        let mut own = self.own.subscribe();
        let _ = timeout(A_WHILE, own.wait_for(|own| *own != Own::Asked)).await;
    }

    /// Keeps the stream open on which the server says what it says by itself, until it says that
    /// it has none; and ends what the client has left behind.
    pub(in crate::relay::remote) async fn listen(&self) {
        tokio::join!(self.keep_stream(), self.end_former());
    }

    async fn keep_stream(&self) {
        let mut events = Messages::default();
        let mut of = self.current();
        // The session that gave a stream.
        let mut given = None;
        let (mut patience, mut warned) = (PAUSE, false);
        loop {
            let last = events.cursor().last.clone();
            let resumed = self.resume(&of, last.as_ref()).await;
            self.own.send_replace(if matches!(resumed, Ok(Ok(_))) {
                Own::Given
            } else {
                Own::Missing
            });
            let pause = match resumed {
                Ok(Ok(mut download)) => {
                    (given, patience) = (Some(of.generation), PAUSE);
                    events.begin();
                    let begun = Instant::now();
                    tokio::select! {
                        read = self.events(&mut events, &mut download, None, false, &of) => {
                            if let Err(problem) = read {
                                tracing::warn!("the server's own stream: {problem}");
                                events = Messages::default();
                            }
                        }
                        // A server may leave the stream of a session open that it has forgotten.
                        () = self.session.replaced(of.generation) => events = Messages::default(),
                    }
                    events.cursor().pause().max(LEAST_APART.saturating_sub(begun.elapsed()))
                }
                Ok(Err(status)) => {
                    if has_none(status, of.id.is_some()) {
                        tracing::debug!("the server has no stream of its own: {status}");
                        return;
                    }
                    if status != StatusCode::NOT_FOUND {
                        if !may_pass(status) && !std::mem::replace(&mut warned, true) {
                            tracing::warn!(
                                "the server gives no stream of its own: {status}; it is asked again"
                            );
                        }
                        if is_about_the_request(status) {
                            // Perhaps it no longer knows where the last one broke off.
                            events = Messages::default();
                        }
                    } else if given != Some(of.generation) {
                        tracing::debug!("the server has no stream for this session: {status}");
                        self.session.replaced(of.generation).await;
                    } else if self.heal(of.generation).await.is_ok() {
                        // Unless it is the client that begins another, this waits for nothing.
                        self.session.replaced(of.generation).await;
                        (of, events) = (self.current(), Messages::default());
                    }
                    longer(&mut patience).max(events.cursor().retry())
                }
                Err(problem) => {
                    tracing::debug!("the server's own stream: {problem}");
                    longer(&mut patience).max(events.cursor().retry())
                }
            };
            tokio::select! {
                biased;
                () = self.session.replaced(of.generation) => {
                    (of, events) = (self.current(), Messages::default());
                }
                () = sleep(pause) => {}
            }
        }
    }

    /// Ends what the client has left behind, each session when nothing is under way in it.
    async fn end_former(&self) {
        let former = self.session.former().clone();
        let end = async |state: &State| {
            state.exchanges.close();
            state.exchanges.wait().await;
            let left = {
                let mut former = self.session.former();
                let at = former.iter().position(|former| former == state);
                at.map(|at| former.remove(at))
            };
            if let Some(left) = left {
                self.end(&left).await;
            }
        };
        join_all(former.iter().map(end)).await;
    }

    /// Ends the session, and those before it that have not been.
    pub(in crate::relay::remote) async fn leave(&self) {
        // Nothing more is sent.
        self.places.close();
        let mut all = std::mem::take(&mut *self.session.former());
        all.push(self.current());
        join_all(all.iter().map(|state| self.end(state))).await;
    }

    /// Ends a session, if it is one that can be.
    async fn end(&self, state: &State) {
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

/// Whether a server that refuses a stream with this status has none, for a session with an id or
/// without.
fn has_none(status: StatusCode, has_id: bool) -> bool {
    match status {
        StatusCode::METHOD_NOT_ALLOWED
        | StatusCode::NOT_ACCEPTABLE
        | StatusCode::NOT_IMPLEMENTED => true,
        StatusCode::NOT_FOUND => !has_id,
        _ => false,
    }
}

/// Whether another request might fare better than one that is refused with this status.
fn is_about_the_request(status: StatusCode) -> bool {
    let about_us = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    status.is_client_error() && !may_pass(status) && !about_us
}

/// This pause, and from now on one twice as long.
fn longer(patience: &mut Duration) -> Duration {
    std::mem::replace(patience, LONGEST_PAUSE.min(*patience * 2))
}
