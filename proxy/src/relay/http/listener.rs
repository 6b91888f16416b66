//! Takes connections of clients and serves exchanges on them, HTTP/1.1 or HTTP/2, whatever it is
//! that answers them.
//! Nothing that a client leaves undone, reading included, holds anything for longer than
//! `read_timeout`.

use std::{
    convert::Infallible,
    error::Error,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use hyper::{
    Request, Response,
    body::{Body, Frame, Incoming, SizeHint},
    server::conn::{http1, http2},
    service::Service,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::graceful::GracefulConnection,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout},
};
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

use super::{
    counters::{Away, Counters},
    dial::tune,
    patient::Patient,
    prefixed::Prefixed,
};
use crate::{
    config::Listen,
    shutdown::Shutdown,
    tls::{Acceptor, TlsError},
    trouble::Trouble,
};

/// Clients at once; further ones wait in the system's queue until another leaves.
const MAX_CONNECTIONS: usize = 16 << 10;
/// How many times the limit a head over HTTP/2 may have to be refused by us, who count it:
/// beyond it the library refuses it and tells nobody.
const COUNTED: usize = 4;
/// Streams that one HTTP/2 client may have open at once.
const MAX_STREAMS: u32 = 1 << 10;
/// What an HTTP/2 client may send before it is read: one stream, and all of them.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// What is buffered for an HTTP/2 stream that its client does not read.
const SEND_BUFFER: usize = 64 << 10;
/// How often an HTTP/2 client is asked whether it lives, and how long it may take to say so.
const PING_EVERY: Duration = Duration::from_secs(20);
/// The pause after the system had no room for another connection.
const BREATH: Duration = Duration::from_millis(100);
/// How long a client over HTTP/2 with nothing in flight may be silent in a drain: one that lives
/// says at once that it has heard.
const SILENT: Duration = Duration::from_secs(2);
/// The time for saying goodbye to who asked nothing, and for answering, at the end of the drain,
/// those who wait for a response.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// The first bytes of HTTP/2 without TLS (RFC 9113, 3.3).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What answers the exchanges of a listener.
pub(in crate::relay) trait Answering: Send + Sync + 'static {
    /// What answers are made of.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>
        + Send
        + Unpin
        + 'static;

    /// Answers a request, whatever happens. Dropped before its end, the client went away. Boxed,
    /// for hyper keeps the room of a future for as long as the connection lives.
    fn respond(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> BoxFuture<'static, Response<Self::Body>>;

    /// The drain is over: whoever still waits for a response is to be told so when it is polled
    /// the next time.
    fn abandon(&self);
}

/// A listener that is set up and has not begun.
#[derive(Debug)]
pub struct Listener {
    tls: Option<Acceptor>,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    read_timeout: Duration,
    drain_timeout: Duration,
    /// Clients at once.
    pub(super) max_connections: usize,
    /// Of what never became an exchange.
    counters: Arc<Counters>,
    shutdown: Shutdown,
}

impl Listener {
    /// Sets up a listener that serves until `shutdown`. Reads certificates.
    ///
    /// # Errors
    /// When a certificate file is of no use.
    pub fn new(
        listen: &Listen,
        counters: Arc<Counters>,
        shutdown: Shutdown,
    ) -> Result<Self, TlsError> {
        let max_header = usize::try_from(listen.max_header).unwrap_or(usize::MAX);
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(listen.read_timeout)
            .max_header_size(max_header)
            .auto_date_header(false);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_EVERY)
            .auto_date_header(false)
            .max_header_list_size(
                u32::try_from(max_header.saturating_mul(COUNTED)).unwrap_or(u32::MAX),
            )
            .max_concurrent_streams(MAX_STREAMS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER);
        Ok(Self {
            tls: listen.tls.as_ref().map(Acceptor::new).transpose()?,
            http1,
            http2,
            read_timeout: listen.read_timeout,
            drain_timeout: listen.drain_timeout,
            max_connections: MAX_CONNECTIONS,
            counters,
            shutdown,
        })
    }

    /// Serves the clients that come by `listener` until the shutdown, then for as long as the
    /// drain may take.
    pub(in crate::relay) async fn run(self, listener: TcpListener, answering: Arc<impl Answering>) {
        let serving = Arc::new(Serving { listener: self, answering });
        let this = &serving.listener;
        let connections = TaskTracker::new();
        let room = Arc::new(Semaphore::new(this.max_connections));
        let (mut full, mut trouble) = (Trouble::default(), Trouble::default());
        let mut begun = pin!(this.shutdown.begun());
        loop {
            let next = async {
                let permit = this.place(&room, &mut full).await?;
                Some((permit, listener.accept().await))
            };
            let next = tokio::select! {
                next = next => next,
                () = &mut begun => break,
            };
            match next {
                Some((permit, Ok((stream, _)))) => {
                    trouble.ends();
                    connections.spawn(Arc::clone(&serving).serve(stream, permit));
                }
                Some((_, Err(error))) => this.pause(&error, &mut trouble).await,
                None => break,
            }
        }
        drop(listener);
        connections.close();
        connections.wait().await;
    }

    /// A place for another client, once there is one.
    async fn place(
        &self,
        room: &Arc<Semaphore>,
        full: &mut Trouble,
    ) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(room).try_acquire_owned() {
            full.ends();
            return Some(permit);
        }
        self.counters.count_full();
        if full.begins_or_lasts() {
            let most = self.max_connections;
            tracing::warn!("{most} clients are connected; others wait until one of them leaves");
        }
        Arc::clone(room).acquire_owned().await.ok()
    }

    /// A client that left again is its own matter; without descriptors only time helps.
    async fn pause(&self, error: &io::Error, trouble: &mut Trouble) {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
        self.counters.count_turned_away(Away::NotAccepted);
        if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
            if trouble.begins_or_lasts() {
                tracing::warn!("accept a connection: {error}; clients wait until others leave");
            }
            tokio::time::sleep(BREATH).await;
        }
    }

    /// Serves the connection until it ends, or until the shutdown begins. Signs up for that
    /// only once, since a task keeps its waker: connections must not queue for a lock each
    /// time that they have something to do.
    async fn until_shutdown<F: Future>(&self, mut connection: Pin<&mut F>) -> Option<F::Output> {
        let mut begun = pin!(self.shutdown.begun());
        let mut signed_up = false;
        poll_fn(|cx| {
            if let Poll::Ready(result) = connection.as_mut().poll(cx) {
                return Poll::Ready(Some(result));
            }
            let over = if signed_up {
                self.shutdown.deadline().is_some()
            } else {
                signed_up = true;
                begun.as_mut().poll(cx).is_ready()
            };
            if over { Poll::Ready(None) } else { Poll::Pending }
        })
        .await
    }

    /// Heads that cannot be read, or do not come, are a matter of hyper and seen only here;
    /// `asked` says whether a request came before.
    fn note(&self, result: hyper::Result<()>, asked: &AtomicBool) {
        let Err(error) = result else { return };
        let silent = error.is_timeout() || error.is_incomplete_message();
        if silent && !asked.load(Ordering::Relaxed) {
            self.counters.count_turned_away(Away::Silent);
        }
        if error.is_parse_too_large() {
            self.counters.count_refused("head_too_large");
        } else if error.is_parse() {
            self.counters.count_refused("malformed");
        }
        tracing::debug!("connection of a client ended: {error}");
    }
}

/// A listener, and what answers those who come by it.
struct Serving<A> {
    listener: Listener,
    answering: Arc<A>,
}

impl<A: Answering> Serving<A> {
    /// Serves one client until it leaves, or the drain is over.
    async fn serve(self: Arc<Self>, stream: TcpStream, permit: OwnedSemaphorePermit) {
        if let Err(error) = tune(&stream) {
            tracing::debug!("set options of a client's socket: {error}");
        }
        let begun = match &self.listener.tls {
            None => self.serve_plain(stream).await,
            // Boxed, or every client without TLS would have room for its state as well.
            Some(acceptor) => Box::pin(self.serve_tls(acceptor, stream)).await,
        };
        if let Err(error) = begun {
            let away = if self.listener.tls.is_some() { Away::NoTls } else { Away::Silent };
            self.listener.counters.count_turned_away(away);
            tracing::debug!("a client got no further than to connect: {error}");
        }
        drop(permit);
    }

    /// Until a request can have begun, the shutdown has nothing to wait for.
    async fn serve_plain(&self, mut stream: TcpStream) -> io::Result<()> {
        let begun = {
            let begins = pin!(timeout(self.listener.read_timeout, preface(&mut stream)));
            self.listener.until_shutdown(begins).await
        };
        let Some(begun) = begun else { return Ok(()) };
        let (first, http2) = begun??;
        self.exchange(Prefixed::new(first, stream), http2).await;
        Ok(())
    }

    async fn serve_tls(&self, acceptor: &Acceptor, stream: TcpStream) -> io::Result<()> {
        let begun = {
            let begins = pin!(timeout(self.listener.read_timeout, acceptor.accept(stream)));
            self.listener.until_shutdown(begins).await
        };
        let Some(begun) = begun else { return Ok(()) };
        let stream = begun??;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        self.exchange(stream, http2).await;
        Ok(())
    }

    async fn exchange<S>(&self, io: S, http2: bool)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let asked = Arc::new(AtomicBool::new(false));
        let (answering, in_flight) = (Arc::clone(&self.answering), TaskTracker::new());
        let service =
            Exchanging { answering, asked: Arc::clone(&asked), in_flight: in_flight.clone() };
        // Or what a client does not read would stay in memory for as long as it likes.
        let io = TokioIo::new(Patient::new(io, self.listener.read_timeout));
        if http2 {
            let connection = self.listener.http2.serve_connection(io, service);
            self.drive(Box::pin(connection), &asked, Some(&in_flight)).await;
        } else {
            let connection = self.listener.http1.serve_connection(io, service);
            self.drive(Box::pin(connection), &asked, None).await;
        }
    }

    /// Of HTTP/1 a connection with nothing `in_flight` ends by itself.
    async fn drive<C>(
        &self,
        mut connection: Pin<Box<C>>,
        asked: &AtomicBool,
        in_flight: Option<&TaskTracker>,
    ) where
        C: GracefulConnection<Error = hyper::Error>,
    {
        if let Some(result) = self.listener.until_shutdown(connection.as_mut()).await {
            return self.listener.note(result, asked);
        }
        connection.as_mut().graceful_shutdown();
        // To who has asked nothing, or only begun to, nothing is owed but the goodbye.
        if !asked.load(Ordering::Relaxed) {
            if let Ok(result) = timeout(LAST_WORDS, connection.as_mut()).await {
                return self.listener.note(result, asked);
            }
            if !asked.load(Ordering::Relaxed) {
                return;
            }
        }
        let drained = timeout(self.listener.drain_timeout, self.listener.shutdown.hastened());
        tokio::select! {
            biased;
            result = unless_silent(connection.as_mut(), in_flight) => match result {
                Some(result) => return self.listener.note(result, asked),
                None => return tracing::debug!("a client of HTTP/2 heard no goodbye"),
            },
            _ = drained => self.answering.abandon(),
        }
        if let Ok(result) = timeout(LAST_WORDS, connection).await {
            return self.listener.note(result, asked);
        }
        tracing::warn!("cut off a client that was still served after the drain");
    }
}

/// Serves a connection until it ends; none once nothing is `in_flight` on it and nothing has
/// happened for a while.
async fn unless_silent<F: Future>(
    mut connection: Pin<&mut F>,
    in_flight: Option<&TaskTracker>,
) -> Option<F::Output> {
    let Some(in_flight) = in_flight else { return Some(connection.await) };
    let mut silence = pin!(sleep(SILENT));
    poll_fn(|cx| {
        if let Poll::Ready(result) = connection.as_mut().poll(cx) {
            return Poll::Ready(Some(result));
        }
        if silence.as_mut().poll(cx).is_ready() && in_flight.is_empty() {
            return Poll::Ready(None);
        }
        // Woken by something, or waiting for an exchange.
        silence.as_mut().reset(Instant::now() + SILENT);
        silence.as_mut().poll(cx).map(|()| None)
    })
    .await
}

/// The exchanges of one connection.
struct Exchanging<A> {
    answering: Arc<A>,
    /// There was one.
    asked: Arc<AtomicBool>,
    in_flight: TaskTracker,
}

/// A body whose exchange is in flight until it is dropped.
pub(super) struct Served<B> {
    body: B,
    _in_flight: TaskTrackerToken,
}

impl<B: Body + Unpin> Body for Served<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Answers a request, and says so for as long as that takes.
struct Serve<B> {
    answered: BoxFuture<'static, Response<B>>,
    in_flight: TaskTrackerToken,
}

impl<B> Future for Serve<B> {
    type Output = Result<Response<Served<B>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let response = ready!(self.answered.as_mut().poll(cx));
        let token = self.in_flight.clone();
        Poll::Ready(Ok(response.map(|body| Served { body, _in_flight: token })))
    }
}

impl<A: Answering> Service<Request<Incoming>> for Exchanging<A> {
    type Response = Response<Served<A::Body>>;
    type Error = Infallible;
    type Future = Serve<A::Body>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.asked.store(true, Ordering::Relaxed);
        let in_flight = self.in_flight.token();
        Serve { answered: Arc::clone(&self.answering).respond(request), in_flight }
    }
}

/// Reads as much as tells HTTP/2 from HTTP/1, and which it is.
async fn preface(stream: &mut TcpStream) -> io::Result<(Bytes, bool)> {
    let mut first = BytesMut::with_capacity(PREFACE.len());
    while PREFACE.starts_with(&first) && first.len() < PREFACE.len() {
        let mut rest = (&mut *stream).take((PREFACE.len() - first.len()) as u64);
        if rest.read_buf(&mut first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let http2 = first == PREFACE;
    Ok((first.freeze(), http2))
}
