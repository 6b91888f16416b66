//! Requests whose id is in flight already: each has a record, and on HTTP its own answer.

use super::*;

fn of_tool(tool: &str) -> String {
    call("1").replace("echo", tool)
}

/// The tools of the records since the last look, and how their calls ended.
fn ends(script: &mut Script) -> Vec<(String, Outcome)> {
    let records = script.records();
    records
        .iter()
        .map(|call| (call.tool.as_deref().unwrap_or_default().to_owned(), call.outcome))
        .collect()
}

fn end(tool: &str, outcome: Outcome) -> (String, Outcome) {
    (tool.to_owned(), outcome)
}

/// Answers an exchange of a session as `body` says.
fn answer(script: &mut Script, talk: &Talk, body: BodyKind, message: &str) {
    script.head(talk, 200, body, None);
    match body {
        BodyKind::EventStream => script.event(talk, None, message),
        _ => script.data(talk, ToClient, message.as_bytes()),
    }
    script.end(talk, ToClient, End::Clean);
}

const FIRST: Outcome = Outcome::RpcError(-1);
const SECOND: Outcome = Outcome::Ok;

#[test]
fn an_exchange_answers_what_it_asked() {
    for body in [BodyKind::Json, BodyKind::EventStream] {
        for first_goes_first in [true, false] {
            let mut script = Script::new();
            let first = script.post(Some("s"), &of_tool("first"));
            script.pass(Duration::from_secs(1));
            let second = script.post(Some("s"), &of_tool("second"));
            script.pass(Duration::from_secs(1));
            assert_eq!(script.in_flight(), 2);
            let one = (&first, error("1", -1), end("first", FIRST));
            let other = (&second, ok("1"), end("second", SECOND));
            let order = if first_goes_first { [one, other] } else { [other, one] };
            for (talk, message, ends_so) in order {
                answer(&mut script, talk, body, &message);
                assert_eq!(ends(&mut script), [ends_so]);
            }
            assert_eq!(script.odd(Oddity::DuplicateId), 1);
            assert_eq!(script.odd(Oddity::UnmatchedAnswer), 0);
            script.assert_clean();
        }
    }
}

#[test]
fn each_has_its_own_start() {
    let mut script = Script::new();
    let first = script.post(Some("s"), &of_tool("first"));
    script.pass(Duration::from_secs(5));
    let second = script.post(Some("s"), &of_tool("second"));
    script.pass(Duration::from_secs(1));
    script.reply(&second, 200, &ok("1"));
    assert_eq!(script.record().duration, Duration::from_secs(1));
    script.reply(&first, 200, &ok("1"));
    assert_eq!(script.record().duration, Duration::from_secs(6));
}

#[test]
fn a_later_stream_answers_the_first_that_waits_for_it() {
    let mut script = Script::new();
    let first = script.post(Some("s"), &of_tool("first"));
    let second = script.post(Some("s"), &of_tool("second"));
    let third = script.post(Some("s"), &of_tool("third"));
    script.head(&second, 200, BodyKind::EventStream, None);
    script.event(&second, Some(1), "");
    script.end(&second, ToClient, End::ServerGone);
    let get = script.exchange(Method::GET, "/mcp", HttpTransport::Streamable, Some("s"));
    script.head(&get, 200, BodyKind::EventStream, None);
    script.event(&get, Some(2), &ok("1"));
    assert_eq!(ends(&mut script), [end("second", Outcome::Ok)]);
    script.reply(&third, 200, &ok("1"));
    assert_eq!(ends(&mut script), [end("third", Outcome::Ok)]);
    script.reply(&first, 200, &ok("1"));
    assert_eq!(ends(&mut script), [end("first", Outcome::Ok)]);
}

#[test]
fn one_body_may_ask_twice() {
    let mut script = Script::new();
    let talk = script.post(Some("s"), &format!("[{},{}]", of_tool("first"), of_tool("second")));
    script.reply(&talk, 200, &format!("[{},{}]", error("1", -1), ok("1")));
    assert_eq!(ends(&mut script), [end("first", FIRST), end("second", SECOND)]);
}

#[test]
fn an_exchange_that_breaks_ends_its_own() {
    let mut script = Script::new();
    let first = script.post(Some("s"), &of_tool("first"));
    let second = script.post(Some("s"), &of_tool("second"));
    script.end(&first, ToClient, End::ServerGone);
    assert_eq!(ends(&mut script), [end("first", Outcome::Transport)]);
    script.reply(&second, 200, &ok("1"));
    assert_eq!(ends(&mut script), [end("second", Outcome::Ok)]);
}

#[test]
fn a_withdrawal_means_the_latest() {
    let mut script = Script::new();
    let first = script.post(Some("s"), &of_tool("first"));
    let second = script.post(Some("s"), &of_tool("second"));
    let cancel = script.post(Some("s"), &cancelled("1"));
    script.reply(&cancel, 202, "");
    assert_eq!(ends(&mut script), [end("second", Outcome::Cancelled)]);
    script.reply(&second, 200, &ok("1"));
    script.reply(&first, 200, &ok("1"));
    assert_eq!(ends(&mut script), [end("first", Outcome::Ok)]);
    // On a line as well.
    let mut script = Script::new();
    let talk = script.stdio();
    for message in [of_tool("first"), of_tool("second"), cancelled("1")] {
        script.client(&talk, &message);
    }
    assert_eq!(ends(&mut script), [end("second", Outcome::Cancelled)]);
    script.server(&talk, &ok("1"));
    assert_eq!(ends(&mut script), [end("first", Outcome::Ok)]);
}

#[test]
fn on_one_stream_the_first_asked_is_the_first_answered() {
    let mut script = Script::new();
    let talk = script.stdio();
    for tool in ["first", "second", "third"] {
        script.client(&talk, &of_tool(tool));
    }
    script.server(&talk, &error("1", -1));
    script.server(&talk, &ok("1"));
    assert_eq!(ends(&mut script), [end("first", FIRST), end("second", SECOND)]);
    script.end(&talk, ToServer, End::Clean);
    script.end(&talk, ToClient, End::Clean);
    assert_eq!(ends(&mut script), [end("third", Outcome::Cancelled)]);
    assert_eq!(script.odd(Oddity::DuplicateId), 2);
    script.assert_clean();
}

#[test]
fn on_legacy_sse_the_first_asked_is_the_first_answered() {
    let mut script = Script::new();
    let stream = script.exchange(Method::GET, "/sse", HttpTransport::LegacySse, None);
    script.head(&stream, 200, BodyKind::EventStream, None);
    script.data(&stream, ToClient, b"event: endpoint\ndata: /m?s=1\n\n");
    let accepted: Vec<_> = ["first", "second"]
        .iter()
        .map(|tool| {
            let talk = script.exchange(Method::POST, "/m?s=1", HttpTransport::LegacySse, None);
            script.data(&talk, ToServer, of_tool(tool).as_bytes());
            talk
        })
        .collect();
    for talk in &accepted {
        script.head(talk, 202, BodyKind::Opaque, None);
        script.end(talk, ToServer, End::Clean);
        script.end(talk, ToClient, End::Clean);
    }
    script.event(&stream, None, &error("1", -1));
    script.event(&stream, None, &ok("1"));
    assert_eq!(ends(&mut script), [end("first", FIRST), end("second", SECOND)]);
}

#[test]
fn progress_keeps_each_alive() {
    let token = |tool: &str| {
        of_tool(tool).replace("\"arguments\"", "\"_meta\":{\"progressToken\":1},\"arguments\"")
    };
    let progress = r#"{"method":"notifications/progress","params":{"progressToken":1}}"#;
    let mut script = Script::new();
    let first = script.post(Some("s"), &token("first"));
    let second = script.post(Some("s"), &token("second"));
    script.pass(Duration::from_mins(50));
    script.head(&second, 200, BodyKind::EventStream, None);
    script.event(&second, None, progress);
    script.pass(Duration::from_mins(50));
    assert_eq!(ends(&mut script), [end("first", Outcome::Timeout)]);
    script.event(&second, None, &ok("1"));
    assert_eq!(ends(&mut script), [end("second", Outcome::Ok)]);
    drop(first);
}

#[test]
fn many_are_bounded_and_all_are_recorded() {
    const MANY: usize = 100_000;
    let mut script = Script::with(Limits { pending: 100, ..Limits::default() });
    let talk = script.stdio();
    let mut unobserved = 0;
    for _ in 0..MANY {
        script.client(&talk, &call("1"));
        assert!(script.observer.matcher.pending.len() <= 100);
        unobserved += ends(&mut script).len();
    }
    assert_eq!(unobserved, MANY - 100);
    assert_eq!(script.odd(Oddity::Evicted), (MANY - 100) as u64);
    assert_eq!(script.odd(Oddity::DuplicateId), (MANY - 1) as u64);
    for _ in 0..100 {
        script.server(&talk, &ok("1"));
    }
    assert_eq!(script.calls(), vec![("1".to_owned(), Outcome::Ok); 100]);
    script.end(&talk, ToServer, End::Clean);
    script.end(&talk, ToClient, End::Clean);
    script.assert_clean();
}
