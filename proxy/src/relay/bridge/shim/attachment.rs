//! A session with a program of the shim, while its connection lasts: what is said to the program
//! and what it says, and the end of either.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use mcpulse_shim::protocol::{Attached, FromSidecar};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};

use super::{Ends, flow::Flow, link::Link};
use crate::relay::{
    bridge::{counters::Ended, hearing::Hearing, launcher::Audience, program::GRACE},
    ending::{Ending, Step},
};

/// How long it may take to hand over what is still to be said when a session is left.
const HAND_OVER: Duration = Duration::from_millis(250);
const SIGTERM: u8 = 15;
const SIGKILL: u8 = 9;

/// A session with a program of the shim.
pub(super) struct Attachment<A> {
    pub(super) link: Link,
    pub(super) audience: Arc<A>,
    pub(super) flow: Flow<A>,
    /// What is to be said to the program.
    pub(super) lines: mpsc::Receiver<Bytes>,
    pub(super) ends: Ends,
}

impl<A: Audience> Attachment<A> {
    /// One of which the shim has said that it is this connection's.
    pub(super) fn new(
        link: Link,
        attached: &Attached,
        audience: Arc<A>,
        hearing: Hearing<A>,
        lines: mpsc::Receiver<Bytes>,
        ends: Ends,
    ) -> Self {
        let flow = Flow::new(attached, hearing, ends.clone());
        Self { link, audience, flow, lines, ends }
    }

    /// Ends the session with the program, or the program with the session.
    pub(super) async fn run(mut self) {
        let talked = self.talk().await;
        self.audience.end(Ended::Exited);
        let session = Arc::clone(self.audience.tag());
        if let Err(error) = talked {
            tracing::warn!(%session, %error, "the shim has gone, and the program with it");
            return;
        }
        if !self.ends.sidecar.is_cancelled() {
            self.end().await;
        } else if !self.ends.pod.is_cancelled() && self.audience.outlives_us() {
            tracing::debug!(%session, "left a session to the next sidecar");
            let _ = timeout(HAND_OVER, self.hand_over()).await;
            return;
        }
        // Where there is none, the shim makes it end.
        tracing::debug!(%session, exit = ?self.flow.exit(), "a session with the shim has ended");
        self.link.say(FromSidecar::Close);
        let _ = timeout(HAND_OVER, self.link.flush()).await;
    }

    /// Passes on what is said until the session or the program has ended.
    async fn talk(&mut self) -> io::Result<()> {
        while self.flow.exit().is_none() {
            self.flow.speak(&mut self.link, &mut self.lines);
            let last = self.flow.last();
            tokio::select! {
                turned = self.link.turn() => {
                    turned?;
                    self.flow.hear(&mut self.link)?;
                }
                line = self.lines.recv(), if self.flow.has_said_all() => match line {
                    Some(line) => self.flow.say(line),
                    None => break,
                },
                () = self.audience.ended() => break,
                () = sleep_until(last.unwrap_or_else(Instant::now)), if last.is_some() => break,
            }
        }
        Ok(())
    }

    /// Has the program end: says what was still to be said, then that nothing more is, and then
    /// by signals. What it says meanwhile is wanted no more.
    async fn end(&mut self) {
        let mut ending = Ending::default();
        ending.begin(GRACE);
        let mut is_told = false;
        while self.flow.exit().is_none() {
            self.flow.speak(&mut self.link, &mut self.lines);
            tokio::select! {
                turned = self.link.turn() => {
                    if turned.and_then(|()| self.flow.hear(&mut self.link)).is_err() {
                        return;
                    }
                }
                line = self.lines.recv(), if self.flow.has_said_all() && !is_told => {
                    is_told = line.is_none();
                    match line {
                        Some(line) => self.flow.say(line),
                        None => self.link.say(FromSidecar::InputEnd),
                    }
                }
                step = ending.next() => match step {
                    Step::Terminate => self.link.say(FromSidecar::Signal(SIGTERM)),
                    Step::Kill => self.link.say(FromSidecar::Signal(SIGKILL)),
                    Step::Leave => return,
                },
                () = self.ends.sidecar.cancelled() => return,
            }
        }
    }

    /// Says what is still to be said, as far as the program takes it.
    async fn hand_over(&mut self) -> io::Result<()> {
        loop {
            self.flow.speak(&mut self.link, &mut self.lines);
            if self.link.waits() == 0 && self.flow.has_said_all() {
                return Ok(());
            }
            self.link.turn().await?;
            self.flow.hear(&mut self.link)?;
        }
    }
}
