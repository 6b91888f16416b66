//! What observing costs, in memory and on one thread: `cargo bench -p mcpulse-proxy`; with
//! `-- WORDS` only the cases whose name has these words in it.

use std::{
    hint::black_box,
    io::Write,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use mcpulse_proxy::{
    config::Limits,
    observe::Observer,
    sink::{Ledger, Metrics, Sinks},
    traffic::{
        BodyKind, Direction, End, Exchange, HttpTransport, ResponseHead, Seen, Stream, StreamKind,
        What,
    },
};

/// How long each case runs.
const RUN: Duration = Duration::from_secs(2);
/// Pairs between two ticks of the observer.
const BATCH: u32 = 32;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{:<34} {:>12} {:>12}", "one request and its answer", "ns", "MB/s")?;
    let text = |size: usize| "lorem ipsum dolor sit amet ".repeat(size / 27 + 1)[..size].to_owned();
    let lines = |size: usize| text(size).replace(' ', "\\n\\\"");
    let numbers = |size: usize| format!("[{}0]", "12,-3.5,{\"k\":\"v\"},".repeat(size / 19));
    let cases = [
        ("stdio, 200 B", answer(&text(100), "null"), false),
        ("stdio, 64 KiB of text", answer(&text(64 << 10), "null"), false),
        ("stdio, 1 MiB of text", answer(&text(1 << 20), "null"), false),
        ("stdio, 1 MiB of escaped lines", answer(&lines(1 << 20), "null"), false),
        ("stdio, 1 MiB of numbers and keys", answer("", &numbers(1 << 20)), false),
        ("http, 200 B", answer(&text(100), "null"), true),
        ("http, 64 KiB of text", answer(&text(64 << 10), "null"), true),
    ];
    let wanted = std::env::args().skip(1).find(|word| !word.starts_with('-')).unwrap_or_default();
    for (name, answer, over_http) in cases {
        if !name.contains(&wanted) {
            continue;
        }
        let (time, bytes) = measure(&answer, over_http)?;
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let rate = bytes as f64 / time.as_secs_f64() / 1e6;
        writeln!(out, "{name:<34} {:>12} {rate:>12.0}", time.as_nanos())?;
    }
    Ok(())
}

fn answer(text: &str, structured: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":ID,"result":{{"content":[{{"type":"text","text":"{text}"}}],"structuredContent":{structured},"isError":false}}}}"#
    )
}

/// Time and bytes of one pair.
fn measure(answer: &str, over_http: bool) -> Result<(Duration, usize), Box<dyn std::error::Error>> {
    let ledger = Arc::<Ledger>::default();
    let limits = Limits::default();
    let metrics = Arc::new(Metrics::new(&ledger, limits.tools)?);
    let mut observer = Observer::new(Sinks::new(metrics, ledger, Vec::new()), limits);
    let stdio = stream(0, StreamKind::Lines);
    let request = r#"{"jsonrpc":"2.0","id":ID,"method":"tools/call","params":{"name":"echo","arguments":{"message":"a text of the usual length, which is short, but not very short"},"_meta":{"progressToken":1}}}"#;
    let mut id = 0;
    let began = Instant::now();
    let mut batches = Vec::new();
    while began.elapsed() < RUN {
        // Ids of one length; made before the clock runs.
        let pairs: Vec<_> = (0..BATCH)
            .map(|_| {
                id += 1;
                let id = (1_000_000_000 + id).to_string();
                [request, answer].map(|text| chunks(&format!("{}\n", text.replacen("ID", &id, 1))))
            })
            .collect();
        let now = Instant::now();
        for (at, [request, answer]) in (id..).zip(pairs) {
            if over_http {
                exchange(&mut observer, at, request, answer);
            } else {
                show(&mut observer, &stdio, Direction::ToServer, request);
                show(&mut observer, &stdio, Direction::ToClient, answer);
            }
        }
        observer.tick(now);
        batches.push(now.elapsed() / BATCH);
    }
    black_box(&observer);
    // The median: what else the machine does is not ours.
    batches.sort_unstable();
    Ok((batches[batches.len() / 2], request.len() + answer.len()))
}

/// The chunks in which a relay reads it.
fn chunks(text: &str) -> Vec<Bytes> {
    text.as_bytes().chunks(64 << 10).map(Bytes::copy_from_slice).collect()
}

fn stream(id: u64, kind: StreamKind) -> Arc<Stream> {
    Arc::new(Stream::new(id, "server".into(), kind))
}

fn exchange(observer: &mut Observer, id: u64, request: Vec<Bytes>, answer: Vec<Bytes>) {
    let stream = stream(
        id,
        StreamKind::Exchange(Exchange {
            method: Method::POST,
            target: http::uri::PathAndQuery::from_static("/mcp"),
            session: Some(HeaderValue::from_static("1868a90c-1f3f-4f0c-9d5e-2c8f6d1f2a3b")),
            protocol_version: Some(HeaderValue::from_static("2025-06-18")),
            transport: HttpTransport::Streamable,
            again: false,
        }),
    );
    show(observer, &stream, Direction::ToServer, request);
    see(observer, &stream, Direction::ToServer, What::End(End::Clean));
    let head = ResponseHead { status: StatusCode::OK, body: BodyKind::Json, session: None };
    see(observer, &stream, Direction::ToClient, What::Head(head));
    show(observer, &stream, Direction::ToClient, answer);
    see(observer, &stream, Direction::ToClient, What::End(End::Clean));
}

fn show(observer: &mut Observer, stream: &Arc<Stream>, direction: Direction, chunks: Vec<Bytes>) {
    for chunk in chunks {
        see(observer, stream, direction, What::Data(chunk));
    }
}

fn see(observer: &mut Observer, stream: &Arc<Stream>, direction: Direction, what: What) {
    let stream = Arc::clone(stream);
    observer.see(Seen { stream, direction, at: Instant::now(), gap: false, what });
}
