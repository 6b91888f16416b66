use std::future::poll_fn;

use bytes::BytesMut;

use super::*;
use crate::{
    relay::bridge::{
        splice::{self, BOUNDS},
        streams::MOST_STREAMS,
    },
    scan::Scanner,
};

/// A session whose program is the test.
struct Talk {
    session: Session,
    counters: Arc<Counters>,
    lines: mpsc::Receiver<Bytes>,
}

impl Talk {
    fn begin() -> Self {
        let (input, lines) = mpsc::channel(16);
        let counters = Arc::new(Counters::default());
        let session = Session::new(
            "id".to_owned(),
            "tag".into(),
            Rights::default(),
            input,
            Arc::clone(&counters),
            None,
        );
        session.begin(false);
        Self { session, counters, lines }
    }

    async fn ask(&self, text: &str) -> Result<Inbox, Unheard> {
        self.session.ask(said(text), true).await.map(|(inbox, _)| inbox)
    }

    fn listen(&self) -> Result<Inbox, Unheard> {
        self.session.listen().map(|(inbox, _)| inbox)
    }

    /// The program says this.
    fn says(&self, text: &str) {
        let mut scanner = Scanner::new(BOUNDS);
        scanner.feed(text.as_bytes());
        let gist = Gist::of(scanner.message());
        assert!(self.session.hear(Bytes::copy_from_slice(text.as_bytes()), &gist));
    }
}

fn said(text: &str) -> Said {
    splice::read_one(BytesMut::from(text)).unwrap()
}

async fn next(inbox: &mut Inbox) -> Result<String, Cut> {
    let piece = poll_fn(|cx| inbox.poll_next(cx)).await?;
    Ok(String::from_utf8(piece.text.to_vec()).unwrap())
}

const CALL: &str = r#"{"id":1,"method":"tools/call"}"#;
const ANSWER: &str = r#"{"id":1,"result":{}}"#;
const CHANGED: &str = r#"{"method":"notifications/tools/list_changed"}"#;
const QUESTION: &str = r#"{"id":1,"method":"sampling/createMessage"}"#;

#[tokio::test]
async fn a_call_is_passed_on_and_its_answer_comes_back() {
    let mut talk = Talk::begin();
    let mut inbox = talk.ask(CALL).await.unwrap();
    assert_eq!(talk.lines.recv().await.unwrap(), format!("{CALL}\n"));
    talk.says(QUESTION);
    talk.session.tell(said(ANSWER)).await.unwrap();
    assert_eq!(talk.lines.recv().await.unwrap(), format!("{ANSWER}\n"));
    talk.says(ANSWER);
    assert_eq!(next(&mut inbox).await.as_deref(), Ok(QUESTION));
    assert_eq!(next(&mut inbox).await.as_deref(), Ok(ANSWER));
    assert_eq!(next(&mut inbox).await, Err(Cut::Over));
    assert_eq!(talk.counters.dropped(), 0);
    assert!(talk.ask(CALL).await.is_ok(), "the id is free again");
}

#[tokio::test]
async fn an_id_that_is_in_use_is_refused() {
    let talk = Talk::begin();
    let _inbox = talk.ask(CALL).await.unwrap();
    assert_eq!(talk.ask(CALL).await.unwrap_err(), Unheard::IdInUse);
}

#[tokio::test]
async fn what_belongs_to_no_request_waits_for_a_stream_and_is_said_once() {
    let talk = Talk::begin();
    talk.says(CHANGED);
    talk.says(QUESTION);
    let mut first = talk.listen().unwrap();
    assert_eq!(next(&mut first).await.as_deref(), Ok(CHANGED));
    // The client leaves with one message unread: it is for the next stream.
    drop(first);
    talk.says(CHANGED);
    let mut second = talk.listen().unwrap();
    assert_eq!(next(&mut second).await.as_deref(), Ok(QUESTION));
    let mut third = talk.listen().unwrap();
    assert_eq!(next(&mut second).await.as_deref(), Ok(CHANGED));
    talk.says(CHANGED);
    assert_eq!(next(&mut third).await.as_deref(), Ok(CHANGED));
    talk.session.end(Ended::Deleted);
    assert_eq!(next(&mut second).await, Err(Cut::Over));
    assert_eq!(talk.counters.dropped(), 0);
}

/// The next message, and the id of its event.
async fn next_event(inbox: &mut Inbox) -> (String, EventId) {
    let piece = poll_fn(|cx| inbox.poll_next(cx)).await.unwrap();
    (String::from_utf8(piece.text.to_vec()).unwrap(), piece.event.unwrap())
}

#[tokio::test]
async fn a_lost_stream_goes_on_behind_what_its_client_had() {
    let talk = Talk::begin();
    let other = CALL.replace('1', "2");
    let (mut first, begin) = talk.session.ask(said(CALL), true).await.unwrap();
    let second = talk.ask(&other).await.unwrap();
    let progress = |token, n| {
        let params = format!(r#"{{"progressToken":{token},"progress":{n}}}"#);
        format!(r#"{{"method":"notifications/progress","params":{params}}}"#)
    };
    drop(second);
    talk.says(QUESTION);
    let (text, had) = next_event(&mut first).await;
    assert_eq!((text.as_str(), had.place, begin.place), (QUESTION, 1, 0));
    talk.says(QUESTION);
    drop(first);
    talk.says(ANSWER);
    // The answer came while nobody was there; it can be had as often as it is asked for.
    for last in [had, begin] {
        let (mut again, _, id) = talk.session.resume(last).unwrap();
        assert_eq!(id, None);
        let missed = 2 - usize::try_from(last.place).unwrap();
        for _ in 0..missed {
            assert_eq!(next(&mut again).await.as_deref(), Ok(QUESTION));
        }
        assert_eq!(next(&mut again).await.as_deref(), Ok(ANSWER));
        assert_eq!(next(&mut again).await, Err(Cut::Over));
    }

    // What was not read, and what comes, is said on the stream that goes on, once.
    let mut own = talk.listen().unwrap();
    talk.says(CHANGED);
    let (_, had) = next_event(&mut own).await;
    talk.says(&progress(8, 1));
    talk.says(&progress(8, 2));
    let (mut again, ..) = talk.session.resume(had).unwrap();
    assert_eq!(next(&mut own).await, Err(Cut::Over));
    talk.says(&progress(8, 3));
    for n in 1..=3 {
        assert_eq!(next(&mut again).await, Ok(progress(8, n)));
    }
    drop(again);
    let mut fresh = talk.listen().unwrap();
    let (mut late, ..) = talk.session.resume(had).unwrap();
    talk.says(CHANGED);
    assert_eq!(next(&mut late).await.as_deref(), Ok(progress(8, 1).as_str()));
    drop(late);
    talk.session.end(Ended::Deleted);
    assert_eq!(next(&mut fresh).await, Err(Cut::Over));
}

#[tokio::test]
async fn a_lost_request_goes_on_where_it_waits() {
    let talk = Talk::begin();
    let (first, begin) = talk.session.ask(said(CALL), true).await.unwrap();
    let mut first = first.streams();
    let (mut again, _, id) = talk.session.resume(begin).unwrap();
    assert_eq!(id, Some(Id::Number(1)));
    assert_eq!(next(&mut first).await, Err(Cut::Over), "one of them is enough");
    talk.says(QUESTION);
    assert_eq!(next(&mut again).await.as_deref(), Ok(QUESTION));
    talk.says(ANSWER);
    let (text, id) = next_event(&mut again).await;
    assert_eq!((text.as_str(), id), (ANSWER, EventId { place: 2, ..begin }));
    assert_eq!(next(&mut again).await, Err(Cut::Over));
    assert_eq!(talk.counters.dropped(), 0);
}

#[tokio::test]
async fn what_was_not_read_of_a_lost_request_is_not_forgotten() {
    let talk = Talk::begin();
    let (mut first, _) = talk.session.ask(said(CALL), true).await.unwrap();
    talk.says(QUESTION);
    let (_, had) = next_event(&mut first).await;
    let mut again = first.streams();
    // Each time more than is kept to be said again.
    let large = |id| {
        let params = format!(r#"{{"text":"{}"}}"#, "x".repeat(200_000));
        format!(r#"{{"id":{id},"method":"sampling/createMessage","params":{params}}}"#)
    };
    for begin in [10, 15] {
        for id in begin..begin + 5 {
            talk.says(&large(id));
        }
        drop(again);
        (again, ..) = talk.session.resume(had).unwrap();
    }
    for id in 10..20 {
        assert_eq!(next(&mut again).await, Ok(large(id)));
    }
    assert_eq!(talk.counters.dropped(), 0);
}

#[tokio::test]
async fn a_lost_request_takes_what_is_its_own_once_its_client_has_an_id() {
    let talk = Talk::begin();
    let (first, _) = talk.session.ask(said(CALL), true).await.unwrap();
    let mut first = first.streams();
    talk.says(QUESTION);
    let (_, had) = next_event(&mut first).await;
    drop(first);
    talk.says(QUESTION);
    let (mut again, ..) = talk.session.resume(had).unwrap();
    assert_eq!(next(&mut again).await.as_deref(), Ok(QUESTION));
    // Where the client listens as well, it hears of it at once.
    drop(again);
    let mut own = talk.listen().unwrap();
    talk.says(QUESTION);
    assert_eq!(next(&mut own).await.as_deref(), Ok(QUESTION));
    drop(own);
    // Who has no id of the stream cannot go on with it.
    let other = CALL.replace('1', "2");
    talk.says(ANSWER);
    drop(talk.session.ask(said(&other), true).await.unwrap().0.streams());
    talk.says(QUESTION);
    let mut own = talk.listen().unwrap();
    assert_eq!(next(&mut own).await.as_deref(), Ok(QUESTION));
    assert_eq!(talk.counters.dropped(), 0);
}

#[tokio::test]
async fn a_stream_of_the_clients_own_keeps_its_number() {
    let talk = Talk::begin();
    let (mut own, begin) = talk.session.listen().unwrap();
    let told = |n| CHANGED.replace('}', &format!(r#","params":{{"n":{n}}}}}"#));
    (1..=3).for_each(|n| talk.says(&told(n)));
    let (_, had) = next_event(&mut own).await;
    drop(own);
    // The program goes on, whether or not it was noticed that the stream was left.
    for n in 4..=6 {
        let (again, first, _) = talk.session.resume(had).unwrap();
        assert_eq!((first, had.stream), (had, begin.stream));
        talk.says(&told(n));
        drop(again);
        if n == 5 {
            talk.session.idle();
        }
    }
    let (mut again, ..) = talk.session.resume(had).unwrap();
    for n in 2..=6 {
        assert_eq!(next(&mut again).await, Ok(told(n)));
    }
    // What came on another stream comes on no other.
    drop(again);
    talk.says(&told(7));
    let mut fresh = talk.listen().unwrap();
    assert_eq!(next(&mut fresh).await, Ok(told(7)));
    let (mut late, first, _) = talk.session.resume(had).unwrap();
    assert_eq!(first.stream, begin.stream);
    assert_eq!(next(&mut late).await, Ok(told(2)));
    assert_eq!(talk.counters.dropped(), 0);
}

#[tokio::test]
async fn an_answer_that_comes_on_no_stream_cannot_be_had_on_another() {
    let talk = Talk::begin();
    let (mut inbox, begin) = talk.session.ask(said(CALL), true).await.unwrap();
    let (mut guessed, _, id) = talk.session.resume(begin).unwrap();
    assert_eq!(id, None);
    talk.says(ANSWER);
    assert_eq!(next(&mut inbox).await.as_deref(), Ok(ANSWER));
    talk.session.end(Ended::Deleted);
    assert_eq!(next(&mut guessed).await, Err(Cut::Over));
}

#[tokio::test]
async fn the_oldest_stream_ends_for_one_too_many() {
    let talk = Talk::begin();
    let mut first = talk.listen().unwrap();
    let others: Vec<_> = (0..MOST_STREAMS).map(|_| talk.listen().unwrap()).collect();
    assert_eq!(next(&mut first).await, Err(Cut::Over));
    assert_eq!(others.len(), MOST_STREAMS);
}

#[tokio::test]
async fn a_client_that_leaves_does_not_withdraw_its_call() {
    let mut talk = Talk::begin();
    drop(talk.ask(CALL).await.unwrap());
    assert_eq!(talk.lines.recv().await.unwrap(), format!("{CALL}\n"));
    assert_eq!(talk.ask(CALL).await.unwrap_err(), Unheard::IdInUse);
    talk.says(ANSWER);
    assert_eq!(talk.counters.dropped(), 1);
    assert!(talk.ask(CALL).await.is_ok());
}

#[tokio::test]
async fn a_backlog_that_nobody_fetches_keeps_the_newest() {
    let mut talk = Talk::begin();
    let question = |id: u32| {
        let text = "x".repeat(3 << 20);
        format!(r#"{{"id":{id},"method":"sampling/createMessage","params":{{"a":"{text}"}}}}"#)
    };
    talk.says(&question(1));
    talk.says(&question(2));
    assert_eq!(talk.counters.dropped(), 1);
    let mut stream = talk.listen().unwrap();
    assert!(next(&mut stream).await.unwrap().starts_with(r#"{"id":2,"#));
    // Nobody will answer what was dropped: the program hears that at once.
    let told = talk.lines.recv().await.unwrap();
    assert!(told.starts_with(br#"{"jsonrpc":"2.0","id":1,"error":"#), "{told:?}");

    // Nor what waits for a client that does not read.
    talk.says(&question(3));
    talk.says(&question(4));
    assert_eq!(next(&mut stream).await, Err(Cut::Overflown));
    for id in 3..=4 {
        let told = talk.lines.recv().await.unwrap();
        assert!(told.starts_with(format!(r#"{{"jsonrpc":"2.0","id":{id},"#).as_bytes()));
    }
    assert_eq!(talk.counters.dropped(), 3);
}

#[tokio::test]
async fn a_line_is_asked_no_more_while_too_many_answers_wait() {
    let mut talk = Talk::begin();
    talk.session.begin(true);
    let mut stream = talk.listen().unwrap();
    for _ in 0..MOST_WAITING {
        talk.session.tell(said(CALL)).await.unwrap();
        talk.lines.recv().await.unwrap();
        talk.says(ANSWER);
    }
    assert_eq!(talk.session.tell(said(CALL)).await, Err(Unheard::TooMany));
    assert!(talk.session.tell(said(CHANGED)).await.is_ok(), "which asks nothing");
    assert_eq!(next(&mut stream).await.as_deref(), Ok(ANSWER));
    assert!(talk.session.tell(said(CALL)).await.is_ok());
    // What nobody reads ends it, and its client has not.
    let large = QUESTION.replace('}', &format!(r#","params":["{}"]}}"#, "x".repeat(3 << 20)));
    (0..2).for_each(|_| talk.says(&large));
    while next(&mut stream).await.is_ok() {}
    assert_eq!(talk.counters.ended(Ended::Unread), 1);
}

#[tokio::test(start_paused = true)]
async fn the_end_fails_what_waits_and_refuses_what_comes() {
    let mut talk = Talk::begin();
    let mut inbox = talk.ask(CALL).await.unwrap();
    assert_eq!(talk.counters.open(), 1);
    talk.session.end(Ended::Exited);
    talk.session.end(Ended::Deleted);
    talk.session.ended().await;
    assert_eq!(next(&mut inbox).await, Err(Cut::Lost));
    assert_eq!(talk.ask(CALL).await.unwrap_err(), Unheard::Over);
    assert_eq!(talk.session.tell(said(ANSWER)).await, Err(Unheard::Over));
    assert_eq!(talk.listen().unwrap_err(), Unheard::Over);
    assert_eq!(talk.lines.recv().await.unwrap(), format!("{CALL}\n"));
    assert_eq!(talk.lines.recv().await, None, "the program is told that nothing more comes");
    assert_eq!((talk.counters.ended(Ended::Exited), talk.counters.open()), (1, 0));
    assert_eq!(talk.counters.ended(Ended::Deleted), 0);
}

#[tokio::test(start_paused = true)]
async fn only_what_nobody_holds_open_is_idle() {
    let talk = Talk::begin();
    let minute = Duration::from_mins(1);
    tokio::time::advance(minute).await;
    assert_eq!(talk.session.idle(), minute);
    let call = talk.ask(CALL).await.unwrap();
    tokio::time::advance(minute).await;
    assert_eq!(talk.session.idle(), Duration::ZERO);
    drop(call);
    let stream = talk.listen().unwrap();
    tokio::time::advance(minute).await;
    assert_eq!(talk.session.idle(), Duration::ZERO);
    drop(stream);
    tokio::time::advance(minute).await;
    assert_eq!(talk.session.idle(), minute);
}

fn cancel(id: usize) -> Said {
    let params = format!(r#"{{"requestId":{id}}}"#);
    said(&format!(r#"{{"method":"notifications/cancelled","params":{params}}}"#))
}

#[tokio::test]
async fn who_has_left_takes_up_no_room() {
    let mut talk = Talk::begin();
    let mut held = None;
    for id in 0..MOST_WAITING {
        let inbox = talk.ask(&CALL.replace('1', &id.to_string())).await.unwrap();
        held.get_or_insert(inbox);
        talk.lines.recv().await.unwrap();
    }
    let mut asked = talk.ask(&CALL.replace('1', "-1")).await.unwrap();
    // The oldest that was left, and nothing else.
    let late = |id| format!(r#"{{"id":{id},"result":{{}}}}"#);
    talk.says(&late(1));
    assert_eq!(talk.counters.dropped(), 1);
    talk.says(&late(0));
    assert_eq!(next(&mut held.unwrap()).await, Ok(late(0)));
    talk.says(&late(-1));
    assert_eq!(next(&mut asked).await, Ok(late(-1)));
}

#[tokio::test]
async fn what_was_cancelled_takes_up_no_room() {
    let mut talk = Talk::begin();
    let mut held = Vec::new();
    for id in 0..MOST_WAITING {
        held.push(talk.ask(&CALL.replace('1', &id.to_string())).await.unwrap());
        talk.lines.recv().await.unwrap();
    }
    let other = CALL.replace('1', "-1");
    assert_eq!(talk.ask(&other).await.unwrap_err(), Unheard::TooMany);
    drop(held.remove(5));
    for id in [0, 1, 5] {
        talk.session.tell(cancel(id)).await.unwrap();
        talk.lines.recv().await.unwrap();
    }
    // One that its client has left, then the oldest.
    let late = |id| format!(r#"{{"id":{id},"result":{{}}}}"#);
    let mut asked = talk.ask(&other).await.unwrap();
    talk.says(&late(5));
    assert_eq!(talk.counters.dropped(), 1);
    let _another = talk.ask(&CALL.replace('1', "-2")).await.unwrap();
    assert_eq!(next(&mut held[0]).await, Err(Cut::Over));
    // An answer that comes all the same is given to who asked.
    talk.says(&late(1));
    assert_eq!(next(&mut held[1]).await, Ok(late(1)));
    talk.says(&late(-1));
    assert_eq!(next(&mut asked).await, Ok(late(-1)));
}

#[tokio::test]
async fn a_line_is_owed_what_was_asked_and_neither_cancelled_nor_left() {
    let mut talk = Talk::begin();
    talk.session.begin(true);
    let mut line = talk.listen().unwrap();
    let session = &talk.session;
    let owes = async || {
        let nothing = tokio::time::timeout(Duration::ZERO, session.owed.nothing());
        nothing.await.is_err()
    };
    session.tell(said(CALL)).await.unwrap();
    session.tell(said(&CALL.replace('1', "2"))).await.unwrap();
    session.tell(cancel(1)).await.unwrap();
    assert!(owes().await);
    talk.says(&ANSWER.replace('1', "2"));
    assert!(!owes().await);
    assert_eq!(next(&mut line).await, Ok(ANSWER.replace('1', "2")));
    // The program reads nothing more, and the client does not wait until it does.
    while talk.lines.len() < talk.lines.max_capacity() {
        session.tell(said(CHANGED)).await.unwrap();
    }
    {
        let mut telling = Box::pin(session.tell(said(CALL)));
        assert!(tokio::time::timeout(Duration::ZERO, &mut telling).await.is_err());
        assert!(owes().await);
    }
    assert!(!owes().await);
    talk.lines.recv().await.unwrap();
}
