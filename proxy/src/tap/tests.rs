//! What the queue promises to the relays and to the observer.

use std::{collections::VecDeque, sync::mpsc, thread};

use proptest::prelude::*;
use tokio::{task::JoinHandle, time};

use super::*;

fn lines(tap: &Tap) -> (Probe, Probe) {
    tap.open("test".into(), StreamKind::Lines)
}

fn drained(drain: &Drain) -> Vec<Seen> {
    let mut all = Vec::new();
    while drain.feed(|seen| all.push(seen)) {}
    all
}

fn text(seen: &Seen) -> &str {
    match &seen.what {
        What::Data(bytes) => std::str::from_utf8(bytes).expect("the tests push text"),
        other => panic!("no data: {other:?}"),
    }
}

fn chunk(size: usize) -> Bytes {
    vec![b'x'; size].into()
}

#[test]
fn both_directions_share_one_order() {
    let (tap, drain) = Tap::new(1 << 20);
    let (mut up, mut down) = lines(&tap);
    for exchange in 0..100 {
        up.data(&format!("ask {exchange}").into());
        down.data(&format!("answer {exchange}").into());
    }
    let seen = drained(&drain);
    for (exchange, pair) in seen.chunks(2).enumerate() {
        assert_eq!(
            (pair[0].direction, pair[1].direction),
            (Direction::ToServer, Direction::ToClient)
        );
        assert_eq!(text(&pair[0]), format!("ask {exchange}"));
        assert_eq!(text(&pair[1]), format!("answer {exchange}"));
        assert!(pair[0].at <= pair[1].at);
        assert!(Arc::ptr_eq(&pair[0].stream, &pair[1].stream));
    }
    assert_eq!(seen.len(), 200);
}

#[test]
fn no_answer_comes_before_its_question_when_threads_push_them() {
    // All of it fits, for a consumer that gets no time must not fail the test.
    const ROUNDS: usize = SLOTS / 2 - 1;
    let (tap, drain) = Tap::new(1 << 20);
    let (mut up, mut down) = lines(&tap);
    let (ask, asked) = mpsc::sync_channel(1);
    let (answer, answered) = mpsc::sync_channel(1);
    thread::scope(|scope| {
        scope.spawn(move || {
            for _ in 0..ROUNDS {
                up.data(&Bytes::from_static(b"ask"));
                ask.send(()).expect("the server listens");
                answered.recv().expect("the server answers");
            }
        });
        scope.spawn(move || {
            while asked.recv().is_ok() {
                down.data(&Bytes::from_static(b"answer"));
                answer.send(()).expect("the client listens");
            }
        });
        let mut last = Direction::ToClient;
        let mut left = 2 * ROUNDS;
        while left > 0 {
            drain.feed(|seen| {
                if let What::Data(_) = seen.what {
                    assert_eq!(seen.direction, last.reverse());
                    last = seen.direction;
                    left -= 1;
                }
            });
        }
    });
    assert_eq!(tap.lost(), (0, 0));
}

proptest! {
    #[test]
    fn nothing_is_lost_unsaid_and_the_bound_holds(
        limit in 1_usize..6 * FRONT,
        steps in prop::collection::vec((0_usize..3 * FRONT, any::<bool>(), 0_usize..3), 1..200),
    ) {
        let (tap, drain) = Tap::new(limit);
        let (mut up, mut down) = lines(&tap);
        let (mut kept, mut lost) = (VecDeque::new(), (0, 0));
        let (mut queued, mut gaps) = (0, [false; 2]);
        for (size, to_client, pops) in steps {
            let probe = if to_client { &mut down } else { &mut up };
            let direction = probe.direction;
            let gap = &mut gaps[usize::from(to_client)];
            probe.data(&chunk(size));
            if size > 0 {
                let fits = queued + size <= limit || queued == 0;
                let front = if to_client { 0 } else { FRONT.min(size) };
                let queues = if fits || front == size {
                    size
                } else if *gap {
                    0
                } else {
                    front
                };
                if queues > 0 {
                    queued += queues;
                    kept.push_back((queues, direction, std::mem::take(gap)));
                }
                if queues < size {
                    lost.0 += 1;
                    lost.1 += (size - queues) as u64;
                    *gap = true;
                }
            }
            for _ in 0..pops {
                let seen = drain.shared.queue.pop();
                if let Some(seen) = &seen {
                    drain.shared.bytes.fetch_sub(super::size(seen), Ordering::Relaxed);
                    queued -= super::size(seen);
                }
                let seen = seen.map(|seen| (super::size(&seen), seen.direction, seen.gap));
                prop_assert_eq!(seen, kept.pop_front());
            }
            prop_assert_eq!(tap.lost(), lost);
            prop_assert_eq!(tap.shared.bytes.load(Ordering::Relaxed), queued);
        }
    }
}

#[test]
fn a_chunk_above_the_limit_passes_an_empty_queue_alone() {
    let (tap, drain) = Tap::new(10);
    let (_up, mut down) = lines(&tap);
    down.data(&chunk(1000));
    down.data(&chunk(1));
    assert_eq!(tap.lost(), (1, 1));
    assert_eq!(drained(&drain).len(), 1);
    down.data(&chunk(1));
    assert!(drained(&drain)[0].gap);
}

#[test]
fn the_front_of_a_question_and_every_end_pass_a_full_queue() {
    let (tap, drain) = Tap::new(10);
    let (mut up, mut down) = lines(&tap);
    down.data(&chunk(1000));
    let question: Bytes = (b'0'..=b'9').cycle().take(3 * FRONT).collect();
    up.data(&question);
    up.data(&question);
    up.end(End::Clean);
    down.end(End::Clean);
    assert_eq!(tap.lost(), (2, 5 * FRONT as u64));
    let seen = drained(&drain);
    assert_eq!(text(&seen[1]).as_bytes(), &question[..FRONT]);
    let gaps: Vec<_> = seen.iter().map(|seen| seen.gap).collect();
    assert_eq!(gaps, [false, false, true, false]);
    assert_eq!(tap.shared.bytes.load(Ordering::Relaxed), 0);
}

#[test]
fn slots_are_bounded_too() {
    let (tap, drain) = Tap::new(1 << 20);
    let (mut up, _down) = lines(&tap);
    for _ in 0..SLOTS + 3 {
        up.data(&chunk(1));
    }
    assert_eq!(tap.lost(), (3, 3));
    assert_eq!(drained(&drain).len(), SLOTS);
}

#[test]
fn a_direction_ends_once_and_a_dropped_one_says_who_is_gone() {
    let (tap, drain) = Tap::new(1 << 20);
    let (mut up, down) = lines(&tap);
    up.end(End::Clean);
    up.end(End::ClientGone);
    drop((up, down));
    let ends: Vec<_> =
        drained(&drain).into_iter().map(|seen| (seen.direction, seen.what)).collect();
    assert!(
        matches!(
            ends[..],
            [
                (Direction::ToServer, What::End(End::Clean)),
                (Direction::ToClient, What::End(End::ServerGone))
            ]
        ),
        "{ends:?}"
    );
}

#[test]
fn what_comes_after_the_close_is_lost_and_counted() {
    let (tap, drain) = Tap::new(1 << 20);
    let (mut up, _down) = lines(&tap);
    up.data(&chunk(2));
    tap.close();
    up.data(&chunk(3));
    assert_eq!(tap.lost(), (1, 3));
    drop(drain);
    assert_eq!(tap.lost(), (2, 5));
    assert_eq!(tap.shared.bytes.load(Ordering::Relaxed), 0);
}

/// A drain that waits in this state, as the task of an observer would.
async fn waiting(drain: &Arc<Drain>, state: u8) -> JoinHandle<()> {
    let task = tokio::spawn({
        let drain = Arc::clone(drain);
        async move { drain.wait(state).await }
    });
    tokio::task::yield_now().await;
    assert_eq!(drain.shared.observer.load(Ordering::SeqCst), state);
    task
}

async fn woken(task: JoinHandle<()>) {
    time::timeout(Duration::from_mins(1), task).await.expect("it is woken").expect("no panic");
}

#[tokio::test(start_paused = true)]
async fn one_push_wakes_a_sleeper() {
    let (tap, drain) = Tap::new(1 << 20);
    let (mut up, _down) = lines(&tap);
    let drain = Arc::new(drain);
    let task = waiting(&drain, ASLEEP).await;
    up.data(&chunk(1));
    woken(task).await;
}

#[tokio::test(start_paused = true)]
async fn a_sleeper_sleeps_until_the_write_is_done() {
    let (tap, drain) = Tap::new(1 << 20);
    let (mut up, _down) = lines(&tap);
    let drain = Arc::new(drain);
    let task = waiting(&drain, ASLEEP).await;
    up.data_before_write(&chunk(1));
    time::sleep(Duration::from_mins(1)).await;
    assert!(!task.is_finished());
    up.written();
    woken(task).await;
}

#[tokio::test(start_paused = true)]
async fn a_dozer_is_woken_only_when_slots_fill_up() {
    let (tap, drain) = Tap::new(1 << 20);
    let (mut up, _down) = lines(&tap);
    let drain = Arc::new(drain);
    let task = waiting(&drain, DOZING).await;
    for _ in 1..WAKE_SLOTS {
        up.data(&chunk(1));
    }
    time::sleep(Duration::from_mins(1)).await;
    assert!(!task.is_finished());
    up.data(&chunk(1));
    woken(task).await;
}

#[tokio::test(start_paused = true)]
async fn a_dozer_is_woken_only_when_bytes_fill_up() {
    let (tap, drain) = Tap::new(1000);
    let (mut up, _down) = lines(&tap);
    let drain = Arc::new(drain);
    let task = waiting(&drain, DOZING).await;
    up.data(&chunk(499));
    time::sleep(Duration::from_mins(1)).await;
    assert!(!task.is_finished());
    up.data(&chunk(1));
    woken(task).await;
}

#[tokio::test(start_paused = true)]
async fn closing_wakes_a_sleeper() {
    let (tap, drain) = Tap::new(1000);
    let drain = Arc::new(drain);
    let task = waiting(&drain, ASLEEP).await;
    tap.close();
    woken(task).await;
}

#[tokio::test(start_paused = true)]
async fn whoever_goes_to_sleep_beside_work_wakes_at_once() {
    let (tap, drain) = Tap::new(1000);
    let (mut up, _down) = lines(&tap);
    up.data(&chunk(1));
    let drain = Arc::new(drain);
    drain.wait(ASLEEP).await;
    up.data(&chunk(499));
    drain.wait(DOZING).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_push_is_slept_through() {
    const PUSHES: usize = 50_000;
    let (tap, drain) = Tap::new(1 << 20);
    let (mut up, down) = lines(&tap);
    let (saw, mut seen_of) = tokio::sync::watch::channel(0);
    tokio::spawn(async move {
        let mut seen = 0;
        loop {
            drain.feed(|_| seen += 1);
            let _ = saw.send(seen);
            // Without a limit in time: a wake-up that is lost is a test that hangs.
            drain.wait(ASLEEP).await;
        }
    });
    for push in 1..=PUSHES {
        up.data(&chunk(1));
        let caught_up = seen_of.wait_for(|seen| *seen >= push);
        let caught_up = time::timeout(Duration::from_secs(20), caught_up).await;
        caught_up.expect("the sleeper is woken").expect("the observer lives");
    }
    drop(down);
}
