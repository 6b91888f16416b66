//! Line framing: where one message a line begins and ends, in any chunking.

use bytes::{Bytes, BytesMut};
use memchr::memchr;

/// Bytes of a read.
const READ: usize = 16 << 10;
/// Longest line that shares memory with those around it.
const SHARES: usize = 4 * READ;

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

/// Gathers whole lines, in the memory that was read into. Of a long one that is all and nothing
/// else: its room grew in leaps, and whoever holds the line would hold that as well.
#[derive(Debug, Default)]
pub struct Gather {
    buffer: BytesMut,
    /// How many bytes were read; beyond them there is room.
    read: usize,
    /// How many of them have no line break.
    looked: usize,
}

impl Gather {
    /// Where to read to.
    pub fn room(&mut self) -> &mut [u8] {
        self.buffer.resize(self.read + READ, 0);
        &mut self.buffer[self.read..]
    }

    /// The memory itself, for who appends to it what is read.
    pub fn spare(&mut self) -> &mut BytesMut {
        self.buffer.truncate(self.read);
        self.buffer.reserve(READ);
        &mut self.buffer
    }

    /// So many bytes were read.
    pub fn filled(&mut self, bytes: usize) {
        self.read += bytes;
        self.buffer.truncate(self.read);
    }

    /// Bytes of the line that is not over.
    pub fn held(&self) -> usize {
        self.read
    }

    /// The next line without its end.
    #[expect(clippy::should_implement_trait, reason = "more lines may come after none")]
    pub fn next(&mut self) -> Option<BytesMut> {
        let Some(found) = memchr(b'\n', &self.buffer[self.looked..]) else {
            self.looked = self.buffer.len();
            return None;
        };
        let end = self.looked + found;
        let line = if end > SHARES {
            let rest = BytesMut::from(&self.buffer[end + 1..]);
            let mut line = Vec::from(std::mem::replace(&mut self.buffer, rest));
            line.truncate(end);
            line.shrink_to_fit();
            // By way of those, it is not copied.
            BytesMut::from(Bytes::from(line))
        } else {
            let mut line = self.buffer.split_to(end + 1);
            line.truncate(end);
            line
        };
        (self.read, self.looked) = (self.buffer.len(), 0);
        Some(without_return(line))
    }

    /// The last line, if it has no end.
    pub fn rest(&mut self) -> Option<BytesMut> {
        self.buffer.truncate(self.read);
        (self.read, self.looked) = (0, 0);
        let rest = self.buffer.split();
        (!rest.is_empty()).then(|| without_return(rest))
    }
}

/// Without the carriage return before the end of a line.
fn without_return(mut line: BytesMut) -> BytesMut {
    if line.last() == Some(&b'\r') {
        line.truncate(line.len() - 1);
    }
    line
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

    #[test]
    fn lines_are_gathered_whole_from_any_reads() {
        let text = b"first\r\n\nsecond\nthird without end";
        for chunk in 1..9 {
            let mut gather = Gather::default();
            let mut found = Vec::new();
            for chunk in text.chunks(chunk) {
                // By turns in each of the two ways.
                if found.len() % 2 == 0 {
                    gather.room()[..chunk.len()].copy_from_slice(chunk);
                } else {
                    gather.spare().extend_from_slice(chunk);
                }
                gather.filled(chunk.len());
                found.extend(std::iter::from_fn(|| gather.next()));
            }
            // Room that nothing was read into is no text.
            let _ = gather.room();
            found.extend(gather.rest());
            assert_eq!(found, [&b"first"[..], b"", b"second", b"third without end"], "{chunk}");
            assert!(gather.rest().is_none());
        }
    }

    #[test]
    fn a_long_line_takes_no_more_memory_than_its_text() {
        let mut gather = Gather::default();
        let mut text = vec![b'x'; 1 << 20];
        text.extend(b"\r\nthe next\n");
        let mut lines = Vec::new();
        for chunk in text.chunks(READ) {
            gather.room()[..chunk.len()].copy_from_slice(chunk);
            gather.filled(chunk.len());
            lines.extend(std::iter::from_fn(|| gather.next()));
        }
        assert_eq!(lines[1], "the next");
        let long = lines.remove(0).freeze().try_into_mut().expect("nobody else holds its memory");
        assert_eq!(long.len(), 1 << 20);
        assert!(long.capacity() < (1 << 20) + READ, "{}", long.capacity());
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
