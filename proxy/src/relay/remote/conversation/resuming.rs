//! The stream of events that answers a message, resumed where it breaks off.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{A_WHILE, Conversation, Errand, PAUSE};
use crate::{
    mcp::header::LAST_EVENT_ID,
    relay::{
        http::download::Download,
        remote::{
            events::{Cursor, Messages},
            problem::Problem,
            server::Response,
            session::State,
        },
    },
    traffic::{BodyKind, End},
};

/// From one opening of a stream to the next at least, whatever the server says.
pub(super) const LEAST_APART: Duration = Duration::from_millis(250);
/// How often in a row a server may fail to give the stream on which an answer is awaited.
const REFUSED_IN_A_ROW: u32 = 5;
/// How long it may give streams that end at once and on which nothing comes.
const VAIN_FOR: Duration = Duration::from_mins(1);

/// Whether there is still hope for an answer on a stream that is resumed again and again.
#[derive(Debug)]
struct Hope {
    /// How often in a row the server did not give it.
    refused: u32,
    /// When there was last a sign of the answer being worked on.
    sign: Instant,
}

impl Hope {
    fn new() -> Self {
        Self { refused: 0, sign: Instant::now() }
    }

    /// The pause before the stream is asked for.
    fn pause(&self, cursor: &Cursor) -> Duration {
        if self.refused == 0 {
            cursor.pause().max(LEAST_APART)
        } else {
            cursor.retry().max(PAUSE * self.refused)
        }
    }

    /// The server did not give it.
    fn refuse(&mut self) {
        self.refused += 1;
    }

    /// It did after this `pause`, at the time `begun`, and the stream has ended; `news` says that
    /// something came on it.
    fn end(&mut self, pause: Duration, begun: Instant, news: bool) {
        self.refused = 0;
        if news || begun.elapsed() >= A_WHILE {
            self.sign = Instant::now();
        } else if pause > PAUSE {
            // That the server wants it to wait says nothing against it.
            self.sign += pause;
        }
    }

    fn is_lost(&self) -> bool {
        self.refused >= REFUSED_IN_A_ROW || self.sign.elapsed() > VAIN_FOR
    }
}

impl Conversation {
    /// Reads the events that answer a message of the session `of`; where they break off, it goes
    /// on from there.
    pub(super) async fn stream(
        &self,
        errand: &mut Errand<'_>,
        response: Response,
        of: &State,
    ) -> Result<(), Problem> {
        errand.kind = Some(BodyKind::EventStream);
        // How it ends the tap is told only when nothing more comes of it: the answer might else
        // still come on a later stream.
        let mut download = response.unseen(&mut errand.shown.0);
        let mut events = Messages::default();
        self.events(&mut events, &mut download, Some(errand), true, of).await?;
        drop(download);
        let mut hope = Hope::new();
        loop {
            let last = events.cursor().last.clone();
            let waits = errand.marks.awaited.is_wanted() && !errand.said.is_modern();
            let Some(last) = last.filter(|_| waits) else { return Ok(()) };
            let (pause, marks) = (hope.pause(events.cursor()), errand.marks);
            tokio::select! {
                () = sleep(pause) => {}
                () = marks.answered.cancelled() => return Ok(()),
                () = marks.withdrawn.cancelled() => return Ok(()),
            }
            if self.current().generation > of.generation {
                return Err(Problem::strange(
                    "the stream broke off, and the server has forgotten the session it belongs to",
                ));
            }
            let begun = Instant::now();
            let resumed = self.server.in_time(self.resume(of, Some(&last)));
            let Some(resumed) = errand.patience.unless_over(resumed).await else { return Ok(()) };
            let (problem, may_pass) = match resumed {
                Ok(Ok(mut download)) => {
                    events.begin();
                    self.events(&mut events, &mut download, Some(errand), false, of).await?;
                    hope.end(pause, begun, events.cursor().last.as_ref() != Some(&last));
                    (Problem::strange("the server ended the stream without an answer"), true)
                }
                Ok(Err(status)) => {
                    hope.refuse();
                    let message = format!("the server answered {status} when asked to go on");
                    (Problem::strange(message), may_pass(status))
                }
                Err(problem) => {
                    hope.refuse();
                    let late = problem.end == End::TimedOut;
                    (problem, !late)
                }
            };
            if !may_pass || hope.is_lost() {
                return Err(problem);
            }
        }
    }

    /// Opens a stream of the session `of`, from after the event `last` on.
    pub(super) async fn resume(
        &self,
        of: &State,
        last: Option<&HeaderValue>,
    ) -> Result<Result<Download, StatusCode>, Problem> {
        let mut headers = HeaderMap::new();
        of.put(&mut headers);
        headers.extend(last.map(|last| (LAST_EVENT_ID, last.clone())));
        let (to_server, mut answer) = self.server.observe(Method::GET, &headers);
        let (mut probe, sent) = (to_server, CancellationToken::new());
        let body = Bytes::new();
        let response = self.server.send(&Method::GET, &headers, &body, &mut probe, &sent).await;
        let response = response.inspect_err(|none| answer.end(none.end))?;
        if response.status.is_success() && response.kind() == BodyKind::EventStream {
            return Ok(Ok(response.observed(answer)));
        }
        let refusal = response.refusal().await;
        refusal.show(answer);
        Ok(Err(refusal.status))
    }
}

/// Whether a server that refuses a stream with this status may give it later.
pub(super) fn may_pass(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::CONFLICT | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
        )
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    /// How often a server is asked that does this each time.
    async fn asked(retry: Option<u64>, lasts: Duration, given: bool) -> u32 {
        let (mut hope, mut cursor) = (Hope::new(), Messages::default());
        if let Some(retry) = retry {
            cursor.read(format!("retry: {retry}\n\n").as_bytes()).unwrap();
        }
        for times in 1..=600 {
            let pause = hope.pause(cursor.cursor());
            advance(pause).await;
            let begun = Instant::now();
            advance(lasts).await;
            if given {
                hope.end(pause, begun, false);
            } else {
                hope.refuse();
            }
            if hope.is_lost() {
                return times;
            }
        }
        u32::MAX
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_is_given_is_in_vain_only_if_all_end_at_once() {
        assert_eq!(asked(None, Duration::ZERO, false).await, REFUSED_IN_A_ROW);
        // One a second, for a minute; what the server asks for is not counted.
        assert_eq!(asked(None, Duration::ZERO, true).await, 61);
        assert_eq!(asked(Some(0), Duration::ZERO, true).await, 241);
        assert_eq!(asked(Some(40_000), Duration::from_millis(500), true).await, 121);
        assert_eq!(asked(None, A_WHILE, true).await, u32::MAX);
    }
}
