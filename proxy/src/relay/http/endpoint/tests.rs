use proptest::{collection::vec, prelude::*};

use super::*;

/// Passes `stream` in pieces of the given sizes (and then what is left) as the answer to a
/// request for `/sse`; returns the bytes and the announced path.
fn pass(upstream: &str, stream: &[u8], sizes: &[usize]) -> (Vec<u8>, Option<String>) {
    let rewrite = Rewrite::new("/sse", &upstream.parse().unwrap(), None).unwrap();
    let asked = PathAndQuery::from_static("/sse");
    let mut rewriter = EndpointRewriter::new(Arc::new(rewrite), asked);
    let mut out = Vec::new();
    let mut left = stream;
    for &size in sizes.iter().chain([&usize::MAX]) {
        let (piece, behind) = left.split_at(size.min(left.len()));
        out.extend_from_slice(&rewriter.push(Bytes::copy_from_slice(piece)));
        left = behind;
    }
    let announced = rewriter.announced().map(str::to_owned);
    out.extend_from_slice(&rewriter.finish());
    (out, announced)
}

fn whole(upstream: &str, stream: &str) -> (String, Option<String>) {
    let (out, announced) = pass(upstream, stream.as_bytes(), &[]);
    (String::from_utf8(out).unwrap(), announced)
}

const ROOT: &str = "http://up.test/sse";
const DEEP: &str = "http://up.test/api/sse";

#[test]
fn a_url_that_leads_elsewhere_becomes_a_path() {
    for (upstream, url, path) in [
        (ROOT, "http://up.test/messages/?session_id=1", "/messages/?session_id=1"),
        (ROOT, "//up.test:80/message", "/message"),
        ("https://up.test/sse", "http://up.test/message", "/message"),
        (DEEP, "message?sessionId=1", "/api/message?sessionId=1"),
        ("http://up.test/a/b/sse", "../message", "/a/message"),
        (DEEP, "?sessionId=1", "/api/sse?sessionId=1"),
    ] {
        for end in ["\n", "\r\n", "\r"] {
            let event = |url| format!("event: endpoint{end}data: {url}{end}{end}rest");
            let (out, announced) = whole(upstream, &event(url));
            assert_eq!(out, event(path), "{url} at {upstream}");
            assert_eq!(announced.as_deref(), path.split('?').next());
        }
    }
}

#[test]
fn a_url_that_leads_to_the_server_is_left_alone() {
    for (upstream, url, path) in [
        (ROOT, "/message?sessionId=1", "/message"),
        (ROOT, "message", "/message"),
        (DEEP, "/api/message?x", "/api/message"),
        (DEEP, "../message", "/message"),
        (DEEP, " /api/message ", "/api/message"),
    ] {
        let event = format!("event:endpoint\ndata: {url}\n\n");
        assert_eq!(whole(upstream, &event), (event, Some(path.to_owned())));
    }
}

#[test]
fn only_a_clear_announcement_is_touched() {
    let url = "http://up.test/m";
    for stream in [
        format!("event: message\ndata: {url}\n\n"),
        format!("data: {url}\n\n"),
        format!("event: endpoint\nevent: message\ndata: {url}\n\n"),
        format!("event: endpoint\ndata: {url}\ndata: x\n\n"),
        format!("event:  endpoint\ndata: {url}\n\n"),
        format!("event: endpoint\ndatum: {url}\n\n"),
        "event: endpoint\ndata: http://elsewhere.test/m\n\n".to_owned(),
        // Without the blank line there is no event.
        format!("event: endpoint\ndata: {url}\n"),
    ] {
        assert_eq!(whole(ROOT, &stream), (stream, None));
    }
}

#[test]
fn only_the_first_announcement_is_touched() {
    let stream = |first: &str| {
        format!(
            ": hello\n\nevent: message\ndata: {{}}\n\nid: 1\ndata: {first}\nevent: endpoint\n\n\
             event: endpoint\ndata: http://up.test/second\n\n"
        )
    };
    let (out, announced) = whole(ROOT, &stream("http://up.test/first"));
    assert_eq!(out, stream("/first"));
    assert_eq!(announced.as_deref(), Some("/first"));
}

#[test]
fn an_event_without_data_announces_nothing() {
    let (out, announced) = whole(ROOT, "event: endpoint\n\nevent: endpoint\ndata: //up.test/m\n\n");
    assert_eq!(out, "event: endpoint\n\nevent: endpoint\ndata: /m\n\n");
    assert_eq!(announced.as_deref(), Some("/m"));
}

#[test]
fn a_byte_order_mark_is_none_of_the_first_line() {
    for first in ["event: endpoint\n", "data: //up.test/m\n"] {
        let second =
            if first.starts_with('e') { "data: //up.test/m\n" } else { "event: endpoint\n" };
        let stream = format!("\u{feff}{first}{second}\n");
        assert_eq!(whole(ROOT, &stream).0, stream.replace("//up.test", ""));
    }
    let late = "\n\u{feff}event: endpoint\ndata: //up.test/m\n\n";
    assert_eq!(whole(ROOT, late), (late.to_owned(), None));
}

#[test]
fn what_stands_between_events_does_not_wait() {
    let rewrite = Rewrite::new("/sse", &ROOT.parse().unwrap(), None).unwrap();
    let mut rewriter = EndpointRewriter::new(Arc::new(rewrite), PathAndQuery::from_static("/sse"));
    for (piece, out) in [
        (": ping\n", ": ping\n"),
        ("\r", "\r"),
        ("\n", "\n"),
        ("data: x\r", ""),
        ("\n\r", "data: x\r\n\r"),
        ("\n", "\n"),
        ("event: endpoint\r\ndata: //up.test/m\r\n", ""),
        ("\r", "event: endpoint\r\ndata: /m\r\n\r"),
        ("\n", "\n"),
        ("data: half", "data: half"),
    ] {
        assert_eq!(rewriter.push(Bytes::from_static(piece.as_bytes())), out, "{piece:?}");
    }
    assert!(rewriter.finish().is_empty());
}

#[test]
fn a_long_event_passes_and_ends_the_search() {
    let padding = ":".repeat(LIMIT);
    let long = format!("event: endpoint\n{padding}\ndata: //up.test/m\n\n");
    let short = "event: endpoint\ndata: //up.test/m\n\n";
    let stream = format!("{long}{short}");
    for sizes in [vec![], vec![1; stream.len()], vec![1000; 8]] {
        assert_eq!(pass(ROOT, stream.as_bytes(), &sizes), (stream.clone().into_bytes(), None));
    }
    // One that just fits is still read.
    let frame = "event: endpoint\ndata: //up.test/m\n:\n\n";
    let fits = frame.replace(":\n\n", &format!(":{}\n\n", "x".repeat(LIMIT - frame.len())));
    assert_eq!(fits.len(), LIMIT);
    assert_eq!(pass(ROOT, fits.as_bytes(), &[]).1.as_deref(), Some("/m"));
    assert_eq!(pass(ROOT, fits.as_bytes(), &vec![1; LIMIT]).1.as_deref(), Some("/m"));
}

/// The events of a stream (type, data) as the standard's own algorithm has them.
fn events(stream: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let stream = stream.strip_prefix(BYTE_ORDER_MARK).unwrap_or(stream);
    let text = stream.iter().map(|byte| char::from(*byte)).collect::<String>();
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let bytes = |text: &str| text.chars().map(|char| char as u8).collect();
    let mut events = Vec::new();
    let (mut kind, mut data) = (String::new(), String::new());
    // What follows the last line end is no line.
    let lines = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
    for line in lines.split('\n') {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            _ if line.is_empty() => {
                if !data.is_empty() {
                    events.push((bytes(&kind), bytes(&data)));
                }
                (kind, data) = (String::new(), String::new());
            }
            "event" => value.clone_into(&mut kind),
            "data" => data.extend([value, "\n"]),
            _ => {}
        }
    }
    events
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    let fixed = prop::sample::select(vec![
        "event: endpoint",
        "event:endpoint",
        "event: message",
        "data: //up.test/m?s=1",
        "data: http://up.test/m?s=1",
        "data:/m",
        "data",
        "",
        "",
        ":",
        "id: 1",
        "\u{feff}event: endpoint",
        "\u{feff}",
    ]);
    prop_oneof![4 => fixed.prop_map(|line| line.as_bytes().to_vec()), 1 => vec(any::<u8>(), 0..9)]
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let end = prop::sample::select(vec!["\n", "\r", "\r\n", ""]);
    vec((line(), end), 0..24).prop_map(|lines| {
        lines.iter().flat_map(|(line, end)| [line.as_slice(), end.as_bytes()].concat()).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn chunking_changes_nothing(stream in stream(), sizes in vec(0_usize..12, 0..40)) {
        let whole = pass(ROOT, &stream, &[]);
        prop_assert_eq!(&pass(ROOT, &stream, &sizes), &whole);
        prop_assert_eq!(&pass(ROOT, &stream, &vec![1; stream.len()]), &whole);
    }

    #[test]
    fn clients_see_the_same_events_but_for_one_url(stream in stream()) {
        let mut expected = events(&stream);
        if let Some((_, data)) = expected.iter_mut().find(|(kind, _)| kind == b"endpoint") {
            let text = String::from_utf8_lossy(data).into_owned();
            let path = ["//up.test/", "http://up.test/"].iter().find_map(|own| text.strip_prefix(own));
            let one_url = text.as_bytes() == data && text.find('\n') == Some(text.len() - 1);
            if let Some(path) = path.filter(|_| one_url) {
                *data = format!("/{path}").into_bytes();
            }
        }
        let (out, _) = pass(ROOT, &stream, &[]);
        prop_assert_eq!(&events(&out), &expected);
        if expected == events(&stream) {
            prop_assert_eq!(out, stream);
        }
    }

    #[test]
    fn what_needs_nothing_passes_byte_for_byte(stream in vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(pass(ROOT, &stream, &[7, 1, 3]).0, stream);
    }
}
