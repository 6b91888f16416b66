//! Secrets that follow their files while the program runs.
//! A file is read at most once a second, and what was read last outlives a failed read.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::Secret;

const READ_EVERY: Duration = Duration::from_secs(1);

/// A secret for use on every request.
#[derive(Debug)]
pub struct Fresh {
    secret: Secret,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    text: Option<Arc<str>>,
    read: Option<Instant>,
    failing: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Fresh {
    /// Reads nothing yet.
    pub fn new(secret: Secret) -> Self {
        Self { secret, state: Mutex::default() }
    }

    /// The secret's text as it is now, give or take a second; never empty.
    ///
    /// # Errors
    /// When the file could not be read, or was empty, ever since the start.
    pub fn get(&self) -> io::Result<Arc<str>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let due = match (&self.secret, state.read) {
            (_, None) => true,
            (Secret::Text(_), Some(_)) => false,
            (Secret::File(_), Some(read)) => now.duration_since(read) >= READ_EVERY,
        };
        if due {
            state.read = Some(now);
            match self.read() {
                Ok(text) => {
                    state.failing = false;
                    if state.text.as_deref() != Some(&text) {
                        state.text = Some(text.into());
                    }
                }
                Err(error) if state.text.is_none() => {
                    state.read = None;
                    return Err(error);
                }
                Err(error) => {
                    if !std::mem::replace(&mut state.failing, true) {
                        tracing::warn!("{error}; the previous secret stays in use");
                    }
                }
            }
        }
        state.text.clone().ok_or_else(|| io::Error::other("the secret was never read"))
    }

    fn read(&self) -> io::Result<String> {
        let text = self.secret.reveal()?;
        if !text.is_empty() {
            return Ok(text);
        }
        Err(io::Error::other(match &self.secret {
            Secret::Text(_) => "the secret is empty".to_owned(),
            Secret::File(path) => format!("secret {} is empty", path.display()),
        }))
    }
}
