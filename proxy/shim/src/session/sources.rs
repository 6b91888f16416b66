//! What a session waits for, and what it does when that has come.

use std::time::Instant;

use rustix::event::{PollFd, PollFlags};

use super::{Room, Session};
use crate::connection::Connection;

/// A descriptor of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Link,
    Input,
    Output,
    Errors,
}

impl Session {
    /// Has `wait` told each descriptor on which something could be done.
    pub(crate) fn sources<'a>(&'a self, room: &Room, mut wait: impl FnMut(Source, PollFd<'a>)) {
        if let Some(link) = &self.link {
            let out = if link.waits() { PollFlags::OUT } else { PollFlags::empty() };
            wait(Source::Link, PollFd::new(link, PollFlags::IN | out));
        }
        if let Some(pipe) = &self.program.input {
            // Nothing at all still tells that nobody reads any more.
            let has_some = !self.input.is_empty() || self.input_ended;
            let out = if has_some { PollFlags::OUT } else { PollFlags::empty() };
            wait(Source::Input, PollFd::new(pipe, out));
        }
        if let Some(pipe) = &self.program.output
            && self.output.room(room.arguments.window) > 0
        {
            wait(Source::Output, PollFd::new(pipe, PollFlags::IN));
        }
        if let Some(pipe) = &self.program.errors
            && room.journal.has_room()
        {
            wait(Source::Errors, PollFd::new(pipe, PollFlags::IN));
        }
    }

    /// Does what one of them is ready for.
    pub(crate) fn ready(&mut self, source: Source, came: PollFlags, now: Instant, to: &Room) {
        match source {
            Source::Link => {
                if came.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                    self.hear_link(now, to);
                }
            }
            Source::Input if came.intersects(PollFlags::ERR) => self.lose_input(),
            Source::Input => self.write_input(),
            Source::Output => drop(self.read_output(to)),
            Source::Errors => drop(self.read_errors(to)),
        }
    }

    /// Reads from its connection, and gives the program what has come at once.
    pub(crate) fn hear_link(&mut self, now: Instant, to: &Room) {
        let filled = self.link.as_mut().map(Connection::fill);
        // What came before the end counts.
        self.listen(now, to);
        self.write_input();
        if filled.is_some_and(|filled| filled.is_err()) {
            self.lose(now, to);
        }
    }
}
