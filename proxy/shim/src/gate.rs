//! Connections whose first frame has not come, and what is answered to it.

use std::{
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    time::{Duration, Instant},
};

use crate::{
    connection::Connection,
    protocol::{FromShim, FromSidecar, Refusal, UNKNOWN, VERSION, Violation},
    session::{Room, Session},
};

/// Most connections that have not said what they want.
pub(crate) const MOST: usize = 64;
/// How long one may take to say it, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Shortest token that is nobody's guess: 128 bits.
const SHORTEST_TOKEN: usize = 16;

/// A connection that has no session.
#[derive(Debug)]
pub(crate) struct Newcomer {
    link: Connection,
    until: Instant,
    /// It has its answer, and is let go once that has been sent.
    is_answered: bool,
}

/// What becomes of one.
#[derive(Debug)]
pub(crate) enum Fate {
    /// Nothing yet.
    Waits(Newcomer),
    /// It has a session, or nothing.
    Over,
}

impl Newcomer {
    /// Takes one that has just connected.
    pub(crate) fn new(stream: UnixStream, now: Instant) -> Self {
        Self { link: Connection::new(stream), until: now + PATIENCE, is_answered: false }
    }

    /// When it is over in any case.
    pub(crate) fn when(&self) -> Instant {
        self.until
    }

    /// Whether it waits for its answer to be taken, and not to be heard.
    pub(crate) fn is_answered(&self) -> bool {
        self.is_answered
    }

    /// Hears what it wants, and does so.
    pub(crate) fn ready(mut self, sessions: &mut Vec<Session>, now: Instant, room: &Room) -> Fate {
        let is_gone = !self.is_answered && self.link.fill().is_err();
        if !self.is_answered {
            self = match self.greet(sessions, now, room) {
                Fate::Over => return Fate::Over,
                Fate::Waits(newcomer) if is_gone && !newcomer.is_answered => return Fate::Over,
                Fate::Waits(newcomer) => newcomer,
            };
        }
        match self.link.flush() {
            Ok(true) if self.is_answered => Fate::Over,
            Ok(_) => Fate::Waits(self),
            Err(_) => Fate::Over,
        }
    }

    fn greet(mut self, sessions: &mut Vec<Session>, now: Instant, room: &Room) -> Fate {
        let (token, tag, received) = match self.link.next() {
            Ok(None) => return Fate::Waits(self),
            Ok(Some(FromSidecar::Open { token, tag })) => {
                (token.to_vec(), Some(tag.to_vec()), None)
            }
            Ok(Some(FromSidecar::Resume { token, received })) => {
                (token.to_vec(), None, (received != UNKNOWN).then_some(received))
            }
            Ok(Some(FromSidecar::Look)) => return self.show(sessions, room),
            Ok(Some(FromSidecar::Foreign(version))) => {
                let why = format!("version {version} is not spoken, {VERSION} is");
                return self.refuse(Refusal::Protocol, &why);
            }
            Ok(Some(_)) | Err(Violation) => {
                return self.refuse(Refusal::Protocol, "Open, Resume or Look comes first");
            }
        };
        let found = sessions.iter().position(|one| one.is_resumable() && *one.token() == *token);
        let at = match (found, tag) {
            (Some(at), None) => at,
            (None, None) => return self.refuse(Refusal::Unknown, "no session has the token"),
            (Some(_), Some(_)) => {
                return self.refuse(Refusal::Taken, "another session has the token");
            }
            (None, Some(tag)) => match begin(&token, &tag, sessions, room) {
                Ok(session) => {
                    sessions.push(session);
                    sessions.len() - 1
                }
                Err((refusal, why)) => {
                    room.journal.say(&format!("a session was refused: {why}"));
                    return self.refuse(refusal, &why);
                }
            },
        };
        if let Err(link) = sessions[at].attach(self.link, received) {
            self.link = link;
            return self.refuse(Refusal::Protocol, "the output that was received never was sent");
        }
        // What came behind the greeting.
        sessions[at].hear_link(now, room);
        Fate::Over
    }

    /// Says how the shim is.
    fn show(mut self, sessions: &[Session], room: &Room) -> Fate {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        self.link.say(FromShim::State {
            sessions: count(sessions.len()),
            most: count(room.arguments.max_sessions),
            drains: room.drains,
        });
        for session in sessions.iter().filter(|session| session.is_detached()) {
            self.link.say(FromShim::Detached(session.token()));
        }
        self.is_answered = true;
        Fate::Waits(self)
    }

    fn refuse(mut self, refusal: Refusal, why: &str) -> Fate {
        self.link.say(FromShim::Refused(refusal, why));
        self.is_answered = true;
        Fate::Waits(self)
    }
}

impl AsFd for Newcomer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }
}

/// Starts a session, if there may be one.
fn begin(
    token: &[u8],
    tag: &[u8],
    sessions: &[Session],
    room: &Room,
) -> Result<Session, (Refusal, String)> {
    if room.drains {
        return Err((Refusal::Draining, "the pod ends".to_owned()));
    }
    if token.len() < SHORTEST_TOKEN {
        let why = format!("a token of {SHORTEST_TOKEN} bytes or more is wanted");
        return Err((Refusal::Protocol, why));
    }
    let most = room.arguments.max_sessions;
    if sessions.len() >= most {
        let why = format!("there are {most} sessions already; --max-sessions allows more");
        return Err((Refusal::Full, why));
    }
    Session::start(token, tag, room).map_err(|why| (Refusal::Start, why))
}
