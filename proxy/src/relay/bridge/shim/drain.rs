//! The end of the pod, which begins at the server's container: no session begins any more, those
//! on which no answer is awaited end, the others when it has come. How long that may take, the
//! shim decides.

use std::time::Duration;

use tokio::time::sleep;

use super::Shim;
use crate::relay::bridge::{counters::Ended, exchange::Exchanges, launcher::Audience as _};

/// How often is looked what has come to its end.
const LOOK: Duration = Duration::from_millis(20);

impl Exchanges {
    /// Waits until the pod ends, and has everything end with it.
    pub(in crate::relay::bridge) async fn drain(&self, shim: &Shim) {
        shim.ends.pod.cancelled().await;
        tracing::info!("the pod ends: sessions end once their calls are answered");
        self.launcher.limits.close();
        loop {
            // One that was just being started is among them at last.
            self.launcher.warm.end();
            for session in self.launcher.sessions.all() {
                if session.is_at_rest() {
                    session.end(Ended::Shutdown);
                }
            }
            self.pools.end_at_rest();
            sleep(LOOK).await;
        }
    }
}
