//! By what right a conversation asks the server: where the proxy has no token of its own, by that
//! of the client.

use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderValue;

/// The `Authorization` that a client sent last.
#[derive(Clone, Debug, Default)]
pub(in crate::relay) struct Rights(Arc<Mutex<Option<HeaderValue>>>);

impl Rights {
    /// From now on these.
    pub(in crate::relay) fn set(&self, authorization: Option<&HeaderValue>) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.as_ref() != authorization {
            *held = authorization.cloned().map(|mut value| {
                value.set_sensitive(true);
                value
            });
        }
    }

    /// Those that hold now.
    pub(super) fn get(&self) -> Option<HeaderValue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
