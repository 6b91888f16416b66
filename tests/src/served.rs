//! A gRPC server on a runtime of its own, so that dropping it cuts every connection at once.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    net::TcpListener,
    runtime::{self, Runtime},
};
use tonic::transport::server::{Router, TcpIncoming};

use crate::eventually;

/// A running server.
#[derive(Debug)]
pub(crate) struct Served {
    address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Served {
    /// Serves `router`; port 0 takes any.
    pub(crate) async fn start(address: SocketAddr, router: Router) -> Self {
        // A port that an earlier server had may still be closing.
        let bind = async || std::net::TcpListener::bind(address).ok();
        let listener =
            eventually(&format!("{address} is free"), Duration::from_secs(5), bind).await;
        let address = listener.local_addr().expect("the address of a bound socket");
        listener.set_nonblocking(true).expect("a listener that does not block");
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a listener of the runtime");
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            router.serve_with_incoming(incoming).await.expect("the server runs");
        });
        Self { address, runtime: Some(runtime) }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
