//! A program that was started, the group that it leads, and the reaping of whatever ends.

use std::{
    ffi::OsString,
    io,
    os::{fd::AsFd, unix::process::CommandExt as _},
    process::{ChildStderr, ChildStdin, ChildStdout, Command, Stdio},
};

use rustix::{
    io::{Errno, ioctl_fionbio},
    process::{
        Pid, Signal, WaitOptions, getpid, kill_process_group, set_child_subreaper,
        test_kill_process_group, wait,
    },
};

use crate::{protocol::Exit, strays::MARK};

/// A program and its three pipes, none of which makes anybody wait.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) number: Pid,
    /// Whether the group may have members. The kernel gives its number to nobody while it has.
    has_group: bool,
    /// None once it is closed.
    pub(crate) input: Option<ChildStdin>,
    /// None once it has ended.
    pub(crate) output: Option<ChildStdout>,
    /// None once they have ended.
    pub(crate) errors: Option<ChildStderr>,
}

impl Program {
    /// Starts one, as the leader of a new group, with this mark.
    ///
    /// # Errors
    /// What the system says, and what to do.
    pub(crate) fn start(command: &[OsString], mark: &str) -> Result<Self, String> {
        let [program, arguments @ ..] = command else { return Err("there is no command".into()) };
        let mut prepared = Command::new(program);
        prepared.args(arguments).env(MARK, mark).process_group(0);
        prepared.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = prepared.spawn().and_then(|mut child| {
            let (input, output) = (child.stdin.take(), child.stdout.take());
            let errors = child.stderr.take();
            never_block(input.as_ref())?;
            never_block(output.as_ref())?;
            never_block(errors.as_ref())?;
            let number = Pid::from_child(&child);
            Ok(Self { number, has_group: true, input, output, errors })
        });
        started.map_err(|cause| {
            let remedy = match cause.kind() {
                io::ErrorKind::NotFound => "check the command of the container, and its image",
                io::ErrorKind::PermissionDenied => "it must be executable for the container's user",
                _ => "check the limits of the container",
            };
            format!("cannot start {}: {cause}; {remedy}", program.to_string_lossy())
        })
    }

    /// Sends a signal to all of its group.
    pub(crate) fn signal(&mut self, signal: Signal) {
        // That nobody is there any more, or nobody who may be sent one, is nothing to tell.
        if self.group_lives() {
            let _ = kill_process_group(self.number, signal);
        }
    }

    /// Whether anybody is in its group.
    pub(crate) fn group_lives(&mut self) -> bool {
        self.has_group &= test_kill_process_group(self.number) != Err(Errno::SRCH);
        self.has_group
    }
}

/// Has what loses its parent become a child of this process, if its number is not 1 anyway.
pub(crate) fn adopt() -> io::Result<()> {
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// Reaps a child that has ended, whoever started it.
pub(crate) fn reap() -> Option<(Pid, Exit)> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((number, status))) => {
                let code = status.exit_status().map(|code| Exit::Code(low(code)));
                let signal = status.terminating_signal().map(|number| Exit::Signal(low(number)));
                return code.or(signal).map(|exit| (number, exit));
            }
            Err(Errno::INTR) => {}
            Ok(None) | Err(_) => return None,
        }
    }
}

/// The byte that a status has of it.
fn low(number: i32) -> u8 {
    u8::try_from(number & 0xff).unwrap_or(u8::MAX)
}

fn never_block(pipe: Option<&impl AsFd>) -> io::Result<()> {
    let pipe = pipe.ok_or(io::ErrorKind::BrokenPipe)?;
    Ok(ioctl_fionbio(pipe, true)?)
}
