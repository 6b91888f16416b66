//! The stream of events that answers a message, resumed where it breaks off.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{Conversation, Errand, PAUSE, listening::LONGEST_PAUSE};
use crate::{
    mcp::header::LAST_EVENT_ID,
    relay::{
        http::download::{Answer, Download},
        remote::{
            events::{Cursor, Messages},
            problem::Problem,
            server::Response,
            session::State,
        },
    },
    traffic::{BodyKind, End},
};

/// How often in vain a stream is resumed on which an answer is awaited.
const RESUMED_IN_VAIN: u32 = 5;

impl Conversation {
    /// Reads the events that answer a message of the session `of`; where they break off, it goes
    /// on from there.
    pub(super) async fn stream(
        &self,
        errand: &mut Errand<'_>,
        response: Response,
        answer: Answer,
        of: &State,
    ) -> Result<(), Problem> {
        let mut download = response.held(answer);
        let came = self.to_the_answer(errand, &mut download, of).await;
        let waits = !errand.asked.is_empty() && !errand.marks.withdrawn.is_cancelled();
        // Only now: for the tap the answer might else still come on a later stream.
        download.into_answer().end(match &came {
            Err(Problem { end: End::TimedOut, .. }) => End::TimedOut,
            _ if waits => End::GivenUp,
            _ => End::Clean,
        });
        came
    }

    async fn to_the_answer(
        &self,
        errand: &mut Errand<'_>,
        first: &mut Download,
        of: &State,
    ) -> Result<(), Problem> {
        let mut events = Messages::default();
        self.events(&mut events, first, Some(errand)).await?;
        let mut vain = 0;
        loop {
            let Cursor { last, retry } = events.cursor().clone();
            let Some(last) = last.filter(|_| !errand.asked.is_empty() && !errand.said.is_modern())
            else {
                return Ok(());
            };
            let pause = retry.unwrap_or(PAUSE).max(PAUSE * vain).min(LONGEST_PAUSE);
            tokio::select! {
                () = sleep(pause) => {}
                () = errand.marks.withdrawn.cancelled() => return Ok(()),
            }
            if self.current().generation != of.generation {
                return Err(Problem::strange(
                    "the stream broke off, and the server has forgotten the session it belongs to",
                ));
            }
            let resumed = self.server.in_time(self.resume(of, Some(&last))).await;
            let problem = match resumed {
                Ok(Ok(mut download)) => {
                    let before = events.cursor().last.clone();
                    events.begin();
                    self.events(&mut events, &mut download, Some(errand)).await?;
                    if before != events.cursor().last {
                        vain = 0;
                    }
                    Problem::strange("the server ended the stream without an answer")
                }
                Ok(Err(status)) => {
                    let message = format!("the server answered {status} when asked to go on");
                    let problem = Problem::strange(message);
                    if !may_pass(status) {
                        return Err(problem);
                    }
                    problem
                }
                Err(problem) if problem.end == End::TimedOut => return Err(problem),
                Err(problem) => problem,
            };
            vain += 1;
            if vain >= RESUMED_IN_VAIN {
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
