//! The body of a request on its way to the upstream: bounded, timed, and shown to the tap.
//! One that breaks off is never passed on as if it were whole.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

use super::{
    asked::{Asked, Beginning},
    refusal::Refusal,
};
use crate::{tap::Probe, traffic::End};

/// Bytes of a body that is there already which leave at once.
const PIECE: usize = 64 << 10;

/// Why a request body came to no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::relay) enum Interrupted {
    /// The client broke off.
    #[error("the client broke off the request")]
    Aborted,
    /// It is larger than the limit.
    #[error("the request is larger than the limit")]
    TooLarge,
    /// Nothing came for `read_timeout`.
    #[error("the request stopped coming")]
    Stalled,
}

impl Interrupted {
    /// How the exchange ends for the tap.
    pub(in crate::relay) fn end(self) -> End {
        match self {
            Self::Aborted => End::ClientGone,
            Self::TooLarge | Self::Stalled => End::Refused,
        }
    }

    /// What the client is told, if it is there to hear it, where no body may be larger than this.
    pub(in crate::relay) fn refusal(self, max_body: u64) -> Refusal {
        match self {
            Self::TooLarge => Refusal::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                format!("the body is larger than {max_body} bytes"),
            ),
            Self::Stalled => {
                Refusal::new(StatusCode::REQUEST_TIMEOUT, "body_stalled", "the body stopped coming")
            }
            Self::Aborted => {
                Refusal::new(StatusCode::BAD_REQUEST, "body_aborted", "the body broke off")
            }
        }
    }
}

/// What is known of an upload, for the one who waits for the response.
#[derive(Debug)]
pub(in crate::relay) struct Progress {
    beginning: Mutex<Beginning>,
    ended: OnceLock<Result<Instant, Interrupted>>,
}

impl Progress {
    /// Lets go of what was kept: the response has begun.
    pub(super) fn release(&self) {
        *self.beginning() = Beginning::Released;
    }

    /// What the request asks, as far as it came.
    pub(super) fn asked(&self) -> Asked {
        self.beginning().asked()
    }

    fn beginning(&self) -> MutexGuard<'_, Beginning> {
        self.beginning.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the body will never be through.
    pub(super) fn interrupted(&self) -> Option<Interrupted> {
        self.ended.get().and_then(|ended| ended.err())
    }

    /// Completes when `limit` has passed since the body was through; without one, never.
    pub(in crate::relay) async fn expire(&self, limit: Option<Duration>) {
        let Some(limit) = limit else { return std::future::pending().await };
        let mut until = Instant::now() + limit;
        loop {
            tokio::time::sleep_until(until).await;
            let ended = self.ended.get().copied().and_then(Result::ok);
            let due = ended.unwrap_or_else(Instant::now) + limit;
            if due <= until {
                return;
            }
            until = due;
        }
    }
}

/// Where a request body comes from.
#[derive(Debug)]
enum Source {
    /// A client, as it sends it.
    Client(Incoming),
    /// The proxy has it already.
    Own {
        left: Bytes,
        /// Cancelled as soon as the last of it is on its way.
        sent: CancellationToken,
    },
}

impl Source {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ()>>> {
        match self {
            Self::Client(incoming) => Pin::new(incoming).poll_frame(cx).map_err(drop),
            Self::Own { left, sent } => {
                // In pieces, so that the last of them leaves at the pace of the connection.
                let piece = left.split_to(left.len().min(PIECE));
                if left.is_empty() {
                    sent.cancel();
                }
                Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Client(incoming) => incoming.is_end_stream(),
            Self::Own { left, .. } => left.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Client(incoming) => incoming.size_hint(),
            Self::Own { left, .. } => SizeHint::with_exact(left.len() as u64),
        }
    }
}

/// A request body on its way to the upstream.
#[derive(Debug)]
pub(in crate::relay) struct Upload {
    inner: Source,
    probe: Option<Probe>,
    progress: Arc<Progress>,
    /// Bytes that may still come.
    left: u64,
    read_timeout: Duration,
    /// Runs while the client is waited for.
    stall: Option<Pin<Box<Sleep>>>,
    stalling: bool,
}

impl Upload {
    pub(in crate::relay) fn new(
        inner: Incoming,
        probe: Option<Probe>,
        max_body: u64,
        read_timeout: Duration,
    ) -> Self {
        Self::of(Source::Client(inner), probe, max_body, read_timeout)
    }

    /// A body that is there already, and shown to the tap by whoever has it. `sent` is cancelled
    /// as soon as the last of it is on its way.
    pub(in crate::relay) fn own(body: Bytes, sent: CancellationToken) -> Self {
        let length = body.len() as u64;
        let upload = Self::of(Source::Own { left: body, sent }, None, length, Duration::MAX);
        // What it asks is known as well.
        upload.progress.release();
        upload
    }

    fn of(inner: Source, probe: Option<Probe>, max_body: u64, read_timeout: Duration) -> Self {
        let progress = Progress { beginning: Mutex::default(), ended: OnceLock::new() };
        let mut upload = Self {
            inner,
            probe,
            progress: Arc::new(progress),
            left: max_body,
            read_timeout,
            stall: None,
            stalling: false,
        };
        if upload.inner.is_end_stream() {
            upload.finish(Ok(()));
        }
        upload
    }

    pub(in crate::relay) fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Reads the body to its end for nobody but the tap, so that a request that cannot go
    /// upstream is still seen and answered.
    pub(in crate::relay) async fn drain(mut self) {
        while let Some(Ok(_)) = self.frame().await {}
    }

    fn finish(&mut self, result: Result<(), Interrupted>) {
        let _ = self.progress.ended.set(result.map(|()| Instant::now()));
        if let Some(probe) = &mut self.probe {
            probe.end(result.map_or_else(Interrupted::end, |()| End::Clean));
        }
    }

    fn interrupt(&mut self, why: Interrupted) -> Poll<Option<Result<Frame<Bytes>, Interrupted>>> {
        self.finish(Err(why));
        Poll::Ready(Some(Err(why)))
    }

    /// Whether the client has been waited for too long.
    fn stalled(&mut self, cx: &mut Context<'_>) -> bool {
        let until = Instant::now() + self.read_timeout;
        let stall = self.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        if !self.stalling {
            self.stalling = true;
            stall.as_mut().reset(until);
        }
        stall.as_mut().poll(cx).is_ready()
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Interrupted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Interrupted>>> {
        let this = &mut *self;
        let Poll::Ready(next) = this.inner.poll_frame(cx) else {
            if this.stalled(cx) {
                return this.interrupt(Interrupted::Stalled);
            }
            return Poll::Pending;
        };
        this.stalling = false;
        let frame = match next {
            Some(Ok(frame)) => frame,
            Some(Err(())) => return this.interrupt(Interrupted::Aborted),
            None => {
                this.finish(Ok(()));
                return Poll::Ready(None);
            }
        };
        if let Some(chunk) = frame.data_ref() {
            let Some(left) = this.left.checked_sub(chunk.len() as u64) else {
                return this.interrupt(Interrupted::TooLarge);
            };
            this.left = left;
            this.progress.beginning().push(chunk);
            if let Some(probe) = &mut this.probe {
                probe.data(chunk);
            }
        }
        if this.inner.is_end_stream() {
            this.finish(Ok(()));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
