//! Both ends of the proxy in the hands of a test: what it writes is what they say, and what
//! it reads is what they were told, to the byte.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};

/// Longest wait for what should happen at once, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_mins(1);

/// A server that hands each connection to the test, once a byte has come on it.
#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
    wires: mpsc::Receiver<Wire>,
    accepting: JoinHandle<()>,
}

impl Server {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("the address of a bound socket");
        let (hand, wires) = mpsc::channel(64);
        let accepting = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let hand = hand.clone();
                tokio::spawn(async move {
                    // The proxy's own look whether anybody is there ends without a byte.
                    if matches!(socket.peek(&mut [0]).await, Ok(1)) {
                        let _ = hand.send(Wire::of(socket)).await;
                    }
                });
            }
        });
        Self { address, wires, accepting }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection with a request on it.
    pub(super) async fn accept(&mut self) -> Wire {
        let wire = timeout(PATIENCE, self.wires.recv()).await;
        wire.expect("a request in time").expect("the server runs")
    }

    /// Whether a connection with a request on it waits already.
    pub(super) fn is_asked(&self) -> bool {
        !self.wires.is_empty()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Wire {
    socket: TcpStream,
    /// Read, and not yet taken.
    ahead: Vec<u8>,
}

impl Wire {
    fn of(socket: TcpStream) -> Self {
        socket.set_nodelay(true).expect("a TCP socket");
        Self { socket, ahead: Vec::new() }
    }

    /// Connects as a client.
    pub(super) async fn to(address: SocketAddr) -> Self {
        Self::of(TcpStream::connect(address).await.expect("somebody listens"))
    }

    pub(super) async fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).await.expect("the peer reads");
    }

    /// Says no more, and may hear more.
    pub(super) async fn shut(&mut self) {
        self.socket.shutdown().await.expect("the peer is there");
    }

    /// Hears up to and including `end`.
    pub(super) async fn hear_to(&mut self, end: &str) -> String {
        String::from_utf8_lossy(&self.bytes_to(end.as_bytes()).await).into_owned()
    }

    /// The same, to the byte.
    pub(super) async fn bytes_to(&mut self, end: &[u8]) -> Vec<u8> {
        let mut from = 0;
        loop {
            let found = self.ahead[from..].windows(end.len()).position(|it| it == end);
            if let Some(at) = found {
                return self.take(from + at + end.len());
            }
            from = self.ahead.len().saturating_sub(end.len());
            self.more(&format!("up to {:?}", end.escape_ascii().to_string())).await;
        }
    }

    /// Hears so many bytes.
    pub(super) async fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.ahead.len() < count {
            self.more(&format!("{count} bytes")).await;
        }
        self.take(count)
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let rest = self.ahead.split_off(count);
        std::mem::replace(&mut self.ahead, rest)
    }

    async fn more(&mut self, wanted: &str) {
        let more = timeout(PATIENCE, self.socket.read_buf(&mut self.ahead)).await;
        let ahead = self.ahead.escape_ascii();
        assert!(matches!(more, Ok(Ok(1..))), "{more:?} instead of {wanted}: {ahead}");
    }

    /// Hears a head, its blank line included.
    pub(super) async fn head(&mut self) -> String {
        self.hear_to("\r\n\r\n").await
    }

    /// Hears one request or answer to the end of its body, if it says how long that is.
    pub(super) async fn message(&mut self) -> Vec<u8> {
        let mut heard = self.bytes_to(b"\r\n\r\n").await;
        let head = String::from_utf8_lossy(&heard).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        if let Some(length) = length {
            let length = length.trim().parse().expect("a number");
            heard.extend(self.bytes(length).await);
        } else if head.contains("\r\ntransfer-encoding: chunked") {
            heard.extend(self.bytes_to(b"0\r\n\r\n").await);
        }
        heard
    }

    /// Hears everything up to the end of the connection, and whether it ended cleanly.
    pub(super) async fn rest(&mut self) -> (Vec<u8>, bool) {
        let clean = timeout(PATIENCE, self.socket.read_to_end(&mut self.ahead)).await;
        let clean = clean.expect("an end in time").is_ok();
        (std::mem::take(&mut self.ahead), clean)
    }
}
