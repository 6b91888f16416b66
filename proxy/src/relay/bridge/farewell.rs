//! What the tap is told when a session has ended that no request of its client ended.

use std::sync::{Arc, OnceLock};

use http::{HeaderValue, Method, uri::PathAndQuery};

use super::exchange::PATH;
use crate::{
    relay::http::download::Answer,
    tap::Tap,
    traffic::{End, Exchange, HttpTransport, StreamKind},
};

/// Held by a session and by the streams that its answers are on. Dropped by the last of them, it
/// tells the tap that calls whose clients lost their streams are answered nowhere any more: as a
/// request to end the session that waits as long as the session lives.
#[derive(Debug)]
pub(super) struct Farewell {
    tap: Tap,
    server_id: Arc<str>,
    /// The id of the session.
    session: HeaderValue,
    /// None before the session has a client.
    answer: OnceLock<Answer>,
}

impl Farewell {
    /// Of the session of this id; none of an id that is no header.
    pub(super) fn of(tap: &Tap, server_id: &Arc<str>, session: &str) -> Option<Arc<Self>> {
        let session = HeaderValue::from_str(session).ok()?;
        let (tap, server_id) = (tap.clone(), Arc::clone(server_id));
        Some(Arc::new(Self { tap, server_id, session, answer: OnceLock::new() }))
    }

    /// The session has a client. Told now, for a tap that is full when the session ends finds out
    /// of what it knows alone.
    pub(super) fn begin(&self) {
        self.answer.get_or_init(|| {
            let exchange = Exchange {
                method: Method::DELETE,
                target: PathAndQuery::from_static(PATH),
                session: Some(self.session.clone()),
                protocol_version: None,
                transport: HttpTransport::Streamable,
                again: false,
            };
            let server_id = Arc::clone(&self.server_id);
            let (mut question, answer) = self.tap.open(server_id, StreamKind::Exchange(exchange));
            question.end(End::Clean);
            Answer(Some(answer))
        });
    }
}

impl Drop for Farewell {
    fn drop(&mut self) {
        if let Some(mut answer) = self.answer.take() {
            answer.end(End::GivenUp);
        }
    }
}
