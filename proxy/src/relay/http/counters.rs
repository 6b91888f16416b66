//! What the listener and the upstream did since the start, counted for `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one listener and its upstream.
#[derive(Debug, Default)]
pub struct Counters {
    requests: AtomicU64,
    refused: [AtomicU64; REFUSED.len()],
    failed: [AtomicU64; Failed::ALL.len()],
    dialled: AtomicU64,
    resent: AtomicU64,
    turned_away: [AtomicU64; Away::ALL.len()],
    full: AtomicU64,
}

/// The values of the `reason` label of refused requests: `host`, `origin`, `token` and
/// `token_unreadable` are the guard's, the others say that a body was too large (413) or
/// stopped coming (408) or broke off, of which nobody hears, that a method makes no sense here (405), or that the head was too
/// large (431) or no HTTP (400). Where the proxy itself is the HTTP server, also that there is
/// nothing at the path (404), that the client takes no answer there is (406), that the body is
/// no JSON (415), that there is no room for another session or program or that too many were
/// started, that too many requests wait already, that nothing begins any more, or that the answer
/// did not come before the drain was over (503).
pub const REFUSED: [&str; 19] = [
    "host",
    "origin",
    "token",
    "token_unreadable",
    "body_too_large",
    "body_stalled",
    "body_aborted",
    "method",
    "head_too_large",
    "malformed",
    "path",
    "accept",
    "content_type",
    "sessions",
    "programs",
    "starts",
    "waiting",
    "draining",
    "shutdown",
];

/// How the upstream failed a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// No connection: refused, not resolved, TLS failed, or `connect_timeout` passed.
    Connect,
    /// The connection broke before the head of the response.
    Broken,
    /// No head of a response within `response_timeout`.
    TimedOut,
    /// The connection broke within the body of the response.
    Truncated,
}

impl Failed {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Connect, Self::Broken, Self::TimedOut, Self::Truncated];

    /// The value of the `kind` label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Broken => "broken",
            Self::TimedOut => "timed_out",
            Self::Truncated => "truncated",
        }
    }
}

/// How a connection of a client ended before a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Away {
    /// TLS failed, or did not come about in time.
    NoTls,
    /// Nothing was said on it, or no whole head in time.
    Silent,
    /// The system would not give it to us: no file descriptor was left, or the client had gone.
    NotAccepted,
}

impl Away {
    /// Every way.
    pub const ALL: [Self; 3] = [Self::NoTls, Self::Silent, Self::NotAccepted];

    /// The value of the `reason` label.
    pub fn label(self) -> &'static str {
        match self {
            Self::NoTls => "no_tls",
            Self::Silent => "silent",
            Self::NotAccepted => "not_accepted",
        }
    }
}

impl Counters {
    /// Requests that arrived whole enough to be read.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Requests that the proxy refused, by reason, as [`REFUSED`] has them.
    pub fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.refused.iter().map(|count| count.load(Ordering::Relaxed));
        REFUSED.into_iter().zip(counts)
    }

    /// Requests that the upstream failed, by kind.
    pub fn failed(&self, kind: Failed) -> u64 {
        self.failed[kind as usize].load(Ordering::Relaxed)
    }

    /// Connections to the upstream that were made.
    pub fn dialled(&self) -> u64 {
        self.dialled.load(Ordering::Relaxed)
    }

    /// Requests sent again because the connection had closed before any byte of them left.
    pub fn resent(&self) -> u64 {
        self.resent.load(Ordering::Relaxed)
    }

    /// Connections of clients that ended before a request, by reason.
    pub fn turned_away(&self, away: Away) -> u64 {
        self.turned_away[away as usize].load(Ordering::Relaxed)
    }

    /// Times that as many clients were connected as may be, and the next had to wait.
    pub fn full(&self) -> u64 {
        self.full.load(Ordering::Relaxed)
    }

    pub(in crate::relay) fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(in crate::relay) fn count_refused(&self, reason: &str) {
        if let Some(at) = REFUSED.iter().position(|known| *known == reason) {
            self.refused[at].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(in crate::relay) fn count_failed(&self, kind: Failed) {
        self.failed[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_dialled(&self) {
        self.dialled.fetch_add(1, Ordering::Relaxed);
    }

    pub(in crate::relay) fn count_resent(&self) {
        self.resent.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_turned_away(&self, away: Away) {
        self.turned_away[away as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_full(&self) {
        self.full.fetch_add(1, Ordering::Relaxed);
    }
}
