//! `mcpulse-proxy drain`: asks the proxy that runs here to let nothing begin any more, as a pod
//! does whose end has begun.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::config::Config;

/// How long the proxy may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks the proxy of this configuration.
///
/// # Errors
/// That it does not answer, and what to do.
pub(super) async fn ask(config: &Config) -> anyhow::Result<()> {
    let Some(address) = &config.metrics_listen else {
        bail!("--metrics-listen is missing; the proxy that is to drain is asked there");
    };
    // Who listens everywhere listens here.
    let here = match address.strip_prefix(':') {
        Some(port) => format!("{}:{port}", Ipv4Addr::LOCALHOST),
        None => address.clone(),
    };
    let asked = timeout(PATIENCE, post(&here)).await;
    let answer = asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let answer = answer.with_context(|| format!("ask the proxy at {here} to drain"))?;
    let status = answer.lines().next().unwrap_or_default();
    ensure!(status.starts_with("HTTP/1.1 200"), "the proxy at {here} answers {status:?}");
    Ok(())
}

async fn post(address: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let host = stream.peer_addr().map(|peer: SocketAddr| peer.to_string())?;
    let request = format!("POST /drain HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
