//! The bytes of a session on their way, counted from its first, within the window of the shim.
//!
//! What the program said is acknowledged when its audience has heard it, by whole lines where
//! these are short: a sidecar that is started anew goes on behind the last one.

use std::io::{self, ErrorKind};

use bytes::Bytes;
use mcpulse_shim::protocol::{Attached, Exit, FromShim, FromSidecar, MOST};
use tokio::{sync::mpsc, time::Instant};

use super::{Ends, link::Link};
use crate::{
    lines::Gather,
    relay::bridge::{
        hearing::Hearing,
        launcher::Audience,
        program::{LAST_WORDS, LONGEST_LINE, plain},
    },
};

/// What was said in either direction.
pub(super) struct Flow<A> {
    hearing: Hearing<A>,
    ends: Ends,
    /// Most bytes under way, either way.
    window: u64,
    /// Input that was sent.
    sent: u64,
    /// How much of it the program has taken, as far as is known.
    taken: u64,
    /// What of a line was not sent.
    unsent: Bytes,
    /// Output that came.
    heard: u64,
    /// How much of it was acknowledged.
    acknowledged: u64,
    /// What of it is no whole line.
    gather: Gather,
    /// The beginning of the line that comes next went with the sidecar that heard it.
    is_torn: bool,
    /// When nothing more is waited for.
    last: Option<Instant>,
    exit: Option<Exit>,
}

impl<A: Audience> Flow<A> {
    /// Goes on where the shim says.
    pub(super) fn new(attached: &Attached, hearing: Hearing<A>, ends: Ends) -> Self {
        if attached.drains {
            ends.pod.cancel();
        }
        // The rest of an open line went with who said it: nothing else may become its end.
        let unsent = if attached.open_line > 0 { &b"\n"[..] } else { b"" };
        Self {
            hearing,
            ends,
            window: attached.window.into(),
            sent: attached.input,
            taken: attached.passed,
            unsent: Bytes::from_static(unsent),
            heard: attached.output,
            acknowledged: attached.output,
            gather: Gather::default(),
            is_torn: attached.within_line,
            last: None,
            exit: None,
        }
    }

    /// How the program has ended, when it has.
    pub(super) fn exit(&self) -> Option<Exit> {
        self.exit
    }

    /// Until when its end is waited for, once it has said or read its last.
    pub(super) fn last(&self) -> Option<Instant> {
        self.last
    }

    /// Whether another line can be said.
    pub(super) fn has_said_all(&self) -> bool {
        self.unsent.is_empty()
    }

    /// Says a line, once all others were.
    pub(super) fn say(&mut self, line: Bytes) {
        self.unsent = line;
    }

    /// Has as much sent of what is to be said as may be under way.
    pub(super) fn speak(&mut self, link: &mut Link, lines: &mut mpsc::Receiver<Bytes>) {
        while link.waits() < MOST {
            if self.unsent.is_empty() {
                let Ok(line) = lines.try_recv() else { return };
                self.unsent = line;
            }
            let room = self.window.saturating_sub(self.sent - self.taken);
            let room = usize::try_from(room).unwrap_or(MOST).min(MOST);
            let piece = self.unsent.split_to(room.min(self.unsent.len()));
            if piece.is_empty() {
                return;
            }
            link.say(FromSidecar::Input(&piece));
            self.sent += piece.len() as u64;
        }
    }

    /// Hears everything that has come.
    ///
    /// # Errors
    /// What the shim does not say in a session.
    pub(super) fn hear(&mut self, link: &mut Link) -> io::Result<()> {
        while let Some(frame) = link.next()? {
            self.heed(frame)?;
        }
        if let Some(count) = self.due() {
            link.say(FromSidecar::Passed(count));
        }
        Ok(())
    }

    fn heed(&mut self, frame: FromShim<'_>) -> io::Result<()> {
        match frame {
            FromShim::Output(bytes) => {
                self.heard += bytes.len() as u64;
                self.gather.spare().extend_from_slice(bytes);
                self.gather.filled(bytes.len());
                while let Some(line) = self.gather.next() {
                    if !std::mem::take(&mut self.is_torn) {
                        self.hearing.take(&plain(line), None);
                    }
                }
                if self.gather.held() > LONGEST_LINE {
                    tracing::error!("a program said more than {LONGEST_LINE} bytes in one line");
                    self.last = Some(Instant::now());
                }
            }
            FromShim::OutputEnd => {
                if let Some(rest) = self.gather.rest().filter(|_| !self.is_torn) {
                    self.hearing.take(&plain(rest), None);
                }
                self.last.get_or_insert_with(|| Instant::now() + LAST_WORDS);
            }
            FromShim::InputGone => {
                self.last.get_or_insert_with(|| Instant::now() + LAST_WORDS);
            }
            FromShim::Passed(count) if (self.taken..=self.sent).contains(&count) => {
                self.taken = count;
            }
            FromShim::Drain => self.ends.pod.cancel(),
            FromShim::Exited(exit) => self.exit = Some(exit),
            FromShim::Attached(_)
            | FromShim::Refused(..)
            | FromShim::State { .. }
            | FromShim::Detached(_)
            | FromShim::Passed(_) => return Err(ErrorKind::InvalidData.into()),
        }
        Ok(())
    }

    /// What is to be acknowledged now.
    fn due(&mut self) -> Option<u64> {
        let held = self.gather.held() as u64;
        let most = self.window / 4;
        // Of a line that the window does not hold, pieces have to do.
        let is_long = held >= most && self.heard - self.acknowledged >= most;
        let count = if is_long { self.heard } else { self.heard - held };
        if count <= self.acknowledged {
            return None;
        }
        self.acknowledged = count;
        Some(count)
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::sync::{Arc, Mutex};

    use mcpulse_shim::protocol;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::UnixStream,
    };

    use super::*;
    use crate::relay::{
        bridge::{counters::Ended, splice::Gist},
        remote::problem::Problem,
    };

    const ATTACHED: Attached = Attached {
        window: 64,
        input: 0,
        passed: 0,
        open_line: 0,
        output: 0,
        input_ended: false,
        drains: false,
        within_line: false,
    };

    #[derive(Debug, Default)]
    struct Ear(Mutex<Vec<Bytes>>);

    impl Audience for Ear {
        fn tag(&self) -> &Arc<str> {
            unreachable!("of a program that says only messages")
        }

        fn hear_of(&self, text: Bytes, _: &Gist, _: Option<Problem>) -> bool {
            self.0.lock().unwrap().push(text);
            true
        }

        fn end(&self, _: Ended) {}

        async fn ended(&self) {}

        fn token(&self) -> Option<&str> {
            None
        }

        fn outlives_us(&self) -> bool {
            false
        }
    }

    /// A flow, its connection, and the shim, which the test is.
    struct Scene {
        flow: Flow<Ear>,
        ear: Arc<Ear>,
        link: Link,
        shim: UnixStream,
    }

    impl Scene {
        fn set(attached: &Attached) -> Self {
            let ear = Arc::new(Ear::default());
            let hearing = Hearing::new(Arc::clone(&ear), Arc::default());
            let (link, shim) = Link::pair();
            Self { flow: Flow::new(attached, hearing, Ends::default()), ear, link, shim }
        }

        /// The shim says this, and what comes of it is returned: what it is told to have been
        /// passed on.
        async fn hears(&mut self, frames: &[FromShim<'_>]) -> Option<u64> {
            let mut bytes = Vec::new();
            for frame in frames {
                frame.write(&mut bytes);
            }
            self.shim.write_all(&bytes).await.unwrap();
            self.link.turn().await.unwrap();
            self.flow.hear(&mut self.link).unwrap();
            if self.link.waits() == 0 {
                return None;
            }
            match self.said().await {
                Said::Passed(count) => Some(count),
                other @ Said::Input(_) => panic!("{other:?}"),
            }
        }

        /// The next frame for the shim.
        async fn said(&mut self) -> Said {
            self.link.flush().await.unwrap();
            let mut header = [0; protocol::HEADER];
            self.shim.read_exact(&mut header).await.unwrap();
            let length = u32::from_be_bytes(header[..4].try_into().unwrap());
            let mut payload = vec![0; length as usize];
            self.shim.read_exact(&mut payload).await.unwrap();
            let frame = [&header[..], &payload].concat();
            match FromSidecar::read(protocol::first(&frame).unwrap().unwrap()).unwrap() {
                FromSidecar::Passed(count) => Said::Passed(count),
                FromSidecar::Input(bytes) => Said::Input(bytes.to_vec()),
                other => panic!("{other:?}"),
            }
        }

        fn heard(&self) -> Vec<Bytes> {
            self.ear.0.lock().unwrap().clone()
        }
    }

    #[derive(Debug, PartialEq)]
    enum Said {
        Passed(u64),
        Input(Vec<u8>),
    }

    const LINE: &[u8] = b"{\"method\":\"a\"}\n";

    #[tokio::test]
    async fn whole_lines_are_acknowledged_once_they_were_heard() {
        let mut scene = Scene::set(&ATTACHED);
        let two = [LINE, &LINE[..4]].concat();
        assert_eq!(scene.hears(&[FromShim::Output(&two)]).await, Some(15));
        assert_eq!(scene.heard(), [&LINE[..14]]);
        assert_eq!(scene.hears(&[FromShim::Output(&LINE[4..])]).await, Some(30));
        assert_eq!(scene.heard().len(), 2);
        // A line that the window does not hold cannot wait for its end.
        assert_eq!(scene.hears(&[FromShim::Output(&[b' '; 15])]).await, None);
        assert_eq!(scene.hears(&[FromShim::Output(b" ")]).await, Some(46));
        assert_eq!(scene.hears(&[FromShim::Output(LINE)]).await, Some(61));
        assert_eq!(scene.heard().len(), 3);
    }

    #[tokio::test]
    async fn what_is_left_of_a_line_that_another_heard_is_no_message() {
        let attached = Attached { output: 100, within_line: true, ..ATTACHED };
        let mut scene = Scene::set(&attached);
        let rest = [b"{\"id\":1,\"result\":{}}]}\n", LINE].concat();
        assert_eq!(scene.hears(&[FromShim::Output(&rest)]).await, Some(100 + rest.len() as u64));
        assert_eq!(scene.heard(), [&LINE[..14]]);
    }

    #[tokio::test]
    async fn a_line_that_another_began_is_ended_before_anything_is_said() {
        let attached = Attached { input: 100, passed: 90, open_line: 7, ..ATTACHED };
        let mut scene = Scene::set(&attached);
        let (say, mut lines) = mpsc::channel(1);
        say.try_send(Bytes::from_static(&[b'x'; 80])).unwrap();
        scene.flow.speak(&mut scene.link, &mut lines);
        assert_eq!(scene.said().await, Said::Input(b"\n".to_vec()));
        // No more is under way than the window holds, what was there before included.
        assert_eq!(scene.said().await, Said::Input(vec![b'x'; 64 - 11]));
        scene.flow.speak(&mut scene.link, &mut lines);
        assert_eq!(scene.link.waits(), 0);
        assert_eq!(scene.hears(&[FromShim::Passed(154)]).await, None);
        scene.flow.speak(&mut scene.link, &mut lines);
        assert_eq!(scene.said().await, Said::Input(vec![b'x'; 80 - 53]));
        assert!(scene.flow.has_said_all());
    }

    #[tokio::test]
    async fn what_never_was_sent_cannot_have_been_passed_on() {
        let mut scene = Scene::set(&ATTACHED);
        let mut bytes = Vec::new();
        FromShim::Passed(1).write(&mut bytes);
        scene.shim.write_all(&bytes).await.unwrap();
        scene.link.turn().await.unwrap();
        assert!(scene.flow.hear(&mut scene.link).is_err());
    }
}
