//! What a session and its sidecar say to each other.

use std::{mem, time::Instant};

use rustix::process::Signal;

use super::{Room, Session, Told};
use crate::{
    connection::Connection,
    protocol::{Attached, FromShim, FromSidecar, Violation},
};

impl Session {
    /// Hears what the sidecar has sent, and answers what it asks that cannot be.
    pub(super) fn listen(&mut self, now: Instant, to: &Room) {
        let Some(mut link) = self.link.take() else { return };
        loop {
            match link.next() {
                Ok(Some(frame)) if self.hear(frame, now, to).is_ok() => {}
                Ok(None) => {
                    self.link = Some(link);
                    return;
                }
                Ok(Some(_)) | Err(Violation) => {
                    to.journal.say("the sidecar broke the protocol; its connection is closed");
                    return self.lose(now, to);
                }
            }
        }
    }

    fn hear(&mut self, frame: FromSidecar<'_>, now: Instant, to: &Room) -> Result<(), Violation> {
        match frame {
            FromSidecar::Input(_) if self.input_ended => return Err(Violation),
            FromSidecar::Input(bytes) => {
                self.input.push(bytes, to.arguments.window)?;
                if self.program.input.is_none() {
                    self.input.abandon();
                }
            }
            FromSidecar::InputEnd => self.input_ended = true,
            // Of what is wanted no more.
            FromSidecar::Passed(_) if self.is_closed => {}
            FromSidecar::Passed(count) => self.output.passed(count)?,
            FromSidecar::Signal(number) => {
                let signal = Signal::from_named_raw(number.into()).ok_or(Violation)?;
                self.program.signal(signal);
            }
            FromSidecar::Close => self.close(now, &to.arguments),
            FromSidecar::Open { .. }
            | FromSidecar::Resume { .. }
            | FromSidecar::Look
            | FromSidecar::Foreign(_) => return Err(Violation),
        }
        Ok(())
    }

    /// Its connection is gone.
    pub(super) fn lose(&mut self, now: Instant, to: &Room) {
        self.link = None;
        if !self.is_closed {
            self.until = Some(now + to.arguments.resume_for);
        }
    }

    /// Sends what there is to say, as much as the sidecar takes.
    pub(super) fn speak(&mut self, now: Instant, to: &Room) {
        let Some(mut link) = self.link.take() else { return };
        loop {
            match link.flush() {
                Ok(true) if self.say(&mut link, to) => {}
                Ok(_) => {
                    self.link = Some(link);
                    return;
                }
                Err(_) => {
                    // It may have said `Close` before it went.
                    self.link = Some(link);
                    return self.hear_last(now, to);
                }
            }
        }
    }

    /// Hears what the sidecar said before it went.
    fn hear_last(&mut self, now: Instant, to: &Room) {
        while let Some(Ok(true)) = self.link.as_mut().map(Connection::fill) {
            self.listen(now, to);
        }
        self.lose(now, to);
    }

    /// Puts the next frame into the connection, if there is one.
    fn say(&mut self, link: &mut Connection, to: &Room) -> bool {
        let window = to.arguments.window;
        let is_done = self.is_done();
        let owes = &mut self.owes;
        if let Some(output) = owes.attached.take() {
            owes.drain = false;
            link.say(FromShim::Attached(Attached {
                window: u32::try_from(window).unwrap_or(u32::MAX),
                input: self.input.received(),
                passed: self.input.tell(),
                open_line: self.input.open_line(),
                output,
                input_ended: self.input_ended,
                drains: to.drains,
                within_line: self.output.within_line(),
            }));
        } else if mem::take(&mut owes.drain) {
            link.say(FromShim::Drain);
        } else if let Some(count) = self.input.tell_if_due(window) {
            link.say(FromShim::Passed(count));
        } else if mem::take(&mut owes.input_gone) {
            link.say(FromShim::InputGone);
        } else if let Some(bytes) = self.output.next() {
            link.say(FromShim::Output(bytes));
        } else if owes.told == Told::Nothing && self.program.output.is_none() {
            owes.told = Told::OutputEnd;
            link.say(FromShim::OutputEnd);
        } else if let Some(exit) = self.exit.filter(|_| owes.told == Told::OutputEnd && is_done) {
            owes.told = Told::Exited;
            link.say(FromShim::Exited(exit));
        } else {
            return false;
        }
        true
    }
}
