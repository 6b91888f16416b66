//! A session: one program, what is on its way to and from it, and the connection that has it, if
//! one has.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::{
    arguments::Arguments,
    connection::Connection,
    ending::{Ending, Step},
    flow::{Input, Output},
    journal::{Journal, Lines},
    program::Program,
    protocol::Exit,
    strays::Marks,
};

mod dialogue;
mod pipes;
mod sources;

pub(crate) use sources::Source;

/// A session.
#[derive(Debug)]
pub(crate) struct Session {
    token: Box<[u8]>,
    /// Which its program and all that this starts carry.
    mark: u64,
    program: Program,
    input: Input,
    /// The sidecar sends no more.
    input_ended: bool,
    output: Output,
    lines: Lines,
    link: Option<Connection>,
    /// What is to be said on it, and was not yet.
    owes: Owes,
    /// When a session without a connection ends.
    until: Option<Instant>,
    ending: Ending,
    exit: Option<Exit>,
    /// How often the pipes may still be read once it has ended: others may hold them, and write.
    rest: usize,
    /// Nobody waits any more for whoever is left.
    is_left: bool,
    /// Nobody wants it any more.
    is_closed: bool,
}

/// Frames that are said once to each connection.
#[derive(Clone, Copy, Debug, Default)]
struct Owes {
    attached: Option<u64>,
    drain: bool,
    input_gone: bool,
    /// What of the end was said.
    told: Told,
}

/// What of a program's end its sidecar was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Told {
    #[default]
    Nothing,
    OutputEnd,
    Exited,
}

impl Session {
    /// Starts a program for a token and a tag.
    ///
    /// # Errors
    /// That it does not start, for a person.
    pub(crate) fn start(token: &[u8], tag: &[u8], room: &Room) -> Result<Self, String> {
        let (mark, value) = room.marks.next();
        Ok(Self {
            token: token.into(),
            mark,
            program: Program::start(&room.arguments.command, &value)?,
            input: Input::default(),
            input_ended: false,
            output: Output::default(),
            lines: Lines::new(tag),
            link: None,
            owes: Owes::default(),
            until: None,
            ending: Ending::default(),
            exit: None,
            rest: pipes::REST,
            is_left: false,
            is_closed: false,
        })
    }

    /// The name that only its sidecar knows.
    pub(crate) fn token(&self) -> &[u8] {
        &self.token
    }

    /// The process that it started, and the group that this led.
    pub(crate) fn number(&self) -> Pid {
        self.program.number
    }

    /// The mark of its program, while that runs.
    pub(crate) fn mark(&self) -> Option<u64> {
        self.exit.is_none().then_some(self.mark)
    }

    /// Whether it may be resumed.
    pub(crate) fn is_resumable(&self) -> bool {
        !self.is_closed
    }

    /// Whether it waits for its sidecar.
    pub(crate) fn is_detached(&self) -> bool {
        self.link.is_none() && !self.is_closed
    }

    /// Gives it a connection, which has received this much of its output, or knows no more how
    /// much. Another one that it had is closed.
    ///
    /// # Errors
    /// The connection, if it cannot have received that.
    pub(crate) fn attach(
        &mut self,
        link: Connection,
        received: Option<u64>,
    ) -> Result<(), Connection> {
        let Ok(output) = self.output.resume(received) else { return Err(link) };
        self.link = Some(link);
        self.until = None;
        let input_gone = self.program.input.is_none() && !self.input_ended;
        self.owes = Owes { attached: Some(output), input_gone, ..Owes::default() };
        Ok(())
    }

    /// Tells the sidecar that the pod ends.
    pub(crate) fn drain(&mut self) {
        self.owes.drain = true;
    }

    /// Has the program end now, whatever its sidecar wants.
    pub(crate) fn stop(&mut self, now: Instant, arguments: &Arguments) {
        self.is_closed = true;
        self.program.input = None;
        self.ending.begin(now, Duration::ZERO, arguments.kill_after);
    }

    /// Has the program end in order; what it says is wanted no more.
    fn close(&mut self, now: Instant, arguments: &Arguments) {
        self.is_closed = true;
        self.program.input = None;
        self.input.abandon();
        self.output.abandon();
        if self.exit.is_none() {
            self.ending.begin(now, arguments.terminate_after, arguments.kill_after);
        }
    }

    /// Its program has ended: what is left of the group is asked to, and then made to.
    pub(crate) fn ended(&mut self, exit: Exit, now: Instant, arguments: &Arguments) {
        self.exit = Some(exit);
        self.program.input = None;
        self.input.abandon();
        self.ending.begin(now, Duration::ZERO, arguments.kill_after);
    }

    /// Does what can be done without waiting. True when nothing of it is left.
    pub(crate) fn settle(&mut self, now: Instant, to: &Room) -> bool {
        if self.until.is_some_and(|until| until <= now) {
            self.until = None;
            self.close(now, &to.arguments);
        }
        while let Some(step) = self.ending.next(now) {
            match step {
                Step::Terminate => self.program.signal(Signal::TERM),
                Step::Kill => self.program.signal(Signal::KILL),
                Step::Leave => self.is_left = true,
            }
        }
        if self.exit.is_some() && (self.is_left || !self.program.group_lives()) {
            self.take_the_rest(to);
        }
        self.speak(now, to);
        let told = self.owes.told == Told::Exited;
        let said = self.link.as_ref().is_none_or(|link| told && !link.waits());
        self.is_closed && (self.is_left || self.is_done() && said)
    }

    /// When it has to be settled even if nothing happens.
    pub(crate) fn when(&self) -> Option<Instant> {
        self.until.into_iter().chain(self.ending.when()).min()
    }

    /// Whether the program has ended and everything that it said was read.
    fn is_done(&self) -> bool {
        self.exit.is_some() && self.program.output.is_none() && self.program.errors.is_none()
    }
}

/// What all sessions share.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) arguments: Arguments,
    pub(crate) journal: Journal,
    pub(crate) marks: Marks,
    /// The pod ends.
    pub(crate) drains: bool,
}
