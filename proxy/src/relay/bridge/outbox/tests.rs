use std::future::poll_fn;

use super::*;

fn piece(weight: Weight, length: usize) -> Piece {
    Piece::new(Bytes::from(vec![b'x'; length]), weight)
}

async fn next(inbox: &mut Inbox) -> Result<Piece, Cut> {
    poll_fn(|cx| inbox.poll_next(cx)).await
}

#[tokio::test]
async fn messages_arrive_in_order_and_then_the_end() {
    let (outbox, mut inbox) = stream(Queue::default());
    let reading = tokio::spawn(async move {
        let mut lengths = Vec::new();
        loop {
            match next(&mut inbox).await {
                Ok(piece) => lengths.push(piece.text.len()),
                Err(cut) => return (lengths, cut),
            }
        }
    });
    for length in 1..=3 {
        assert_eq!(outbox.push(piece(Weight::Notification, length)).count, 0);
        tokio::task::yield_now().await;
    }
    drop(outbox);
    assert_eq!(reading.await.unwrap(), (vec![1, 2, 3], Cut::Over));
}

#[tokio::test]
async fn the_oldest_notifications_give_way_and_requests_stay() {
    let (outbox, mut inbox) = stream(Queue::default());
    outbox.push(piece(Weight::Request, 1));
    let half = LIMIT / 2;
    assert_eq!(outbox.push(piece(Weight::Notification, half)).count, 0);
    assert_eq!(outbox.push(piece(Weight::Notification, half - 300)).count, 0);
    assert_eq!(outbox.push(piece(Weight::Notification, 3)).count, 0);
    assert_eq!(outbox.push(piece(Weight::Notification, 400)).count, 1);
    let mut lengths = Vec::new();
    for _ in 0..4 {
        lengths.push(next(&mut inbox).await.unwrap().text.len());
    }
    assert_eq!(lengths, [1, half - 300, 3, 400]);
    assert!(outbox.is_open());
}

#[tokio::test]
async fn a_stream_that_nobody_reads_is_cut_when_only_requests_are_left() {
    let (outbox, mut inbox) = stream(Queue::default());
    outbox.push(piece(Weight::Notification, 5));
    assert_eq!(outbox.push(piece(Weight::Request, LIMIT)).count, 1);
    assert!(outbox.is_open());
    assert_eq!(outbox.push(piece(Weight::Request, 1)).count, 2);
    assert!(!outbox.is_open());
    assert_eq!(next(&mut inbox).await, Err(Cut::Overflown));
}

#[test]
fn what_has_to_stay_is_looked_at_once() {
    let mut queue = Queue::default();
    let full = LIMIT / ENTRY;
    for _ in 0..full {
        assert_eq!(queue.push(piece(Weight::Request, 0)), (0, true));
    }
    assert_eq!(queue.push(piece(Weight::Notification, 0)), (1, true));
    assert_eq!((queue.heavy, queue.pieces.len()), (full, full));
    assert_eq!(queue.push(piece(Weight::Request, 0)), (0, false));
    assert_eq!(queue.heavy, full + 1);
    // What is taken makes room, for a notification as well; then that goes first.
    for _ in 0..3 {
        queue.pop();
    }
    assert_eq!(queue.push(piece(Weight::Notification, 1)), (0, true));
    assert_eq!(queue.push(piece(Weight::Request, 0)), (1, true));
    assert_eq!(queue.heavy, full - 2);
    assert!(queue.pieces.iter().all(|piece| piece.weight == Weight::Request));
}

#[tokio::test]
async fn answers_of_any_size_fit_and_take_no_room_from_anything_else() {
    let (outbox, mut inbox) = stream(Queue::default());
    outbox.push(piece(Weight::Request, 5));
    for weight in [Weight::AnswerAmong, Weight::AnswerAmong, Weight::Answer(None)] {
        assert_eq!(outbox.push(piece(weight, 2 * LIMIT)).count, 0);
    }
    assert_eq!(outbox.push(piece(Weight::Request, LIMIT - 300)).count, 0);
    assert_eq!(outbox.push(piece(Weight::Notification, 1)).count, 0);
    assert_eq!(outbox.push(piece(Weight::Notification, 60)).count, 1);
    assert_eq!(outbox.answers(), 3);
    for length in [5, 2 * LIMIT, 2 * LIMIT, 2 * LIMIT, LIMIT - 300, 60] {
        assert_eq!(next(&mut inbox).await.unwrap().text.len(), length);
    }
    assert!(outbox.is_open() && outbox.answers() == 0);
    assert_eq!(outbox.rest().bytes, 0);
}

#[test]
fn what_a_client_left_behind_is_had_once() {
    let (outbox, inbox) = stream(Queue::default());
    outbox.push(piece(Weight::Request, 5));
    drop(inbox);
    assert!(!outbox.is_open());
    assert_eq!(outbox.push(piece(Weight::Request, 6)).count, 1);
    let mut rest = outbox.rest();
    assert_eq!(rest.pop().unwrap().text.len(), 5);
    assert_eq!(rest.pop(), None);
    assert_eq!(rest.bytes, 0);
}
