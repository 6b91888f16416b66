use super::*;

/// A legacy session that is initialized.
fn session(script: &mut Script, id: &str) {
    let talk = script.post(None, &initialize("0"));
    script.head(&talk, 200, BodyKind::EventStream, Some(id));
    script.event(&talk, None, &initialized("0"));
    script.end(&talk, ToClient, End::Clean);
}

fn get(script: &mut Script, session: &str) -> Talk {
    let talk = script.exchange(Method::GET, "/mcp", HttpTransport::Streamable, Some(session));
    script.end(&talk, ToServer, End::Clean);
    script.head(&talk, 200, BodyKind::EventStream, None);
    talk
}

#[test]
fn answers_come_as_json_or_as_events() {
    let mut script = Script::new();
    let talk = script.post(None, &modern("1"));
    script.reply(&talk, 200, &ok("1"));
    assert_eq!(script.outcome(), Outcome::Ok);
    let talk = script.post(None, &modern("1"));
    script.head(&talk, 200, BodyKind::EventStream, None);
    script.data(&talk, ToClient, b": ping\r\n\r\nid: 1\r\ndata:\r\n\r\n");
    script.event(&talk, None, r#"{"method":"notifications/message","params":{}}"#);
    script.event(&talk, None, &error("1", -32602));
    assert_eq!(script.outcome(), Outcome::RpcError(-32602));
    script.end(&talk, ToClient, End::Clean);
    script.assert_clean();
}

#[test]
fn a_session_is_named_by_its_hash() {
    let mut script = Script::new();
    session(&mut script, "secret");
    let talk = script.post(Some("secret"), &call("1"));
    script.reply(&talk, 200, &ok("1"));
    let record = script.record();
    let session = record.session.as_deref().unwrap();
    assert!(session.len() == 16 && !session.contains("secret"), "{session}");
    assert_eq!(record.client.as_ref().map(|client| &*client.name), Some("desk"));
    assert_eq!(record.protocol_version.as_deref(), Some("2025-11-25"));
    // After a restart of the proxy the name is the same, the client unknown.
    let mut script = Script::new();
    let talk = script.post(Some("secret"), &call("1"));
    script.reply(&talk, 200, &ok("1"));
    let later = script.record();
    assert_eq!((later.session.as_deref(), &later.client), (Some(session), &None));
    assert_eq!(later.protocol_version.as_deref(), Some("2025-11-25"));
}

#[test]
fn a_modern_request_ignores_the_session() {
    let mut script = Script::new();
    session(&mut script, "secret");
    let talk = script.post(Some("secret"), &modern("1"));
    script.reply(&talk, 200, &ok("1"));
    assert_eq!(script.record().session, None);
}

#[test]
fn sessions_are_bounded() {
    let mut script = Script::with(Limits { sessions: 2, ..Limits::default() });
    for id in ["a", "b", "c"] {
        session(&mut script, id);
    }
    assert_eq!(script.odd(Oddity::SessionEvicted), 1);
    for (id, client) in [("a", false), ("c", true)] {
        let talk = script.post(Some(id), &call("1"));
        script.reply(&talk, 200, &ok("1"));
        assert_eq!(script.record().client.is_some(), client);
    }
}

/// How a legacy (with a session) and a modern call end whose exchange goes on so.
fn both(goes_on: impl Fn(&mut Script, &Talk)) -> [Option<Outcome>; 2] {
    [(Some("s"), call("1")), (None, modern("1"))].map(|(session, request)| {
        let mut script = Script::new();
        let talk = script.post(session, &request);
        goes_on(&mut script, &talk);
        assert_eq!(script.observer.streams.len(), 0);
        script.records().first().map(|record| record.outcome)
    })
}

#[test]
fn what_is_asked_again_elsewhere_is_counted_there() {
    let again = both(|script, talk| script.end(talk, ToClient, End::AskedAgain));
    assert_eq!(again, [None; 2]);
    let mut script = Script::new();
    let first = script.post(None, &call("1"));
    script.end(&first, ToClient, End::AskedAgain);
    let second = script.post(None, &call("1"));
    script.reply(&second, 200, &ok("1"));
    assert_eq!(script.records().len(), 1);
    script.assert_clean();
}

#[test]
fn what_is_said_again_tells_who_the_client_is_and_is_not_counted() {
    let mut script = Script::new();
    let again = script.open(StreamKind::Exchange(Exchange {
        method: Method::POST,
        target: "/mcp".parse().unwrap(),
        session: None,
        protocol_version: None,
        transport: HttpTransport::Streamable,
        again: true,
    }));
    script.data(&again, ToServer, initialize("0").as_bytes());
    script.end(&again, ToServer, End::Clean);
    script.head(&again, 200, BodyKind::Json, Some("new"));
    script.data(&again, ToClient, initialized("0").as_bytes());
    script.end(&again, ToClient, End::Clean);
    let talk = script.post(Some("new"), &call("1"));
    script.reply(&talk, 200, &ok("1"));
    assert_eq!(&*script.record().client.as_ref().unwrap().name, "desk");
    assert_eq!(script.ended("initialize", ""), 0);
    script.assert_clean();
}

#[test]
fn every_end_has_its_outcome() {
    use BodyKind::{EventStream, Json, Opaque};
    let ends = |status: Option<(u16, BodyKind)>, body: &'static str, end: End| {
        both(move |script, talk| {
            if let Some((status, kind)) = status {
                script.head(talk, status, kind, None);
            }
            script.data(talk, ToClient, body.as_bytes());
            script.end(talk, ToClient, end);
        })
    };
    let same = |outcome| [Some(outcome); 2];
    // Error statuses, with and without a JSON-RPC body.
    assert_eq!(ends(Some((500, Opaque)), "oops", End::Clean), same(Outcome::HttpError(500)));
    assert_eq!(
        ends(Some((401, Json)), "{\"error\":\"invalid_token\"}", End::Clean),
        same(Outcome::HttpError(401))
    );
    assert_eq!(ends(Some((403, Opaque)), "", End::Clean), same(Outcome::HttpError(403)));
    assert_eq!(
        ends(Some((404, Json)), r#"{"id":1,"error":{"code":-32601,"message":"m"}}"#, End::Clean),
        same(Outcome::RpcError(-32601))
    );
    assert_eq!(
        ends(
            Some((400, Json)),
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000}}"#,
            End::Clean
        ),
        same(Outcome::RpcError(-32000))
    );
    assert_eq!(
        ends(Some((400, Json)), r#"{"jsonrpc":"2.0","error":{"code":-32020}}"#, End::Clean),
        same(Outcome::RpcError(-32020))
    );
    // The error of a gateway is none of JSON-RPC.
    for body in [r#"{"error":{"code":500,"message":"x"}}"#, r#"{"id":null,"error":{"code":500}}"#] {
        let gateway = same(Outcome::HttpError(500));
        assert_eq!(ends(Some((500, Json)), body, End::Clean), gateway, "{body}");
        assert_eq!(ends(Some((200, Json)), body, End::Clean), same(Outcome::Other), "{body}");
    }
    // A redirection has done nothing, whatever its body; and what it holds may still answer.
    assert_eq!(ends(Some((307, Opaque)), "moved", End::Clean), same(Outcome::HttpError(307)));
    assert_eq!(ends(Some((307, Json)), ok("1").leak(), End::Clean), same(Outcome::Ok));
    assert_eq!(ends(Some((502, Json)), "{", End::ServerGone), same(Outcome::HttpError(502)));
    // Answers that are none.
    assert_eq!(ends(Some((202, Opaque)), "", End::Clean), same(Outcome::Other));
    assert_eq!(ends(Some((200, Json)), "{}", End::Clean), same(Outcome::Other));
    assert_eq!(ends(Some((200, Json)), "garbage", End::Clean), same(Outcome::Other));
    assert_eq!(ends(Some((200, Opaque)), "\u{1f}gzip", End::Clean), same(Outcome::Unobserved));
    assert_eq!(ends(Some((200, EventStream)), ": ping\n\n", End::Clean), same(Outcome::Transport));
    // An event without its blank line counts for no client.
    assert_eq!(
        ends(Some((200, EventStream)), "data: {\"id\":1,\"result\":{}}\n", End::Clean),
        same(Outcome::Transport)
    );
    // Connections that break.
    assert_eq!(ends(None, "", End::ServerGone), same(Outcome::Transport));
    assert_eq!(ends(Some((200, EventStream)), "", End::ServerGone), same(Outcome::Transport));
    assert_eq!(ends(None, "", End::Unreachable), same(Outcome::Transport));
    assert_eq!(ends(None, "", End::TimedOut), same(Outcome::Timeout));
    assert_eq!(ends(None, "", End::Refused), same(Outcome::Transport));
    // Nobody waits for it any more, though it might have come on another stream.
    let resumable = "id: 1\ndata:\n\n";
    assert_eq!(ends(Some((200, EventStream)), resumable, End::GivenUp), same(Outcome::Transport));
    assert_eq!(ends(Some((503, Opaque)), "", End::Refused), same(Outcome::HttpError(503)));
    for (head, body) in [(None, ""), (Some((200, EventStream)), resumable)] {
        assert_eq!(ends(head, body, End::Withdrawn), same(Outcome::Cancelled));
    }
    // A client that leaves cancels in the modern era only.
    let left = [Some(Outcome::Transport), Some(Outcome::Cancelled)];
    assert_eq!(ends(None, "", End::ClientGone), left);
    assert_eq!(ends(Some((200, EventStream)), "", End::ClientGone), left);
}

#[test]
fn a_request_with_null_for_an_id_is_answered_with_null() {
    for (answer, outcome) in [(ok("null"), Outcome::Ok), (error("null", -1), Outcome::RpcError(-1))]
    {
        let mut script = Script::new();
        session(&mut script, "s");
        let other = script.post(Some("s"), &call("null"));
        let talk = script.post(Some("s"), &call("null"));
        script.reply(&talk, 200, &answer);
        assert_eq!(script.calls(), [("null".to_owned(), outcome)]);
        script.reply(&other, 200, &ok("null"));
        assert_eq!(script.outcome(), Outcome::Ok);
        script.assert_clean();
    }
}

#[test]
fn a_body_that_cannot_be_read_is_counted() {
    let mut script = Script::new();
    for (status, body, counted) in [
        (200, BodyKind::Opaque, 1),
        (202, BodyKind::Opaque, 1),
        (500, BodyKind::Opaque, 1),
        (200, BodyKind::Json, 1),
        (200, BodyKind::Opaque, 2),
    ] {
        let talk = script.post(Some("s"), &call("1"));
        script.head(&talk, status, body, None);
        script.data(&talk, ToClient, ok("1").as_bytes());
        script.end(&talk, ToClient, End::Clean);
        assert_eq!(script.odd(Oddity::UnreadableBody), counted, "{status} {body:?}");
    }
    let outcomes: Vec<_> = script.calls().into_iter().map(|(_, outcome)| outcome).collect();
    let unread = Outcome::Unobserved;
    assert_eq!(outcomes, [unread, Outcome::Other, Outcome::HttpError(500), Outcome::Ok, unread]);
    script.assert_clean();
}

#[test]
fn an_answer_may_come_on_a_later_stream() {
    for end in [End::Clean, End::ServerGone, End::ClientGone] {
        let mut script = Script::new();
        session(&mut script, "s");
        let talk = script.post(Some("s"), &call("1"));
        script.head(&talk, 200, BodyKind::EventStream, None);
        script.data(&talk, ToClient, b"id: 7\ndata:\n\n");
        script.end(&talk, ToClient, end);
        assert_eq!(script.calls(), []);
        let talk = get(&mut script, "s");
        script.pass(Duration::from_secs(3));
        script.event(&talk, Some(8), &ok("1"));
        let record = script.record();
        assert_eq!((record.outcome, record.duration), (Outcome::Ok, Duration::from_secs(3)));
    }
}

#[test]
fn an_answer_that_never_comes_expires() {
    let mut script = Script::new();
    let talk = script.post(Some("s"), &call("1"));
    script.head(&talk, 200, BodyKind::EventStream, None);
    script.event(&talk, Some(7), "");
    script.end(&talk, ToClient, End::Clean);
    script.pass(Duration::from_mins(59));
    assert_eq!(script.calls(), []);
    script.pass(Duration::from_mins(2));
    assert_eq!(script.outcome(), Outcome::Timeout);
    script.assert_clean();
}

#[test]
fn cancellation_is_a_post_of_its_own() {
    let mut script = Script::new();
    session(&mut script, "s");
    let talk = script.post(Some("s"), &call("1"));
    let other = script.post(Some("other"), &cancelled("1"));
    script.reply(&other, 202, "");
    assert_eq!(script.calls(), []);
    let cancel = script.post(Some("s"), &cancelled("1"));
    script.reply(&cancel, 202, "");
    script.reply(&talk, 200, &ok("1"));
    assert_eq!(script.calls(), [("1".to_owned(), Outcome::Cancelled)]);
}

#[test]
fn a_server_asks_on_a_stream_and_is_answered_by_a_post() {
    let mut script = Script::new();
    session(&mut script, "s");
    let talk = script.post(Some("s"), &call("5"));
    script.head(&talk, 200, BodyKind::EventStream, None);
    script.event(&talk, None, &request("5", "elicitation/create"));
    let stream = get(&mut script, "s");
    script.event(&stream, None, &request("6", "roots/list"));
    for (answer, method) in [(error("6", -3), "roots/list"), (error("5", -3), "elicitation/create")]
    {
        let post = script.post(Some("s"), &answer);
        script.reply(&post, 202, "");
        assert_eq!(script.ended(method, "-3"), 1, "{method}");
    }
    assert_eq!(script.calls(), []);
    script.event(&talk, None, &ok("5"));
    assert_eq!(script.outcome(), Outcome::Ok);
}

#[test]
fn deleting_the_session_withdraws_its_calls() {
    let mut script = Script::new();
    session(&mut script, "s");
    let talk = script.post(Some("s"), &call("1"));
    for (status, calls) in [(405, 0), (200, 1)] {
        let delete = script.exchange(Method::DELETE, "/mcp", HttpTransport::Streamable, Some("s"));
        script.end(&delete, ToServer, End::Clean);
        script.head(&delete, status, BodyKind::Opaque, None);
        script.end(&delete, ToClient, End::Clean);
        assert_eq!(script.calls(), vec![("1".to_owned(), Outcome::Cancelled); calls]);
    }
    script.end(&talk, ToClient, End::ServerGone);
    assert_eq!(script.calls(), []);
    script.assert_clean();
}

#[test]
fn a_session_that_the_proxy_ends_ends_the_calls_of_lost_streams() {
    let mut script = Script::new();
    session(&mut script, "s");
    let talk = script.post(Some("s"), &call("1"));
    script.head(&talk, 200, BodyKind::EventStream, None);
    script.event(&talk, Some(1), r#"{"method":"notifications/message","params":{}}"#);
    script.end(&talk, ToClient, End::ClientGone);
    assert_eq!(script.calls(), []);
    let farewell = script.exchange(Method::DELETE, "/mcp", HttpTransport::Streamable, Some("s"));
    script.end(&farewell, ToServer, End::Clean);
    script.end(&farewell, ToClient, End::GivenUp);
    assert_eq!(script.calls(), [("1".to_owned(), Outcome::Transport)]);
    script.assert_clean();
}

#[test]
fn batches_and_pretty_bodies() {
    let mut script = Script::new();
    let body = format!("[\n  {},\n  {}\n]\n", call("1"), call("2"));
    let talk = script.post(Some("s"), &body);
    script.head(&talk, 200, BodyKind::EventStream, None);
    script.event(&talk, None, &ok("2"));
    script.event(&talk, None, &ok("1"));
    assert_eq!(script.calls(), [("2".to_owned(), Outcome::Ok), ("1".to_owned(), Outcome::Ok)]);
    let talk = script.post(Some("s"), &body);
    script.reply(&talk, 200, &format!(" [ {} ,\n {} ] ", ok("1"), error("null", -1)));
    assert_eq!(script.calls(), [("1".to_owned(), Outcome::Ok), ("2".to_owned(), Outcome::Other)]);
    let talk = script.post(None, &body);
    script.reply(&talk, 400, &error("null", -32600));
    let refused = Outcome::RpcError(-32600);
    assert_eq!(script.calls(), [("1".to_owned(), refused), ("2".to_owned(), refused)]);
}

#[test]
fn the_same_id_on_two_exchanges_is_two_calls_without_a_session() {
    let mut script = Script::new();
    let first = script.post(None, &modern("1"));
    let second = script.post(None, &modern("1"));
    script.reply(&second, 200, &error("1", -2));
    script.reply(&first, 200, &ok("1"));
    let outcomes: Vec<_> = script.calls().into_iter().map(|(_, outcome)| outcome).collect();
    assert_eq!(outcomes, [Outcome::RpcError(-2), Outcome::Ok]);
}

#[test]
fn the_body_names_the_tool_and_not_the_header() {
    let mut script = Script::new();
    let talk = script.post(None, &modern("1").replace("echo", "other"));
    script.reply(&talk, 200, &ok("1"));
    assert_eq!(script.record().tool.as_deref(), Some("other"));
}

#[test]
fn an_event_is_one_message_or_none() {
    let mut script = Script::new();
    let talk = script.post(None, &modern("1"));
    script.head(&talk, 200, BodyKind::EventStream, None);
    script.event(&talk, None, &format!("{} {{}}", error("1", -1)));
    assert_eq!((script.calls(), script.odd(Oddity::Unparsed)), (vec![], 1));
    script.event(&talk, None, &ok("1"));
    assert_eq!(script.outcome(), Outcome::Ok);
}

#[test]
fn a_body_that_holds_more_is_refused_by_its_answer() {
    let mut script = Script::new();
    let talk = script.post(None, &format!("{} {{}}", modern("1")));
    script.reply(&talk, 400, &error("null", -32700));
    assert_eq!(script.outcome(), Outcome::RpcError(-32700));
}
