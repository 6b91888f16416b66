//! What Linux tells and others do not: the child that its parent is gone, and us that the peer
//! of a socket sends no more, or that a signal is ignored.

use std::{fs, io, os::unix::process::CommandExt as _, process::Command};

use rustix::{
    event::PollFlags,
    process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal},
};

/// What `poll` says of a socket whose peer sends no more.
pub(super) const HALF_CLOSED: PollFlags = PollFlags::RDHUP;

/// Has the kernel send SIGTERM to the child when the thread that spawns it ends, by SIGKILL
/// of the whole process included. That thread must therefore outlive the child.
pub(super) fn end_with_spawner(command: &mut Command) {
    let parent = getpid();
    // SAFETY: `bind_to` makes two system calls and neither allocates nor locks.
    #[expect(unsafe_code, reason = "only between fork and exec can the child ask for this")]
    unsafe {
        command.pre_exec(move || bind_to(parent))
    };
}

/// Runs in the child between fork and exec.
fn bind_to(parent: Pid) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::TERM))?;
    // The parent may have died before the request above: then no signal would ever come.
    if getppid() == Some(parent) { Ok(()) } else { Err(rustix::io::Errno::SRCH.into()) }
}

/// Whether SIGHUP is ignored, as `nohup` has it for the program that it starts.
pub(super) fn hangup_is_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask & 1 << (Signal::HUP.as_raw() - 1) != 0)
}
