//! The bytes of a session on their way, counted from its first: what is kept of either direction,
//! bounded by the window.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
};

use crate::protocol::Violation;

/// Most bytes that are read at a time, so that no session keeps the others waiting.
const PIECE: usize = 16 << 10;
/// Most memory that is kept for a direction in which nothing is under way: that of a small message.
const KEPT: usize = 1 << 10;

/// From the program to the sidecar: kept until the sidecar has passed it on.
#[derive(Debug, Default)]
pub(crate) struct Output {
    kept: VecDeque<u8>,
    /// Where what is kept begins.
    passed: u64,
    /// How many bytes of what is kept were sent.
    sent: usize,
    /// What was passed on ended within a line.
    within_line: bool,
    /// Nobody wants what comes.
    unwanted: bool,
}

impl Output {
    /// How many bytes may be read from the program.
    pub(crate) fn room(&self, window: usize) -> usize {
        if self.unwanted { PIECE } else { window.saturating_sub(self.kept.len()) }
    }

    /// Reads from the program, once, as much as there is room for. False when there is no more.
    pub(crate) fn read(&mut self, from: &mut impl Read, window: usize) -> io::Result<bool> {
        let mut piece = [0; PIECE];
        let room = self.room(window).min(PIECE);
        let read = from.read(&mut piece[..room])?;
        if !self.unwanted {
            self.kept.extend(&piece[..read]);
        }
        Ok(read > 0)
    }

    /// What is to be sent next, if anything is.
    pub(crate) fn next(&mut self) -> Option<&[u8]> {
        let (front, back) = self.kept.as_slices();
        let next = match self.sent.checked_sub(front.len()) {
            None => &front[self.sent..],
            Some(sent) => &back[sent..],
        };
        let next = &next[..next.len().min(PIECE)];
        self.sent += next.len();
        (!next.is_empty()).then_some(next)
    }

    /// Forgets what was passed on.
    pub(crate) fn passed(&mut self, count: u64) -> Result<(), Violation> {
        let more = count.checked_sub(self.passed).and_then(|more| usize::try_from(more).ok());
        let more = more.filter(|more| *more <= self.sent).ok_or(Violation)?;
        if let Some(last) = self.kept.drain(..more).next_back() {
            self.within_line = last != b'\n';
        }
        self.sent -= more;
        self.passed = count;
        if self.kept.is_empty() {
            self.kept.shrink_to(KEPT);
        }
        Ok(())
    }

    /// Goes on behind what a new connection has received; returns where that is.
    pub(crate) fn resume(&mut self, received: Option<u64>) -> Result<u64, Violation> {
        let received = received.unwrap_or(self.passed);
        let sent = received.checked_sub(self.passed).and_then(|more| usize::try_from(more).ok());
        self.sent = sent.filter(|sent| *sent <= self.kept.len()).ok_or(Violation)?;
        Ok(received)
    }

    /// Whether what is sent next begins within a line.
    pub(crate) fn within_line(&self) -> bool {
        self.sent.checked_sub(1).map_or(self.within_line, |last| self.kept[last] != b'\n')
    }

    /// Forgets everything, what is still to come included.
    pub(crate) fn abandon(&mut self) {
        self.unwanted = true;
        self.kept = VecDeque::new();
        self.sent = 0;
    }
}

/// From the sidecar to the program: kept until the program takes it.
#[derive(Debug, Default)]
pub(crate) struct Input {
    kept: VecDeque<u8>,
    /// How much the program has taken.
    passed: u64,
    /// How much of that the sidecar was told.
    told: u64,
    /// How much of what came is behind the last line break.
    open_line: u64,
}

impl Input {
    /// How much came.
    pub(crate) fn received(&self) -> u64 {
        self.passed + self.kept.len() as u64
    }

    /// How much of that is behind the last line break.
    pub(crate) fn open_line(&self) -> u64 {
        self.open_line
    }

    /// Whether nothing waits for the program.
    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Takes what the sidecar sends, within the window that it knows of.
    pub(crate) fn push(&mut self, bytes: &[u8], window: usize) -> Result<(), Violation> {
        let under_way = self.received() - self.told + bytes.len() as u64;
        if under_way > window as u64 {
            return Err(Violation);
        }
        self.kept.extend(bytes);
        self.open_line = match bytes.iter().rposition(|byte| *byte == b'\n') {
            Some(at) => (bytes.len() - at - 1) as u64,
            None => self.open_line + bytes.len() as u64,
        };
        Ok(())
    }

    /// Has the program take what it takes without waiting.
    pub(crate) fn write(&mut self, to: &mut impl Write) -> io::Result<()> {
        while let (front @ [_, ..], _) = self.kept.as_slices() {
            let written = to.write(front)?;
            self.kept.drain(..written);
            self.passed += written as u64;
        }
        self.kept.shrink_to(KEPT);
        Ok(())
    }

    /// Does as if the program had taken everything: it reads no more.
    pub(crate) fn abandon(&mut self) {
        self.passed = self.received();
        self.kept = VecDeque::new();
    }

    /// What the sidecar is to be told to have been passed on, if it is worth a frame.
    pub(crate) fn tell_if_due(&mut self, window: usize) -> Option<u64> {
        (self.passed - self.told >= window as u64 / 4).then(|| self.tell())
    }

    /// What a connection is told when it begins to have been passed on.
    pub(crate) fn tell(&mut self) -> u64 {
        self.told = self.passed;
        self.passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_kept_until_it_is_passed_on() {
        let mut output = Output::default();
        assert!(output.read(&mut &b"0123456789"[..], 8).expect("a read"));
        assert_eq!((output.room(8), output.next()), (0, Some(&b"01234567"[..])));
        assert_eq!(output.next(), None);
        output.passed(3).expect("it was sent");
        assert_eq!(output.room(8), 3);
        assert_eq!(output.resume(Some(5)), Ok(5));
        assert_eq!(output.next(), Some(&b"567"[..]));
        assert_eq!((output.resume(None), output.next()), (Ok(3), Some(&b"34567"[..])));
        assert_eq!(
            (output.resume(Some(2)), output.resume(Some(9))),
            (Err(Violation), Err(Violation))
        );
        assert_eq!((output.passed(2), output.passed(9)), (Err(Violation), Err(Violation)));
    }

    #[test]
    fn output_tells_whether_it_goes_on_within_a_line() {
        let mut output = Output::default();
        assert!(output.read(&mut &b"ab\ncd"[..], 8).expect("a read"));
        assert!(!output.within_line());
        output.next();
        for (count, within) in [(1, true), (3, false), (4, true)] {
            output.passed(count).expect("it was sent");
            assert_eq!(output.resume(None), Ok(count));
            assert_eq!(output.within_line(), within, "{count}");
            output.next();
        }
        assert_eq!((output.resume(Some(5)), output.within_line()), (Ok(5), true));
    }

    #[test]
    fn input_is_bounded_by_what_the_sidecar_knows_to_be_taken() {
        let mut input = Input::default();
        input.push(b"ab\ncd", 8).expect("room");
        assert_eq!((input.received(), input.open_line()), (5, 2));
        let mut taken = Vec::new();
        input.write(&mut taken).expect("a write");
        assert_eq!(input.push(b"efgh", 8), Err(Violation), "of that nobody was told");
        assert_eq!(input.tell_if_due(8), Some(5));
        input.push(b"efgh", 8).expect("room");
        assert_eq!((input.received(), input.open_line(), &*taken), (9, 6, &b"ab\ncd"[..]));
        assert_eq!(input.tell_if_due(8), None);
    }
}
