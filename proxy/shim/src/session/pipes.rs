//! The three pipes of a session's program.

use std::io::{self, ErrorKind, Read as _};

use super::{Room, Session};

/// Most bytes of standard error that are read at a time.
const PIECE: usize = 16 << 10;
/// More than is in both pipes of a program that has ended: as much as the kernel lets a user's
/// have, with what is read at a time.
pub(super) const REST: usize = (2 << 20) / PIECE;

impl Session {
    /// Reads what is in the pipes: whoever could still write into them is not waited for.
    pub(super) fn take_the_rest(&mut self, to: &Room) {
        while self.program.errors.is_some() && (to.journal.has_room() || self.is_left) {
            if !self.may_go_on() || !self.read_errors(to) {
                self.end_errors(to);
            }
        }
        while self.program.output.is_some() && self.output.room(to.arguments.window) > 0 {
            if !self.may_go_on() || !self.read_output(to) {
                self.program.output = None;
            }
        }
    }

    fn may_go_on(&mut self) -> bool {
        self.rest = self.rest.saturating_sub(1);
        self.rest > 0
    }

    /// Reads the program's output once. False when nothing is there.
    pub(super) fn read_output(&mut self, to: &Room) -> bool {
        let Some(pipe) = &mut self.program.output else { return false };
        match self.output.read(pipe, to.arguments.window) {
            Ok(true) => true,
            Err(error) if waits(&error) => false,
            Ok(false) | Err(_) => {
                self.program.output = None;
                false
            }
        }
    }

    /// Reads what the program says on standard error once. False when nothing is there.
    pub(super) fn read_errors(&mut self, to: &Room) -> bool {
        let Some(pipe) = &mut self.program.errors else { return false };
        let mut piece = [0; PIECE];
        match pipe.read(&mut piece) {
            Ok(read @ 1..) => {
                let mut lines = Vec::new();
                self.lines.push(&piece[..read], &mut lines);
                to.journal.put(&lines);
                true
            }
            Err(error) if waits(&error) => false,
            Ok(_) | Err(_) => {
                self.end_errors(to);
                false
            }
        }
    }

    fn end_errors(&mut self, to: &Room) {
        let mut line = Vec::new();
        self.lines.end(&mut line);
        to.journal.put(&line);
        self.program.errors = None;
    }

    /// Has the program take of its input what it takes.
    pub(super) fn write_input(&mut self) {
        let Some(pipe) = &mut self.program.input else { return };
        match self.input.write(pipe) {
            Ok(()) if self.input_ended => self.program.input = None,
            Ok(()) => {}
            Err(error) if waits(&error) => {}
            Err(_) => self.lose_input(),
        }
    }

    /// The program reads no more.
    pub(super) fn lose_input(&mut self) {
        self.program.input = None;
        self.input.abandon();
        self.owes.input_gone = true;
    }
}

fn waits(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
