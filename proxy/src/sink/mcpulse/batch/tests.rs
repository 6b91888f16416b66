use mcpulse_proto::v1::IngestError;
use proptest::prelude::*;

use super::*;

fn batch(calls: usize) -> Batch {
    Batch::new((0..calls).map(|n| Bytes::from(n.to_string())).collect(), false)
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

/// Sends to a server that refuses every request with a spoilt call; what it delivered, what it
/// rejected, and the requests it took.
fn send(mut batch: Batch, spoilt: &[&str], refusal: Kind) -> (usize, usize, usize) {
    let (mut delivered, mut rejected, mut requests) = (0, 0, 0);
    while !batch.is_empty() {
        requests += 1;
        let request = batch.request();
        let settled = if request.iter().any(|call| spoilt.iter().any(|bad| call == bad)) {
            assert!(requests < 1000, "no end");
            match batch.failed(refusal) {
                Next::Settle(settled) => settled,
                _ => continue,
            }
        } else {
            batch.taken(&answer(0, 0, &[]))
        };
        delivered += settled.delivered;
        rejected += settled.rejected;
        batch.settle(settled);
    }
    (delivered, rejected, requests)
}

#[test]
fn a_spoilt_call_is_found_and_the_others_are_delivered() {
    for refusal in [Kind::Refused, Kind::Broken] {
        for place in ["0", "499", "998", "999"] {
            let (delivered, rejected, requests) = send(batch(1000), &[place], refusal);
            assert_eq!((delivered, rejected), (999, 1));
            assert!(requests < 50, "{requests}");
        }
        assert_eq!(send(batch(1), &["0"], refusal).1, 1);
    }
}

#[test]
fn what_is_there_already_counts_as_delivered() {
    let (delivered, rejected, _) = send(batch(10), &["3", "4"], Kind::Duplicate);
    assert_eq!((delivered, rejected), (10, 0));
}

#[test]
fn a_server_in_trouble_loses_nothing_for_a_while() {
    let mut batch = batch(2);
    for _ in 0..100 {
        assert_eq!(batch.failed(Kind::Retry), Next::Wait);
        assert_eq!(batch.failed(Kind::Misconfigured), Next::WaitLong);
        assert_eq!(batch.failed(Kind::TooMuch), Next::Wait);
    }
    assert_eq!(batch.request().len(), 1);
    // While nothing gets through, no call is blamed for it.
    for _ in 0..1000 {
        assert_eq!(batch.failed(Kind::Broken), Next::Wait);
    }
    assert_eq!(batch.into_calls().len(), 2);
}

#[test]
fn a_call_that_fails_alone_is_given_up_once_another_gets_through() {
    // The next ones are spoilt as well; what is asked with goes round.
    for spoilt in [&["0"][..], &["0", "1"], &["0", "1", "2", "3"]] {
        let (delivered, rejected, requests) = send(batch(5), spoilt, Kind::Broken);
        assert_eq!((delivered, rejected), (5 - spoilt.len(), spoilt.len()));
        assert!(requests < 60, "{requests}");
    }
    let mut single = batch(1);
    for _ in 1..PATIENCE_ALONE {
        assert_eq!(single.failed(Kind::Broken), Next::Wait);
    }
    assert!(matches!(single.failed(Kind::Broken), Next::Settle(_)));
}

proptest! {
    #[test]
    fn every_call_is_settled_once(
        calls in 1usize..200,
        answers in prop::collection::vec((0usize..7, any::<i32>(), any::<i32>(), any::<i32>()), 1..60),
    ) {
        let mut batch = batch(calls);
        let mut settled = 0;
        for (kind, accepted, rejected, index) in answers {
            if batch.is_empty() {
                break;
            }
            prop_assert!(!batch.request().is_empty());
            let kinds = [Kind::Retry, Kind::Misconfigured, Kind::TooMuch, Kind::Broken,
                Kind::Refused, Kind::Duplicate];
            let done = match kinds.get(kind) {
                None => Some(batch.taken(&answer(accepted, rejected, &[index]))),
                Some(&kind) => match batch.failed(kind) {
                    Next::Settle(done) => Some(done),
                    _ => None,
                },
            };
            if let Some(done) = done {
                settled += done.calls();
                batch.settle(done);
            }
            prop_assert_eq!(settled + batch.calls.len(), calls);
        }
    }
}
