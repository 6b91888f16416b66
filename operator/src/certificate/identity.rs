//! The certificate that is shown now.

use std::sync::Arc;

use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::sync::watch;

/// The certificate that is shown now; none at first.
#[derive(Debug, Default)]
pub struct Identity(watch::Sender<Option<Arc<CertifiedKey>>>);

impl Identity {
    /// Completes once there is one.
    pub async fn known(&self) {
        // It cannot fail: this sender is alive while it is borrowed.
        let _ = self.0.subscribe().wait_for(Option::is_some).await;
    }

    /// Shows another to whoever connects from now on.
    pub fn show(&self, certified: CertifiedKey) {
        self.0.send_replace(Some(Arc::new(certified)));
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.borrow().clone()
    }
}
