//! What observing allocates: nothing where bytes are forwarded, and little for each open call.

use std::{sync::Arc, time::Instant};

use bytes::{Bytes, BytesMut};
use mcpulse_proxy::{
    config::Limits,
    observe::Observer,
    sink::{Ledger, Metrics, Sinks},
    tap::Tap,
    traffic::{Direction, Seen, Stream, StreamKind, What},
};

#[test]
fn showing_the_tap_a_chunk_allocates_nothing() {
    let (tap, _stuck) = Tap::new(1000);
    let (mut up, mut down) = tap.open("test".into(), StreamKind::Lines);
    let mut read = BytesMut::zeroed(4000);
    let large = read.split_to(2000).freeze();
    let mut chunks: Vec<_> = (0..20).map(|_| read.split_to(100).freeze()).collect();
    let counted = allocation_counter::measure(|| {
        // The second half finds the queue full: of what is for the server 1 KiB passes still.
        for chunk in &chunks {
            up.data(chunk);
            down.data(chunk);
        }
        up.data(&large);
    });
    assert_eq!(tap.lost(), (16, 1500 + (2000 - 1024)));
    assert_eq!(counted.count_total, 0);
    let counted = allocation_counter::measure(|| chunks.push(BytesMut::zeroed(1).freeze()));
    assert_ne!(counted.count_total, 0, "the counter counts");
}

/// Most bytes that a call of 200 bytes takes while it is open, with its part of every table.
const MOST_FOR_AN_OPEN_CALL: i64 = 600;

#[test]
fn open_calls_are_small() {
    let limits = Limits::default();
    let calls = i64::try_from(limits.pending).unwrap();
    let ledger = Arc::<Ledger>::default();
    let metrics = Arc::new(Metrics::new(&ledger, limits.tools).unwrap());
    let mut observer = Observer::new(Sinks::new(metrics, ledger, Vec::new()), limits);
    let stream = Arc::new(Stream::new(0, "server".into(), StreamKind::Lines));
    let mut see = |line: String| {
        let what = What::Data(Bytes::from(line));
        let stream = Arc::clone(&stream);
        let (direction, at) = (Direction::ToServer, Instant::now());
        observer.see(Seen { stream, direction, at, gap: false, what });
    };
    let text = "a text of the usual length, ".repeat(2);
    let counted = allocation_counter::measure(|| {
        for id in 0..calls {
            let id = 1_000_000_000 + id;
            see(format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"echo","arguments":{{"message":"{text}"}},"_meta":{{"progressToken":{id}}}}}}}
"#
            ));
        }
    });
    let each = counted.bytes_current / calls;
    assert!((200..MOST_FOR_AN_OPEN_CALL).contains(&each), "{each}");
    // Moving tables to grow takes no more than they take in the end.
    assert!(counted.bytes_max < 10 << 20, "{}", counted.bytes_max);
}
