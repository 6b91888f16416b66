//! Standard error: in the log, line by line, and in nobody's way.

use mcpulse_shim::protocol::{Exit, FromSidecar};

use crate::{
    bytes::bytes,
    harness::{Shim, eventually},
    sidecar::Transfer,
};

#[test]
fn lines_carry_the_tag_and_never_reach_the_output() {
    let script = "echo one >&2; printf 'tw' >&2; echo o >&2; echo out; printf last >&2";
    let shim = Shim::start(&[], &["sh", "-c", script]);
    let mut sidecar = shim.open("a");
    let (output, _) = sidecar.output();
    assert_eq!(output, b"out\n");
    shim.logged("last");
    assert_eq!(shim.log(), ["[a] one", "[a] two", "[a] last"]);
}

#[test]
fn a_flood_is_whole_in_the_log_and_holds_up_no_output() {
    let script = "seq 200000 >&2 & cat; wait; exit 9";
    let shim = Shim::start(&[], &["sh", "-c", script]);
    let input = bytes(1 << 20);
    let mut transfer = Transfer::new(input.clone());
    transfer.run(shim.open("flood"), usize::MAX, usize::MAX);
    assert!(transfer.output == input);
    assert_eq!(transfer.exit, Some(Exit::Code(9)));
    eventually("all lines", || (shim.log().len() >= 200_000).then_some(()));
    let log = shim.log();
    assert!((1..).zip(&log).all(|(number, line)| *line == format!("[flood] {number}")));
    assert!(shim.resident() < 8 << 10, "{} KiB", shim.resident());
}

#[test]
fn lines_of_sessions_do_not_mix() {
    let shim =
        Shim::start(&[], &["sh", "-c", "read word; for i in $(seq 2000); do echo $word >&2; done"]);
    let words = ["aaaa", "bbbb", "cccc"];
    let mut sidecars = words.map(|word| shim.open(word));
    for (sidecar, word) in sidecars.iter_mut().zip(words) {
        sidecar.send(FromSidecar::Input(format!("{word}\n").as_bytes()));
    }
    for sidecar in &mut sidecars {
        assert_eq!(sidecar.exit(), Exit::Code(0));
    }
    eventually("all lines", || (shim.log().len() >= 6000).then_some(()));
    for line in shim.log() {
        assert!(words.iter().any(|word| line == format!("[{word}] {word}")), "{line}");
    }
}
