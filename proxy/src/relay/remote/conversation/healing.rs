//! The session that the server has forgotten, begun anew.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::time::{Instant, timeout};

use super::{Conversation, Errand, Marks, Own};
use crate::{
    jsonrpc::Kind,
    mcp::{code, header::SESSION_ID},
    relay::remote::{
        problem::Problem,
        said::{Said, messages},
        server::Refusal,
        session::{BEGUN_WITHIN, State},
        words,
    },
    traffic::End,
};

impl Conversation {
    /// Begins the session anew, as the client began it: the server has forgotten it. The first
    /// who finds that out does so, the others wait and fare as that one does.
    pub(super) async fn heal(&self, dead: u64) -> Result<(), Problem> {
        let noticed = Instant::now();
        let mut failed = self.session.healing.lock().await;
        // First this: a session that failed halfway is another, too.
        if let Some((at, why)) = &*failed
            && *at >= noticed
        {
            return Err(why.clone());
        }
        if self.current().generation != dead {
            return Ok(());
        }
        let begun = timeout(BEGUN_WITHIN, self.begin_anew()).await.unwrap_or_else(|_| {
            let seconds = BEGUN_WITHIN.as_secs();
            let message = format!("the server began no session within {seconds} s");
            Err(Problem::new(message, End::TimedOut))
        });
        match &begun {
            Ok(()) => {
                // Who listens asks for the stream of the new one at once.
                self.own.send_if_modified(|own| {
                    let had = *own == Own::Given;
                    if had {
                        *own = Own::Asked;
                    }
                    had
                });
                tracing::info!("the server had forgotten the session; a new one was begun");
            }
            Err(problem) => {
                tracing::warn!("begin the session anew: {problem}");
                *failed = Some((Instant::now(), problem.clone()));
            }
        }
        begun
    }

    /// Says again what began the session; once more if the server has forgotten the new one
    /// before it heard that the client is ready.
    async fn begin_anew(&self) -> Result<(), Problem> {
        let mut is_last = false;
        loop {
            let before = self.current();
            self.say_again(before.initialize, State::default()).await?;
            let current = self.current();
            if current.generation == before.generation {
                return Err(Problem::strange("the server refused initialize"));
            }
            match self.say_again(before.initialized, current).await {
                Err(problem) if !is_last && problem.is_of(StatusCode::NOT_FOUND) => is_last = true,
                said => return said,
            }
        }
    }

    async fn say_again(&self, text: Option<Bytes>, state: State) -> Result<(), Problem> {
        let said = text.and_then(|text| Said::read(text).ok().flatten());
        let Some(said) = said else { return Ok(()) };
        let headers = self.headers(&said, &state);
        let (probes, marks) = (self.server.observe_again(&headers), Marks::of(&said.asked));
        let mut errand = Errand::seen(&said, &marks, &headers, probes).own();
        self.exchange(&mut errand, state).await?;
        match errand.unanswered[..] {
            [] => Ok(()),
            _ => Err(Problem::strange("the server did not answer initialize")),
        }
    }
}

/// Whether a server that refuses a message like this does not know its session.
pub(super) fn has_forgotten(refusal: &Refusal, headers: &HeaderMap, said: &Said) -> bool {
    if refusal.status != StatusCode::NOT_FOUND || !headers.contains_key(SESSION_ID) {
        return false;
    }
    match words::code(&refusal.body) {
        Some(code::SESSION_NOT_FOUND) => true,
        Some(code::METHOD_NOT_FOUND) => false,
        // An error under the request's own id comes from where it was worked on.
        _ => {
            let mut dispatched = false;
            messages(&refusal.body, |message| {
                if let Kind::Answer(id) = Kind::of(message) {
                    dispatched |= said.asked.iter().any(|asked| asked.id == id);
                }
            });
            !dispatched
        }
    }
}
