//! The body of a response on its way to the client, frame by frame, shown to the tap.
//! One that breaks off upstream breaks off downstream; one that the client leaves is dropped.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderValue;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;

use super::{
    counters::{Counters, Failed},
    endpoint::EndpointRewriter,
    endpoints::Endpoints,
    upstream::Lease,
};
use crate::{
    tap::{Debt, Probe},
    traffic::{End, ResponseHead},
};

/// The answering half of an exchange, as the tap sees it; nothing if it is not observed.
/// Dropped before its end, the client went away.
#[derive(Debug)]
pub(in crate::relay) struct Answer(pub(in crate::relay) Option<Probe>);

impl Answer {
    pub(in crate::relay) fn head(&mut self, head: impl FnOnce() -> ResponseHead) {
        if let Some(probe) = &mut self.0 {
            probe.head(head());
        }
    }

    /// What the response's stream owes to requests that came on others.
    pub(super) fn debt(&self) -> Option<Debt> {
        self.0.as_ref().map(Probe::debt)
    }

    pub(in crate::relay) fn data(&mut self, chunk: &Bytes) {
        if let Some(probe) = &mut self.0 {
            probe.data(chunk);
        }
    }

    pub(in crate::relay) fn end(&mut self, end: End) {
        if let Some(probe) = &mut self.0 {
            probe.end(end);
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.end(End::ClientGone);
    }
}

/// The body of any answer that the listener gives.
#[derive(Debug)]
pub(in crate::relay) enum Reply {
    /// Words of the proxy, or a body that it had to read whole.
    Whole(Full<Bytes>),
    /// The upstream's.
    Streamed(Download),
    /// Nothing, in place of so many bytes that the client has already (304). Over HTTP/1.1 the
    /// library would otherwise leave out how many they are.
    Unsent(u64),
}

impl Reply {
    /// What the head of a 304 promises with this `Content-Length`.
    pub(super) fn unsent(length: &HeaderValue) -> Self {
        let length = length.to_str().ok().and_then(|length| length.parse().ok());
        length.map_or_else(|| Self::Whole(Full::default()), Self::Unsent)
    }
}

/// A response body from the upstream.
#[derive(Debug)]
pub(in crate::relay) struct Download {
    inner: Incoming,
    answer: Answer,
    /// Gone once the body is through.
    lease: Option<Lease>,
    counters: Arc<Counters>,
    stream: Option<Box<EventStream>>,
}

/// What only some event streams need.
#[derive(Default)]
pub(in crate::relay) struct EventStream {
    /// Looks for the endpoint that a legacy SSE server announces.
    endpoint: Option<(EndpointRewriter, Arc<Endpoints>)>,
    /// Ends the stream when the proxy shuts down and no answer is awaited on it.
    over: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl EventStream {
    pub(super) fn rewrite(&mut self, rewriter: EndpointRewriter, endpoints: Arc<Endpoints>) {
        self.endpoint = Some((rewriter, endpoints));
    }

    pub(super) fn end_at(&mut self, over: impl Future<Output = ()> + Send + 'static) {
        self.over = Some(Box::pin(over));
    }

    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        self.over.as_mut().is_some_and(|over| over.as_mut().poll(cx).is_ready())
    }

    fn push(&mut self, chunk: Bytes) -> Bytes {
        let Some((rewriter, endpoints)) = &mut self.endpoint else { return chunk };
        let onwards = rewriter.push(chunk);
        if let Some(path) = rewriter.announced() {
            endpoints.announce(path);
        }
        onwards
    }

    fn finish(&mut self) -> Bytes {
        self.endpoint.take().map_or_else(Bytes::new, |(mut rewriter, _)| rewriter.finish())
    }
}

impl std::fmt::Debug for EventStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventStream").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Download {
    pub(in crate::relay) fn new(
        inner: Incoming,
        answer: Answer,
        lease: Lease,
        counters: Arc<Counters>,
        stream: Option<Box<EventStream>>,
    ) -> Self {
        let mut download = Self { inner, answer, lease: Some(lease), counters, stream };
        if download.inner.is_end_stream() {
            download.finish();
        }
        download
    }

    fn finish(&mut self) {
        self.answer.end(End::Clean);
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
    }

    /// The stream ended, by either side's will; what was held back goes out first.
    fn end(&mut self) -> Option<Frame<Bytes>> {
        let held = self.stream.take().map_or_else(Bytes::new, |mut stream| stream.finish());
        self.answer.data(&held);
        self.finish();
        (!held.is_empty()).then(|| Frame::data(held))
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        loop {
            if this.stream.as_mut().is_some_and(|stream| stream.is_over(cx)) {
                // Dropped, not given back: the upstream has not ended it.
                this.lease = None;
                return Poll::Ready(this.end().map(Ok));
            }
            let Poll::Ready(next) = Pin::new(&mut this.inner).poll_frame(cx) else {
                return Poll::Pending;
            };
            let frame = match next {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    this.answer.end(End::ServerGone);
                    this.lease = None;
                    this.counters.count_failed(Failed::Truncated);
                    tracing::debug!("the upstream broke off a response: {error}");
                    return Poll::Ready(Some(Err(error)));
                }
                None => return Poll::Ready(this.end().map(Ok)),
            };
            let mut chunk = match frame.into_data() {
                Ok(chunk) => chunk,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            };
            if let Some(stream) = &mut this.stream {
                chunk = stream.push(chunk);
                if chunk.is_empty() {
                    continue;
                }
            }
            this.answer.data(&chunk);
            if this.stream.is_none() && this.inner.is_end_stream() {
                this.finish();
            }
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.stream.is_some() { SizeHint::default() } else { self.inner.size_hint() }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Streamed(download) => Pin::new(download).poll_frame(cx),
            Self::Whole(whole) => Pin::new(whole).poll_frame(cx).map_err(|never| match never {}),
            Self::Unsent(_) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(whole) => whole.is_end_stream(),
            Self::Streamed(download) => download.is_end_stream(),
            Self::Unsent(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => whole.size_hint(),
            Self::Streamed(download) => download.size_hint(),
            Self::Unsent(length) => SizeHint::with_exact(*length),
        }
    }
}
