//! Connections that break, and sidecars that come back: nothing is lost, nothing comes twice.

use std::{cell::Cell, path::Path};

use mcpulse_shim::protocol::{Exit, FromSidecar, Refusal};
use proptest::{collection::vec, prelude::*, test_runner::TestRunner};

use crate::{
    bytes::bytes,
    harness::{Shim, eventually},
    sidecar::{Said, Sidecar, Transfer},
};

/// A connection that breaks after this many bytes were written to it, or read of it, and whether
/// the sidecar behind it remembers the next time what it had.
type Break = (usize, usize, bool);

/// Sends bytes through `cat`, over connections that break.
fn transfer(socket: &Path, token: &str, input: &[u8], breaks: &[Break]) -> Transfer {
    let mut transfer = Transfer::new(input.to_vec());
    let mut sidecar = Sidecar::open(socket, token);
    for (writes, reads, remembers) in breaks {
        transfer.run(sidecar, *writes, *reads);
        let received = remembers.then_some(transfer.output.len() as u64);
        let attached;
        (sidecar, attached) = Sidecar::resume(socket, token, received);
        if let Some(received) = received {
            assert_eq!(attached.output, received);
        }
        transfer.resumes(attached);
    }
    transfer.exit = None;
    transfer.run(sidecar, usize::MAX, usize::MAX);
    let (mut last, _) = Sidecar::resume(socket, token, Some(transfer.output.len() as u64));
    last.send(FromSidecar::Close);
    transfer
}

#[test]
fn wherever_connections_break_the_bytes_are_the_same() {
    let shim = Shim::start(&["--window=16384"], &["cat"]);
    let most = 200_000_usize;
    let input = bytes(most);
    let breaks = vec((1_usize..60_000, 1_usize..60_000, any::<bool>()), 0..8);
    let mut runner = TestRunner::new(ProptestConfig { cases: 64, ..ProptestConfig::default() });
    let number = Cell::new(0);
    let held = runner.run(&(0..most, breaks), |(length, breaks)| {
        number.set(number.get() + 1);
        let token = format!("p{}", number.get());
        let done = transfer(&shim.socket(), &token, &input[..length], &breaks);
        prop_assert!(done.output == input[..length]);
        prop_assert_eq!(done.exit, Some(Exit::Code(0)));
        Ok(())
    });
    held.unwrap_or_else(|broken| panic!("{broken}"));
}

#[test]
fn every_boundary_of_the_first_frames_is_one_to_break_at() {
    let shim = Shim::start(&["--window=4096", "--max-sessions=1000"], &["cat"]);
    let input = b"one\ntwo\nthree";
    for at in 1..40 {
        for (token, cut) in [("w", (at, usize::MAX, true)), ("r", (usize::MAX, at, false))] {
            let done = transfer(&shim.socket(), &format!("{token}{at}"), input, &[cut, cut]);
            assert_eq!((&*done.output, done.exit), (&input[..], Some(Exit::Code(0))), "{cut:?}");
        }
    }
}

#[test]
fn what_a_program_says_meanwhile_is_there_for_the_next_sidecar() {
    let shim =
        Shim::start(&[], &["sh", "-c", "read line; echo \"got $line\"; echo done >&2; exit 7"]);
    let mut first = shim.open("gone");
    first.send(FromSidecar::Input(b"it\n"));
    drop(first);
    shim.logged("[gone] done");
    let mut look = Sidecar::connect(&shim.socket());
    look.send(FromSidecar::Look);
    assert_eq!(look.next(), Some(Said::State { sessions: 1, most: 32, drains: false }));
    assert_eq!(look.next(), Some(Said::Detached(b"gone------------".to_vec())));
    assert_eq!(look.next(), None);
    let (mut second, attached) = Sidecar::resume(&shim.socket(), "gone", None);
    assert_eq!((attached.input, attached.output, attached.open_line), (3, 0, 0));
    assert_eq!(second.line(), "got it");
    assert_eq!(second.exit(), Exit::Code(7));
    second.send(FromSidecar::Close);
    assert_eq!(second.next(), None);
    refused(&shim, Refusal::Unknown);
}

#[test]
fn a_new_connection_takes_the_session_from_the_old_one() {
    let shim = Shim::start(&[], &["cat"]);
    let mut old = shim.open("gone");
    let (mut new, _) = Sidecar::resume(&shim.socket(), "gone", Some(0));
    new.send(FromSidecar::Input(b"to the new\n"));
    assert_eq!(new.line(), "to the new");
    assert_eq!(old.next(), None);
}

#[test]
fn a_session_that_nobody_comes_back_for_ends() {
    let options = ["--resume-for=50ms", "--terminate-after=50ms", "--kill-after=50ms"];
    let shim = Shim::start(&options, &["sh", "-c", "trap '' TERM; echo here >&2; yes"]);
    let descriptors = shim.descriptors();
    drop(shim.open("gone"));
    shim.logged("[gone] here");
    shim.is_clean(descriptors);
    refused(&shim, Refusal::Unknown);
}

#[test]
fn a_sidecar_that_claims_output_that_never_was_gets_nothing() {
    let shim = Shim::start(&[], &["cat"]);
    drop(shim.open("gone"));
    eventually("that the session waits", || {
        let mut look = Sidecar::connect(&shim.socket());
        look.send(FromSidecar::Look);
        look.next();
        look.next()
    });
    let mut sidecar = Sidecar::connect(&shim.socket());
    sidecar.send(FromSidecar::Resume { token: b"gone------------", received: 1 });
    let said = sidecar.next();
    assert!(matches!(&said, Some(Said::Refused(Refusal::Protocol, _))), "{said:?}");
    assert_eq!(sidecar.next(), None);
}

fn refused(shim: &Shim, why: Refusal) {
    let mut sidecar = Sidecar::connect(&shim.socket());
    sidecar.send(FromSidecar::Resume { token: b"gone------------", received: 0 });
    let said = sidecar.next();
    assert!(matches!(&said, Some(Said::Refused(refusal, _)) if *refusal == why), "{said:?}");
    assert_eq!(sidecar.next(), None);
}
