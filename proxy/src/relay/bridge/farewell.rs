//! What the tap is told when a session has ended that no request of its client ended.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use http::{HeaderValue, Method, uri::PathAndQuery};

use super::exchange::PATH;
use crate::{
    tap::Tap,
    traffic::{End, Exchange, HttpTransport, StreamKind},
};

/// Held by a session and by the streams that its answers are on. Dropped by the last of them, it
/// tells the tap that calls whose clients lost their streams are answered nowhere any more.
#[derive(Debug)]
pub(super) struct Farewell {
    tap: Tap,
    server_id: Arc<str>,
    /// The id of the session.
    session: HeaderValue,
    is_due: AtomicBool,
}

impl Farewell {
    /// Of the session of this id; none of an id that is no header.
    pub(super) fn of(tap: &Tap, server_id: &Arc<str>, session: &str) -> Option<Arc<Self>> {
        let session = HeaderValue::from_str(session).ok()?;
        let (tap, server_id) = (tap.clone(), Arc::clone(server_id));
        Some(Arc::new(Self { tap, server_id, session, is_due: AtomicBool::new(false) }))
    }

    /// The session has ended, which the tap does not see.
    pub(super) fn is_due(&self) {
        self.is_due.store(true, Ordering::Relaxed);
    }
}

impl Drop for Farewell {
    fn drop(&mut self) {
        if !*self.is_due.get_mut() {
            return;
        }
        // As a client would end it, had it not left.
        let exchange = Exchange {
            method: Method::DELETE,
            target: PathAndQuery::from_static(PATH),
            session: Some(self.session.clone()),
            protocol_version: None,
            transport: HttpTransport::Streamable,
            again: false,
        };
        let server_id = Arc::clone(&self.server_id);
        let (mut question, mut answer) = self.tap.open(server_id, StreamKind::Exchange(exchange));
        question.end(End::Clean);
        answer.end(End::GivenUp);
    }
}
