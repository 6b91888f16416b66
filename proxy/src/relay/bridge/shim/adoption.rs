//! Takes over the sessions that the sidecar before has left with the shim. Who waited for which
//! answer went with it: what is answered to them reaches nobody, and is counted.

use std::sync::Arc;

use mcpulse_shim::protocol::{FromSidecar, UNKNOWN};
use tokio::{sync::mpsc, time::timeout};

use super::{PATIENCE, SHARED, Shim};
use crate::relay::{
    bridge::launcher::{Launcher, MOST_LINES},
    child::StartError,
    remote::rights::Rights,
};

impl Launcher {
    /// Takes over the sessions with these tokens, and ends those that nobody can ask for.
    pub(super) async fn take_over(self: &Arc<Self>, shim: &Shim, tokens: &[Vec<u8>]) {
        let _one_at_a_time = shim.taking_over.lock().await;
        let mut taken = 0;
        for token in tokens {
            match self.resume(shim, token).await {
                Ok(is_taken) => taken += usize::from(is_taken),
                Err(error) => tracing::warn!("cannot take over a session: {error}"),
            }
        }
        if !tokens.is_empty() {
            let ended = tokens.len() - taken;
            tracing::info!(sessions = taken, ended, "took over what the sidecar before has left");
        }
    }

    /// Sees to it that the session of this id is found, if the shim has it.
    pub(in crate::relay::bridge) async fn find_again(self: &Arc<Self>, shim: &Shim, id: &str) {
        if self.sessions.find(id).is_some() {
            return;
        }
        shim.acquainted().await;
        // Whoever resumes takes it from whoever has it.
        let _one_at_a_time = shim.taking_over.lock().await;
        if shim.is_acquainted()
            && self.sessions.find(id).is_none()
            && let Ok(true) = self.resume(shim, id.as_bytes()).await
        {
            tracing::info!("took over a session that another sidecar has left meanwhile");
        }
    }

    /// Takes over a session, or ends it. Whether it is ours.
    async fn resume(self: &Arc<Self>, shim: &Shim, token: &[u8]) -> Result<bool, StartError> {
        let greeting = FromSidecar::Resume { token, received: UNKNOWN };
        let (mut link, attached) = shim.greet(greeting).await?;
        // One to which nothing was said had no client yet.
        let has_client = attached.input > 0 && !attached.input_ended;
        let id = str::from_utf8(token).ok().filter(|id| has_client && !id.starts_with(SHARED));
        let Some(id) = id else {
            link.say(FromSidecar::Close);
            let _ = timeout(PATIENCE, link.flush()).await;
            return Ok(false);
        };
        let (lines, to_program) = mpsc::channel(MOST_LINES);
        let (begin, gone) = self.session_of(id.to_owned(), Rights::default());
        let session = Arc::new(begin(lines));
        session.resume_where_unknown();
        self.sessions.insert(Arc::clone(&session));
        let place = self.limits.taken_over();
        self.follow(shim, (link, &attached), session, to_program, place, gone);
        Ok(true)
    }
}
