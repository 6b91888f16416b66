use std::sync::atomic::Ordering;

use super::*;

/// The stream of a session whose client is told to POST to `endpoint`.
fn stream(script: &mut Script, endpoint: &str) -> Talk {
    let talk = script.exchange(Method::GET, "/sse", HttpTransport::LegacySse, None);
    script.end(&talk, ToServer, End::Clean);
    script.head(&talk, 200, BodyKind::EventStream, None);
    let event = format!("event: endpoint\r\ndata: {endpoint}\r\n\r\n");
    script.data(&talk, ToClient, event.as_bytes());
    talk
}

/// A POST that is accepted, as all are.
fn post(script: &mut Script, target: &str, body: &str) {
    let talk = script.exchange(Method::POST, target, HttpTransport::LegacySse, None);
    script.data(&talk, ToServer, body.as_bytes());
    script.end(&talk, ToServer, End::Clean);
    script.head(&talk, 202, BodyKind::Opaque, None);
    script.data(&talk, ToClient, b"Accepted");
    script.end(&talk, ToClient, End::Clean);
}

const TARGET: &str = "/messages/?session_id=1";

#[test]
fn answers_come_on_the_stream_of_the_session() {
    let mut script = Script::new();
    let first = stream(&mut script, TARGET);
    let second = stream(&mut script, "http://proxy:1/messages/?session_id=2");
    post(&mut script, TARGET, &initialize("0"));
    script.event(&first, None, &initialized("0"));
    post(&mut script, TARGET, &call("1"));
    post(&mut script, "/messages/?session_id=2", &call("1"));
    script.pass(Duration::from_secs(2));
    script.event(&second, None, &error("1", -7));
    assert_eq!(script.outcome(), Outcome::RpcError(-7));
    script.event(&first, None, &ok("1"));
    let record = script.record();
    assert_eq!((record.outcome, record.duration), (Outcome::Ok, Duration::from_secs(2)));
    assert_eq!(record.client.as_ref().map(|client| &*client.name), Some("desk"));
    assert_eq!(record.session.as_ref().map(|session| session.len()), Some(16));
}

#[test]
fn a_client_that_does_not_wait_for_the_handshake_is_known() {
    let mut script = Script::new();
    let talk = stream(&mut script, TARGET);
    post(&mut script, TARGET, &initialize("0"));
    post(&mut script, TARGET, &call("1"));
    script.event(&talk, None, &ok("1"));
    let record = script.record();
    assert_eq!(record.client.as_ref().map(|client| &*client.name), Some("desk"));
    assert_eq!(record.session.as_ref().map(|session| session.len()), Some(16));
}

#[test]
fn a_stream_owes_the_answers_of_its_session() {
    let mut script = Script::new();
    let first = stream(&mut script, TARGET);
    let second = stream(&mut script, "/messages/?session_id=2");
    let owed = || [&first, &second].map(|talk| talk.owed.load(Ordering::SeqCst));
    post(&mut script, TARGET, &call("1"));
    post(&mut script, TARGET, &request("2", "prompts/list"));
    post(&mut script, "/messages/?session_id=2", &modern("1"));
    assert_eq!(owed(), [2, 1]);
    // What the server asks is not owed to the client.
    script.event(&first, None, &request("1", "roots/list"));
    script.event(&first, None, &ok("1"));
    post(&mut script, TARGET, &cancelled("2"));
    script.event(&second, None, &ok("1"));
    assert_eq!(owed(), [0, 0]);
    post(&mut script, TARGET, &call("3"));
    assert_eq!(owed(), [1, 0]);
    script.pass(Duration::from_hours(2));
    assert_eq!(owed(), [0, 0], "nobody waits for ever");
}

#[test]
fn modern_messages_ride_on_it() {
    let mut script = Script::new();
    let talk = stream(&mut script, TARGET);
    post(&mut script, TARGET, &modern("1"));
    script.event(&talk, None, &ok("1"));
    let record = script.record();
    assert_eq!((record.outcome, &record.session), (Outcome::Ok, &None));
}

#[test]
fn both_sides_ask() {
    let mut script = Script::new();
    let talk = stream(&mut script, TARGET);
    post(&mut script, TARGET, &call("1"));
    script.event(&talk, None, &request("1", "roots/list"));
    post(&mut script, TARGET, &error("1", -3));
    assert_eq!(script.ended("roots/list", "-3"), 1);
    post(&mut script, TARGET, &cancelled("1"));
    assert_eq!(script.outcome(), Outcome::Cancelled);
}

#[test]
fn the_end_of_the_stream_is_the_end_of_the_session() {
    for (end, outcome) in [
        (End::ClientGone, Outcome::Cancelled),
        (End::ServerGone, Outcome::Transport),
        (End::Clean, Outcome::Transport),
    ] {
        let mut script = Script::new();
        let other = stream(&mut script, "/messages/?session_id=2");
        let talk = stream(&mut script, TARGET);
        post(&mut script, TARGET, &call("1"));
        post(&mut script, "/messages/?session_id=2", &call("2"));
        script.end(&talk, ToClient, end);
        assert_eq!(script.calls(), [("1".to_owned(), outcome)]);
        script.event(&other, None, &ok("2"));
        assert_eq!(script.calls(), [("2".to_owned(), Outcome::Ok)]);
    }
}

#[test]
fn a_refused_post_has_its_outcome() {
    let mut script = Script::new();
    let _stream = stream(&mut script, TARGET);
    let talk = script.exchange(Method::POST, TARGET, HttpTransport::LegacySse, None);
    script.data(&talk, ToServer, call("1").as_bytes());
    script.head(&talk, 404, BodyKind::Opaque, None);
    script.end(&talk, ToClient, End::Clean);
    assert_eq!(script.outcome(), Outcome::HttpError(404));
}

#[test]
fn a_gap_on_the_stream_makes_its_calls_doubtful() {
    let mut script = Script::new();
    let talk = stream(&mut script, TARGET);
    post(&mut script, TARGET, &call("1"));
    post(&mut script, TARGET, &call("2"));
    script.lose();
    script.event(&talk, None, "");
    script.event(&talk, None, &ok("2"));
    assert_eq!(script.calls(), [("2".to_owned(), Outcome::Ok)]);
    script.pass(Duration::from_secs(61));
    assert_eq!(script.calls(), [("1".to_owned(), Outcome::Unobserved)]);
}

#[test]
fn a_stream_whose_end_was_lost_takes_its_calls_along() {
    let mut script = Script::new();
    let talk = stream(&mut script, TARGET);
    post(&mut script, TARGET, &call("1"));
    drop(talk);
    script.pass(Duration::from_secs(10));
    assert_eq!(script.calls(), [("1".to_owned(), Outcome::Unobserved)]);
    script.assert_clean();
}
