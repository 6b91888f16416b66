use mcpulse_proto::v1::IngestError;
use proptest::prelude::*;

use super::*;

fn encoded(name: &(impl ToString + ?Sized)) -> Encoded {
    Encoded { bytes: Bytes::from(name.to_string()), place: None }
}

fn batch(calls: usize) -> Batch {
    let mut batch = Batch::default();
    batch.add((0..calls).map(|n| encoded(&n)).collect());
    batch
}

fn answer(accepted: i32, rejected: i32, errors: &[i32]) -> IngestResponse {
    let error = |&index| IngestError { index, reason: "no".to_owned() };
    IngestResponse { accepted, rejected, errors: errors.iter().map(error).collect() }
}

#[test]
fn figures_that_do_not_add_up_never_deliver_too_much() {
    for (figures, delivered) in [
        (answer(10, 0, &[]), 10),
        (answer(8, 2, &[1, 5]), 8),
        (answer(0, 10, &[]), 0),
        // No figures at all: taken.
        (answer(0, 0, &[]), 10),
        (answer(0, 0, &[3]), 9),
        // Three are missing.
        (answer(7, 0, &[]), 7),
        (answer(5, 2, &[]), 5),
        // Too many.
        (answer(10, 2, &[]), 8),
        (answer(99, 0, &[]), 10),
        (answer(0, 99, &[]), 0),
        (answer(-1, -1, &[]), 0),
        // Named twice, and out of range.
        (answer(9, 1, &[2, 2, -4, 10, 77]), 9),
    ] {
        let settled = batch(10).taken(&figures);
        assert_eq!(settled.delivered, delivered, "{figures:?}");
        assert_eq!(settled.calls(), 10);
    }
}

/// A server that fails at every request with a spoilt call, and what came of its requests.
#[derive(Debug, Default)]
struct Server {
    refusal: Option<Kind>,
    delivered: Vec<Bytes>,
    rejected: usize,
    requests: usize,
    waits: usize,
}

impl Server {
    fn refusing(refusal: Kind) -> Self {
        Self { refusal: Some(refusal), ..Self::default() }
    }

    /// Answers one request; `due` as for the batch. False when there is none.
    fn answer(&mut self, batch: &mut Batch, due: bool, spoilt: impl Fn(&[u8]) -> bool) -> bool {
        let Some(request) = batch.request(due) else { return false };
        self.requests += 1;
        assert!(self.requests < 5000, "no end");
        let settled = match self.refusal.filter(|_| request.iter().any(|call| spoilt(call))) {
            None => {
                self.delivered.extend_from_slice(&request);
                batch.taken(&answer(0, 0, &[]))
            }
            Some(refusal) => match batch.failed(refusal) {
                Next::Settle(settled) => {
                    assert_eq!(request.len(), 1);
                    settled
                }
                next => {
                    self.waits += usize::from(next == Next::Wait);
                    return true;
                }
            },
        };
        self.rejected += settled.rejected;
        true
    }

    /// Answers until only suspects are left.
    fn answer_calls(&mut self, batch: &mut Batch, spoilt: impl Fn(&[u8]) -> bool) {
        while batch.has_calls() && self.answer(batch, false, &spoilt) {}
    }

    /// Answers until nothing is left, with new calls coming in as long as there are suspects.
    fn answer_all(&mut self, batch: &mut Batch, spoilt: impl Fn(&[u8]) -> bool) {
        while !batch.is_empty() {
            self.answer_calls(batch, &spoilt);
            for _ in 0..batch.suspects.len() {
                self.answer(batch, true, &spoilt);
            }
            if batch.has_suspects() {
                batch.add([encoded("another")].into());
            }
        }
    }
}

/// Whether the name is one of these.
fn one_of<T: ToString>(names: impl IntoIterator<Item = T>) -> impl Fn(&[u8]) -> bool {
    let names: Vec<_> = names.into_iter().map(|name| name.to_string()).collect();
    move |call| names.iter().any(|name| name.as_bytes() == call)
}

#[test]
fn a_spoilt_call_is_found_and_the_others_are_delivered() {
    for refusal in [Kind::Refused, Kind::Broken] {
        for place in [0, 499, 998, 999] {
            let (mut batch, mut server) = (batch(1000), Server::refusing(refusal));
            server.answer_calls(&mut batch, one_of([place]));
            // The others wait for nothing.
            assert_eq!(server.delivered.len(), 999);
            assert!(server.requests < 50 && server.waits <= 1, "{server:?}");
            server.answer_all(&mut batch, one_of([place]));
            assert_eq!(server.rejected, 1);
        }
    }
}

#[test]
fn what_is_there_already_counts_as_delivered() {
    let (mut batch, mut server) = (batch(10), Server::refusing(Kind::Duplicate));
    server.answer_all(&mut batch, one_of([3, 4]));
    assert_eq!((server.delivered.len(), server.rejected), (8, 0));
}

#[test]
fn a_server_in_trouble_loses_nothing_and_is_not_pressed() {
    let mut batch = batch(200);
    for _ in 0..100 {
        assert_eq!(batch.failed(Kind::Retry), Next::Wait);
        assert_eq!(batch.failed(Kind::Misconfigured), Next::WaitLong);
    }
    for kind in [Kind::Broken, Kind::TooMuch] {
        let mut server = Server::refusing(kind);
        for _ in 0..1000 {
            server.answer(&mut batch, true, |_| true);
        }
        // While nothing gets through, no call is blamed for it.
        assert_eq!((server.rejected, batch.all().count()), (0, 200));
    }
    let mut server = Server::default();
    server.answer_all(&mut batch, |_| true);
    assert_eq!((server.delivered.len(), server.rejected), (200, 0));
}

#[test]
fn calls_that_fail_at_all_places_hold_up_no_other() {
    // One in eight, the whole beginning, and all but a few at the end.
    let spoilt: [Vec<usize>; 3] =
        [(0..60).step_by(8).collect(), (0..30).collect(), (0..990).collect()];
    for (spoilt, calls) in spoilt.into_iter().zip([60, 60, 1000]) {
        let (mut batch, mut server) = (batch(calls), Server::refusing(Kind::Broken));
        let good = calls - spoilt.len();
        while server.delivered.len() < good {
            assert!(server.answer(&mut batch, false, one_of(&spoilt)));
        }
        assert!(server.waits < 60, "{spoilt:?}: {} waits", server.waits);
        assert_eq!(server.rejected, 0, "{spoilt:?}");
        server.answer_all(&mut batch, one_of(&spoilt));
        assert_eq!(server.rejected, spoilt.len());
    }
}

#[test]
fn behind_a_batch_that_is_spoilt_throughout_the_next_gets_through() {
    let (mut batch, mut server) = (batch(1000), Server::refusing(Kind::Broken));
    let spoilt = |call: &[u8]| call != b"fine";
    while !batch.has_room(1000, 1 << 20) {
        server.answer(&mut batch, true, spoilt);
    }
    // It asked often enough to doubt the server, and waited hardly ever.
    assert!(server.requests < 50 && server.waits <= 2, "{server:?}");
    batch.add(vec![encoded("fine"); 1000].into());
    let asked = server.requests;
    while server.delivered.len() < 1000 {
        server.answer(&mut batch, true, spoilt);
    }
    assert!(server.requests - asked < 200, "{}", server.requests - asked);
}

#[test]
fn a_call_is_blamed_only_by_others_that_get_through() {
    let (mut batch, mut server) = (batch(1), Server::refusing(Kind::Broken));
    for _ in 0..100 {
        server.answer(&mut batch, true, |_| true);
    }
    assert!(batch.has_suspects() && !batch.has_calls());
    // Another is taken: now it takes many failures, or few and others in between.
    batch.add([encoded("fine")].into());
    server.answer_calls(&mut batch, |call| call != b"fine");
    let mut tries = 0;
    while batch.has_suspects() {
        server.answer(&mut batch, true, |call| call != b"fine");
        tries += 1;
    }
    assert_eq!((tries, server.rejected), (12, 1));
}

proptest! {
    /// Whatever the server answers, and whenever more calls come, each is settled once.
    #[test]
    fn every_call_is_settled_once(
        calls in 1usize..200,
        steps in prop::collection::vec(
            (0usize..9, any::<bool>(), any::<i32>(), any::<i32>(), any::<i32>()), 1..200),
    ) {
        let (mut batch, mut calls, mut settled) = (batch(calls), calls, 0);
        for (kind, due, accepted, rejected, index) in steps {
            let kinds = [Kind::Retry, Kind::Misconfigured, Kind::TooMuch, Kind::Broken,
                Kind::Broken, Kind::Refused, Kind::Duplicate];
            if kind > kinds.len() {
                batch.add((0..7).map(|n| encoded(&n)).collect());
                calls += 7;
            } else if let Some(request) = batch.request(due) {
                prop_assert!(!request.is_empty());
                let done = match kinds.get(kind) {
                    None => Some(batch.taken(&answer(accepted, rejected, &[index]))),
                    Some(&kind) => match batch.failed(kind) {
                        Next::Settle(done) => Some(done),
                        _ => None,
                    },
                };
                settled += done.map_or(0, |done| done.calls());
            }
            prop_assert_eq!(settled + batch.all().count(), calls);
        }
    }

    /// Whatever calls are spoilt: while the server is well the others are all delivered, once
    /// and before any patience for the spoilt ones is spent, and only those are rejected.
    #[test]
    fn only_spoilt_calls_are_rejected(
        calls in 1usize..120,
        spoilt in prop::collection::hash_set(0usize..120, 0..60),
    ) {
        let spoilt: Vec<_> = spoilt.into_iter().filter(|&call| call < calls).collect();
        let (mut batch, mut server) = (batch(calls), Server::refusing(Kind::Broken));
        server.answer_calls(&mut batch, one_of(&spoilt));
        let mut delivered = server.delivered.clone();
        delivered.sort();
        delivered.dedup();
        prop_assert_eq!(delivered.len(), server.delivered.len());
        prop_assert_eq!(delivered.len() + spoilt.len(), calls);
        prop_assert_eq!(server.rejected, 0);
        server.answer_all(&mut batch, one_of(&spoilt));
        prop_assert_eq!(server.rejected, spoilt.len());
    }

    /// A server that is away at times and well in between takes everything in the end.
    #[test]
    fn a_server_that_fails_at_all_for_a_while_rejects_nothing(
        calls in 1usize..200,
        failing in prop::collection::vec(any::<bool>(), 1..400),
        outage in 1usize..200,
    ) {
        let mut batch = batch(calls);
        let mut server = Server::refusing(Kind::Broken);
        for _ in 0..outage {
            server.answer(&mut batch, true, |_| true);
        }
        for due in failing {
            server.answer(&mut batch, due, |_| true);
        }
        server.refusal = None;
        server.answer_all(&mut batch, |_| true);
        prop_assert_eq!((server.delivered.len(), server.rejected), (calls, 0));
    }
}
