//! Any bytes in any chunking: the lines that the whole has.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mcpulse_proxy::lines::{Piece, split};

fuzz_target!(|input: (u8, &[u8])| {
    let (chunk, bytes) = input;
    let mut lines = vec![Vec::new()];
    for chunk in bytes.chunks(usize::from(chunk).max(1)) {
        split(chunk, |piece| match piece {
            Piece::Part(part) => lines.last_mut().unwrap().extend_from_slice(part),
            Piece::End => lines.push(Vec::new()),
        });
    }
    let whole: Vec<_> = bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    assert_eq!(lines, whole);
});
