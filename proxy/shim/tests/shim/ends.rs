//! How programs end, and what they leave behind.

use mcpulse_shim::protocol::{Exit, FromSidecar};

use crate::{
    harness::{Shim, eventually, runs},
    sidecar::{Said, Sidecar},
};

const HASTE: [&str; 2] = ["--terminate-after=100ms", "--kill-after=100ms"];

#[test]
fn how_a_program_ended_is_told() {
    for (script, exit) in [
        ("exit 0", Exit::Code(0)),
        ("exit 42", Exit::Code(42)),
        ("kill -9 $$", Exit::Signal(9)),
        ("kill -15 $$", Exit::Signal(15)),
    ] {
        let shim = Shim::start(&[], &["sh", "-c", script]);
        let mut sidecar = shim.open("ends");
        assert_eq!((sidecar.exit(), script), (exit, script));
        sidecar.send(FromSidecar::Close);
        assert_eq!(sidecar.next(), None);
        assert!(shim.children().is_empty());
    }
}

#[test]
fn all_output_comes_before_the_end_is_told() {
    let shim = Shim::start(&["--window=4096"], &["sh", "-c", "head -c 50000 /dev/zero; exit 4"]);
    let mut sidecar = shim.open("last words");
    let (output, end) = sidecar.output();
    assert_eq!((output.len(), end), (50_000, Said::OutputEnd));
    assert_eq!(sidecar.exit(), Exit::Code(4));
}

#[test]
fn closing_the_input_lets_a_program_end_by_itself() {
    let shim = Shim::start(&[], &["sh", "-c", "cat; echo bye; exit 5"]);
    let mut sidecar = shim.open("polite");
    sidecar.send(FromSidecar::Input(b"hello "));
    sidecar.send(FromSidecar::InputEnd);
    assert_eq!(sidecar.output(), (b"hello bye\n".to_vec(), Said::OutputEnd));
    assert_eq!(sidecar.exit(), Exit::Code(5));
}

#[test]
fn one_that_heeds_nothing_is_killed_with_all_that_it_started() {
    let script = "trap '' TERM; (trap '' TERM; sleep 1000; sleep 1000) & echo $!; \
                  while :; do sleep 1000; done";
    let shim = Shim::start(&HASTE, &["sh", "-c", script]);
    let descriptors = shim.descriptors();
    let mut sidecar = shim.open("stubborn");
    let below: u32 = sidecar.line().parse().expect("a number");
    assert!(runs(below));
    sidecar.send(FromSidecar::Close);
    assert_eq!(sidecar.exit(), Exit::Signal(9));
    assert_eq!(sidecar.next(), None);
    eventually("that it has ended", || (!runs(below)).then_some(()));
    shim.is_clean(descriptors);
}

#[test]
fn what_a_program_leaves_in_its_group_is_asked_and_then_made_to_end() {
    for (trap, said) in [("trap 'echo asked; exit' TERM", "asked\n"), ("trap '' TERM", "")] {
        let script = format!("({trap}; echo up; while :; do sleep 0.05; done) & read line");
        let shim = Shim::start(&HASTE, &["sh", "-c", &script]);
        let descriptors = shim.descriptors();
        let mut sidecar = shim.open("wrapper");
        assert_eq!(sidecar.line(), "up");
        sidecar.send(FromSidecar::Input(b"go\n"));
        let (output, _) = sidecar.output();
        assert_eq!(String::from_utf8_lossy(&output), said);
        assert_eq!(sidecar.exit(), Exit::Code(0));
        drop(sidecar);
        eventually("that nobody is left", || shim.children().is_empty().then_some(()));
        let (mut again, _) = Sidecar::resume(&shim.socket(), "wrapper", None);
        again.send(FromSidecar::Close);
        shim.is_clean(descriptors);
    }
}

#[test]
fn who_holds_the_pipes_of_a_program_that_has_ended_is_not_waited_for() {
    // In a session of its own, no group's signal reaches it.
    let script = "setsid sh -c 'echo $$; exec sleep 1000' & read line; exit 6";
    let shim = Shim::start(&HASTE, &["sh", "-c", script]);
    let mut sidecar = shim.open("daemon");
    let daemon: u32 = sidecar.line().parse().expect("a number");
    sidecar.send(FromSidecar::Input(b"go\n"));
    assert_eq!(sidecar.exit(), Exit::Code(6));
    sidecar.send(FromSidecar::Close);
    assert_eq!(sidecar.next(), None);
    eventually("that it has ended as well", || (!runs(daemon)).then_some(()));
}

#[test]
fn a_program_that_closes_its_output_lives_on() {
    let shim = Shim::start(&[], &["sh", "-c", "exec >&-; read line; echo $line >&2; exit 8"]);
    let mut sidecar = shim.open("mute");
    assert_eq!(sidecar.output(), (Vec::new(), Said::OutputEnd));
    sidecar.send(FromSidecar::Input(b"still here\n"));
    shim.logged("[mute] still here");
    assert_eq!(sidecar.exit(), Exit::Code(8));
}

#[test]
fn a_program_that_closes_its_input_is_told_of() {
    let shim = Shim::start(&[], &["sh", "-c", "exec <&-; echo deaf; sleep 1000"]);
    let mut sidecar = shim.open("deaf");
    sidecar.until(|said| *said == Said::InputGone);
    // As if it had been read, so that the window does not fill.
    let mut passed = 0;
    for round in 1..=40_u64 {
        sidecar.send(FromSidecar::Input(&[b'x'; 16_384]));
        while round * 16_384 - passed > 200_000 {
            if let Said::Passed(count) = sidecar.until(|said| matches!(said, Said::Passed(_))) {
                passed = count;
            }
        }
    }
}

#[test]
fn a_close_counts_however_soon_the_sidecar_goes() {
    // Longer than anybody here waits, so that nothing else ends them.
    let options = [&HASTE[..], &["--resume-for=10m"]].concat();
    let shim = Shim::start(&options, &["yes"]);
    let descriptors = shim.descriptors();
    for round in 0..20 {
        let mut sidecar = shim.open(&format!("hasty {round}"));
        sidecar.send(FromSidecar::Close);
        drop(sidecar);
    }
    shim.is_clean(descriptors);
}

#[test]
fn orphans_are_reaped_while_sessions_go_on() {
    let shim = Shim::start(&[], &["sh", "-c", "for i in 1 2 3 4 5; do (sleep 0.01 &) ; done; cat"]);
    let mut sidecar = shim.open("parent");
    sidecar.send(FromSidecar::Input(b"on\n"));
    assert_eq!(sidecar.line(), "on");
    // Each of them had lost its parent before the program said anything.
    eventually("that only the program is left", || (shim.children().len() == 1).then_some(()));
}
