//! Line framing: where one message a line begins and ends, in any chunking.

use memchr::memchr;

/// A piece of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Bytes of the current line, without its end.
    Part(&'a [u8]),
    /// The line is over.
    End,
}

/// Splits `bytes` into pieces; a line that is not over goes on with the next bytes.
pub fn split<'a>(mut bytes: &'a [u8], mut take: impl FnMut(Piece<'a>)) {
    while let Some(end) = memchr(b'\n', bytes) {
        if end > 0 {
            take(Piece::Part(&bytes[..end]));
        }
        take(Piece::End);
        bytes = &bytes[end + 1..];
    }
    if !bytes.is_empty() {
        take(Piece::Part(bytes));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(bytes: &[u8], chunk: usize) -> Vec<Vec<u8>> {
        let mut lines = vec![Vec::new()];
        for chunk in bytes.chunks(chunk) {
            split(chunk, |piece| match piece {
                Piece::Part(part) => lines.last_mut().unwrap().extend_from_slice(part),
                Piece::End => lines.push(Vec::new()),
            });
        }
        lines
    }

    proptest! {
        #[test]
        fn finds_the_same_lines_in_every_chunking(
            bytes in prop::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..100),
            chunk in 1_usize..20,
        ) {
            let whole: Vec<Vec<u8>> = bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            prop_assert_eq!(lines(&bytes, chunk), whole);
        }
    }
}
