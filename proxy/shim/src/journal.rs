//! What programs say on standard error, in the log of the container: line by line, each with the
//! tag of its session.

use std::{
    io::{self, Write as _},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use crate::signals;

/// Longest line with its tag: what a pipe takes in one piece (`PIPE_BUF`). Longer ones are broken.
const LONGEST: usize = 4096;
/// Most bytes that wait for the log. While there are more, programs are not read.
const BOUND: usize = 256 << 10;

/// The lines of one session.
#[derive(Debug)]
pub(crate) struct Lines {
    /// The tag, and of the line that has begun what has come.
    line: Vec<u8>,
    /// The length of the tag.
    tag: usize,
}

impl Lines {
    /// Lines with this tag. What could make another line of it is replaced.
    pub(crate) fn new(tag: &[u8]) -> Self {
        let shown = |byte: &u8| if byte.is_ascii_graphic() { *byte } else { b'?' };
        let mut line = vec![b'['];
        line.extend(tag.iter().map(shown));
        line.extend(b"] ");
        Self { tag: line.len(), line }
    }

    /// Puts the lines that these bytes complete behind `out`.
    pub(crate) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match piece.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (piece, false),
            };
            let mut rest = text;
            while self.line.len() + rest.len() >= LONGEST {
                let (fits, more) = rest.split_at(LONGEST - 1 - self.line.len());
                self.line.extend(fits);
                self.end_line(out);
                rest = more;
            }
            self.line.extend(rest);
            if ends {
                self.end_line(out);
            }
        }
    }

    /// Completes a line that has begun.
    pub(crate) fn end(&mut self, out: &mut Vec<u8>) {
        if self.line.len() > self.tag {
            self.end_line(out);
        }
    }

    fn end_line(&mut self, out: &mut Vec<u8>) {
        out.extend(&self.line);
        out.push(b'\n');
        self.line.truncate(self.tag);
    }
}

/// What waits for the log, and the thread that writes it: whoever reads the log may be slow.
#[derive(Clone, Debug)]
pub(crate) struct Journal(Arc<(Mutex<State>, Condvar)>);

#[derive(Debug, Default)]
struct State {
    queue: Vec<u8>,
    /// What was taken from it is being written.
    is_writing: bool,
}

impl Journal {
    /// Starts the thread.
    pub(crate) fn start() -> io::Result<Self> {
        let journal = Self(Arc::default());
        let writer = journal.clone();
        let thread = thread::Builder::new().name("journal".to_owned()).stack_size(64 << 10);
        thread.spawn(move || writer.write_all())?;
        Ok(journal)
    }

    /// Whether anything more may be put into it.
    pub(crate) fn has_room(&self) -> bool {
        self.lock().queue.len() < BOUND
    }

    /// Has whole lines written.
    pub(crate) fn put(&self, lines: &[u8]) {
        if !lines.is_empty() {
            self.lock().queue.extend(lines);
            self.0.1.notify_all();
        }
    }

    /// Has a line of the shim's own written.
    pub(crate) fn say(&self, line: &str) {
        self.put(format!("mcpulse-shim: {line}\n").as_bytes());
    }

    /// Waits until all is written, and not for ever.
    pub(crate) fn flush(&self, patience: Duration) {
        let unwritten = |state: &mut State| state.is_writing || !state.queue.is_empty();
        drop(self.0.1.wait_timeout_while(self.lock(), patience, unwritten));
    }

    fn write_all(&self) {
        loop {
            let has_none = |state: &mut State| state.queue.is_empty();
            let waited = self.0.1.wait_while(self.lock(), has_none);
            let mut state = waited.unwrap_or_else(PoisonError::into_inner);
            let lines = std::mem::take(&mut state.queue);
            state.is_writing = true;
            drop(state);
            // A log that nobody reads any more is no reason to end.
            let _ = io::stderr().write_all(&lines);
            self.lock().is_writing = false;
            self.0.1.notify_all();
            if lines.len() >= BOUND {
                signals::wake();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(tag: &[u8], pieces: &[&[u8]]) -> Vec<u8> {
        let (mut lines, mut out) = (Lines::new(tag), Vec::new());
        for piece in pieces {
            lines.push(piece, &mut out);
        }
        lines.end(&mut out);
        out
    }

    #[test]
    fn each_line_has_the_tag_however_it_came() {
        let out = lines(b"a1\n", &[b"on", b"e\n\ntwo\xff", b"\nthree"]);
        assert_eq!(out, b"[a1?] one\n[a1?] \n[a1?] two\xff\n[a1?] three\n");
        assert_eq!(lines(b"a", &[b"", b"x\n"]), b"[a] x\n");
    }

    #[test]
    fn long_lines_are_broken() {
        let long = vec![b'x'; 2 * LONGEST];
        let out = lines(b"a", &[&long, b"\n"]);
        let longest = out.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::len).max();
        assert_eq!(longest, Some(LONGEST));
        assert_eq!(out.split(|byte| *byte != b'x').map(<[u8]>::len).sum::<usize>(), long.len());
    }
}
