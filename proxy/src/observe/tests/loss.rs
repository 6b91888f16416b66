use super::*;

#[test]
fn after_a_gap_lines_go_on_at_the_next_line() {
    let mut script = Script::new();
    let talk = script.stdio();
    script.client(&talk, &call("1"));
    script.client(&talk, &call("2"));
    script.data(&talk, ToClient, br#"{"id":1,"resu"#);
    script.lose();
    script.data(&talk, ToClient, b"\"isError\":true}}\n");
    script.server(&talk, &ok("2"));
    assert_eq!(script.calls(), [("2".to_owned(), Outcome::Ok)]);
    assert_eq!(script.odd(Oddity::Unparsed), 0);
    // A call that begins after the gap has nothing to do with it.
    script.client(&talk, &call("3"));
    script.pass(Duration::from_secs(61));
    assert_eq!(script.calls(), [("1".to_owned(), Outcome::Unobserved)]);
    script.end(&talk, ToClient, End::Clean);
    assert_eq!(script.calls(), [("3".to_owned(), Outcome::Transport)]);
}

#[test]
fn what_a_gap_swallowed_is_unobserved_at_the_end() {
    for direction in [ToClient, ToServer] {
        let mut script = Script::new();
        let talk = script.stdio();
        script.client(&talk, &call("1"));
        script.lose();
        script.data(&talk, direction, b"rest\n");
        script.end(&talk, ToServer, End::Clean);
        script.end(&talk, ToClient, End::Clean);
        assert_eq!(script.calls(), [("1".to_owned(), Outcome::Unobserved)]);
        assert_eq!(script.odd(Oddity::Gap), 1);
        script.assert_clean();
    }
}

#[test]
fn an_id_used_again_ends_the_call_whose_answer_was_lost() {
    let mut script = Script::new();
    let talk = script.stdio();
    script.client(&talk, &call("1"));
    script.lose();
    script.server(&talk, "");
    script.client(&talk, &call("1"));
    script.server(&talk, &ok("1"));
    assert_eq!(
        script.calls(),
        [("1".to_owned(), Outcome::Unobserved), ("1".to_owned(), Outcome::Ok)]
    );
    assert_eq!(script.odd(Oddity::DuplicateId), 0);
}

#[test]
fn a_body_with_a_gap_is_lost_as_a_whole() {
    let mut script = Script::new();
    let talk = script.post(None, &modern("1"));
    script.head(&talk, 200, BodyKind::Json, None);
    script.data(&talk, ToClient, b"{\"id\"");
    script.lose();
    script.data(&talk, ToClient, ok("1").as_bytes());
    script.end(&talk, ToClient, End::Clean);
    assert_eq!(script.outcome(), Outcome::Unobserved);
    // Without the request there is no call, and its answer belongs to none.
    let talk = script.exchange(Method::POST, "/mcp", HttpTransport::Streamable, None);
    script.lose();
    script.data(&talk, ToServer, b"\"tools/call\"}");
    script.end(&talk, ToServer, End::Clean);
    script.reply(&talk, 200, &ok("1"));
    assert_eq!(script.calls(), []);
    assert_eq!(script.odd(Oddity::UnmatchedAnswer), 1);
    script.assert_clean();
}

#[test]
fn a_question_that_lost_its_rest_is_a_call() {
    let named = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arg"#;
    let nameless = r#"{"method":"tools/call","params":{"name":"echo","arguments":{"a":"xx"#;
    let note = r#"{"method":"notifications/progress","params":{"progressTok"#;
    for (front, status, ends) in [
        (named, 200, Some(Outcome::Ok)),
        (named, 413, Some(Outcome::HttpError(413))),
        (nameless, 200, Some(Outcome::Unobserved)),
        (r#"{"id":1,"met"#, 200, None),
        (r#"{"id":1,"method":"tools/ca"#, 200, None),
        (note, 202, None),
    ] {
        let mut script = Script::new();
        let talk = script.exchange(Method::POST, "/mcp", HttpTransport::Streamable, None);
        script.data(&talk, ToServer, front.as_bytes());
        script.lose();
        script.end(&talk, ToServer, End::Clean);
        script.reply(&talk, status, &if status == 200 { ok("1") } else { String::new() });
        let outcomes: Vec<_> = script.calls().into_iter().map(|(_, outcome)| outcome).collect();
        assert_eq!(outcomes, Vec::from_iter(ends), "{front} {status}");
        script.assert_clean();
    }
    // On a stream of lines the answer finds it by its id, and nothing else does.
    let mut script = Script::new();
    let talk = script.stdio();
    for front in [nameless, named] {
        script.data(&talk, ToServer, front.as_bytes());
        script.lose();
        script.client(&talk, "uments\":{}}}");
    }
    script.server(&talk, &ok("1"));
    assert_eq!(script.calls(), [("1".to_owned(), Outcome::Ok)]);
    script.end(&talk, ToServer, End::Clean);
    script.end(&talk, ToClient, End::Clean);
    script.assert_clean();
}

#[test]
fn a_lost_head_leaves_the_answer_unobserved() {
    let mut script = Script::new();
    let talk = script.post(None, &modern("1"));
    script.lose();
    script.data(&talk, ToClient, ok("1").as_bytes());
    script.end(&talk, ToClient, End::Clean);
    assert_eq!(script.outcome(), Outcome::Unobserved);
}

#[test]
fn after_a_gap_events_go_on_at_the_next_event() {
    let mut script = Script::new();
    let talk = script.post(None, &modern("1"));
    script.head(&talk, 200, BodyKind::EventStream, None);
    script.data(&talk, ToClient, b"data: {\"id\":");
    script.lose();
    script.data(&talk, ToClient, b"7}\n\n");
    script.event(&talk, None, &ok("1"));
    script.end(&talk, ToClient, End::Clean);
    assert_eq!(script.outcome(), Outcome::Ok);
}

#[test]
fn a_stream_whose_end_was_lost_is_swept() {
    let mut script = Script::new();
    let talk = script.post(None, &modern("1"));
    let stdio = script.stdio();
    script.client(&stdio, &call("2"));
    script.data(&stdio, ToServer, b"{\"id\":");
    script.pass(Duration::from_secs(10));
    assert_eq!(script.calls(), [], "the relay still holds them");
    drop((talk, stdio));
    script.pass(Duration::from_secs(10));
    let mut calls = script.calls();
    calls.sort_by(|one, other| one.0.cmp(&other.0));
    let lost = Outcome::Unobserved;
    assert_eq!(calls, [("1".to_owned(), lost), ("2".to_owned(), lost)]);
    assert_eq!(script.odd(Oddity::LostEnd), 2);
    script.assert_clean();
}

#[test]
fn too_many_calls_push_the_oldest_out() {
    let mut script = Script::with(Limits { pending: 2, ..Limits::default() });
    let talk = script.stdio();
    for id in ["1", "2", "3"] {
        script.client(&talk, &call(id));
        script.pass(Duration::from_secs(1));
    }
    assert_eq!(script.calls(), [("1".to_owned(), Outcome::Unobserved)]);
    assert_eq!(script.odd(Oddity::Evicted), 1);
    script.server(&talk, &ok("3"));
    assert_eq!(script.calls(), [("3".to_owned(), Outcome::Ok)]);
}

#[test]
fn arguments_in_flight_are_bounded() {
    let mut script = Script::new();
    let talk = script.stdio();
    let large = "x".repeat(16_000);
    for id in 0..1000 {
        let arguments = format!("{{\"a\":\"{large}\"}}");
        script.client(&talk, &call(&id.to_string()).replace("{\"a\":1}", &arguments));
    }
    assert!(script.observer.matcher.pending.held() <= 8 << 20);
    assert!(script.odd(Oddity::ArgumentsDropped) > 400);
    script.end(&talk, ToServer, End::Clean);
    script.end(&talk, ToClient, End::Clean);
    script.assert_clean();
}

#[test]
fn unfinished_messages_are_bounded() {
    let mut script = Script::with(Limits { arguments: 1 << 20, ..Limits::default() });
    let arguments = format!(
        r#"{{"id":1,"method":"tools/call","params":{{"arguments":["{}"#,
        "x".repeat(900_000)
    );
    let talks: Vec<_> = (0..50)
        .map(|_| {
            let talk = script.stdio();
            script.data(&talk, ToServer, arguments.as_bytes());
            talk
        })
        .collect();
    assert!(script.observer.partial < 12 << 20, "{}", script.observer.partial);
    assert!(script.odd(Oddity::ArgumentsDropped) > 30);
    for talk in &talks {
        script.data(talk, ToServer, b"\"],\"name\":\"echo\"}}\n");
        script.server(talk, &ok("1"));
    }
    assert_eq!(script.calls().len(), 50);
}

#[test]
fn the_end_of_the_process_ends_every_call_once() {
    let mut script = Script::new();
    let talk = script.stdio();
    script.client(&talk, &call("1"));
    let post = script.post(Some("s"), &call("2"));
    script.head(&post, 200, BodyKind::EventStream, None);
    script.event(&post, Some(1), "");
    script.end(&post, ToClient, End::ServerGone);
    script.finish();
    assert_eq!(
        script.calls(),
        [("1".to_owned(), Outcome::Unobserved), ("2".to_owned(), Outcome::Transport)]
    );
    script.finish();
    assert_eq!(script.calls(), []);
}

#[test]
fn a_message_that_lacks_but_its_end_counts() {
    let mut script = Script::new();
    let talk = script.stdio();
    script.data(&talk, ToServer, call("1").as_bytes());
    script.lose();
    script.client(&talk, "");
    script.server(&talk, &ok("1"));
    assert_eq!(script.calls(), [("1".to_owned(), Outcome::Ok)]);
    let talk = script.post(None, &modern("2"));
    script.head(&talk, 200, BodyKind::EventStream, None);
    script.data(&talk, ToClient, format!("data: {}\n", ok("2")).as_bytes());
    script.lose();
    script.end(&talk, ToClient, End::Clean);
    assert_eq!(script.calls(), [("2".to_owned(), Outcome::Ok)]);
}

#[test]
fn few_calls_are_doubtful_at_a_time() {
    let mut script = Script::new();
    let talk = script.stdio();
    for id in 0..5000 {
        script.client(&talk, &call(&id.to_string()));
        script.lose();
        script.server(&talk, "");
        assert!(script.observer.matcher.pending.len() <= 1001);
        assert!(script.observer.matcher.doubted.len() <= 1000);
    }
    assert_eq!(script.calls().len(), 4000);
    assert_eq!(script.odd(Oddity::Evicted), 0);
    // The others still have their time.
    script.server(&talk, &ok("4500"));
    assert_eq!(script.calls(), [("4500".to_owned(), Outcome::Ok)]);
    script.pass(Duration::from_secs(61));
    assert!(script.calls().iter().all(|(_, outcome)| *outcome == Outcome::Unobserved));
    assert_eq!(script.observer.matcher.pending.len(), 0);
}

#[test]
fn progress_takes_the_doubt_away() {
    let mut script = Script::new();
    let talk = script.stdio();
    let request =
        r#"{"id":1,"method":"tools/call","params":{"name":"slow","_meta":{"progressToken":1}}}"#;
    script.client(&talk, request);
    script.lose();
    script.server(&talk, "");
    script.server(&talk, r#"{"method":"notifications/progress","params":{"progressToken":1}}"#);
    script.pass(Duration::from_mins(2));
    assert_eq!(script.calls(), []);
    script.end(&talk, ToClient, End::ServerGone);
    assert_eq!(script.calls(), [("1".to_owned(), Outcome::Transport)]);
}
