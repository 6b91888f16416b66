//! Secrets that follow their files while the program runs.
//! Once read, a file is read again at most once a second, and what was read last outlives a
//! failed read.

use std::{
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::Secret;

const READ_EVERY: Duration = Duration::from_secs(1);

/// A secret for use on every request.
pub struct Fresh {
    secret: Secret,
    state: Mutex<State>,
}

struct State {
    text: Option<Arc<str>>,
    /// When `text` was read.
    read: Instant,
    /// The last read failed, and that was said.
    failing: bool,
}

impl fmt::Debug for Fresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.secret.fmt(f)
    }
}

impl Fresh {
    /// Reads nothing yet.
    pub fn new(secret: Secret) -> Self {
        let state = State { text: None, read: Instant::now(), failing: false };
        Self { secret, state: Mutex::new(state) }
    }

    /// The secret's text as it is now, give or take a second; never empty.
    ///
    /// # Errors
    /// When the file could not be read, or was empty, ever since the start.
    pub fn get(&self) -> io::Result<Arc<str>> {
        let now = Instant::now();
        {
            let mut state = self.state();
            if let Some(text) = &state.text {
                let text = Arc::clone(text);
                let changes = self.secret.is_in_file();
                if !changes || now.duration_since(state.read) < READ_EVERY {
                    return Ok(text);
                }
                state.read = now;
            }
        }
        // Nothing is locked meanwhile: others go on with the text that there is.
        let read = self.read();
        let mut state = self.state();
        match (read, &state.text) {
            (Ok(text), _) => {
                let text: Arc<str> = text.into();
                *state = State { text: Some(Arc::clone(&text)), read: now, failing: false };
                Ok(text)
            }
            (Err(error), None) => Err(error),
            (Err(error), Some(text)) => {
                let text = Arc::clone(text);
                if !std::mem::replace(&mut state.failing, true) {
                    tracing::warn!("{error}; the previous one stays in use");
                }
                Ok(text)
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> io::Result<String> {
        let text = self.secret.reveal()?;
        if !text.is_empty() {
            return Ok(text);
        }
        Err(io::Error::other(match &self.secret {
            Secret::Text(_) => "the secret is empty".to_owned(),
            Secret::File(path) | Secret::Awaited(path) => {
                format!("secret {} is empty", path.display())
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_changed_file_counts_after_a_second() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "one\n").unwrap();
        let secret = Fresh::new(Secret::File(path.clone()));
        assert_eq!(&*secret.get().unwrap(), "one");

        fs::write(&path, "two\r\n").unwrap();
        assert_eq!(&*secret.get().unwrap(), "one");
        tokio::time::advance(READ_EVERY).await;
        assert_eq!(&*secret.get().unwrap(), "two");
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_fails_leaves_the_previous_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let secret = Fresh::new(Secret::File(path.clone()));
        assert!(secret.get().unwrap_err().to_string().contains("token"));
        fs::write(&path, "").unwrap();
        assert!(secret.get().unwrap_err().to_string().contains("is empty"));

        fs::write(&path, "one").unwrap();
        assert_eq!(&*secret.get().unwrap(), "one");
        fs::remove_file(&path).unwrap();
        tokio::time::advance(READ_EVERY).await;
        assert_eq!(&*secret.get().unwrap(), "one");
        fs::write(&path, "two").unwrap();
        tokio::time::advance(READ_EVERY).await;
        assert_eq!(&*secret.get().unwrap(), "two");
    }

    #[test]
    fn an_empty_secret_is_none() {
        assert!(Fresh::new("".into()).get().is_err());
        assert_eq!(&*Fresh::new("x".into()).get().unwrap(), "x");
    }

    #[test]
    fn debug_shows_no_secret() {
        let secret = Fresh::new("hunter2".into());
        secret.get().unwrap();
        assert_eq!(format!("{secret:?}"), "***");
    }
}
