//! Clients and programs that do what they should not, each in a test of its own. Whatever it is,
//! it gets its answer, is recorded as what it was, and leaves nothing behind: no process, no
//! session, no memory.

use std::{fmt::Write as _, fs};

use http::Method;
use http_body_util::Full;
use mcpulse_tests::{eventually, scrape};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use super::{Bridge, ENDED, INITIALIZE, INITIALIZED, STRANGER, Stage, programs::ANSWER, running};
use crate::faults::{PATIENCE, balanced, by, call, result};

/// What the proxy may have more in memory once all is over, in KiB. The allocator keeps some.
const KEPT: u64 = 10 << 10;
const CHANGED: &str = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;

/// What the proxy was like before.
struct Before {
    resident: u64,
}

/// What a process has in memory, in KiB.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number of KiB")
}

impl Bridge {
    fn before_all(&self) -> Before {
        Before { resident: resident(self.proxy.pid()) }
    }

    /// Waits until no program is left, none with this text in its command line, no zombie and no
    /// session.
    async fn wait_until_nothing_runs(&self, mark: &str) {
        eventually("no program is left", ENDED, async || {
            let scrape = self.proxy.scrape().await;
            let programs = scrape.sum("mcpulse_bridge_programs", &[]);
            let sessions = scrape.sum("mcpulse_bridge_sessions", &[]);
            // The proxy has the text in its own command line.
            (programs + sessions < 0.5 && running(mark) == 1).then_some(())
        })
        .await;
        self.wait_for_no_zombie().await;
    }

    /// The same, and until the memory is what it was; then the books balance.
    async fn assert_left_nothing(&self, mark: &str, before: &Before) {
        self.wait_until_nothing_runs(mark).await;
        let most = before.resident + KEPT;
        let mut last = 0;
        let shrunk = timeout(ENDED, async {
            loop {
                last = resident(self.proxy.pid());
                if last <= most {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        });
        assert!(shrunk.await.is_ok(), "{last} KiB after {} KiB", before.resident);
        eprintln!("{} KiB resident before, {last} KiB after", before.resident);
        balanced(&self.proxy).await;
    }
}

impl Stage {
    /// What all its programs have in their command line.
    fn mark(&self) -> String {
        self.programs.local_addr().expect("the address of a bound socket").to_string()
    }

    async fn assert_left_nothing(&self, before: &Before) {
        self.bridge.assert_left_nothing(&self.mark(), before).await;
    }

    /// Checks that a new session works, and ends it.
    async fn assert_of_use(&self) {
        let (session, mut program) = self.open().await;
        let (answer, ()) = tokio::join!(self.bridge.post(Some(&session), call("1")), async {
            program.hear().await.expect("the call");
            program.say(&result("1")).await;
        });
        assert_eq!((answer.status, answer.body), (200, result("1")));
        assert_eq!(self.bridge.delete(&session).await, 204);
        assert_eq!(program.hear().await, None);
    }
}

/// A request with this body as it goes over the wire, for clients that go their own ways.
fn raw(session: &str, length: usize, body: &str) -> String {
    format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\naccept: \
         application/json, text/event-stream\r\nmcp-session-id: {session}\r\ncontent-length: \
         {length}\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn sessions_that_are_unknown_or_of_another_are_not_found() {
    let (stage, other) = (Stage::set(&[]).await, Stage::set(&[]).await);
    let before = stage.bridge.before_all();
    let (foreign, _of_another) = other.open().await;
    let (own, mut program) = stage.open().await;
    for session in [STRANGER, &foreign, "", "../etc", &own.to_uppercase()] {
        let answer = stage.bridge.post(Some(session), call("1")).await;
        assert_eq!(answer.error(), (404, json!(1), -32600), "{session}");
        let listens = stage.bridge.request(Method::GET, Some(session));
        assert_eq!(stage.bridge.exchange(listens, "").await.status, 404);
        assert_eq!(stage.bridge.delete(session).await, 404);
    }
    assert_eq!(stage.bridge.delete(&own).await, 204);
    assert_eq!(program.hear().await, None, "nothing of it came to a program");
    drop(program);
    stage.bridge.assert_settled(&[("transport", 5)], &[]).await;
    stage.assert_left_nothing(&before).await;
    let answer = other.bridge.post(Some(&foreign), "{}").await;
    assert_eq!(answer.status, 400, "its own proxy knows it still");
}

#[tokio::test]
async fn of_two_streams_each_message_comes_on_one() {
    let stage = Stage::set(&[]).await;
    let before = stage.bridge.before_all();
    let (session, mut program) = stage.open().await;
    let mut first = stage.bridge.listen(&session).await;
    let mut second = stage.bridge.listen(&session).await;
    let told = |n: u32| CHANGED.replace("tools", &format!("tools{n}"));
    for n in 0..3 {
        program.say(&told(n)).await;
        assert_eq!(second.next().await, Some(told(n)));
    }
    // The one that is left has what comes from now on, and nothing twice.
    drop(second);
    let mut n = 3;
    let arrived = eventually("the other takes over", PATIENCE, async || {
        program.say(&told(n)).await;
        n += 1;
        let next = timeout(std::time::Duration::from_millis(200), first.next()).await;
        next.ok()
    })
    .await;
    let arrived = arrived.expect("a message");
    assert!((3..n).any(|n| arrived == told(n)), "{arrived}");
    assert_eq!(stage.bridge.delete(&session).await, 204);
    drop(program);
    stage.bridge.assert_settled(&[], &[]).await;
    drop(first);
    stage.assert_left_nothing(&before).await;
}

#[tokio::test]
async fn a_session_that_is_deleted_during_a_call_leaves_nothing() {
    let stage = Stage::set(&[]).await;
    let before = stage.bridge.before_all();
    let (session, mut program) = stage.open().await;
    let (answer, deleted) = tokio::join!(stage.bridge.post(Some(&session), call("1")), async {
        program.hear().await.expect("the call");
        stage.bridge.delete(&session).await
    });
    assert_eq!((deleted, answer.error()), (204, (502, json!(1), -32603)));
    // The program goes on all the same, until it is made to end.
    stage.bridge.assert_settled(&[("cancelled", 1)], &[]).await;
    stage.assert_left_nothing(&before).await;
}

#[tokio::test]
async fn bodies_that_are_several_or_spread_out_are_one_line_or_none() {
    let stage = Stage::set(&[]).await;
    let before = stage.bridge.before_all();
    let (session, mut program) = stage.open().await;
    let value: Value = serde_json::from_str(&call("7")).expect("JSON");
    let pretty = serde_json::to_string_pretty(&value).expect("JSON").replace('\n', "\r\n");
    let pretty = format!("\u{feff}{pretty}");
    for (body, wanted) in [
        (format!("[{}]", call("1")), -32600),
        ("[]".to_owned(), -32600),
        (format!("{}\n{}", call("1"), call("2")), -32700),
        (format!("{}\r{}", call("1"), call("2")), -32700),
        (call("1").replace("probe", "a\nb"), -32700),
        (call("1")[..40].to_owned(), -32700),
        ("\u{feff}".to_owned(), -32700),
        (format!(" \u{feff}{}", call("1")), -32700),
    ] {
        let answer = stage.bridge.post(Some(&session), body.clone()).await;
        assert_eq!(answer.error(), (400, json!(null), wanted), "{body}");
    }
    let (answer, line) = tokio::join!(stage.bridge.post(Some(&session), pretty), async {
        let line = program.hear().await.expect("the call, and nothing before");
        program.say(&result("7")).await;
        line
    });
    assert!(!line.contains('\r'), "{line}");
    assert_eq!(serde_json::from_str::<Value>(&line).expect("JSON"), value);
    assert_eq!(answer.body, result("7"));
    assert_eq!(stage.bridge.delete(&session).await, 204);
    assert_eq!(program.hear().await, None);
    drop(program);
    eventually("the call is recorded, and no other as one", PATIENCE, async || {
        let calls = by(&balanced(&stage.bridge.proxy).await, "mcpulse_calls_total", "outcome");
        (calls.get("ok") == Some(&1)).then_some(())
    })
    .await;
    stage.assert_left_nothing(&before).await;
}

/// Both ways, so many bytes in one message.
async fn pass(size: usize) {
    let stage = Stage::set(&[]).await;
    let bridge = &stage.bridge;
    let before = bridge.before_all();
    let (session, mut program) = stage.open().await;
    let bare = call("1").replace("{}}}", r#"{"text":""}}}"#);
    let question = bare.replace(r#""""#, &format!("\"{}\"", "x".repeat(size - bare.len())));
    assert_eq!(question.len(), size);
    let answer = result("1").replace("[]", &format!(r#"[{{"text":"{}"}}]"#, "y".repeat(size)));
    let (heard, line) = tokio::join!(bridge.post(Some(&session), question.clone()), async {
        let line = program.hear().await;
        program.say(&answer).await;
        line
    });
    assert!(line == Some(question) && heard.body == answer, "{size} bytes come as they were");
    // One that is larger than may be is refused by its head.
    let mut socket = TcpStream::connect(bridge.proxy.address().await).await.expect("a listener");
    let head = raw(&session, (64 << 20) + 1, "");
    socket.write_all(head.as_bytes()).await.expect("the proxy reads");
    let mut status = [0; 12];
    socket.read_exact(&mut status).await.expect("an answer");
    assert_eq!(&status, b"HTTP/1.1 413");
    drop(socket);
    assert_eq!(bridge.delete(&session).await, 204);
    drop((heard, answer, program));
    // What the observer could not keep up with is said to be unobserved.
    eventually("the call is recorded", PATIENCE, async || {
        let scrape = balanced(&bridge.proxy).await;
        let calls = by(&scrape, "mcpulse_calls_total", "outcome");
        let lost = scrape.sum("mcpulse_tap_dropped_total", &[]) > 0.5;
        let ok = calls == [("ok".to_owned(), 1)].into();
        let unobserved = lost && calls.keys().all(|outcome| outcome == "unobserved");
        (ok || unobserved).then_some(())
    })
    .await;
    stage.assert_left_nothing(&before).await;
}

#[tokio::test]
async fn five_mebibytes_pass_both_ways() {
    pass(5 << 20).await;
}

#[tokio::test]
async fn sixty_four_mebibytes_pass_both_ways() {
    pass(64 << 20).await;
}

#[tokio::test]
async fn a_client_that_vanishes_within_its_body_has_said_nothing() {
    let stage = Stage::set(&[]).await;
    let before = stage.bridge.before_all();
    let (session, mut program) = stage.open().await;
    for _ in 0..20 {
        let address = stage.bridge.proxy.address().await;
        let mut socket = TcpStream::connect(address).await.expect("a listener");
        let said = call("1");
        let request = raw(&session, said.len() + 1, &said);
        socket.write_all(request.as_bytes()).await.expect("the proxy reads");
    }
    eventually("each was noticed", PATIENCE, async || {
        let scrape = stage.bridge.proxy.scrape().await;
        let refused = by(&scrape, "mcpulse_http_refused_total", "reason");
        (refused.get("body_aborted") == Some(&20)).then_some(())
    })
    .await;
    assert_eq!(stage.bridge.delete(&session).await, 204);
    assert_eq!(program.hear().await, None, "nothing of it came to the program");
    drop(program);
    eventually("each call is recorded as one that the connection failed", PATIENCE, async || {
        let calls = by(&balanced(&stage.bridge.proxy).await, "mcpulse_calls_total", "outcome");
        (calls == [("transport".to_owned(), 20)].into()).then_some(())
    })
    .await;
    stage.assert_of_use().await;
    stage.assert_left_nothing(&before).await;
}

#[tokio::test]
async fn a_client_that_reads_nothing_loses_its_stream_and_nobody_elses() {
    let stage = Stage::set(&[]).await;
    let bridge = &stage.bridge;
    let before = bridge.before_all();
    let (session, mut program) = stage.open().await;
    let mut socket = TcpStream::connect(bridge.proxy.address().await).await.expect("a listener");
    let asked =
        call("1").replace(r#""arguments":{}"#, r#""arguments":{},"_meta":{"progressToken":"t"}"#);
    socket.write_all(raw(&session, asked.len(), &asked).as_bytes()).await.expect("it reads");
    program.hear().await.expect("the call");
    let mut reads = bridge.listen(&session).await;
    // A flood that belongs to the call: notifications are dropped one by one.
    let text = "x".repeat(64 << 10);
    let progress = format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":"t","progress":1,"message":"{text}"}}}}"#
    );
    for _ in 0..400 {
        program.say(&progress).await;
    }
    program.say(CHANGED).await;
    assert_eq!(reads.next().await.as_deref(), Some(CHANGED), "another stream goes on");
    assert!(bridge.figure("mcpulse_bridge_dropped_total").await > 100.0);
    // Requests are not: when nothing but them is left, more than 4 MiB, the stream is cut and each
    // is refused.
    let params = format!(r#"{{"text":"{text}"}}"#);
    for id in 0..(4 << 20) / text.len() {
        let question =
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"roots/list","params":{params}}}"#);
        program.say(&question).await;
    }
    assert!(program.hear().await.expect("a refusal").contains("does not take this request"));
    let mut taken = Vec::new();
    // A reset or an end, but no end of the body.
    let read = timeout(PATIENCE, socket.read_to_end(&mut taken)).await.expect("an end");
    assert!(read.is_err() || !taken.ends_with(b"\r\n0\r\n\r\n"), "it is cut");
    let (other, ()) = tokio::join!(bridge.post(Some(&session), call("2")), async {
        while program.hear().await.expect("another call") != call("2") {}
        program.say(&result("2")).await;
    });
    assert_eq!(other.body, result("2"));
    assert_eq!(bridge.delete(&session).await, 204);
    drop((program, reads));
    bridge.assert_settled(&[("ok", 1), ("cancelled", 1)], &[]).await;
    stage.assert_left_nothing(&before).await;
}

/// Opens 500 sessions and leaves them, until `all` have ended. Returns how it was before.
async fn abandon(bridge: &Bridge, mark: &str, all: u64) -> Before {
    let before = bridge.before_all();
    for _ in 0..20 {
        let mut opening = JoinSet::new();
        for _ in 0..25 {
            let request = bridge.request(Method::POST, None).body(Full::from(INITIALIZE));
            opening.spawn(bridge.web.client.request(request.expect("a request")));
        }
        while let Some(opened) = opening.join_next().await {
            assert_eq!(opened.expect("no panic").expect("HTTP").status(), 200);
        }
    }
    let peak = resident(bridge.proxy.pid());
    eprintln!("500 sessions: {} KiB before, {peak} KiB with them", before.resident);
    bridge.wait_for_ended("idle", all).await;
    bridge.wait_until_nothing_runs(mark).await;
    before
}

#[tokio::test]
async fn a_thousand_abandoned_sessions_leave_nothing() {
    let mark = format!("thousand-{}", std::process::id());
    let script = format!("{ANSWER} : {mark}; read -r never");
    let flags = ["--max-sessions", "1000", "--session-rate", "100000", "--session-timeout", "20s"];
    let bridge = Bridge::before(&["sh", "-c", &script], &flags).await;
    bridge.wait_until_ready(true).await;
    // What the first half took at its peak the allocator keeps; the second takes no more.
    abandon(&bridge, &mark, 500).await;
    let before = abandon(&bridge, &mark, 1000).await;
    bridge.assert_left_nothing(&mark, &before).await;
    bridge.assert_settled(&[], &[]).await;
}

#[tokio::test]
async fn garbage_is_left_out_and_counted() {
    let stage = Stage::set(&[]).await;
    let before = stage.bridge.before_all();
    let (session, mut program) = stage.open().await;
    let (answer, ()) = tokio::join!(stage.bridge.post(Some(&session), call("1")), async {
        program.hear().await.expect("the call");
        let mut garbage = String::new();
        for n in 0..1000 {
            writeln!(garbage, "{{\"a\":[{n}\n\u{1b}[31m\0{{}}x").expect("memory");
        }
        program.say(garbage.trim_end()).await;
        program.say(&result("1")).await;
    });
    assert_eq!((answer.status, answer.body), (200, result("1")));
    let garbage = stage.bridge.figure("mcpulse_bridge_garbage_total").await;
    assert!((garbage - 2000.0).abs() < 0.1, "{garbage}");
    assert_eq!(stage.bridge.delete(&session).await, 204);
    drop(program);
    stage.bridge.assert_settled(&[("ok", 1)], &[]).await;
    stage.assert_left_nothing(&before).await;
}

/// A program that can be talked with no more, and lives.
async fn assert_ended(mark: &str, script: &str) {
    let bridge = Bridge::before(&["sh", "-c", script], &[]).await;
    bridge.wait_until_ready(true).await;
    let before = bridge.before_all();
    let session = bridge.post(None, INITIALIZE).await.session.expect("a session");
    assert_eq!(bridge.post(Some(&session), call("1")).await.error(), (502, json!(1), -32603));
    assert_eq!(bridge.post(Some(&session), call("2")).await.error(), (404, json!(2), -32600));
    bridge.wait_for_ended("exited", 1).await;
    bridge.assert_settled(&[("transport", 2)], &[]).await;
    bridge.assert_left_nothing(mark, &before).await;
}

#[tokio::test]
async fn a_program_that_says_no_more_and_lives_is_ended() {
    let mark = format!("silent-{}", std::process::id());
    // Having heard a call it closes its output.
    let script = format!("{ANSWER} read call; exec >&- ; while :; do sleep 1; done # {mark}");
    assert_ended(&mark, &script).await;
}

#[tokio::test]
async fn a_program_that_hears_no_more_and_lives_is_ended() {
    let mark = format!("deaf-{}", std::process::id());
    // Before it answers it closes its input.
    let answer = ANSWER.replace("; echo", "; exec <&- ; echo");
    assert_ended(&mark, &format!("{answer} while :; do sleep 1; done # {mark}")).await;
}

#[tokio::test]
async fn a_program_that_ignores_sigterm_and_forks_is_ended_with_its_kin() {
    let mark = format!("98{}.5", std::process::id());
    let script = format!(
        "{ANSWER} trap '' TERM HUP INT; sleep {mark} & setsid sleep {mark} & \
         while :; do sleep {mark}; done"
    );
    let bridge = Bridge::before(&["sh", "-c", &script], &[]).await;
    bridge.wait_until_ready(true).await;
    let before = bridge.before_all();
    let session = bridge.post(None, INITIALIZE).await.session.expect("a session");
    eventually("its kin runs", PATIENCE, async || (running(&mark) >= 5).then_some(())).await;
    assert_eq!(bridge.delete(&session).await, 204);
    bridge.wait_for_ended("deleted", 1).await;
    bridge.assert_settled(&[], &[]).await;
    bridge.assert_left_nothing(&mark, &before).await;
}

#[tokio::test]
async fn a_flood_on_standard_error_holds_nobody_up() {
    let mark = format!("flood-{}", std::process::id());
    let answer = result("1").replace('"', "\\\"");
    let script = format!(
        "{ANSWER} read call; i=0; while [ $i -lt 400 ]; do head -c 40000 /dev/zero | tr '\\0' x >&2; \
         i=$((i+1)); done; echo >&2; echo \"{answer}\"; \
         while read more; do echo a word of {mark} >&2; done"
    );
    let bridge = Bridge::before(&["sh", "-c", &script], &[]).await;
    bridge.wait_until_ready(true).await;
    let before = bridge.before_all();
    let session = bridge.post(None, INITIALIZE).await.session.expect("a session");
    let answer = bridge.post(Some(&session), call("1")).await;
    assert_eq!((answer.status, answer.body), (200, result("1")));
    // Line by line, with the name that the session has in the log. Lines that nobody takes fast
    // enough are dropped there.
    let word = format!("a word of {mark}");
    let line = eventually("the program is heard again", PATIENCE, async || {
        assert_eq!(bridge.post(Some(&session), INITIALIZED).await.status, 202);
        let said = bridge.proxy.stderr();
        said.lines().find(|line| line.contains(&word)).map(str::to_owned)
    })
    .await;
    assert!(line.contains("session=") && !line.contains(&session), "{line}");
    assert_eq!(bridge.delete(&session).await, 204);
    bridge.assert_settled(&[("ok", 1)], &[]).await;
    bridge.assert_left_nothing(&mark, &before).await;
}

#[tokio::test]
async fn a_program_that_dies_during_initialize_leaves_no_session() {
    let mark = format!("stillborn-{}", std::process::id());
    // The one that is tried answers.
    let script = format!(
        "read l; case \"$l\" in *mcpulse-proxy*) echo \"$l\" | {{ {ANSWER} }} ;; esac # {mark}"
    );
    let bridge = Bridge::before(&["sh", "-c", &script], &[]).await;
    bridge.wait_until_ready(true).await;
    let before = bridge.before_all();
    let metrics = bridge.proxy.metrics_address().await;
    for _ in 0..10 {
        let answer = bridge.post(None, INITIALIZE).await;
        assert_eq!((answer.error(), answer.session), ((502, json!(0), -32603), None));
        // What one client brings about says nothing of the others.
        assert_eq!(scrape::get(metrics, "/readyz").await.0, 200);
    }
    // It is tried again meanwhile, which is no session.
    bridge.assert_settled(&[], &[]).await;
    let ended = by(&bridge.proxy.scrape().await, "mcpulse_bridge_sessions_ended_total", "reason");
    assert_eq!(ended.get("exited"), Some(&10), "{ended:?}");
    bridge.assert_left_nothing(&mark, &before).await;
}
