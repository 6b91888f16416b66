//! Short scripts of messages, and the records that they must leave.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};

use super::{Observer, Oddity};
use crate::{
    config::Limits,
    record::{Call, Outcome},
    sink::{
        Ledger, Metrics, Sinks,
        queue::{Take, queue},
    },
    traffic::{
        BodyKind,
        Direction::{self, ToClient, ToServer},
        End, Exchange, HttpTransport, ResponseHead, Seen, Stream, StreamKind, What,
    },
};

mod chunks;
mod duplicates;
mod http_streams;
mod legacy_sse;
mod loss;
mod stdio;
mod tasks;

/// An observer, its sinks, and a clock that only the script moves.
struct Script {
    observer: Observer,
    take: Take,
    metrics: Arc<Metrics>,
    now: Instant,
    streams: u64,
    gap: bool,
    /// Bytes of the chunks in which everything is shown.
    chunk: usize,
}

/// One stream; the script holds it as the relay would.
type Talk = Arc<Stream>;

impl Script {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        let ledger = Arc::<Ledger>::default();
        let (offer, take) = queue(1 << 16, 1 << 26, ledger.account("script"), "");
        let metrics = Arc::new(Metrics::new(&ledger, limits.tools).unwrap());
        let sinks = Sinks::new(Arc::clone(&metrics), ledger, vec![offer]);
        Self {
            observer: Observer::new(sinks, limits),
            take,
            metrics,
            now: Instant::now(),
            streams: 0,
            gap: false,
            chunk: usize::MAX,
        }
    }

    fn open(&mut self, kind: StreamKind) -> Talk {
        self.streams += 1;
        Arc::new(Stream::new(self.streams, "server".into(), kind))
    }

    fn stdio(&mut self) -> Talk {
        self.open(StreamKind::Lines)
    }

    fn exchange(
        &mut self,
        method: Method,
        target: &str,
        transport: HttpTransport,
        session: Option<&str>,
    ) -> Talk {
        self.open(StreamKind::Exchange(Exchange {
            method,
            target: target.parse().unwrap(),
            session: session.map(|session| HeaderValue::from_str(session).unwrap()),
            protocol_version: Some(HeaderValue::from_static("2025-11-25")),
            transport,
            again: false,
        }))
    }

    /// A whole POST; its answer is still to come.
    fn post(&mut self, session: Option<&str>, body: &str) -> Talk {
        let talk = self.exchange(Method::POST, "/mcp", HttpTransport::Streamable, session);
        self.data(&talk, ToServer, body.as_bytes());
        self.end(&talk, ToServer, End::Clean);
        talk
    }

    fn head(&mut self, talk: &Talk, status: u16, body: BodyKind, session: Option<&str>) {
        self.show(
            talk,
            ToClient,
            What::Head(ResponseHead {
                status: StatusCode::from_u16(status).unwrap(),
                body,
                session: session.map(|session| HeaderValue::from_str(session).unwrap()),
            }),
        );
    }

    /// A whole answer with a JSON body.
    fn reply(&mut self, talk: &Talk, status: u16, body: &str) {
        self.head(talk, status, BodyKind::Json, None);
        self.data(talk, ToClient, body.as_bytes());
        self.end(talk, ToClient, End::Clean);
    }

    /// One event of a stream.
    fn event(&mut self, talk: &Talk, id: Option<u32>, message: &str) {
        let id = id.map_or(String::new(), |id| format!("id: {id}\n"));
        self.data(talk, ToClient, format!("{id}data: {message}\n\n").as_bytes());
    }

    /// The client writes a line.
    fn client(&mut self, talk: &Talk, message: &str) {
        self.data(talk, ToServer, format!("{message}\n").as_bytes());
    }

    /// The server writes a line.
    fn server(&mut self, talk: &Talk, message: &str) {
        self.data(talk, ToClient, format!("{message}\n").as_bytes());
    }

    fn data(&mut self, talk: &Talk, direction: Direction, bytes: &[u8]) {
        for chunk in bytes.chunks(self.chunk) {
            self.show(talk, direction, What::Data(Bytes::copy_from_slice(chunk)));
        }
    }

    fn end(&mut self, talk: &Talk, direction: Direction, end: End) {
        self.show(talk, direction, What::End(end));
    }

    fn show(&mut self, talk: &Talk, direction: Direction, what: What) {
        let gap = std::mem::take(&mut self.gap);
        self.observer.see(Seen { stream: Arc::clone(talk), direction, at: self.now, gap, what });
    }

    /// The tap loses something just before what comes next.
    fn lose(&mut self) {
        self.gap = true;
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.observer.tick(self.now);
    }

    fn finish(&mut self) {
        self.observer.finish(self.now);
    }

    /// The records of tool calls since the last look.
    fn records(&mut self) -> Vec<Arc<Call>> {
        std::iter::from_fn(|| self.take.try_next()).collect()
    }

    /// The same in short: the id and how it ended.
    fn calls(&mut self) -> Vec<(String, Outcome)> {
        self.records().iter().map(|call| (call.request_id.to_string(), call.outcome)).collect()
    }

    /// The only record since the last look.
    fn record(&mut self) -> Arc<Call> {
        let mut records = self.records();
        assert_eq!(records.len(), 1, "{records:?}");
        records.remove(0)
    }

    fn outcome(&mut self) -> Outcome {
        self.record().outcome
    }

    fn odd(&self, oddity: Oddity) -> u64 {
        self.observer.counters().get(oddity)
    }

    /// The lines of `/metrics` that tell how often something happened.
    fn counts(&self) -> Vec<String> {
        let text = self.metrics.render().unwrap();
        let names =
            ["mcp_server_operation_duration_seconds_count", "mcpulse_operations_unmeasured"];
        text.lines()
            .filter(|line| names.iter().any(|name| line.starts_with(name)))
            .map(str::to_owned)
            .collect()
    }

    /// How many requests of this method ended, with this `error.type`.
    fn ended(&self, method: &str, error: &str) -> usize {
        let labels = [format!("mcp_method_name=\"{method}\""), format!("error_type=\"{error}\"")];
        let counts = self.counts();
        let lines = counts.iter().filter(|line| labels.iter().all(|label| line.contains(label)));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()).sum()
    }

    fn in_flight(&self) -> usize {
        let text = self.metrics.render().unwrap();
        let line = text.lines().find(|line| line.starts_with("mcpulse_calls_in_flight{"));
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    /// Nothing is left behind: no request, no stream, no memory.
    fn assert_clean(&self) {
        assert_eq!(self.observer.matcher.pending.len(), 0);
        assert_eq!(self.observer.matcher.pending.held(), 0);
        assert_eq!(self.observer.streams.len(), 0);
        assert_eq!(self.observer.partial, 0);
    }
}

/// A legacy call of the tool `echo`.
fn call(id: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"echo","arguments":{{"a":1}}}}}}"#
    )
}

/// A modern one.
fn modern(id: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{{"name":"probe","version":"9"}}}},"name":"echo","arguments":{{}}}}}}"#
    )
}

fn request(id: &str, method: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{}}}}"#)
}

fn result(id: &str, result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)
}

fn ok(id: &str) -> String {
    result(id, r#"{"content":[{"type":"text","text":"fine"}]}"#)
}

fn error(id: &str, code: i64) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"broken"}}}}"#)
}

fn cancelled(id: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id},"reason":"r"}}}}"#
    )
}

fn initialize(id: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"initialize","params":{{"protocolVersion":"2025-06-18","capabilities":{{}},"clientInfo":{{"name":"desk","version":"1.2"}}}}}}"#
    )
}

fn initialized(id: &str) -> String {
    result(
        id,
        r#"{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"s","version":"0"}}"#,
    )
}
