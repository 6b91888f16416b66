//! A server as its clients over HTTP reach it: what answers them, what runs beside that, and how
//! it ends. A listener carries one of these; whatever else answers for a listener can carry
//! several.

use std::{net::SocketAddr, sync::Arc};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::Either;
use hyper::body::Incoming;
use tokio::net::TcpListener;

use super::{
    bridge::{self, Bridge, exchange::Exchanges},
    http::{HttpRelay, Listener, download, forward::Forward, listener::Answering},
};
use crate::{ready::Gate, shutdown::Shutdown, tap::Tap};

/// A server that clients can talk to, until its own shutdown.
#[derive(Debug)]
pub struct Site {
    serves: Serves,
}

#[derive(Debug)]
enum Serves {
    Remote(Arc<Forward>),
    Program(Arc<Exchanges>),
}

/// The body of an answer: a remote server's, or a bridge's.
pub(in crate::relay) type Reply = Either<download::Reply, bridge::reply::Reply>;

impl Site {
    /// What `relay` serves to clients that come by a listener `bound` to this address. `gate` is
    /// open while the server can be reached.
    pub fn of_remote(
        relay: HttpRelay,
        bound: SocketAddr,
        tap: Tap,
        gate: Gate,
        shutdown: Shutdown,
    ) -> Self {
        let forward = relay.begin(bound, tap, gate, shutdown);
        Self { serves: Serves::Remote(Arc::new(forward)) }
    }

    /// What `bridge` serves to such clients. `gate` is open while the program can be used.
    pub fn of_program(
        bridge: Bridge,
        bound: SocketAddr,
        tap: Tap,
        gate: Gate,
        shutdown: Shutdown,
    ) -> Self {
        let exchanges = bridge.begin(bound, tap, gate, shutdown);
        Self { serves: Serves::Program(Arc::new(exchanges)) }
    }

    /// What has to run for as long as clients are served, for ever.
    pub async fn keep(&self) {
        match &self.serves {
            Serves::Remote(forward) => forward.keep().await,
            Serves::Program(exchanges) => exchanges.keep().await,
        }
    }

    /// Ends in order what was begun for clients, of whom none is served any more. It takes at
    /// most [`bridge::STOPPING`].
    pub async fn end(&self) {
        match &self.serves {
            Serves::Remote(_) => {}
            Serves::Program(exchanges) => exchanges.end().await,
        }
    }

    /// Serves it alone to the clients that come by `socket`, until the shutdown, which is that
    /// of the listener as well, the drain, and the end.
    pub async fn serve(self, listener: Listener, socket: TcpListener) {
        let site = Arc::new(self);
        tokio::select! {
            () = listener.run(socket, Arc::clone(&site)) => {}
            () = site.keep() => {}
        }
        site.end().await;
    }
}

impl Answering for Site {
    type Body = Reply;

    fn respond(self: Arc<Self>, request: Request<Incoming>) -> BoxFuture<'static, Response<Reply>> {
        match &self.serves {
            Serves::Remote(forward) => {
                let forward = Arc::clone(forward);
                Box::pin(async move { forward.respond(request).await.map(Either::Left) })
            }
            Serves::Program(exchanges) => {
                let exchanges = Arc::clone(exchanges);
                Box::pin(async move { exchanges.respond(request).await.map(Either::Right) })
            }
        }
    }

    fn abandon(&self) {
        match &self.serves {
            Serves::Remote(forward) => forward.abandon(),
            Serves::Program(exchanges) => exchanges.abandon(),
        }
    }
}
