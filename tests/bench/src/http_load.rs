//! Closed-loop load over HTTP: a number of clients, one connection and one request each.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::stdio_load::{Load, request};

/// Lets `clients` call one after another for `length`.
pub(crate) fn drive(address: SocketAddr, clients: usize, length: Duration) -> anyhow::Result<Load> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let begin = Instant::now();
        let tasks: Vec<_> =
            (0..clients).map(|_| tokio::spawn(client(address, begin + length))).collect();
        let mut latencies = Vec::new();
        for task in tasks {
            latencies.extend(task.await??);
        }
        let elapsed = begin.elapsed();
        latencies.sort_unstable();
        Ok(Load { latencies, elapsed })
    })
}

async fn client(address: SocketAddr, end: Instant) -> anyhow::Result<Vec<Duration>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let mut latencies = Vec::with_capacity(1 << 16);
    let mut id = 0;
    while Instant::now() < end {
        let body = Full::new(Bytes::from(request(id)));
        id += 1;
        let request = Request::post("/mcp")
            .header("host", address.to_string())
            .header("accept", "application/json, text/event-stream")
            .header("content-type", "application/json")
            .header("mcp-protocol-version", "2025-11-25")
            .header("mcp-session-id", "7c0e8a3e-64a1-4f4e-9a35-1f3c2b7d9e10")
            .body(body)?;
        let begin = Instant::now();
        let response = sender.send_request(request).await?;
        anyhow::ensure!(response.status().is_success(), "status {}", response.status());
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            frame?;
        }
        latencies.push(begin.elapsed());
    }
    drop(sender);
    connection.await??;
    Ok(latencies)
}
