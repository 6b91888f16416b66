//! What goes into a program, and what comes out of it: the same bytes, however many.

use mcpulse_shim::protocol::{Exit, FromSidecar};

use crate::{
    harness::Shim,
    sidecar::{Said, Transfer},
};

/// Bytes of every kind, the same each time.
pub(crate) fn bytes(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    };
    (0..count).map(|_| next()).collect()
}

#[test]
fn bytes_of_any_kind_come_back_as_they_went() {
    let shim = Shim::start(&[], &["cat"]);
    let input: Vec<u8> = [bytes(70_000), (0..=255).collect(), vec![0; 999]].concat();
    let mut transfer = Transfer::new(input.clone());
    transfer.run(shim.open("any"), usize::MAX, usize::MAX);
    assert!(transfer.output == input, "{} of {} bytes", transfer.output.len(), input.len());
    assert_eq!(transfer.exit, Some(Exit::Code(0)));
}

#[test]
fn sixty_four_mebibytes_take_no_more_memory_than_the_windows() {
    let shim = Shim::start(&[], &["cat"]);
    let input = bytes(64 << 20);
    let mut transfer = Transfer::new(input.clone());
    transfer.run(shim.open("much"), usize::MAX, usize::MAX);
    assert!(transfer.output == input, "{} of {} bytes", transfer.output.len(), input.len());
    assert!(shim.resident() < 8 << 10, "{} KiB", shim.resident());
}

#[test]
fn a_sidecar_that_takes_nothing_stops_the_program_and_nothing_else() {
    let shim =
        Shim::start(&["--window=65536"], &["sh", "-c", "yes & read line; echo $line >&2; kill $!"]);
    let mut slow = shim.open("slow");
    let mut held = 0;
    while held < 65_536 {
        if let Some(Said::Output(bytes)) = slow.next() {
            held += bytes.len();
        }
    }
    assert_eq!(held, 65_536, "the window is full, and no byte more comes");
    // The program takes a line all the same, and another session goes on.
    slow.send(FromSidecar::Input(b"heard\n"));
    shim.logged("[slow] heard");
    let mut other = shim.open("other");
    other.until(|said| matches!(said, Said::Output(_)));
}

#[test]
fn a_program_that_reads_nothing_is_still_heard_and_told() {
    let shim = Shim::start(
        &["--window=4096"],
        &["sh", "-c", "trap 'echo told; exit 3' TERM; echo ready; while :; do sleep 0.01; done"],
    );
    let mut sidecar = shim.open("deaf");
    assert_eq!(sidecar.line(), "ready");
    // As much as the pipe takes, a page at a time, for it holds less of smaller pieces.
    for pages in 1..=16 {
        sidecar.send(FromSidecar::Input(&[b'x'; 4096]));
        sidecar.until(|said| matches!(said, Said::Passed(count) if *count == pages * 4096));
    }
    // And the window behind it.
    sidecar.send(FromSidecar::Input(&[b'x'; 4096]));
    sidecar.send(FromSidecar::Signal(15));
    assert_eq!(sidecar.line(), "told");
    assert_eq!(sidecar.exit(), Exit::Code(3));
}
