//! How a receiving end behaves, so that a test can make it fail.

use tokio::sync::watch;
use tonic::{Code, Status};

/// How a receiving end behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Takes everything.
    Accept,
    /// Answers with an error and keeps nothing.
    Fail(Code),
    /// Does not answer until the mood changes.
    Hang,
    /// Takes everything, but does not say so until the mood changes.
    Mute,
}

/// The mood of one receiving end, which may change while it is at work.
#[derive(Debug)]
pub(crate) struct Moods(watch::Sender<Mood>);

impl Default for Moods {
    fn default() -> Self {
        Self(watch::Sender::new(Mood::Accept))
    }
}

impl Moods {
    pub(crate) fn set(&self, mood: Mood) {
        self.0.send_replace(mood);
    }

    /// Completes when a request may be taken, or says why not.
    pub(crate) async fn admit(&self) -> Result<(), Status> {
        let mut moods = self.0.subscribe();
        let mood = moods.wait_for(|mood| *mood != Mood::Hang).await;
        match *mood.map_err(|_| Status::unavailable("stopping"))? {
            Mood::Fail(code) => Err(Status::new(code, "as the test demands")),
            Mood::Accept | Mood::Hang | Mood::Mute => Ok(()),
        }
    }

    /// Completes when what was taken may be answered.
    pub(crate) async fn answer(&self) {
        // Fails only when this ends.
        let _ = self.0.subscribe().wait_for(|mood| *mood != Mood::Mute).await;
    }
}
