//! Closed-loop load over HTTP: a number of clients, one connection and one request each.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, client::conn::http1, header::HeaderValue};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, runtime::Runtime};

use crate::stdio_load::{Load, request};

const INITIALIZE: &str = "{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"initialize\",\"params\":{\
    \"protocolVersion\":\"2025-11-25\",\"capabilities\":{},\
    \"clientInfo\":{\"name\":\"bench\",\"version\":\"1\"}}}";
const SESSION: &str = "mcp-session-id";
/// Of a session that nobody has to begin.
const ANY: HeaderValue = HeaderValue::from_static("7c0e8a3e-64a1-4f4e-9a35-1f3c2b7d9e10");

/// Clients that stay connected from one measurement to the next.
pub(crate) struct Clients {
    runtime: Runtime,
    clients: Vec<Client>,
}

struct Client {
    sender: http1::SendRequest<Full<Bytes>>,
    host: String,
    session: Option<HeaderValue>,
    next: u64,
}

impl Clients {
    /// Connects so many, and begins a session with each if there have to be `sessions`.
    pub(crate) fn connect(
        address: SocketAddr,
        clients: usize,
        sessions: bool,
    ) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let clients = runtime.block_on(async {
            let mut connected = Vec::new();
            for _ in 0..clients {
                connected.push(Client::connect(address, sessions).await?);
            }
            anyhow::Ok(connected)
        })?;
        Ok(Self { runtime, clients })
    }

    /// Lets them call one after another for `length`.
    pub(crate) fn drive(&mut self, length: Duration) -> anyhow::Result<Load> {
        let clients = std::mem::take(&mut self.clients);
        self.runtime.block_on(async {
            let begin = Instant::now();
            let tasks: Vec<_> = clients
                .into_iter()
                .map(|client| tokio::spawn(client.call_until(begin + length)))
                .collect();
            let mut latencies = Vec::new();
            for task in tasks {
                let (client, measured) = task.await??;
                self.clients.push(client);
                latencies.extend(measured);
            }
            let elapsed = begin.elapsed();
            latencies.sort_unstable();
            Ok(Load { latencies, elapsed })
        })
    }
}

impl Client {
    async fn connect(address: SocketAddr, session: bool) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            // Its end is the end of the measurement.
            let _ = connection.await;
        });
        let session_id = (!session).then_some(ANY);
        let mut client = Self { sender, host: address.to_string(), session: session_id, next: 1 };
        if session {
            let response = client.post(INITIALIZE.to_owned()).await?;
            client.session = response.headers().get(SESSION).cloned();
            anyhow::ensure!(client.session.is_some(), "no session began");
            read(response).await?;
        }
        Ok(client)
    }

    async fn post(&mut self, body: String) -> anyhow::Result<Response<Incoming>> {
        let mut request = Request::post("/mcp")
            .header("host", &self.host)
            .header("accept", "application/json, text/event-stream")
            .header("content-type", "application/json")
            .header("mcp-protocol-version", "2025-11-25");
        if let Some(session) = &self.session {
            request = request.header(SESSION, session);
        }
        let response = self.sender.send_request(request.body(Full::from(body))?).await?;
        anyhow::ensure!(response.status().is_success(), "status {}", response.status());
        Ok(response)
    }

    async fn call_until(mut self, end: Instant) -> anyhow::Result<(Self, Vec<Duration>)> {
        let mut latencies = Vec::with_capacity(1 << 16);
        while Instant::now() < end {
            let body = request(self.next);
            self.next += 1;
            let begin = Instant::now();
            let response = self.post(body).await?;
            read(response).await?;
            latencies.push(begin.elapsed());
        }
        Ok((self, latencies))
    }
}

async fn read(response: Response<Incoming>) -> anyhow::Result<()> {
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        frame?;
    }
    Ok(())
}
