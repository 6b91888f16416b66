//! A server as its clients over HTTP reach it: what answers them, what runs beside that, and how
//! it ends. A listener carries one of these; whatever else answers for a listener can carry
//! several.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response, Uri};
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::{net::TcpListener, time::sleep};

use super::{
    bridge::{
        self, Bridge,
        exchange::{self, Exchanges},
        line,
    },
    http::{HttpRelay, Listener, download, forward::Forward, listener::Answering},
};
use crate::{ready::Gate, shutdown::Shutdown, tap::Tap, traffic::HttpTransport};

/// How often is looked whether the last exchange has ended.
const LOOK: Duration = Duration::from_millis(20);

/// A server that clients can talk to, until its own shutdown.
#[derive(Debug)]
pub struct Site {
    serves: Serves,
    /// As often as there are exchanges, and once.
    exchanges: Arc<()>,
}

#[derive(Debug)]
enum Serves {
    Remote {
        /// For clients that speak its transport.
        forward: Arc<Forward>,
        /// For clients that speak the other one.
        bridge: Arc<Exchanges>,
        /// Where these are served.
        bridged: &'static [&'static str],
    },
    Program(Arc<Exchanges>),
}

/// The body of an answer: a remote server's, or a bridge's.
type Told = Either<download::Reply, bridge::reply::Reply>;

/// The body of an answer, with which its exchange ends.
pub(in crate::relay) struct Reply {
    body: Told,
    /// None of a site.
    _exchange: Option<Arc<()>>,
}

impl Reply {
    /// Of an answer that is no site's.
    pub(in crate::relay) fn of_none(body: Full<Bytes>) -> Self {
        Self { body: Either::Left(download::Reply::Whole(body)), _exchange: None }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = <Told as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Site {
    /// What `relay` serves to clients that come by a listener `bound` to this address. `gate` is
    /// open while the server can be reached. Clients that speak the other transport than the
    /// server are served by a bridge, whose `sessions` are counted there.
    pub fn of_remote(
        relay: HttpRelay,
        sessions: Arc<bridge::Counters>,
        bound: SocketAddr,
        tap: Tap,
        gate: Gate,
        shutdown: Shutdown,
    ) -> Self {
        let beside = relay.beside();
        let forward = relay.begin(bound, tap, gate, shutdown);
        let bridge = Arc::new(bridge::beside(&forward, beside, sessions, bound));
        let bridged: &[_] = match forward.transport {
            HttpTransport::Streamable => &[line::STREAM, line::MESSAGES],
            HttpTransport::LegacySse => &[exchange::PATH],
        };
        let serves = Serves::Remote { forward: Arc::new(forward), bridge, bridged };
        Self { serves, exchanges: Arc::default() }
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
        Self { serves: Serves::Program(Arc::new(exchanges)), exchanges: Arc::default() }
    }

    /// What has to run for as long as clients are served, for ever.
    pub async fn keep(&self) {
        match &self.serves {
            Serves::Remote { forward, bridge, .. } => {
                tokio::join!(forward.keep(), bridge.keep());
            }
            Serves::Program(exchanges) => exchanges.keep().await,
        }
    }

    /// Whether a request is of a session that this site has and no other can know. What a
    /// remote server has is known to itself, whichever way a request comes to it.
    pub(in crate::relay) fn knows(&self, request: &Request<Incoming>) -> bool {
        let (Serves::Remote { bridge, .. } | Serves::Program(bridge)) = &self.serves;
        bridge.knows(request.uri(), request.headers())
    }

    /// Completes when there is no exchange, not even one whose answer is on its way.
    pub async fn quiet(&self) {
        while Arc::strong_count(&self.exchanges) > 1 {
            sleep(LOOK).await;
        }
    }

    /// No session begins any more, for the server ends soon.
    pub fn drain(&self) {
        match &self.serves {
            Serves::Remote { forward, bridge, .. } => {
                forward.drain();
                bridge.close();
            }
            Serves::Program(exchanges) => exchanges.close(),
        }
    }

    /// The drain is over: whoever still waits is told so, and what has begun breaks off.
    pub fn break_off(&self) {
        self.abandon();
        if let Serves::Remote { forward, .. } = &self.serves {
            forward.sever();
        }
    }

    /// Ends in order what was begun for clients, of whom none is served any more. It takes at
    /// most [`bridge::STOPPING`].
    pub async fn end(&self) {
        match &self.serves {
            Serves::Remote { bridge, .. } => bridge.end().await,
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
        let exchange = Some(Arc::clone(&self.exchanges));
        let reply = |body: Told| Reply { body, _exchange: exchange };
        match &self.serves {
            Serves::Remote { forward, bridged, .. } if !is_for(bridged, forward, request.uri()) => {
                let forward = Arc::clone(forward);
                Box::pin(async move {
                    forward.respond(request).await.map(|body| reply(Either::Left(body)))
                })
            }
            Serves::Remote { bridge, .. } | Serves::Program(bridge) => {
                let bridge = Arc::clone(bridge);
                Box::pin(async move {
                    bridge.respond(request).await.map(|body| reply(Either::Right(body)))
                })
            }
        }
    }

    fn abandon(&self) {
        match &self.serves {
            Serves::Remote { forward, bridge, .. } => {
                forward.abandon();
                bridge.abandon();
            }
            Serves::Program(exchanges) => exchanges.abandon(),
        }
    }
}

/// Whether a request is for the bridge: a path at which the server itself takes messages is not.
fn is_for(bridged: &[&str], forward: &Forward, uri: &Uri) -> bool {
    bridged.contains(&uri.path())
        && uri.path_and_query().is_some_and(|path| !forward.is_endpoint(path))
}
