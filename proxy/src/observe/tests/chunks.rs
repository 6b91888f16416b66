//! Whatever passes and however it is cut: the same records, no panic, nothing left behind.

use proptest::prelude::*;

use super::*;

/// All that a script leaves: records, counts of all methods, and oddities.
type Trace = (Vec<String>, Vec<String>, Vec<u64>);

fn trace(script: &mut Script) -> Trace {
    script.finish();
    let records = script.records();
    let records = records.iter().map(|call| {
        format!(
            "{} {:?} {:?} {:?} {:?} {} {} {:?} {:?} {:?}",
            call.request_id,
            call.tool,
            call.outcome,
            call.error_message,
            call.session.as_ref().map(|session| session.len()),
            call.request_size,
            call.response_size,
            call.arguments,
            call.client,
            call.protocol_version,
        )
    });
    let records = records.collect();
    let odd = Oddity::ALL.iter().map(|oddity| script.odd(*oddity)).collect();
    (records, script.counts(), odd)
}

fn messages() -> impl Strategy<Value = Vec<u8>> {
    let id = prop::sample::select(vec!["1", "2", "\"1\"", "\"\\u0061\"", "\"a\"", "1.0", "null"]);
    let message = id.prop_flat_map(|id| {
        prop::sample::select(vec![
            call(id),
            modern(id),
            initialize(id),
            initialized(id),
            ok(id),
            error(id, -1),
            cancelled(id),
            result(id, r#"{"content":[{"type":"text","text":"\u00e9\"]}"}],"isError":true}"#),
            result(id, r#"{"resultType":"task","taskId":"t"}"#),
            result(id, r#"{"taskId":"t","status":"completed","result":{}}"#),
            format!(r#"{{"id":{id},"method":"tasks/get","params":{{"taskId":"t"}}}}"#),
            request(id, "sampling/createMessage"),
            format!("[{},{}]", call(id), ok(id)),
            "not json".to_owned(),
            String::new(),
        ])
    });
    prop_oneof![
        8 => message.prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>().prop_filter("no line end", |byte| !b"\r\n".contains(byte)), 0..40),
    ]
}

fn talk() -> impl Strategy<Value = Vec<(bool, Vec<u8>)>> {
    prop::collection::vec((any::<bool>(), messages()), 0..30)
}

fn limits() -> Limits {
    Limits { inspect: 150, arguments: 20, ..Limits::default() }
}

fn over_stdio(messages: &[(bool, Vec<u8>)], chunk: usize) -> Trace {
    let mut script = Script::with(limits());
    script.chunk = chunk;
    let talk = script.stdio();
    for (up, message) in messages {
        let direction = if *up { ToServer } else { ToClient };
        script.data(&talk, direction, &[message, &b"\n"[..]].concat());
    }
    trace(&mut script)
}

fn over_http(messages: &[(bool, Vec<u8>)], ending: &[u8], chunk: usize) -> Trace {
    let mut script = Script::with(limits());
    script.chunk = chunk;
    let get = script.exchange(Method::GET, "/mcp", HttpTransport::Streamable, Some("s"));
    script.head(&get, 200, BodyKind::EventStream, None);
    for (up, message) in messages {
        if *up {
            let talk = script.exchange(Method::POST, "/mcp", HttpTransport::Streamable, Some("s"));
            script.data(&talk, ToServer, message);
            script.end(&talk, ToServer, End::Clean);
            script.head(&talk, 200, BodyKind::EventStream, None);
            script.data(&talk, ToClient, &[b"id: 1", ending, b"data:", ending, ending].concat());
            script.end(&talk, ToClient, End::Clean);
        } else {
            script.data(&get, ToClient, &[b"data: ", &**message, ending, ending].concat());
        }
    }
    trace(&mut script)
}

/// Something that a relay could show, in any order and with any loss.
#[derive(Clone, Debug)]
enum Act {
    Data(usize, bool, Vec<u8>),
    Head(usize, u16, usize),
    End(usize, bool, usize),
    Lose,
    Pass(u64),
    Drop(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => (0..7_usize, any::<bool>(), messages(), 0..3_usize).prop_map(|(talk, up, message, frame)| {
            let bytes = match frame {
                0 => [&message[..], b"\n"].concat(),
                1 => [b"id: 1\ndata: ", &message[..], b"\n\n"].concat(),
                _ => message,
            };
            Act::Data(talk, up, bytes)
        }),
        2 => (0..7_usize, prop::sample::select(vec![200, 202, 404]), 0..3_usize)
            .prop_map(|(talk, status, body)| Act::Head(talk, status, body)),
        2 => (0..7_usize, any::<bool>(), 0..6_usize).prop_map(|(talk, up, end)| Act::End(talk, up, end)),
        1 => Just(Act::Lose),
        1 => (0..4000_u64).prop_map(Act::Pass),
        1 => (0..7_usize).prop_map(Act::Drop),
    ];
    prop::collection::vec(act, 0..60)
}

fn open(script: &mut Script, talk: usize) -> Talk {
    use HttpTransport::{LegacySse, Streamable};
    match talk {
        0 => script.stdio(),
        1 => script.exchange(Method::POST, "/mcp", Streamable, Some("s")),
        2 => script.exchange(Method::POST, "/mcp", Streamable, None),
        3 => script.exchange(Method::GET, "/mcp", Streamable, Some("s")),
        4 => script.exchange(Method::DELETE, "/mcp", Streamable, Some("s")),
        5 => script.exchange(Method::GET, "/sse", LegacySse, None),
        _ => script.exchange(Method::POST, "/not%20json", LegacySse, None),
    }
}

proptest! {
    #[test]
    fn stdio_records_do_not_depend_on_the_chunking(messages in talk(), chunk in 1_usize..50) {
        prop_assert_eq!(over_stdio(&messages, chunk), over_stdio(&messages, usize::MAX));
    }

    #[test]
    fn event_records_do_not_depend_on_the_chunking(
        messages in talk(),
        ending in prop::sample::select(vec![&b"\n"[..], b"\r", b"\r\n"]),
        chunk in 1_usize..50,
    ) {
        let whole = over_http(&messages, ending, usize::MAX);
        prop_assert_eq!(over_http(&messages, ending, chunk), whole);
    }

    #[test]
    fn every_call_ends_once_whatever_happens(acts in acts()) {
        let mut script = Script::with(Limits { pending: 20, sessions: 2, ..limits() });
        let mut talks: Vec<Talk> = (0..7).map(|talk| open(&mut script, talk)).collect();
        for act in acts {
            let way = |up| if up { ToServer } else { ToClient };
            match act {
                Act::Data(talk, up, bytes) => script.data(&talks[talk].clone(), way(up), &bytes),
                Act::Head(talk, status, body) => {
                    let body = [BodyKind::Json, BodyKind::EventStream, BodyKind::Opaque][body];
                    script.head(&talks[talk].clone(), status, body, Some("s"));
                }
                Act::End(talk, up, end) => {
                    use End::{Clean, ClientGone, Refused, ServerGone, TimedOut, Unreachable};
                    let ends = [Clean, ClientGone, ServerGone, Unreachable, TimedOut, Refused];
                    script.end(&talks[talk].clone(), way(up), ends[end]);
                }
                Act::Lose => script.lose(),
                Act::Pass(seconds) => script.pass(Duration::from_secs(seconds)),
                Act::Drop(talk) => talks[talk] = open(&mut script, talk),
            }
            prop_assert!(script.observer.matcher.pending.len() <= 20);
        }
        drop(talks);
        script.pass(Duration::from_secs(10));
        script.finish();
        script.assert_clean();
        prop_assert_eq!(script.in_flight(), 0);
        let mut ids: Vec<_> = script.records().iter().map(|call| call.id).collect();
        let records = ids.len();
        ids.sort_unstable();
        ids.dedup();
        prop_assert_eq!(ids.len(), records);
    }
}
