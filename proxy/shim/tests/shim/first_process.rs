//! As the process with number 1, which is what it is in a container.

use std::process::{Command, Stdio};

use mcpulse_shim::protocol::{Exit, FromSidecar};
use rustix::process::Signal;

use crate::harness::{Shim, children, eventually};

/// Starts what follows in a new namespace of processes; none where that is not allowed.
fn unshare() -> Option<Command> {
    let new = ["--pid", "--fork", "--mount-proc", "--kill-child"];
    let mut tried = Command::new("unshare");
    let tried = tried.args(new).arg("true").stderr(Stdio::null()).status();
    if !tried.is_ok_and(|status| status.success()) {
        eprintln!("skipped: unshare --pid is not allowed here");
        return None;
    }
    let mut command = Command::new("unshare");
    command.args(new).arg(env!("CARGO_BIN_EXE_mcpulse-shim"));
    Some(command)
}

#[test]
fn the_first_process_reaps_is_asked_to_end_and_leaves_nothing() {
    let Some(command) = unshare() else { return };
    let script = "setsid sleep 1000 & (sleep 0.01 &); echo $PPID; cat";
    let options = ["--terminate-after=100ms", "--kill-after=100ms"];
    let mut shim = Shim::start_by(command, &options, &["sh", "-c", script]);
    shim.process = children(shim.process)[0];
    let mut sidecar = shim.open("first");
    assert_eq!(sidecar.line(), "1");
    eventually("that the orphan is reaped", || (shim.children().len() <= 2).then_some(()));
    sidecar.send(FromSidecar::Input(b"and on\n"));
    assert_eq!(sidecar.line(), "and on");
    sidecar.send(FromSidecar::InputEnd);
    assert_eq!(sidecar.exit(), Exit::Code(0));
    sidecar.send(FromSidecar::Close);
    assert_eq!(sidecar.next(), None);
    eventually("that no child is left", || shim.children().is_empty().then_some(()));
    // Which the kernel would keep from it, did it not want it.
    shim.signal(Signal::TERM);
    assert_eq!(shim.ended().code(), Some(0));
}
