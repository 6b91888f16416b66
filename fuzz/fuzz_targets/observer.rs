//! Anything that relays could show, in any order and with any loss: no panic, bounded tables,
//! and at the end no call is left in flight.
#![no_main]

use std::{
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, uri::PathAndQuery};
use libfuzzer_sys::{arbitrary, arbitrary::Arbitrary, fuzz_target};
use mcpulse_proxy::{
    config::Limits,
    observe::Observer,
    sink::{Ledger, Metrics, Sinks},
    traffic::{
        BodyKind, Direction, End, Exchange, HttpTransport, ResponseHead, Seen, Stream, StreamKind,
        What,
    },
};

const TALKS: usize = 7;

#[derive(Arbitrary, Debug)]
struct Act<'a> {
    talk: u8,
    up: bool,
    gap: bool,
    what: Shown<'a>,
}

#[derive(Arbitrary, Debug)]
enum Shown<'a> {
    Line(&'a [u8]),
    Event(&'a [u8]),
    Bytes(&'a [u8]),
    Message(u8, u8),
    Head(u8, u8),
    End(u8),
    Pass(u16),
    Reopen,
}

const MESSAGES: [&str; 10] = [
    r#"{"id":ID,"method":"tools/call","params":{"name":"t","arguments":{},"_meta":{"progressToken":1}}}"#,
    r#"{"id":ID,"method":"tools/call","params":{"name":"t","_meta":{"io.modelcontextprotocol/protocolVersion":"v"}}}"#,
    r#"{"id":ID,"method":"initialize","params":{"clientInfo":{"name":"c"}}}"#,
    r#"{"id":ID,"result":{"protocolVersion":"2025-11-25"}}"#,
    r#"{"id":ID,"result":{"task":{"taskId":"a","status":"working"}}}"#,
    r#"{"id":ID,"method":"tasks/result","params":{"taskId":"a"}}"#,
    r#"{"method":"notifications/tasks/status","params":{"taskId":"a","status":"completed"}}"#,
    r#"{"method":"notifications/cancelled","params":{"requestId":ID}}"#,
    r#"{"jsonrpc":"2.0","error":{"code":-1,"message":"m"}}"#,
    r#"[{"id":ID,"error":{"code":-1}},{"id":ID,"method":"subscriptions/listen"}]"#,
];

/// Made once: registering the metrics takes longer than a run.
static BOOKS: LazyLock<(Arc<Ledger>, Arc<Metrics>)> = LazyLock::new(|| {
    let ledger = Arc::<Ledger>::default();
    let metrics = Metrics::new(&ledger, 10).unwrap();
    (ledger, Arc::new(metrics))
});

fuzz_target!(|acts: Vec<Act<'_>>| {
    let limits =
        Limits { pending: 8, sessions: 2, inspect: 200, arguments: 30, ..Limits::default() };
    let (ledger, metrics) = &*BOOKS;
    let sinks = Sinks::new(Arc::clone(metrics), Arc::clone(ledger), vec![]);
    let mut observer = Observer::new(sinks, limits);
    let mut now = Instant::now();
    let mut opened = 0;
    let mut talks: Vec<_> = (0..TALKS).map(|talk| open(&mut opened, talk)).collect();
    for Act { talk, up, gap, what } in acts {
        let talk = usize::from(talk) % TALKS;
        let data = |parts: &[&[u8]]| What::Data(Bytes::from(parts.concat()));
        let what = match what {
            Shown::Line(line) => data(&[line, b"\n"]),
            Shown::Event(event) => data(&[b"id: 1\ndata: ", event, b"\n\n"]),
            Shown::Bytes(bytes) => data(&[bytes]),
            Shown::Message(message, id) => {
                let message = MESSAGES[usize::from(message) % MESSAGES.len()];
                let message = message.replace("ID", &(id % 4).to_string());
                match talk {
                    0 => data(&[message.as_bytes(), b"\n"]),
                    _ if !up => data(&[b"data: ", message.as_bytes(), b"\n\n"]),
                    _ => data(&[message.as_bytes()]),
                }
            }
            Shown::Head(status, body) => What::Head(ResponseHead {
                status: StatusCode::from_u16(200 + u16::from(status)).unwrap(),
                body: match body % 3 {
                    0 => BodyKind::Json,
                    1 => BodyKind::EventStream,
                    _ => BodyKind::Opaque,
                },
                session: (body > 100).then(|| HeaderValue::from_static("s")),
            }),
            Shown::End(end) => What::End(match end % 6 {
                0 => End::Clean,
                1 => End::ClientGone,
                2 => End::ServerGone,
                3 => End::Unreachable,
                4 => End::TimedOut,
                _ => End::Refused,
            }),
            Shown::Pass(seconds) => {
                now += Duration::from_secs(u64::from(seconds));
                observer.tick(now);
                continue;
            }
            Shown::Reopen => {
                talks[talk] = open(&mut opened, talk);
                continue;
            }
        };
        let direction = if up { Direction::ToServer } else { Direction::ToClient };
        observer.see(Seen { stream: Arc::clone(&talks[talk]), direction, at: now, gap, what });
    }
    drop(talks);
    observer.finish(now);
    let text = metrics.render().unwrap();
    let in_flight = text.lines().find(|line| line.starts_with("mcpulse_calls_in_flight{"));
    assert!(in_flight.is_none_or(|line| line.ends_with(" 0")), "{in_flight:?}");
});

fn open(opened: &mut u64, talk: usize) -> Arc<Stream> {
    use HttpTransport::{LegacySse, Streamable};
    *opened += 1;
    let exchange = |method, target, transport, session: Option<&'static str>| {
        StreamKind::Exchange(Exchange {
            method,
            target: PathAndQuery::from_static(target),
            session: session.map(HeaderValue::from_static),
            protocol_version: None,
            transport,
            again: false,
        })
    };
    let kind = match talk {
        0 => StreamKind::Lines,
        1 => exchange(Method::POST, "/mcp", Streamable, Some("s")),
        2 => exchange(Method::POST, "/mcp", Streamable, None),
        3 => exchange(Method::GET, "/mcp", Streamable, Some("s")),
        4 => exchange(Method::DELETE, "/mcp", Streamable, Some("s")),
        5 => exchange(Method::GET, "/sse", LegacySse, None),
        _ => exchange(Method::POST, "/m", LegacySse, None),
    };
    Arc::new(Stream::new(*opened, "server".into(), kind))
}
