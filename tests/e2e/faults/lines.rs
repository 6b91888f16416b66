//! Lines that are no messages, or messages out of all proportion.

use super::pipe::Pipe;

#[tokio::test]
async fn what_is_no_message_passes_and_is_counted() {
    // Neither object nor array, or not complete, or not JSON at all.
    let garbage: [&[u8]; 13] = [
        b"not json",
        b"{",
        b"}",
        b"\"",
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{",
        b"42",
        b"null",
        b"[1,2]",
        b"{}",
        b"\0\0\0",
        b"\xff\xfe\x80\xc0",
        b"\xff\xfe{\x00}\x00",
        b"{\"jsonrpc\":\"2.0\",\"id\":{}",
    ];
    let mut pipe = Pipe::open().await;
    for line in garbage {
        pipe.both(line).await;
    }
    // Blank lines are no garbage, with carriage returns neither.
    for blank in [&b""[..], b"\r", b"  \t "] {
        pipe.both(blank).await;
    }
    pipe.call("1").await;
    let unparsed = 2 * garbage.len() as u64;
    pipe.assert_settled(&[("ok", 1)], &[("unparsed", unparsed)]).await;
    pipe.close(1).await;
}

#[tokio::test]
async fn messages_arrive_in_halves_and_the_last_never_ends() {
    let mut pipe = Pipe::open().await;
    for byte in (super::call("1") + "\r\n").as_bytes() {
        pipe.client([*byte]).await;
    }
    for byte in (super::result("1") + "\n").as_bytes() {
        pipe.server([*byte]).await;
    }
    pipe.client(&super::call("2")[..40]).await;
    pipe.server(&super::result("2")[..20]).await;
    pipe.assert_settled(&[("ok", 1)], &[]).await;
    pipe.close(1).await;
}

#[tokio::test]
async fn text_that_is_no_utf_8_is_reported_as_far_as_it_can_be() {
    let mut pipe = Pipe::open().await;
    let words = |id: u8, name: &[u8], text: &[u8]| {
        [
            format!(r#"{{"id":{id},"method":"tools/call","params":{{"name":""#).as_bytes(),
            name,
            br#"","arguments":{"text":""#,
            text,
            b"\"}}}\n",
        ]
        .concat()
    };
    let texts: [&[u8]; 4] = [b"\xff\xfe\xc3", br"\ud800", br"\u0000", b"\xf0\x9f"];
    for (id, text) in (1..).zip(texts) {
        pipe.client(words(id, b"probe", text)).await;
        let answer =
            [format!(r#"{{"id":{id},"error":{{"code":-1,"message":""#).as_bytes(), text, b"\"}}\n"]
                .concat();
        pipe.server(answer).await;
    }
    pipe.client(words(5, b"\xff\x00", b"")).await;
    pipe.server(super::result("5") + "\n").await;
    pipe.assert_settled(&[("ok", 1), ("rpc_error", 4)], &[]).await;
    pipe.close(5).await;
}

#[tokio::test]
async fn a_hundred_thousand_brackets_are_no_abyss() {
    const DEPTH: usize = 100_000;
    let mut pipe = Pipe::open().await;
    let (open, shut) = ("[".repeat(DEPTH), "]".repeat(DEPTH));
    let objects = "{\"a\":".repeat(DEPTH) + "1" + &"}".repeat(DEPTH);
    // No messages, but JSON; then what no bracket closes.
    for line in [format!("{open}{shut}"), objects.clone(), open.clone()] {
        pipe.both(line.as_bytes()).await;
    }
    for (id, deep) in ["1", "2"].into_iter().zip([format!("{open}{shut}"), objects]) {
        let call = format!(
            r#"{{"id":{id},"method":"tools/call","params":{{"name":"probe","arguments":{deep}}}}}"#
        );
        pipe.client(call + "\n").await;
        let answer = format!(r#"{{"id":{id},"result":{{"structuredContent":{deep}}}}}"#);
        pipe.server(answer + "\n").await;
    }
    pipe.assert_settled(&[("ok", 2)], &[("unparsed", 6)]).await;
    pipe.close(2).await;
}

#[tokio::test]
async fn a_line_of_100_mib_passes_whole_in_little_memory() {
    const SIZE: usize = 100 << 20;
    let mut pipe = Pipe::open().await;
    let text = "x".repeat(SIZE);
    let call = format!(
        r#"{{"id":1,"method":"tools/call","params":{{"name":"probe","arguments":{{"text":"{text}"}}}}}}"#
    );
    pipe.client(call + "\n").await;
    pipe.server(format!(r#"{{"id":1,"result":{{"text":"{text}","content":[]}}}}"#) + "\n").await;
    drop(text);
    super::assert_modest(&pipe.proxy);
    // The observer may be far behind, and is then short of bytes: it says so and finds back.
    let mut calls = 1;
    let scrape = loop {
        calls += 1;
        pipe.call(&calls.to_string()).await;
        let scrape = super::balanced(&pipe.proxy).await;
        if scrape.sum("mcpulse_calls_total", &[("outcome", "ok")]) > 0.5 {
            break scrape;
        }
    };
    let oddities = super::by(&scrape, "mcpulse_oddities_total", "kind");
    assert!(oddities.contains_key("oversized") || oddities.contains_key("gap"), "{oddities:?}");
    super::assert_modest(&pipe.proxy);
    // Calls that passed in such a gap were not seen at all.
    let ends = pipe.leave().await;
    let seen = u64::try_from(ends.mcpulse.metrics().len()).expect("few calls");
    assert!((1..=calls).contains(&seen), "{seen} of {calls}");
    ends.assert_delivered(seen).await;
}
