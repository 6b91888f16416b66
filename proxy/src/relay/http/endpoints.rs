//! The paths on which a legacy SSE server takes the messages of its clients.

use std::sync::{Mutex, PoisonError};

/// Paths remembered; a server announces one, with the session in its query.
const MAX: usize = 16;

/// The announced paths, oldest first. They get the credentials, as the endpoint itself does.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    paths: Mutex<Vec<String>>,
}

impl Endpoints {
    /// Remembers `path`, and forgets the oldest one when there are too many.
    pub(super) fn announce(&self, path: &str) {
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        if paths.iter().any(|known| known == path) {
            return;
        }
        if paths.len() == MAX {
            let forgotten = paths.remove(0);
            tracing::warn!(forgotten, "the upstream announces ever new endpoint paths");
        }
        paths.push(path.to_owned());
    }

    pub(super) fn contains(&self, path: &str) -> bool {
        let paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        paths.iter().any(|known| known == path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_path_is_forgotten_beyond_the_bound() {
        let endpoints = Endpoints::default();
        for n in 0..=MAX {
            endpoints.announce(&format!("/{n}"));
            endpoints.announce("/1");
        }
        assert!(!endpoints.contains("/0"));
        assert!(endpoints.contains("/1"));
        assert!(endpoints.contains(&format!("/{MAX}")));
    }
}
