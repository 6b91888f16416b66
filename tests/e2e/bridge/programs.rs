//! Programs that misbehave, and more clients than there may be.

use std::time::Duration;

use mcpulse_tests::eventually;
use serde_json::json;

use super::{Bridge, ENDED, INITIALIZE, Stage, Stream, running};
use crate::faults::{PATIENCE, by, call, result};

/// Answers `initialize`, whatever its id.
pub(super) const ANSWER: &str = r#"read line; id=$(printf %s "$line" | sed 's/.*"id":\("[^"]*"\|[0-9]*\).*/\1/'); echo "{\"jsonrpc\":\"2.0\",\"id\":$id,\"result\":{}}";"#;

#[tokio::test]
async fn a_program_that_dies_fails_its_calls_at_once_and_no_other() {
    let stage = Stage::set(&[]).await;
    let bridge = &stage.bridge;
    let ((first, mut dying), (second, mut living)) = (stage.open().await, stage.open().await);
    let (answer, ()) = tokio::join!(bridge.post(Some(&first), call("\"x\"")), async {
        dying.hear().await.expect("the call");
        drop(dying);
    });
    assert_eq!(answer.error(), (502, json!("x"), -32603));
    assert_eq!(bridge.post(Some(&first), call("2")).await.status, 404);
    let (answer, ()) = tokio::join!(bridge.post(Some(&second), call("2")), async {
        living.hear().await.expect("the call");
        living.say(&result("2")).await;
    });
    assert_eq!(answer.body, result("2"));
    bridge.wait_until_ready(true).await;
    bridge.wait_for_ended("exited", 1).await;
    bridge.assert_settled(&[("ok", 1), ("transport", 2)], &[]).await;
}

#[tokio::test]
async fn a_program_that_ignores_everything_is_killed_with_its_descendants() {
    let mark = format!("98765.{}", std::process::id());
    let script = format!("{ANSWER} trap '' TERM; sleep {mark} & while :; do sleep {mark}; done");
    let bridge = Bridge::before(&["sh", "-c", &script], &[]).await;
    bridge.wait_until_ready(true).await;
    let answer = bridge.post(None, INITIALIZE).await;
    let session = answer.session.expect("a session");
    eventually("the program has descendants", PATIENCE, async || {
        // The proxy itself, the shell, and two that sleep.
        (running(&mark) >= 4).then_some(())
    })
    .await;
    assert_eq!(bridge.delete(&session).await, 204);
    eventually("only the proxy is left", ENDED, async || (running(&mark) == 1).then_some(())).await;
}

#[tokio::test]
async fn a_program_is_asked_to_end_before_it_is_made_to() {
    let directory = tempfile::TempDir::new().expect("a directory");
    let words = directory.path().join("words");
    let script = format!(
        "{ANSWER} trap 'echo asked >> {words}; exit' TERM; while :; do sleep 0.05; done",
        words = words.display()
    );
    let bridge = Bridge::before(&["sh", "-c", &script], &[]).await;
    bridge.wait_until_ready(true).await;
    let session = bridge.post(None, INITIALIZE).await.session.expect("a session");
    assert_eq!(bridge.delete(&session).await, 204);
    // The one that was tried as well.
    eventually("both were asked", ENDED, async || {
        let said = std::fs::read_to_string(&words).unwrap_or_default();
        (said == "asked\nasked\n").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_program_that_cannot_be_used_is_not_ready() {
    let bridge = Bridge::before(&["no-such-server"], &[]).await;
    bridge.wait_until_ready(false).await;
    assert_eq!(bridge.post(None, INITIALIZE).await.error(), (502, json!(0), -32603));
    bridge.proxy.wait_for_stderr("cannot start the server `no-such-server`").await;

    let bridge = Bridge::before(&["sh", "-c", "read line; echo broken >&2; exit 3"], &[]).await;
    let answer = bridge.post(None, INITIALIZE).await;
    assert_eq!(answer.error(), (502, json!(0), -32603));
    assert_eq!(answer.session, None);
    bridge.wait_until_ready(false).await;
    bridge.proxy.wait_for_stderr("broken").await;
}

#[tokio::test]
async fn a_program_that_clients_give_up_on_is_looked_at() {
    let directory = tempfile::TempDir::new().expect("a directory");
    let hangs = directory.path().join("hangs");
    let script = format!("[ -e {} ] && exec sleep 300; {ANSWER} cat", hangs.display());
    let bridge = Bridge::before(&["sh", "-c", &script], &[]).await;
    bridge.wait_until_ready(true).await;
    std::fs::write(&hangs, "").expect("a file");
    let begun = bridge.send(bridge.request(http::Method::POST, None), INITIALIZE);
    let patience = std::time::Duration::from_secs(3);
    assert!(tokio::time::timeout(patience, begun).await.is_err(), "it hangs");
    // What is looked at has a minute to answer.
    eventually("it is found", 2 * PATIENCE, async || {
        bridge.proxy.stderr().contains("has not answered initialize").then_some(())
    })
    .await;
    bridge.wait_until_ready(false).await;
}

#[tokio::test]
async fn one_session_too_many_is_told_when_to_come_again() {
    let stage = Stage::set(&["--max-sessions", "1"]).await;
    let (session, _program) = stage.open().await;
    let refused = stage.bridge.request(http::Method::POST, None);
    let refused = stage.bridge.send(refused, INITIALIZE).await;
    assert_eq!(refused.status(), 503);
    // Nobody knows when one leaves.
    assert_eq!(refused.headers()["retry-after"], "2");
    assert_eq!(stage.bridge.delete(&session).await, 204);
    let again = eventually("there is room again", ENDED, async || {
        let status = stage.bridge.post(None, INITIALIZE).await.status;
        (status != 503).then_some(status)
    });
    let (status, _program) = tokio::join!(again, async {
        let mut program = stage.enter().await;
        program.hear().await.expect("the question");
        program.say(&result("0")).await;
        program
    });
    assert_eq!(status, 200);
}

#[tokio::test]
async fn sessions_that_come_too_fast_are_told_when_to_come_again() {
    let script = format!("{ANSWER} cat");
    // No more than two ahead of the rate.
    let flags = ["--max-sessions", "2", "--session-rate", "1"];
    let bridge = Bridge::before(&["sh", "-c", &script], &flags).await;
    bridge.wait_until_ready(true).await;
    // Each is given back before the next: there is room for two.
    let refused = eventually("one came too fast", ENDED, async || {
        let answer = bridge.send(bridge.request(http::Method::POST, None), INITIALIZE).await;
        if let Some(session) = answer.headers().get("mcp-session-id") {
            bridge.delete(session.to_str().expect("text")).await;
        }
        let refused = by(&bridge.proxy.scrape().await, "mcpulse_http_refused_total", "reason");
        refused.contains_key("starts").then_some(answer)
    })
    .await;
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["retry-after"], "1");
}

#[tokio::test]
async fn abandoned_sessions_leave_no_process() {
    let mark = format!("abandoned-{}", std::process::id());
    let script = format!("{ANSWER} : {mark}; cat");
    let bridge = Bridge::before(&["sh", "-c", &script], &["--session-timeout", "300ms"]).await;
    for _ in 0..20 {
        assert_eq!(bridge.post(None, INITIALIZE).await.status, 200);
    }
    bridge.wait_for_ended("idle", 20).await;
    // The proxy has the script on its own command line.
    eventually("only the proxy is left", ENDED, async || (running(&mark) == 1).then_some(())).await;
}

#[tokio::test]
async fn the_proxy_takes_its_programs_with_it() {
    let mark = format!("taken-{}", std::process::id());
    let script = format!("{ANSWER} : {mark}; cat");
    let mut bridge = Bridge::before(&["sh", "-c", &script], &["--drain-timeout", "1s"]).await;
    for _ in 0..3 {
        assert_eq!(bridge.post(None, INITIALIZE).await.status, 200);
    }
    bridge.proxy.signal(rustix::process::Signal::TERM);
    assert!(bridge.proxy.wait(ENDED).await.success());
    assert_eq!(running(&mark), 0);
}

#[tokio::test]
async fn garbage_and_floods_hold_nobody_up() {
    let stage = Stage::set(&[]).await;
    let bridge = &stage.bridge;
    let (session, mut program) = stage.open().await;
    program.say("Listening on stdio...\n\n[]\n\u{1b}[31mred").await;
    // The client opens a stream and reads none of it.
    let unread = bridge.listen(&session).await;
    let text = "x".repeat(10_000);
    let flood = format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{"uri":"{text}"}}}}"#
    );
    for _ in 0..4_000 {
        program.say(&flood).await;
    }
    let (answer, ()) = tokio::join!(bridge.post(Some(&session), call("1")), async {
        program.hear().await.expect("the call");
        program.say(&result("1")).await;
    });
    assert_eq!(answer.body, result("1"));
    assert!(bridge.figure("mcpulse_bridge_dropped_total").await > 500.0);
    let garbage = bridge.figure("mcpulse_bridge_garbage_total").await;
    assert!((garbage - 3.0).abs() < 0.1, "{garbage}");
    drop(unread);
    eventually("the call is reported", PATIENCE, async || {
        let calls = by(&bridge.proxy.scrape().await, "mcpulse_calls_total", "outcome");
        (calls.get("ok") == Some(&1)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn large_messages_pass_both_ways() {
    let stage = Stage::set(&[]).await;
    let (session, mut program) = stage.open().await;
    let text = "ä\\n".repeat(1 << 20);
    let question = call("1").replace("{}}}", &format!(r#"{{"text":"{text}"}}}}}}"#));
    let answer = result("1").replace("[]", &format!(r#"[{{"type":"text","text":"{text}"}}]"#));
    let (heard, line) = tokio::join!(stage.bridge.post(Some(&session), question.clone()), async {
        let line = program.hear().await;
        program.say(&answer).await;
        line
    });
    assert!(line == Some(question) && heard.body == answer);
    let took = stage.bridge.delete(&session);
    assert_eq!(tokio::time::timeout(Duration::from_secs(20), took).await, Ok(204));
}

#[tokio::test]
async fn a_client_gets_json_whatever_the_program_writes() {
    let stage = Stage::set(&[]).await;
    let bridge = &stage.bridge;
    let (session, mut program) = stage.open().await;
    let (log, answer) = (r#"{"jsonrpc":"2.0","method":"notifications/message"}"#, result("1"));
    let request = bridge.request(http::Method::POST, Some(&session));
    let (response, ()) = tokio::join!(bridge.send(request, call("1")), async {
        program.hear().await.expect("the call");
        program.say(&format!("{log}{answer}")).await;
    });
    let mut stream = Stream::of(response);
    assert_eq!(stream.next().await.as_deref(), Some(log));
    assert_eq!(stream.next().await.as_ref(), Some(&answer));
    assert_eq!(stream.next().await, None);
    for said in [format!("\u{feff}{answer}"), format!("{answer}DEBUG: done")] {
        let (given, ()) = tokio::join!(bridge.post(Some(&session), call("1")), async {
            program.hear().await.expect("the call");
            program.say(&said).await;
        });
        assert_eq!((given.status, given.body), (200, answer.clone()), "{said}");
    }
    let broken: [&[u8]; 6] = [b"tru", b"NaN", b"\"\xff\"", b"\"\x01\"", b"\"unterminated", b"1,"];
    for value in broken {
        let said = [br#"{"jsonrpc":"2.0","id":1,"result":{"a":"#, value, b"}}"].concat();
        let (given, ()) = tokio::join!(bridge.post(Some(&session), call("1")), async {
            program.hear().await.expect("the call");
            program.say(&said).await;
        });
        assert_eq!(given.error(), (502, json!(1), -32603), "{}", said.escape_ascii());
    }
    let garbage = bridge.figure("mcpulse_bridge_garbage_total").await;
    assert!((garbage - 7.0).abs() < 0.1, "{garbage}");
    bridge.assert_settled(&[("ok", 3), ("transport", 6)], &[]).await;
}

#[tokio::test]
async fn a_program_that_closes_its_input_ends_with_the_next_message_and_a_word() {
    let script = ANSWER.replace("read line;", "read line; exec <&-;");
    let script = format!("{script} exec sleep 1000");
    let bridge = Bridge::before(&["sh", "-c", &script], &[]).await;
    bridge.wait_until_ready(true).await;
    let session = bridge.post(None, INITIALIZE).await.session.expect("a session");
    let answer = bridge.post(Some(&session), call("1")).await;
    assert_eq!(answer.error(), (502, json!(1), -32603));
    bridge.proxy.wait_for_stderr("closed its standard input").await;
    bridge.wait_for_ended("exited", 1).await;
}
