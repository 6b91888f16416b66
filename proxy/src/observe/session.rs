//! What is remembered of legacy sessions over HTTP: who the client is. Bounded; the session
//! that was silent longest gives way.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use ring::digest::{SHA256, digest};

use super::pending::Identity;

/// The hashes of the sessions in use: to make one costs as much as all the rest of observing a
/// call.
#[derive(Debug)]
pub(super) struct Hashes {
    limit: usize,
    /// By the session's id: the server, by its place in the list of servers, and the hash.
    known: HashMap<Box<[u8]>, (usize, u64)>,
}

/// Longest session id whose hash is remembered.
const LONGEST: usize = 256;

impl Hashes {
    /// Remembers at most `limit` hashes.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, known: HashMap::new() }
    }

    /// The hash of a session of the server at `place`, whose id is `server_id`.
    pub(super) fn of(&mut self, place: usize, server_id: &str, secret: &[u8]) -> u64 {
        if let Some((_, hash)) = self.known.get(secret).filter(|(server, _)| *server == place) {
            return *hash;
        }
        let hash = hash(server_id, secret);
        if secret.len() <= LONGEST {
            if self.known.len() >= self.limit {
                // Those in use come back.
                self.known.clear();
            }
            self.known.insert(secret.into(), (place, hash));
        }
        hash
    }
}

/// The hash of a session's id, which is a secret: it names the session outside the process.
pub(super) fn hash(server_id: &str, secret: &[u8]) -> u64 {
    let text = [server_id.as_bytes(), b"\0", secret].concat();
    let digest = digest(&SHA256, &text);
    digest.as_ref().iter().take(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

/// The name under which a session is reported.
pub(super) fn name(hash: u64) -> Arc<str> {
    format!("{hash:016x}").into()
}

#[derive(Debug)]
struct Session {
    identity: Identity,
    heard: u64,
}

/// The sessions that are remembered.
#[derive(Debug)]
pub(super) struct Sessions {
    limit: usize,
    known: HashMap<u64, Session>,
    /// By when they were heard of last.
    order: BTreeMap<u64, u64>,
    now: u64,
}

impl Sessions {
    /// Remembers at most `limit` sessions.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, known: HashMap::new(), order: BTreeMap::new(), now: 0 }
    }

    /// Who the client of a session is.
    pub(super) fn identity(&mut self, hash: u64) -> Option<&Identity> {
        let session = self.known.get_mut(&hash)?;
        if session.heard != self.now {
            self.order.remove(&session.heard);
            self.now += 1;
            session.heard = self.now;
            self.order.insert(self.now, hash);
        }
        Some(&session.identity)
    }

    /// A session was initialized. Returns whether another one had to give way.
    pub(super) fn insert(&mut self, hash: u64, identity: Identity) -> bool {
        self.remove(hash);
        self.now += 1;
        self.order.insert(self.now, hash);
        self.known.insert(hash, Session { identity, heard: self.now });
        if self.known.len() <= self.limit {
            return false;
        }
        let oldest = self.order.first_key_value().map(|(_, hash)| *hash);
        oldest.is_some_and(|oldest| self.remove(oldest))
    }

    /// A session has ended. Returns whether it was known.
    pub(super) fn remove(&mut self, hash: u64) -> bool {
        let known = self.known.remove(&hash);
        if let Some(session) = &known {
            self.order.remove(&session.heard);
        }
        known.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_silent_gives_way() {
        let mut sessions = Sessions::new(2);
        assert!(!sessions.insert(1, Identity::default()));
        assert!(!sessions.insert(2, Identity::default()));
        assert!(sessions.identity(1).is_some());
        assert!(sessions.insert(3, Identity::default()));
        assert!(sessions.identity(2).is_none());
        assert!(sessions.identity(1).is_some() && sessions.identity(3).is_some());
        assert!(sessions.remove(1) && !sessions.remove(1));
        assert_eq!(sessions.order.len(), 1);
    }

    #[test]
    fn hashes_are_remembered_and_bounded() {
        let mut hashes = Hashes::new(2);
        for secret in ["a", "b", "a", "c", "b", "a", &"x".repeat(1000)] {
            for (place, server) in [(0, "server"), (1, "other")] {
                let expected = hash(server, secret.as_bytes());
                assert_eq!(hashes.of(place, server, secret.as_bytes()), expected);
            }
            assert!(hashes.known.len() <= 2);
        }
    }

    #[test]
    fn the_name_hides_the_secret() {
        let named = name(hash("server", b"secret"));
        assert_eq!(named.len(), 16);
        assert_eq!(named, name(hash("server", b"secret")));
        assert_ne!(named, name(hash("other", b"secret")));
    }
}
