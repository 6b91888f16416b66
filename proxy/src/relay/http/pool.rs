//! The connections to the upstream that are ready for another request.
//! A connection is lent for one exchange and comes back when both bodies are through;
//! whoever drops it instead closes it (HTTP/1.1) or resets its stream (HTTP/2).

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hyper::client::conn::{http1, http2};
use tokio::{sync::Notify, time::Instant};

use super::upload::Upload;

/// Unused HTTP/1.1 connections kept at most; beyond it they are closed after use.
const MAX_IDLE: usize = 256;
/// Requests on one HTTP/2 connection at once; beyond it another one is dialled, or streams
/// that never end would use up what the upstream allows (100 or more, RFC 9113, 6.5.2).
pub(super) const MAX_STREAMS: usize = 64;

/// The connections of one upstream.
#[derive(Debug)]
pub(super) struct Pool {
    /// How long a connection may be unused.
    idle_timeout: Duration,
    kept: Mutex<Kept>,
    /// Something was put in that will have to be closed.
    filled: Notify,
}

#[derive(Debug, Default)]
struct Kept {
    /// HTTP/1.1 connections without a request, the last used last.
    idle: Vec<Idle>,
    /// HTTP/2 connections, the oldest first.
    shared: Vec<Arc<Shared>>,
}

#[derive(Debug)]
struct Idle {
    sender: http1::SendRequest<Upload>,
    since: Instant,
}

/// An HTTP/2 connection.
#[derive(Debug)]
struct Shared {
    sender: http2::SendRequest<Upload>,
    streams: AtomicUsize,
    /// When the last stream ended.
    unused_since: Mutex<Instant>,
}

/// A connection, lent.
#[derive(Debug)]
pub(super) enum Connection {
    /// An HTTP/1.1 connection.
    Whole(http1::SendRequest<Upload>),
    /// A stream of an HTTP/2 connection.
    Stream(Stream),
}

/// One of the streams that an HTTP/2 connection may have; its drop makes room for another.
#[derive(Debug)]
pub(super) struct Stream {
    shared: Arc<Shared>,
}

impl Pool {
    pub(super) fn new(idle_timeout: Duration) -> Self {
        Self { idle_timeout, kept: Mutex::default(), filled: Notify::new() }
    }

    /// Lends a connection that was not unused for too long.
    pub(super) fn take(&self) -> Option<Connection> {
        let mut kept = self.kept();
        if let Some(shared) = kept.shared.iter().find(|shared| shared.is_free()) {
            return Some(Connection::Stream(Stream::of(shared)));
        }
        while let Some(idle) = kept.idle.pop() {
            if idle.since.elapsed() >= self.idle_timeout {
                // Those below have been unused for even longer.
                kept.idle.clear();
            } else if !idle.sender.is_closed() {
                return Some(Connection::Whole(idle.sender));
            }
        }
        None
    }

    /// Takes back a connection whose exchange is over.
    pub(super) fn put(self: &Arc<Self>, connection: Connection) {
        let Connection::Whole(mut sender) = connection else { return };
        if sender.is_ready() {
            self.keep(sender);
        } else if !sender.is_closed() {
            // The response was faster than the end of the request, or than hyper's task.
            let pool = Arc::clone(self);
            tokio::spawn(async move {
                if sender.ready().await.is_ok() {
                    pool.keep(sender);
                }
            });
        }
    }

    fn keep(&self, sender: http1::SendRequest<Upload>) {
        let mut kept = self.kept();
        if kept.idle.len() < MAX_IDLE {
            kept.idle.push(Idle { sender, since: Instant::now() });
            if kept.idle.len() == 1 {
                self.filled.notify_one();
            }
        }
    }

    /// Adds an HTTP/2 connection and lends its first stream.
    pub(super) fn share(&self, sender: http2::SendRequest<Upload>) -> Connection {
        let shared = Arc::new(Shared {
            sender,
            streams: AtomicUsize::new(0),
            unused_since: Mutex::new(Instant::now()),
        });
        let stream = Stream::of(&shared);
        self.kept().shared.push(shared);
        self.filled.notify_one();
        Connection::Stream(stream)
    }

    /// Closes what is unused for too long, for ever.
    pub(super) async fn close_idle(&self) {
        loop {
            match self.expire() {
                Some(next) => tokio::time::sleep_until(next).await,
                None => self.filled.notified().await,
            }
        }
    }

    /// Drops what has been unused for too long; when to look again.
    fn expire(&self) -> Option<Instant> {
        let now = Instant::now();
        let keep = |since: Instant| now < since + self.idle_timeout;
        let mut kept = self.kept();
        kept.idle.retain(|idle| keep(idle.since) && !idle.sender.is_closed());
        kept.shared
            .retain(|shared| !shared.sender.is_closed() && shared.unused_since().is_none_or(keep));
        let oldest = kept.idle.iter().map(|idle| idle.since);
        let shared = kept.shared.iter().map(|shared| shared.unused_since().unwrap_or(now));
        oldest.chain(shared).min().map(|since| since + self.idle_timeout)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn is_free(&self) -> bool {
        !self.sender.is_closed() && self.streams.load(Ordering::Relaxed) < MAX_STREAMS
    }

    fn unused_since(&self) -> Option<Instant> {
        let since = self.unused_since.lock().unwrap_or_else(PoisonError::into_inner);
        (self.streams.load(Ordering::Relaxed) == 0).then_some(*since)
    }
}

impl Stream {
    /// Only under the lock of the pool, or two would take the last one.
    fn of(shared: &Arc<Shared>) -> Self {
        shared.streams.fetch_add(1, Ordering::Relaxed);
        Self { shared: Arc::clone(shared) }
    }

    /// A handle that sends on the connection.
    pub(super) fn sender(&self) -> http2::SendRequest<Upload> {
        self.shared.sender.clone()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut since = self.shared.unused_since.lock().unwrap_or_else(PoisonError::into_inner);
        *since = Instant::now();
        self.shared.streams.fetch_sub(1, Ordering::Relaxed);
    }
}
