//! How many sessions there may be, and what is refused.

use std::fs;

use mcpulse_shim::protocol::{Exit, FromSidecar, Refusal};

use crate::{
    harness::Shim,
    sidecar::{Said, Sidecar},
};

#[test]
fn a_hundred_sessions_at_once_leave_nothing() {
    let options = ["--max-sessions=100", "--terminate-after=50ms", "--kill-after=50ms"];
    let shim = Shim::start(&options, &["cat"]);
    let descriptors = shim.descriptors();
    let mut resident = Vec::new();
    for round in 0..3 {
        let open = |number| shim.open(&format!("{round} {number}"));
        let mut sidecars: Vec<Sidecar> = (0..100).map(open).collect();
        assert_eq!(shim.children().len(), 100);
        for (number, sidecar) in sidecars.iter_mut().enumerate() {
            sidecar.send(FromSidecar::Input(format!("{number}\n").as_bytes()));
        }
        for (number, sidecar) in sidecars.iter_mut().enumerate() {
            assert_eq!(sidecar.line(), number.to_string());
        }
        for (number, sidecar) in sidecars.iter_mut().enumerate() {
            if number % 2 == 0 {
                sidecar.send(FromSidecar::InputEnd);
                assert_eq!(sidecar.exit(), Exit::Code(0));
            }
            sidecar.send(FromSidecar::Close);
        }
        drop(sidecars);
        shim.is_clean(descriptors);
        resident.push(shim.resident());
    }
    assert!(resident[2] < resident[0] + 256, "{resident:?} KiB");
}

#[test]
fn there_are_no_more_than_may_be() {
    let shim = Shim::start(&["--max-sessions=2"], &["cat"]);
    let mut first = shim.open("first");
    let _second = shim.open("second");
    assert_eq!(shim.children().len(), 2);
    let (refusal, why) = refused(&shim, &open(b"third-----------"));
    assert_eq!(
        (refusal, &*why),
        (Refusal::Full, "there are 2 sessions already; --max-sessions allows more")
    );
    assert_eq!(refused(&shim, &open(b"first-----------")).0, Refusal::Taken);
    first.send(FromSidecar::InputEnd);
    first.exit();
    first.send(FromSidecar::Close);
    assert_eq!(first.next(), None);
    shim.open("third");
}

#[test]
fn what_cannot_be_started_is_said_with_the_remedy() {
    let shim = Shim::start(&[], &["no-such-program"]);
    let (refusal, why) = refused(&shim, &open(b"0123456789abcdef"));
    assert_eq!(refusal, Refusal::Start);
    for part in ["no-such-program", "check the command"] {
        assert!(why.contains(part), "{part} in {why}");
    }
    shim.logged("mcpulse-shim: a session was refused: cannot start no-such-program");
}

#[test]
fn what_is_not_the_protocol_is_refused() {
    let shim = Shim::start(&[], &["cat"]);
    let descriptors = shim.descriptors();
    let short = FromSidecar::Open { token: b"short", tag: b"" };
    assert!(refused(&shim, &frame(short)).1.contains("16 bytes"));
    assert!(
        refused(&shim, &frame(FromSidecar::Foreign(2))).1.contains("version 2 is not spoken, 1")
    );
    for bytes in [frame(FromSidecar::Close), b"GET / HTTP/1.1\r\n".to_vec()] {
        assert_eq!(refused(&shim, &bytes).0, Refusal::Protocol);
    }
    // More than the window and what a pipe takes: the connection ends, and the session waits.
    let mut sidecar = shim.open("bold");
    sidecar.send(FromSidecar::Signal(19));
    let much = vec![0; 65_536];
    while sidecar.try_send(FromSidecar::Input(&much)) {}
    shim.logged("the sidecar broke the protocol");
    let (mut sidecar, attached) = Sidecar::resume(&shim.socket(), "bold", Some(0));
    assert!(attached.input >= 4 * 65_536 && attached.input - attached.passed <= 4 * 65_536);
    sidecar.send(FromSidecar::Signal(9));
    assert_eq!(sidecar.exit(), Exit::Signal(9));
    sidecar.send(FromSidecar::Close);
    shim.is_clean(descriptors);
}

#[test]
fn connections_that_say_nothing_keep_nobody_out() {
    let shim = Shim::start(&[], &["cat"]);
    let silent: Vec<Sidecar> = (0..70).map(|_| Sidecar::connect(&shim.socket())).collect();
    let mut sidecar = shim.open("patient");
    sidecar.send(FromSidecar::Input(b"in\n"));
    assert_eq!(sidecar.line(), "in");
    drop(silent);
}

#[test]
fn one_who_may_not_write_elsewhere_may_connect() {
    use std::os::unix::fs::MetadataExt as _;
    let shim = Shim::start(&[], &["cat"]);
    assert_eq!(fs::metadata(shim.socket()).expect("a socket").mode() & 0o777, 0o666);
}

fn open(token: &[u8]) -> Vec<u8> {
    frame(FromSidecar::Open { token, tag: b"x" })
}

fn frame(frame: FromSidecar<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.write(&mut bytes);
    bytes
}

fn refused(shim: &Shim, said: &[u8]) -> (Refusal, String) {
    let mut sidecar = Sidecar::connect(&shim.socket());
    sidecar.send_raw(said);
    match sidecar.next() {
        Some(Said::Refused(refusal, why)) => {
            assert_eq!(sidecar.next(), None);
            (refusal, why)
        }
        other => panic!("not refused: {other:?}"),
    }
}
