use std::future::poll_fn;

use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::{
    ready::Ready,
    relay::bridge::splice::{self, BOUNDS},
    scan::Scanner,
};

/// A program that many share, and that is the test.
struct Talk {
    shared: Arc<Shared>,
    counters: Arc<Counters>,
    lines: mpsc::Receiver<Bytes>,
}

impl Talk {
    fn begin() -> Self {
        let (input, lines) = mpsc::channel(64);
        let counters = Arc::new(Counters::default());
        let health = Arc::new(Health::new(Ready::default().gate("server")));
        let own = Arc::clone(&counters);
        let shared = Shared::new("tag".into(), input, own, health, Arc::default());
        Self { shared: Arc::new(shared), counters, lines }
    }

    async fn ask(&self, text: &str) -> Inbox {
        let said = splice::read_one(BytesMut::from(text)).unwrap();
        self.shared.ask(&said, true).await.unwrap()
    }

    /// The next line, and the id that it has.
    async fn heard(&mut self) -> (String, i64) {
        let line = self.lines.recv().await.unwrap();
        let text = String::from_utf8(line.to_vec()).unwrap();
        let id = splice::read_one(BytesMut::from(&*line)).unwrap().gist.kind;
        let Kind::Request(Id::Number(id)) = id else { panic!("{text}") };
        (text, id)
    }

    fn says(&self, text: &str) {
        let mut scanner = Scanner::new(BOUNDS);
        scanner.feed(text.as_bytes());
        let gist = Gist::of(scanner.message());
        assert!(self.shared.hear(Bytes::copy_from_slice(text.as_bytes()), &gist));
    }
}

async fn next(inbox: &mut Inbox) -> Result<String, Cut> {
    let piece = poll_fn(|cx| inbox.poll_next(cx)).await?;
    Ok(String::from_utf8(piece.text.to_vec()).unwrap())
}

/// Ids as clients write them.
fn ids() -> impl Strategy<Value = String> {
    prop_oneof![
        (0_i64..4).prop_map(|id| id.to_string()),
        "\"[0-3a]\"",
        Just(r#""\ud800""#.to_owned()),
        Just("1.0".to_owned()),
        any::<i64>().prop_map(|id| id.to_string()),
    ]
}

proptest! {
    #[test]
    fn everybody_hears_what_is_theirs_in_their_own_words(
        clients in prop::collection::vec((ids(), ids(), any::<prop::sample::Index>()), 1..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        runtime.block_on(async {
            let mut talk = Talk::begin();
            let mut waiting = Vec::new();
            for (id, token, _) in &clients {
                let asked = |id: &str, token: &str| format!(
                    r#"{{"params":{{"_meta":{{"progressToken": {token},"x":[1.50]}}}},"id":{id} ,"method":"m"}}"#
                );
                let inbox = talk.ask(&asked(id, token)).await;
                let (line, number) = talk.heard().await;
                let text = number.to_string();
                prop_assert_eq!(line, format!("{}\n", asked(&text, &text)));
                waiting.push((inbox, number, id, token));
            }
            for (_, _, turn) in &clients {
                let (mut inbox, number, id, token) = waiting.remove(turn.index(waiting.len()));
                let progress = |token: &str| format!(
                    r#"{{"method":"notifications/progress","params":{{"progressToken":{token} }}}}"#
                );
                let answer = |id: &str| format!(
                    r#"{{"result":{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}},"n":NaN}},"id":{id}}}"#
                );
                talk.says(&progress(&number.to_string()));
                talk.says(&answer(&number.to_string()));
                talk.says(&answer(&number.to_string()));
                prop_assert_eq!(next(&mut inbox).await, Ok(progress(token)));
                prop_assert_eq!(next(&mut inbox).await, Ok(answer(id)));
                prop_assert_eq!(next(&mut inbox).await, Err(Cut::Over));
            }
            // Each second answer.
            prop_assert_eq!(talk.counters.dropped(), clients.len() as u64);
            prop_assert!(talk.lines.try_recv().is_err(), "nothing was withdrawn");
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn a_subscription_that_is_named_as_text_is_told_as_text() {
    let mut talk = Talk::begin();
    let mut inbox = talk.ask(r#"{"id":7,"method":"subscriptions/listen"}"#).await;
    let (_, number) = talk.heard().await;
    let told = |id: &str| {
        format!(
            r#"{{"method":"m","params":{{"_meta":{{"io.modelcontextprotocol/subscriptionId":"{id}"}}}}}}"#
        )
    };
    talk.says(&told(&number.to_string()));
    assert_eq!(next(&mut inbox).await, Ok(told("7")));
    let ended = |id: &str| {
        format!(r#"{{"method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#)
    };
    talk.says(&ended(&number.to_string()));
    assert_eq!(next(&mut inbox).await, Ok(ended("7")));
}

#[tokio::test]
async fn who_leaves_withdraws_and_who_was_answered_does_not() {
    let mut talk = Talk::begin();
    let leaves = talk.ask(r#"{"id":1,"method":"m"}"#).await;
    let stays = talk.ask(r#"{"id":1,"method":"m"}"#).await;
    let ((_, first), (_, second)) = (talk.heard().await, talk.heard().await);
    talk.says(&format!(r#"{{"id":{second},"result":{{}}}}"#));
    drop(stays);
    drop(leaves);
    let told = talk.lines.recv().await.unwrap();
    let told: serde_json::Value = serde_json::from_slice(&told).unwrap();
    assert_eq!(told["method"], "notifications/cancelled");
    assert_eq!(told["params"]["requestId"], first);
    assert!(talk.lines.try_recv().is_err());
    talk.says(&format!(r#"{{"id":{first},"result":{{}}}}"#));
    assert_eq!(talk.counters.dropped(), 1);
}

#[tokio::test]
async fn an_error_without_an_id_answers_the_only_request() {
    let mut talk = Talk::begin();
    let error = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":""}}"#;
    let mut first = talk.ask(r#"{"id":1,"method":"m"}"#).await;
    talk.says(error);
    assert_eq!(next(&mut first).await.as_deref(), Ok(error));
    let _two =
        (talk.ask(r#"{"id":1,"method":"m"}"#).await, talk.ask(r#"{"id":2,"method":"m"}"#).await);
    talk.says(error);
    assert_eq!(talk.counters.dropped(), 1);
    assert_eq!(talk.heard().await.0.lines().count(), 1);
}

#[tokio::test]
async fn an_id_that_cannot_be_given_back_is_refused() {
    let talk = Talk::begin();
    let long = "x".repeat(2000);
    for text in [
        format!(r#"{{"id":"{long}","method":"m"}}"#),
        format!(r#"{{"id":1,"method":"m","params":{{"_meta":{{"progressToken":"{long}"}}}}}}"#),
    ] {
        let said = splice::read_one(BytesMut::from(&*text)).unwrap();
        assert_eq!(talk.shared.ask(&said, true).await.unwrap_err(), Unheard::LongId);
    }
}
