//! What Linux tells and others do not: the child that its parent is gone, and us that the peer
//! of a socket sends no more, or that a signal is ignored.

use std::{fs, io, os::unix::process::CommandExt as _, process::Command};

use rustix::{
    event::PollFlags,
    process::{
        Pid, Resource, Rlimit, Signal, getpgid, getpgrp, getpid, getppid,
        set_parent_process_death_signal, setrlimit,
    },
};

/// What `poll` says of a socket whose peer sends no more.
pub(super) const HALF_CLOSED: PollFlags = PollFlags::RDHUP;

/// Has the kernel send SIGTERM to the child when the thread that spawns it ends, by SIGKILL
/// of the whole process included. That thread must therefore outlive the child. And lets it have
/// as many `files` open as are given.
pub(super) fn prepare(command: &mut Command, files: Option<Rlimit>) {
    let parent = getpid();
    // SAFETY: `limit` and `bind_to` make system calls and neither allocate nor lock.
    #[expect(unsafe_code, reason = "only between fork and exec can the child ask for this")]
    unsafe {
        command.pre_exec(move || limit(files).and_then(|()| bind_to(parent)))
    };
}

/// Runs in the child between fork and exec.
fn limit(files: Option<Rlimit>) -> io::Result<()> {
    match files {
        Some(files) => Ok(setrlimit(Resource::Nofile, files)?),
        None => Ok(()),
    }
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

/// Most descendants that are looked for.
const MOST_KIN: usize = 1024;

/// The descendants of a child that are in our own process group, as far as their parents have
/// not ended. A client that ends the group would reach them, and does not when the proxy ends
/// the child before its time comes.
pub(super) fn kin(child: Pid) -> Vec<Pid> {
    let mut found = vec![child];
    let mut looked = 0;
    while looked < found.len() && found.len() < MOST_KIN {
        let tasks = fs::read_dir(format!("/proc/{}/task", found[looked]));
        looked += 1;
        for task in tasks.into_iter().flatten().flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            let children = children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok());
            found.extend(children.filter_map(Pid::from_raw));
        }
    }
    let group = getpgrp();
    let mut kin = found.split_off(1);
    kin.retain(|pid| getpgid(Some(*pid)).is_ok_and(|of| of == group));
    kin
}
