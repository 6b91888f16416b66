//! The program of a session: its pipes, and its end. What it says is read as fast as it says it,
//! whether or not anybody takes it.

use std::{ffi::OsString, io, pin::pin, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use memchr::memchr;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::{ChildStderr, ChildStdin, ChildStdout},
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    counters::Ended,
    hearing::Hearing,
    launcher::{Audience, Launcher, MOST_LINES},
    limits::Place,
};
use crate::{
    config::Command,
    lines::Gather,
    platform::{self, Mark, Orphans, Process},
    relay::{
        child::{self, Bond, StartError},
        ending::{Ending, Grace, Step, take},
    },
};

/// From the end of its input on: Python servers were seen to take 1.3 s to end by themselves.
pub(super) const GRACE: Grace = Grace {
    terminate: Duration::from_millis(1450),
    kill: Duration::from_millis(1950),
    leave: Duration::from_millis(2200),
    flush: Duration::from_millis(2200),
};
/// The same for what is left of a program that has ended: nobody is there to wait for.
const LEADERLESS: Grace = Grace { terminate: Duration::ZERO, ..GRACE };
/// The longest that programs take to end, once they have to.
pub const STOPPING: Duration = GRACE.leave;
/// How long a program may take to end after its last word, or to say it after its end.
pub(super) const LAST_WORDS: Duration = Duration::from_millis(250);
/// Longest line of a program; one that says more has to go.
pub(super) const LONGEST_LINE: usize = 256 << 20;
/// Longest line of its standard error that the log takes as one.
const LONGEST_ERROR: u64 = 8 << 10;

/// How to start programs.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) command: Command,
    pub(super) environment: Vec<(OsString, OsString)>,
    pub(super) orphans: Arc<Orphans>,
}

impl Launcher {
    /// Starts a program. See [`Launcher::start`].
    pub(super) async fn run<A: Audience>(
        &self,
        programs: &Programs,
        begin: impl FnOnce(mpsc::Sender<Bytes>) -> A,
        place: Arc<Place>,
        gone: impl FnOnce() + Send + 'static,
    ) -> Result<Arc<A>, StartError> {
        let (tell, exited) = oneshot::channel();
        let ended = move |ended| {
            // Nobody listens once the program was given up.
            let _ = tell.send(Remains { ended, _place: place });
        };
        let mark = Mark::unused();
        let environment = programs.environment.iter().cloned().chain([programs.marked(mark)]);
        let server = child::start(&programs.command, environment, Bond::Own, ended).await?;
        let child::Server { process, input, output, errors } = server;
        let pipes = (|| {
            let errors = errors.map(ChildStderr::from_std).transpose()?;
            Ok((ChildStdin::from_std(input)?, ChildStdout::from_std(output)?, errors))
        })();
        let (input, output, errors) = pipes.map_err(|error| {
            let _ = process.kill();
            StartError::Thread(error)
        })?;
        let (lines, to_program) = mpsc::channel(MOST_LINES);
        let audience = Arc::new(begin(lines));
        let writing = self.tasks.spawn(write(input, to_program));
        if let Some(errors) = errors {
            self.tasks.spawn(log(errors, Arc::clone(audience.tag())));
        }
        let hearing = Hearing::new(Arc::clone(&audience), Arc::clone(&self.counters));
        let reading = self.tasks.spawn(read(output, hearing));
        let (heard, orphans) = (Arc::clone(&audience), Arc::clone(&programs.orphans));
        let running = Running { audience: heard, process, exited, writing, reading, orphans, mark };
        self.tasks.spawn(async move {
            running.follow().await;
            gone();
        });
        tracing::debug!(session = %audience.tag(), "started a program");
        Ok(audience)
    }
}

impl Programs {
    /// The variable by which what descends from a program is known, wherever it went. This proxy
    /// may be such a program itself.
    fn marked(&self, mark: Mark) -> (OsString, OsString) {
        let others = self.environment.iter().find(|(name, _)| name == platform::MARK);
        let mut marks = others.map(|(_, marks)| marks.clone()).unwrap_or_default();
        if !marks.is_empty() {
            marks.push(",");
        }
        marks.push(mark.to_string());
        (platform::MARK.into(), marks)
    }
}

/// A program that runs, and what ends with it.
struct Running<A> {
    audience: Arc<A>,
    process: Process,
    exited: oneshot::Receiver<Remains>,
    writing: JoinHandle<io::Result<()>>,
    reading: JoinHandle<()>,
    orphans: Arc<Orphans>,
    /// What its descendants are known by.
    mark: Mark,
}

/// A program that has ended, which takes up its place until all that it left has.
#[derive(Debug)]
struct Remains {
    // In this order: reaped first.
    ended: child::Ended,
    _place: Arc<Place>,
}

impl<A: Audience> Running<A> {
    /// Ends the session with the program, or the program with the session.
    async fn follow(mut self) {
        let mut remains = None;
        tokio::select! {
            ended = &mut self.exited => {
                remains = Some(ended);
                let _ = timeout(LAST_WORDS, &mut self.reading).await;
            }
            _ = &mut self.reading => {
                remains = timeout(LAST_WORDS, &mut self.exited).await.ok();
            }
            Ok(Err(error)) = &mut self.writing => {
                tracing::debug!(%error, session = %self.audience.tag(), "a program reads no more");
                // Perhaps because it has ended.
                let last_words = async {
                    let _ = (&mut self.reading).await;
                    (&mut self.exited).await
                };
                remains = timeout(LAST_WORDS, last_words).await.ok();
                if remains.is_none() {
                    tracing::warn!(
                        session = %self.audience.tag(),
                        "the server has closed its standard input and goes on: what was said to \
                         it is lost, and its session ends"
                    );
                }
            }
            () = self.audience.ended() => {}
        }
        self.audience.end(Ended::Exited);
        let mut ending = Ending::default();
        ending.begin(if remains.is_some() { LEADERLESS } else { GRACE });
        let force = CancellationToken::new();
        let mut left = pin!(self.orphans.end(self.mark, self.process.group(), force.cancelled()));
        loop {
            tokio::select! {
                ended = &mut self.exited, if remains.is_none() => {
                    remains = Some(ended);
                    ending.begin(LEADERLESS);
                }
                // What it left behind has no parent but us from its end on.
                () = &mut left, if remains.is_some() => break,
                step = ending.next() => match step {
                    Step::Leave if remains.is_none() => break,
                    // What was told to end may take its time: it is in nobody's way.
                    Step::Leave => {}
                    step => {
                        take(step, &self.process);
                        if step == Step::Kill {
                            force.cancel();
                        }
                    }
                },
            }
        }
        self.reading.abort();
        let session = self.audience.tag();
        match remains {
            Some(Ok(Remains { ended, _place })) => {
                tracing::debug!(%session, code = ended.code(), "a program has ended");
            }
            Some(Err(_)) => tracing::debug!(%session, "a program has ended, and nobody saw how"),
            None => tracing::warn!(%session, "a program outlives SIGKILL"),
        }
    }
}

/// Writes lines until the session is over; fails when the program takes no more.
async fn write(mut input: ChildStdin, mut lines: mpsc::Receiver<Bytes>) -> io::Result<()> {
    while let Some(line) = lines.recv().await {
        input.write_all(&line).await?;
    }
    Ok(())
}

/// Reads lines until the program says its last word.
async fn read<A: Audience>(mut output: ChildStdout, mut hearing: Hearing<A>) {
    let mut lines = Gather::default();
    while let Some(line) = next(&mut lines, &mut output).await {
        hearing.take(&line, None);
    }
}

/// The next line without its end, the last one even if it has none; nothing when the output has
/// ended, broke or exceeds all bounds.
async fn next(lines: &mut Gather, output: &mut (impl AsyncRead + Unpin)) -> Option<Bytes> {
    loop {
        if let Some(line) = lines.next() {
            return Some(plain(line));
        }
        if lines.held() > LONGEST_LINE {
            tracing::error!("a program said more than {LONGEST_LINE} bytes in one line");
            return None;
        }
        match output.read_buf(lines.spare()).await {
            Ok(0) => return lines.rest().map(plain),
            Ok(read) => lines.filled(read),
            Err(error) => {
                tracing::debug!(%error, "a program can no longer be read");
                return None;
            }
        }
    }
}

/// Without carriage returns, which would end a line of an event stream. In JSON they can only
/// stand between tokens.
pub(super) fn plain(mut line: BytesMut) -> Bytes {
    let mut at = 0;
    while let Some(found) = memchr(b'\r', &line[at..]) {
        at += found;
        line[at] = b' ';
    }
    line.freeze()
}

/// Puts what a program says on standard error into the log, line by line.
async fn log(errors: ChildStderr, session: Arc<str>) {
    let mut errors = BufReader::new(errors);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut some = (&mut errors).take(LONGEST_ERROR);
        if !matches!(some.read_until(b'\n', &mut line).await, Ok(1..)) {
            return;
        }
        let text = String::from_utf8_lossy(line.trim_ascii_end());
        if !text.is_empty() {
            tracing::info!(target: "server", %session, "{text}");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    async fn lines(chunks: Vec<Vec<u8>>) -> Vec<Bytes> {
        let (mut to, mut from) = tokio::io::duplex(1 << 16);
        for chunk in chunks {
            to.write_all(&chunk).await.unwrap();
        }
        drop(to);
        let (mut lines, mut found) = (Gather::default(), Vec::new());
        while let Some(line) = next(&mut lines, &mut from).await {
            found.push(line);
        }
        found
    }

    proptest! {
        #[test]
        fn lines_are_the_same_in_every_chunking(
            text in "[a\u{e4}{}\"\n\r]{0,40}",
            chunk in 1_usize..9,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build()?;
            let chunks = text.as_bytes().chunks(chunk).map(<[u8]>::to_vec).collect();
            let found = runtime.block_on(lines(chunks));
            let mut expected: Vec<String> = text
                .split('\n')
                .map(|line| line.strip_suffix('\r').unwrap_or(line).replace('\r', " "))
                .collect();
            if text.is_empty() || text.ends_with('\n') {
                expected.pop();
            }
            prop_assert_eq!(found, expected);
        }
    }

    #[tokio::test]
    async fn a_line_may_be_long_and_the_last_one_unfinished() {
        let long = vec![b'x'; 60_000];
        let found = lines(vec![long.clone(), b"\nend".to_vec()]).await;
        assert_eq!(found, [Bytes::from(long), Bytes::from("end")]);
    }
}
