//! The session that the server has forgotten, begun anew.

use bytes::Bytes;

use super::{Conversation, Errand, Marks};
use crate::relay::remote::{problem::Problem, said::Said, session::State};

impl Conversation {
    /// Begins the session anew, as the client began it: the server has forgotten it. The first
    /// who finds that out does so, the others wait.
    pub(super) async fn heal(&self, dead: u64) -> Result<(), Problem> {
        let _turn = self.session.healing.lock().await;
        let state = self.current();
        if state.generation != dead {
            return Ok(());
        }
        let again = async |text: Option<Bytes>, state: State| {
            let said = text.and_then(|text| Said::read(text).ok().flatten());
            let Some(said) = said else { return Ok(()) };
            let headers = self.headers(&said, &state);
            let mut errand = Errand::new(&said, &self.server, &headers).own();
            let marks = Marks::default();
            self.exchange(&mut errand, state, &marks).await?;
            match errand.asked[..] {
                [] => Ok(()),
                _ => Err(Problem::strange("the server did not answer initialize")),
            }
        };
        let begun = again(state.initialize, State::default()).await;
        let current = self.current();
        if begun.is_ok() && current.generation == dead {
            return Err(Problem::strange("the server refused initialize"));
        }
        begun.inspect_err(|problem| tracing::warn!("begin the session anew: {problem}"))?;
        again(state.initialized, current).await?;
        tracing::info!("the server had forgotten the session; a new one was begun");
        Ok(())
    }
}
