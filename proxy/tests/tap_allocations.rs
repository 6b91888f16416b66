//! Forwarding pays no allocation for being observed.

use bytes::BytesMut;
use mcpulse_proxy::{tap::Tap, traffic::StreamKind};

#[test]
fn showing_the_tap_a_chunk_allocates_nothing() {
    let (tap, _stuck) = Tap::new(1000);
    let (mut up, mut down) = tap.open("test".into(), StreamKind::Lines);
    let mut read = BytesMut::zeroed(4000);
    let mut chunks: Vec<_> = (0..20).map(|_| read.split_to(100).freeze()).collect();
    let counted = allocation_counter::measure(|| {
        // The second half finds the queue full.
        for chunk in &chunks {
            up.data(chunk);
            down.data(chunk);
        }
    });
    assert_eq!(tap.lost(), (30, 3000));
    assert_eq!(counted.count_total, 0);
    let counted = allocation_counter::measure(|| chunks.push(BytesMut::zeroed(1).freeze()));
    assert_ne!(counted.count_total, 0, "the counter counts");
}
