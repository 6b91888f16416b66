use super::*;

/// A session that is initialized, on one stream.
fn session(script: &mut Script) -> Talk {
    let talk = script.stdio();
    script.client(&talk, &initialize("0"));
    script.server(&talk, &initialized("0"));
    talk
}

/// How one call ends that is answered so.
fn answered(answer: &str) -> Outcome {
    let mut script = Script::new();
    let talk = session(&mut script);
    script.client(&talk, &call("1"));
    script.server(&talk, answer);
    script.outcome()
}

#[test]
fn every_answer_has_its_outcome() {
    for (answer, outcome) in [
        (ok("1"), Outcome::Ok),
        (result("1", "{}"), Outcome::Ok),
        (result("1", r#"{"isError":false,"resultType":"complete"}"#), Outcome::Ok),
        (result("1", r#"{"content":[],"isError":true}"#), Outcome::ToolError),
        (result("1", r#"{"isError":true,"resultType":"complete"}"#), Outcome::ToolError),
        (error("1", -32601), Outcome::RpcError(-32601)),
        (error("1", -32042), Outcome::RpcError(-32042)),
        (r#"{"id":1,"error":{}}"#.to_owned(), Outcome::RpcError(0)),
        (
            result("1", r#"{"resultType":"input_required","inputRequests":{}}"#),
            Outcome::InputRequired,
        ),
        (result("1", r#"{"resultType":"vendor/new"}"#), Outcome::Other),
        (result("1", r#"{"resultType":"task"}"#), Outcome::Task),
        (result("1", "null"), Outcome::Ok),
        (r#"{"id":1,"result":{},"error":null}"#.to_owned(), Outcome::Ok),
        (r#"{"id":1,"result":null,"error":{"code":-1}}"#.to_owned(), Outcome::RpcError(-1)),
    ] {
        assert_eq!(answered(&answer), outcome, "{answer}");
    }
}

#[test]
fn a_record_tells_all_that_is_known() {
    let mut script = Script::new();
    let talk = session(&mut script);
    let request = r#"{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{"name":"add","arguments":{"a": [1]},"_meta":{"traceparent":"00-a","tracestate":"v=1","progressToken":7}}}"#;
    script.client(&talk, request);
    script.pass(Duration::from_micros(1234));
    let answer =
        result("\"x\"", r#"{"content":[{"type":"text","text":"no \"good\""}],"isError":true}"#);
    script.server(&talk, &answer);
    let record = script.record();
    assert_eq!(&*record.server_id, "server");
    assert_eq!(&*record.method, "tools/call");
    assert_eq!(record.tool.as_deref(), Some("add"));
    assert_eq!(&*record.request_id, "\"x\"");
    assert_eq!(record.duration, Duration::from_micros(1234));
    assert_eq!(record.outcome, Outcome::ToolError);
    assert_eq!(record.error_message.as_deref(), Some("no \"good\""));
    assert_eq!(record.session.as_ref().map(|session| session.len()), Some(36));
    let client = record.client.as_ref().unwrap();
    assert_eq!((&*client.name, &*client.version), ("desk", "1.2"));
    assert_eq!(record.protocol_version.as_deref(), Some("2025-11-25"));
    assert_eq!(record.request_size, request.len() as u64);
    assert_eq!(record.response_size, answer.len() as u64);
    assert_eq!(record.arguments.as_deref(), Some(&br#"{"a": [1]}"#[..]));
    let trace = record.trace.as_ref().unwrap();
    assert_eq!((&*trace.parent, trace.state.as_deref()), ("00-a", Some("v=1")));
}

#[test]
fn a_client_that_does_not_wait_for_the_handshake_is_known() {
    let mut script = Script::new();
    let talk = script.stdio();
    let ready = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    script.client(&talk, &format!("{}\n{ready}\n{}", initialize("0"), call("1")));
    script.client(&talk, &modern("2"));
    script.server(&talk, &initialized("0"));
    script.server(&talk, &ok("1"));
    let record = script.record();
    assert_eq!(record.client.as_ref().map(|client| &*client.name), Some("desk"));
    assert_eq!(record.protocol_version.as_deref(), Some("2025-11-25"));
    let session = record.session.clone().unwrap();
    // The modern one speaks for itself.
    script.server(&talk, &ok("2"));
    let record = script.record();
    assert_eq!((&record.session, record.protocol_version.as_deref()), (&None, Some("2026-07-28")));
    // It is the same session as afterwards.
    script.client(&talk, &call("3"));
    script.server(&talk, &ok("3"));
    assert_eq!(script.record().session.as_ref(), Some(&session));
}

#[test]
fn the_modern_era_has_no_session() {
    let mut script = Script::new();
    let talk = script.stdio();
    script.client(&talk, &modern("1"));
    script.server(&talk, &result("1", r#"{"resultType":"complete","content":[]}"#));
    let record = script.record();
    assert_eq!(record.session, None);
    assert_eq!(record.protocol_version.as_deref(), Some("2026-07-28"));
    assert_eq!(record.client.as_ref().map(|client| &*client.name), Some("probe"));
}

#[test]
fn a_probe_is_no_session() {
    let mut script = Script::new();
    let talk = script.stdio();
    script.client(&talk, &request("0", "server/discover"));
    script.server(&talk, &error("0", -32601));
    script.client(&talk, &call("1"));
    script.server(&talk, &error("1", -32602));
    assert_eq!(script.record().session, None);
    assert_eq!(script.ended("server/discover", "-32601"), 1);
}

#[test]
fn ids_match_by_direction_and_type() {
    let mut script = Script::new();
    let talk = session(&mut script);
    script.client(&talk, &call("1"));
    script.client(&talk, &call("\"1\""));
    script.server(&talk, &request("1", "sampling/createMessage"));
    script.client(&talk, &error("1", -1));
    assert_eq!(script.calls(), []);
    assert_eq!(script.ended("sampling/createMessage", "-1"), 1);
    script.server(&talk, &error("\"1\"", -5));
    script.server(&talk, &ok("1.0"));
    assert_eq!(
        script.calls(),
        [("\"1\"".to_owned(), Outcome::RpcError(-5)), ("1".to_owned(), Outcome::Ok)]
    );
}

#[test]
fn an_id_may_be_used_again() {
    let mut script = Script::new();
    let talk = session(&mut script);
    for _ in 0..3 {
        script.client(&talk, &call("1"));
        script.server(&talk, &ok("1"));
    }
    assert_eq!(script.calls().len(), 3);
    assert_eq!(script.odd(Oddity::DuplicateId), 0);
}

#[test]
fn ids_of_every_type_are_followed() {
    for id in [
        "0",
        "-1",
        "1.5",
        "9007199254740993",
        "123456789012345678901234567890",
        "\"\"",
        "true",
        "{\"a\":1}",
        "[1]",
        "null",
    ] {
        let mut script = Script::new();
        let talk = session(&mut script);
        script.client(&talk, &call(id));
        script.server(&talk, &ok(id));
        script.end(&talk, ToClient, End::Clean);
        script.end(&talk, ToServer, End::Clean);
        assert_eq!(script.calls(), [(id.to_owned(), Outcome::Ok)]);
    }
}

#[test]
fn an_error_without_an_id_answers_a_request_with_null_and_no_other() {
    let mut script = Script::new();
    let talk = session(&mut script);
    script.client(&talk, &call("1"));
    script.client(&talk, &call("null"));
    script.server(&talk, r#"{"jsonrpc":"2.0","error":{"code":-32600}}"#);
    assert_eq!((script.calls(), script.odd(Oddity::UnmatchedAnswer)), (vec![], 1));
    script.server(&talk, &error("null", -32600));
    assert_eq!(script.calls(), [("null".to_owned(), Outcome::RpcError(-32600))]);
    script.server(&talk, &error("null", -32600));
    assert_eq!((script.calls(), script.odd(Oddity::UnmatchedAnswer)), (vec![], 2));
    script.server(&talk, &ok("1"));
    assert_eq!(script.calls(), [("1".to_owned(), Outcome::Ok)]);
}

#[test]
fn a_second_answer_makes_no_second_record() {
    let mut script = Script::new();
    let talk = session(&mut script);
    script.client(&talk, &call("1"));
    script.server(&talk, &ok("1"));
    script.server(&talk, &ok("1"));
    script.server(&talk, &ok("99"));
    assert_eq!(script.calls(), [("1".to_owned(), Outcome::Ok)]);
    assert_eq!(script.odd(Oddity::UnmatchedAnswer), 2);
}

#[test]
fn batches_are_many_calls() {
    let mut script = Script::new();
    let talk = session(&mut script);
    script.client(&talk, &format!("[{},{},{}]", call("1"), call("2"), call("3")));
    script.server(&talk, &format!("[{},{}]", error("3", -1), ok("1")));
    script.server(&talk, &ok("2"));
    assert_eq!(
        script.calls(),
        [
            ("3".to_owned(), Outcome::RpcError(-1)),
            ("1".to_owned(), Outcome::Ok),
            ("2".to_owned(), Outcome::Ok),
        ]
    );
}

#[test]
fn a_cancelled_call_is_cancelled_whatever_comes() {
    let mut script = Script::new();
    let talk = session(&mut script);
    script.client(&talk, &call("1"));
    script.client(&talk, &cancelled("1"));
    script.server(&talk, &ok("1"));
    assert_eq!(script.calls(), [("1".to_owned(), Outcome::Cancelled)]);
    script.client(&talk, &call("2"));
    // Only the sender may withdraw.
    script.server(&talk, &cancelled("2"));
    script.server(&talk, &ok("2"));
    assert_eq!(script.calls(), [("2".to_owned(), Outcome::Ok)]);
}

#[test]
fn initialize_cannot_be_cancelled() {
    let mut script = Script::new();
    let talk = script.stdio();
    script.client(&talk, &initialize("0"));
    script.client(&talk, &cancelled("0"));
    script.server(&talk, &initialized("0"));
    assert_eq!(script.ended("initialize", ""), 1);
}

#[test]
fn a_server_may_end_a_subscription() {
    let mut script = Script::new();
    let talk = script.stdio();
    script.client(&talk, &request("1", "subscriptions/listen"));
    script.pass(Duration::from_hours(3));
    assert_eq!(script.odd(Oddity::Expired), 0);
    script.server(&talk, &cancelled("1"));
    assert_eq!(script.ended("subscriptions/listen", "cancelled"), 1);
}

#[test]
fn progress_keeps_a_call_alive() {
    let mut script = Script::new();
    let talk = session(&mut script);
    let request =
        r#"{"id":1,"method":"tools/call","params":{"name":"slow","_meta":{"progressToken":"t"}}}"#;
    let progress =
        r#"{"method":"notifications/progress","params":{"progressToken":"t","progress":1}}"#;
    script.client(&talk, request);
    for _ in 0..5 {
        script.pass(Duration::from_mins(50));
        script.server(&talk, progress);
    }
    assert_eq!(script.calls(), []);
    script.pass(Duration::from_mins(61));
    assert_eq!(script.outcome(), Outcome::Timeout);
    assert_eq!(script.odd(Oddity::Expired), 1);
}

#[test]
fn hung_calls_are_in_flight() {
    let mut script = Script::new();
    let talk = session(&mut script);
    script.client(&talk, &call("1"));
    script.client(&talk, &call("2"));
    script.client(&talk, &request("3", "tools/list"));
    script.pass(Duration::from_secs(1));
    assert_eq!(script.in_flight(), 2);
    script.server(&talk, &ok("1"));
    script.pass(Duration::from_secs(1));
    assert_eq!(script.in_flight(), 1);
    script.finish();
    assert_eq!(script.in_flight(), 0);
}

#[test]
fn who_goes_first_decides() {
    for (first, outcome) in [(ToServer, Outcome::Cancelled), (ToClient, Outcome::Transport)] {
        let mut script = Script::new();
        let talk = session(&mut script);
        script.client(&talk, &call("1"));
        script.server(&talk, &request("1", "roots/list"));
        script.end(&talk, first, End::Clean);
        script.end(&talk, first.reverse(), End::Clean);
        assert_eq!(script.calls(), [("1".to_owned(), outcome)]);
        let asker_left = if first == ToServer { "transport" } else { "cancelled" };
        assert_eq!(script.ended("roots/list", asker_left), 1);
        script.assert_clean();
    }
}

#[test]
fn a_server_that_stops_reading_goes_first() {
    let mut script = Script::new();
    let talk = session(&mut script);
    script.client(&talk, &call("1"));
    script.end(&talk, ToServer, End::ServerGone);
    script.end(&talk, ToClient, End::Clean);
    assert_eq!(script.calls(), [("1".to_owned(), Outcome::Transport)]);
}

#[test]
fn a_server_may_answer_after_stdin_is_closed() {
    let mut script = Script::new();
    let talk = session(&mut script);
    script.client(&talk, &call("1"));
    script.end(&talk, ToServer, End::Clean);
    script.server(&talk, &ok("1"));
    script.end(&talk, ToClient, End::Clean);
    assert_eq!(script.calls(), [("1".to_owned(), Outcome::Ok)]);
    script.assert_clean();
}

#[test]
fn garbage_is_counted_and_harms_nothing() {
    let mut script = Script::new();
    let talk = session(&mut script);
    script.client(&talk, &call("1"));
    for garbage in ["npm warn deprecated", "{\"id\":", "\u{0}\u{1}", "[]", "{\"a\":1}", "\"text\""]
    {
        script.server(&talk, garbage);
    }
    script.server(&talk, "");
    script.server(&talk, "\r");
    script.server(&talk, &format!("{}\r", ok("1")));
    assert_eq!(script.calls(), [("1".to_owned(), Outcome::Ok)]);
    assert_eq!(script.odd(Oddity::Unparsed), 6);
}

#[test]
fn large_messages_keep_their_outcome() {
    let mut script = Script::new();
    let talk = session(&mut script);
    let large = "x".repeat(3 << 20);
    script.client(&talk, &format!(r#"{{"id":1,"method":"tools/call","params":{{"arguments":{{"a":"{large}"}},"name":"big"}}}}"#));
    script.server(
        &talk,
        &result(
            "1",
            &format!(r#"{{"content":[{{"type":"text","text":"{large}"}}],"isError":true}}"#),
        ),
    );
    let record = script.record();
    assert_eq!((record.tool.as_deref(), record.outcome), (Some("big"), Outcome::ToolError));
    assert_eq!(record.arguments, None);
    assert!(record.response_size > 3 << 20);
    assert_eq!(script.odd(Oddity::Oversized), 2);
}

#[test]
fn tools_are_told_to_the_sinks() {
    let mut script = Script::new();
    let talk = session(&mut script);
    script.client(&talk, &request("1", "tools/list"));
    script.server(&talk, &result("1", r#"{"tools":[{"name":"echo"},{"name":"add"}]}"#));
    let text = script.metrics.render().unwrap();
    assert!(text.contains("mcpulse_tools_with_series{mcpulse_server_id=\"server\"} 2"), "{text}");
}

#[test]
fn a_line_is_one_message_or_none() {
    let mut script = Script::new();
    let talk = session(&mut script);
    for refused in [format!("{} {{}}", call("1")), format!("{0}{0}", call("2")), call("3") + " x"] {
        script.client(&talk, &refused);
    }
    assert_eq!((script.odd(Oddity::Unparsed), script.in_flight()), (3, 0));
    script.client(&talk, &format!("\t{} \r", call("4")));
    script.server(&talk, &format!("{},", ok("4")));
    assert_eq!(script.calls(), []);
    script.data(&talk, ToClient, ok("4").as_bytes());
    assert_eq!(script.calls(), []);
    script.data(&talk, ToClient, b" ");
    script.data(&talk, ToClient, b"\r\n");
    let record = script.record();
    assert_eq!((&*record.request_id, record.outcome), ("4", Outcome::Ok));
    assert_eq!(record.request_size, call("4").len() as u64);
    assert_eq!(record.response_size, ok("4").len() as u64);
    // The last line needs no end.
    script.data(&talk, ToServer, call("5").as_bytes());
    script.end(&talk, ToServer, End::Clean);
    script.end(&talk, ToClient, End::Clean);
    assert_eq!(script.calls(), [("5".to_owned(), Outcome::Cancelled)]);
}

#[test]
fn a_tool_without_a_name_has_one_in_the_record() {
    let mut script = Script::new();
    let talk = session(&mut script);
    for params in ["{}", r#"{"name":""}"#, r#"{"name":1}"#, r#"{"name":null}"#, "[]", "null"] {
        let request = format!(r#"{{"id":1,"method":"tools/call","params":{params}}}"#);
        script.client(&talk, &request);
        script.server(&talk, &error("1", -32602));
        let record = script.record();
        assert_eq!(record.tool.as_deref(), Some("_OTHER"), "{params}");
        assert_eq!(record.outcome, Outcome::RpcError(-32602));
    }
}
