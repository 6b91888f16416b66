//! A proxy over HTTP whose server answers with bytes that the test chose.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use mcpulse_tests::{Proxy, eventually};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    process::Command,
    task::JoinHandle,
    time::timeout,
};

use super::{Ends, PATIENCE, assert_settled};

/// Any port on loopback.
const ANYWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A server that hears one request a connection, says its piece and closes.
#[derive(Debug)]
pub(crate) struct Upstream {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Upstream {
    /// Says `piece`.
    pub(crate) async fn saying(piece: impl Into<Vec<u8>>) -> Self {
        Self::at(ANYWHERE, Some(piece.into())).await
    }

    /// Says nothing at all, for ever.
    pub(crate) async fn silent() -> Self {
        Self::at(ANYWHERE, None).await
    }

    /// Says `piece`, if any, at this address.
    pub(crate) async fn at(address: SocketAddr, piece: Option<Vec<u8>>) -> Self {
        let listener = TcpListener::bind(address).await.expect("a port");
        let address = listener.local_addr().expect("the address of a bound socket");
        let piece = piece.map(Arc::<[u8]>::from);
        let serving = tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let piece = piece.clone();
                tokio::spawn(async move {
                    hear(&mut socket).await;
                    let Some(piece) = piece else { std::future::pending().await };
                    // The proxy may have gone.
                    let _ = socket.write_all(&piece).await;
                    let _ = socket.shutdown().await;
                    let _ = socket.read_to_end(&mut Vec::new()).await;
                });
            }
        });
        Self { address, serving }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Hears one request, as far as it comes.
async fn hear(socket: &mut TcpStream) -> Vec<u8> {
    let mut request = Vec::new();
    loop {
        if complete(&request) {
            return request;
        }
        match socket.read_buf(&mut request).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return request,
        }
    }
}

/// Whether a request is there to the end of its body.
fn complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    match length.and_then(|length| length.trim().parse::<usize>().ok()) {
        Some(length) => body.len() >= length,
        None => !head.contains("transfer-encoding: chunked") || body.ends_with("0\r\n\r\n"),
    }
}

/// What a client got.
#[derive(Debug)]
pub(crate) struct Answer {
    /// 0 when there was no answer.
    pub(crate) status: u16,
    /// As it came, chunks and all.
    pub(crate) body: String,
}

/// The proxy in front of such a server.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) ends: Ends,
    pub(crate) proxy: Proxy,
    address: SocketAddr,
}

impl Front {
    /// In front of what is at `upstream`.
    pub(crate) async fn of(upstream: SocketAddr, flags: &[&str]) -> Self {
        Self::before(&format!("http://{upstream}/mcp"), flags).await
    }

    /// In front of the server with this URL.
    pub(crate) async fn before(url: &str, flags: &[&str]) -> Self {
        let ends = Ends::start().await;
        let mut args = vec!["http", "--remote-url", url, "--listen", "127.0.0.1:0"];
        let own = ends.flags();
        args.extend(own.iter().map(String::as_str));
        args.extend(flags);
        let command = Proxy::command(args);
        Self::run(ends, command).await
    }

    /// What this starts, between these ends.
    pub(crate) async fn run(ends: Ends, command: Command) -> Self {
        let proxy = Proxy::run(command);
        let address = proxy.address().await;
        Self { ends, proxy, address }
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends `request` as it is and hears everything until the proxy closes.
    pub(crate) async fn raw(&self, request: &[u8]) -> Answer {
        let exchange = async {
            let mut socket = TcpStream::connect(self.address).await.expect("the proxy listens");
            // It may answer before it has heard all.
            let _ = socket.write_all(request).await;
            let mut answer = Vec::new();
            let _ = socket.read_to_end(&mut answer).await;
            answer
        };
        let answer = timeout(PATIENCE, exchange).await.expect("an answer, or none");
        let text = String::from_utf8_lossy(&answer);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Answer { status, body: body.to_owned() }
    }

    /// Posts a body with these headers besides what HTTP needs, each with its line end.
    pub(crate) async fn post(&self, headers: &str, body: &str) -> Answer {
        let request = format!(
            "POST /mcp HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n{body}",
            self.address,
            body.len()
        );
        self.raw(request.as_bytes()).await
    }

    /// Posts one call.
    pub(crate) async fn call(&self, id: &str) -> Answer {
        let headers =
            "content-type: application/json\r\naccept: application/json, text/event-stream\r\n";
        self.post(headers, &super::call(id)).await
    }

    /// See [`super::assert_settled`]; everything is delivered then.
    pub(crate) async fn assert_settled(&self, calls: &[(&str, u64)], oddities: &[(&str, u64)]) {
        assert_settled(&self.proxy, calls, oddities).await;
        self.ends.assert_delivered(calls.iter().map(|(_, count)| count).sum()).await;
    }

    /// Waits until a call waits for its answer.
    pub(crate) async fn assert_in_flight(&self) {
        let flying = async || {
            let scrape = super::balanced(&self.proxy).await;
            (scrape.sum("mcpulse_calls_in_flight", &[]) > 0.5).then_some(())
        };
        eventually("a call is in flight", PATIENCE, flying).await;
    }

    /// One counter of the relay.
    pub(crate) async fn counted(&self, name: &str, label: (&str, &str)) -> u64 {
        let scrape = super::balanced(&self.proxy).await;
        super::by(&scrape, name, label.0).get(label.1).copied().unwrap_or_default()
    }
}

/// A whole answer of HTTP/1.1 with this content type.
pub(crate) fn answer(content_type: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: {content_type}\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
}
