//! The end of the pod: SIGTERM lets calls finish, then ends what is left.

use std::time::{Duration, Instant};

use mcpulse_shim::protocol::{Exit, FromSidecar, Refusal};
use rustix::process::Signal;

use crate::{
    harness::Shim,
    sidecar::{Said, Sidecar},
};

#[test]
fn without_sessions_it_ends_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut shim = Shim::start(&[], &["cat"]);
        shim.signal(signal);
        assert_eq!(shim.ended().code(), Some(0));
        assert!(!shim.socket().exists());
    }
}

#[test]
fn calls_finish_and_nothing_new_begins() {
    let mut shim = Shim::start(&[], &["cat"]);
    let mut sidecar = shim.open("busy");
    shim.signal(Signal::TERM);
    sidecar.until(|said| *said == Said::Drain);
    let mut late = Sidecar::connect(&shim.socket());
    late.send(FromSidecar::Open { token: b"0123456789abcdef", tag: b"late" });
    let said = late.next();
    assert!(matches!(said, Some(Said::Refused(Refusal::Draining, _))), "{said:?}");
    // The sidecar is started anew in the middle of it.
    drop(sidecar);
    let (mut sidecar, attached) = Sidecar::resume(&shim.socket(), "busy", Some(0));
    assert!(attached.drains);
    sidecar.send(FromSidecar::Input(b"answered\n"));
    assert_eq!(sidecar.line(), "answered");
    sidecar.send(FromSidecar::Close);
    assert_eq!(shim.ended().code(), Some(0));
}

#[test]
fn what_does_not_finish_is_ended_and_its_last_words_are_heard() {
    let options = ["--drain-timeout=100ms", "--kill-after=100ms"];
    let script = "trap 'echo asked' TERM; echo up; while :; do sleep 0.01; done";
    let mut shim = Shim::start(&options, &["sh", "-c", script]);
    let mut sidecar = shim.open("stubborn");
    assert_eq!(sidecar.line(), "up");
    shim.signal(Signal::TERM);
    assert_eq!(sidecar.line(), "asked");
    assert_eq!(sidecar.exit(), Exit::Signal(9));
    assert_eq!(shim.ended().code(), Some(0));
}

#[test]
fn who_asks_twice_does_not_wait() {
    let mut shim = Shim::start(&["--drain-timeout=1m"], &["cat"]);
    let mut sidecar = shim.open("slow");
    let begun = Instant::now();
    shim.signal(Signal::TERM);
    sidecar.until(|said| *said == Said::Drain);
    shim.signal(Signal::TERM);
    assert_eq!(shim.ended().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(50));
}
