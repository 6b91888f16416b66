//! Frames as bytes: what stands in the table, and nothing else.

use proptest::{collection::vec, prelude::*};

use super::*;

const TOKEN: &[u8] = b"0123456789abcdef";

fn from_sidecar() -> Vec<(FromSidecar<'static>, &'static [u8])> {
    vec![
        (FromSidecar::Open { token: b"to", tag: b"t" }, b"\0\0\0\x0b\x01mcps\0\x01\x02to\x01t"),
        (
            FromSidecar::Resume { token: b"to", received: 258 },
            b"\0\0\0\x11\x02mcps\0\x01\x02to\0\0\0\0\0\0\x01\x02",
        ),
        (FromSidecar::Look, b"\0\0\0\x06\x03mcps\0\x01"),
        (FromSidecar::Foreign(9), b"\0\0\0\x06\x03mcps\0\x09"),
        (FromSidecar::Input(b"\0a"), b"\0\0\0\x02\x10\0a"),
        (FromSidecar::InputEnd, b"\0\0\0\0\x11"),
        (FromSidecar::Passed(1), b"\0\0\0\x08\x12\0\0\0\0\0\0\0\x01"),
        (FromSidecar::Signal(15), b"\0\0\0\x01\x13\x0f"),
        (FromSidecar::Close, b"\0\0\0\0\x14"),
    ]
}

fn from_shim() -> Vec<(FromShim<'static>, &'static [u8])> {
    let attached = Attached {
        window: 4096,
        input: 1,
        passed: 2,
        open_line: 3,
        output: 4,
        input_ended: true,
        drains: false,
        within_line: true,
    };
    vec![
        (
            FromShim::Attached(attached),
            b"\0\0\0\x27\x81\0\x01\0\0\x10\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\
              \0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x04\x05",
        ),
        (FromShim::Refused(Refusal::Full, "no"), b"\0\0\0\x03\x82\x02no"),
        (
            FromShim::State { sessions: 3, most: 32, drains: true },
            b"\0\0\0\x0b\x83\0\x01\0\0\0\x03\0\0\0\x20\x02",
        ),
        (FromShim::Detached(TOKEN), b"\0\0\0\x11\x84\x100123456789abcdef"),
        (FromShim::Output(b""), b"\0\0\0\0\x90"),
        (FromShim::OutputEnd, b"\0\0\0\0\x91"),
        (FromShim::Passed(256), b"\0\0\0\x08\x92\0\0\0\0\0\0\x01\0"),
        (FromShim::InputGone, b"\0\0\0\0\x93"),
        (FromShim::Drain, b"\0\0\0\0\x94"),
        (FromShim::Exited(Exit::Code(3)), b"\0\0\0\x02\x95\0\x03"),
        (FromShim::Exited(Exit::Signal(9)), b"\0\0\0\x02\x95\x01\x09"),
    ]
}

#[test]
fn frames_are_these_bytes() {
    for (frame, bytes) in from_sidecar() {
        let mut written = Vec::new();
        frame.write(&mut written);
        assert_eq!(written, bytes, "{frame:?}");
        let raw = first(bytes).expect("a frame").expect("all of it");
        assert_eq!((FromSidecar::read(raw), raw.length()), (Ok(frame), bytes.len()));
    }
    for (frame, bytes) in from_shim() {
        let mut written = Vec::new();
        frame.write(&mut written);
        assert_eq!(written, bytes, "{frame:?}");
        let raw = first(bytes).expect("a frame").expect("all of it");
        assert_eq!((FromShim::read(raw), raw.length()), (Ok(frame), bytes.len()));
    }
}

#[test]
fn what_is_cut_or_too_long_is_no_frame() {
    // What other versions say behind their number is theirs.
    let ours = |frame: &FromSidecar<'_>| !matches!(frame, FromSidecar::Foreign(_));
    for (_, bytes) in from_sidecar().into_iter().filter(|(frame, _)| ours(frame)) {
        for end in 0..bytes.len() {
            assert_eq!(first(&bytes[..end]), Ok(None));
        }
        let Raw { kind, payload } = first(bytes).expect("a frame").expect("all of it");
        let read = |payload| FromSidecar::read(Raw { kind, payload });
        if kind != 0x10 {
            let longer = [payload, b"x"].concat();
            assert_eq!(read(&longer), Err(Violation));
            for end in 0..payload.len() {
                assert_eq!(read(&payload[..end]), Err(Violation));
            }
        }
    }
    assert_eq!(first(b"\0\x01\0\x01\x10"), Err(Violation));
    assert_eq!(FromSidecar::read(Raw { kind: 0x01, payload: b"GET / HTTP/1.1" }), Err(Violation));
    assert_eq!(FromShim::read(Raw { kind: 0x82, payload: b"\x07no" }), Err(Violation));
}

proptest! {
    #[test]
    fn no_bytes_are_too_odd(kind: u8, payload in vec(any::<u8>(), 0..64)) {
        let payload = [&MAGIC[..], &payload].concat();
        for cut in [0, MAGIC.len()] {
            let raw = Raw { kind, payload: &payload[cut..] };
            let _ = (FromSidecar::read(raw), FromShim::read(raw));
        }
    }
}
