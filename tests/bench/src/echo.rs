//! An MCP server of fixed cost: whatever is asked, the answer is the same bytes but for the id.

use std::{
    convert::Infallible,
    io::{Read, Write},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, header, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

const ID: &[u8] = b"\"id\":";

/// The digits behind the first `"id":`; the load generator sends no other ids.
fn id(message: &[u8]) -> &[u8] {
    let start = memchr::memmem::find(message, ID).map_or(message.len(), |at| at + ID.len());
    let digits = message[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    &message[start..start + digits]
}

/// Everything of the answer behind its id.
fn tail(size: usize) -> Vec<u8> {
    let head = ",\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"";
    let end = "\"}],\"isError\":false}}";
    let text = "x".repeat(size.saturating_sub(head.len() + end.len() + 30));
    format!("{head}{text}{end}").into_bytes()
}

fn answer(message: &[u8], tail: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    out.extend_from_slice(id(message));
    out.extend_from_slice(tail);
}

/// Serves standard input until it ends.
pub(crate) fn stdio(size: usize) -> anyhow::Result<()> {
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    let tail = tail(size);
    let mut buffer = vec![0; 64 << 10];
    let mut filled = 0;
    let mut out = Vec::new();
    loop {
        let count = input.read(&mut buffer[filled..])?;
        if count == 0 {
            return Ok(());
        }
        filled += count;
        let mut start = 0;
        out.clear();
        while let Some(length) = memchr::memchr(b'\n', &buffer[start..filled]) {
            answer(&buffer[start..start + length], &tail, &mut out);
            out.push(b'\n');
            start += length + 1;
        }
        buffer.copy_within(start..filled, 0);
        filled -= start;
        // Standard output is line-buffered: one write of many lines passes through at once.
        output.write_all(&out)?;
        output.flush()?;
    }
}

/// Serves HTTP on a free port for ever.
pub(crate) async fn http(size: usize, sse: bool) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    crate::process::announce(listener.local_addr()?)?;
    let tail = Bytes::from(tail(size));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let tail = tail.clone();
        let service = service_fn(move |request| respond(request, tail.clone(), sse));
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            // A client that leaves is no failure of the server.
            let _ = connection.await;
        });
    }
}

async fn respond(
    request: Request<Incoming>,
    tail: Bytes,
    sse: bool,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes);
    let body = body.unwrap_or_default();
    let mut out = Vec::with_capacity(tail.len() + 64);
    if sse {
        out.extend_from_slice(b"event: message\ndata: ");
    }
    answer(&body, &tail, &mut out);
    if sse {
        out.extend_from_slice(b"\n\n");
    }
    let kind = if sse { "text/event-stream" } else { "application/json" };
    let mut response = Response::new(Full::new(Bytes::from(out)));
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    Ok(response)
}
