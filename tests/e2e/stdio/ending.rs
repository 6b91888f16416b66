//! How sessions end: in time, with the server's own code, and leaving nobody behind.

use std::fs;

use mcpulse_tests::{Collector, Mood, Receiver};
use rustix::process::getpgid;

use super::*;
use crate::faults::call;

/// Clients lose patience 2 s after they closed, and 1 s after a signal.
const AFTER_CLOSE: Duration = Duration::from_millis(1900);
const AFTER_SIGNAL: Duration = Duration::from_millis(900);

/// A server that nothing but SIGKILL ends. It says when it is ready for that.
const STUBBORN: [&str; 3] =
    ["sh", "-c", "trap '' TERM INT HUP; echo ready; while :; do sleep 9; done"];

fn stubborn(command: Command) -> Session {
    let mut session = Session::piped(command);
    assert_eq!(session.line(), "ready");
    session
}

/// The proxy around a stubborn server that has answered a call, of which a MCPulse and a
/// collector that hang have yet to be told.
async fn with_a_report_to_flush(flags: &[&str]) -> (Session, Receiver, Collector) {
    let (receiver, collector) = (Receiver::start().await, Collector::start().await);
    receiver.set_mood(Mood::Hang);
    collector.set_mood(Mood::Hang);
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}"#;
    let script = format!(
        r#"read call; echo '{{"jsonrpc":"2.0","id":1,"result":{{"content":[]}}}}'; {}"#,
        STUBBORN[2]
    );
    let (mcpulse, collector_url) = (receiver.url(), collector.url());
    let sinks = ["--mcpulse-url", &mcpulse, "--otel-endpoint", &collector_url];
    let flags = [&sinks, flags].concat();
    let mut session = Session::piped(with_flags(&flags, &["sh", "-c", &script]));
    session.say(call.as_bytes());
    session.say(b"\n");
    assert!(session.line().contains("result"));
    assert_eq!(session.line(), "ready");
    (session, receiver, collector)
}

fn assert_within((status, took): (ExitStatus, Duration), code: i32, limit: Duration) {
    assert_eq!(status.code(), Some(code), "{status}");
    assert!(took <= limit, "{took:?}");
}

#[test]
fn the_end_of_the_input_ends_a_willing_server_at_once() {
    let mut session = Session::piped(in_front_of(&["cat"]));
    session.say(b"there\n");
    assert_eq!(session.line(), "there");
    session.close();
    assert_within(session.end(Instant::now()), 0, Duration::from_millis(500));
}

#[test]
fn the_end_of_the_input_leaves_a_server_its_time() {
    let script = "echo ready; cat; sleep 1; echo bye; exit 3";
    let mut session = Session::piped(in_front_of(&["sh", "-c", script]));
    assert_eq!(session.line(), "ready");
    session.close();
    let closed = Instant::now();
    assert_eq!(session.line(), "bye");
    assert_within(session.end(closed), 3, AFTER_CLOSE);
}

#[test]
fn a_stubborn_server_is_ended_after_the_end_of_the_input() {
    let mut session = stubborn(in_front_of(&STUBBORN));
    session.close();
    assert_within(session.end(Instant::now()), 137, AFTER_CLOSE);
}

#[test]
fn a_stubborn_server_is_ended_after_a_signal() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut session = stubborn(in_front_of(&STUBBORN));
        session.signal(signal);
        assert_within(session.end(Instant::now()), 137, AFTER_SIGNAL);
    }
}

#[test]
fn a_session_that_shall_outlive_its_terminal_does() {
    let script = ["sh", "-c", "echo ready; cat; exit 3"];
    let mut command = Command::new("nohup");
    let inner = in_front_of(&script);
    command.arg(inner.get_program()).args(inner.get_args());
    let mut session = Session::piped(command);
    assert_eq!(session.line(), "ready");
    session.signal(Signal::HUP);
    session.say(b"there\n");
    assert_eq!(session.line(), "there");
    session.close();
    assert_within(session.end(Instant::now()), 3, AFTER_CLOSE);
}

#[test]
fn a_signal_after_the_end_of_the_input_hastens_the_end() {
    let script = format!("cat; {}", STUBBORN[2]);
    let mut session = Session::piped(in_front_of(&["sh", "-c", &script]));
    session.close();
    assert_eq!(session.line(), "ready");
    session.signal(Signal::TERM);
    assert_within(session.end(Instant::now()), 137, AFTER_SIGNAL);
}

#[tokio::test]
async fn reports_that_nobody_takes_hold_nothing_up() {
    let directory = tempfile::tempdir().expect("a directory");
    let spool = ["--spool-dir", directory.path().to_str().expect("a path that is text")];
    for flags in [&[][..], &spool] {
        let (mut session, _mcpulse, _collector) = with_a_report_to_flush(flags).await;
        session.close();
        assert_within(session.end(Instant::now()), 137, AFTER_CLOSE);
        let (mut session, _mcpulse, _collector) = with_a_report_to_flush(flags).await;
        session.signal(Signal::TERM);
        assert_within(session.end(Instant::now()), 137, AFTER_SIGNAL);
    }
}

#[test]
fn a_signal_is_passed_on() {
    let script = "trap 'echo asked; exit 5' TERM; echo ready; while :; do sleep 0.01; done";
    let mut session = Session::piped(in_front_of(&["sh", "-c", script]));
    assert_eq!(session.line(), "ready");
    session.signal(Signal::TERM);
    assert_eq!(session.line(), "asked");
    assert_within(session.end(Instant::now()), 5, AFTER_SIGNAL);
}

#[test]
fn the_code_of_the_server_is_passed_on_while_the_client_stays() {
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -ILL $$", 132)] {
        let mut session = Session::piped(in_front_of(&["sh", "-c", script]));
        assert_eq!(session.end(Instant::now()).0.code(), Some(code), "{script}");
    }
}

#[test]
fn all_that_a_server_said_arrives_although_a_descendant_lives_on() {
    let script = "sleep 20 & seq 200000; exit 4";
    let mut session = Session::piped(in_front_of(&["sh", "-c", script]));
    let mut heard = String::new();
    let mut stdout = session.0.stdout.take().expect("standard output is a pipe");
    stdout.read_to_string(&mut heard).expect("the proxy writes");
    assert!(heard.ends_with("\n200000\n"));
    assert_eq!(heard.lines().count(), 200_000);
    assert_within(session.end(Instant::now()), 4, AFTER_SIGNAL);
}

#[test]
fn a_descendant_that_never_stops_talking_does_not_hold_up_the_end() {
    let mut session = Session::piped(in_front_of(&["sh", "-c", "echo first; yes & exit 5"]));
    assert_eq!(session.line(), "first");
    let mut stdout = session.0.stdout.take().expect("standard output is a pipe");
    std::io::copy(&mut stdout, &mut std::io::sink()).expect("the proxy writes to its end");
    assert_eq!(session.end(Instant::now()).0.code(), Some(5));
}

#[test]
fn a_client_that_listens_no_more_ends_a_server_that_speaks() {
    let mut session = Session::piped(in_front_of(&["yes"]));
    assert_eq!(session.line(), "y");
    drop(session.0.stdout.take());
    let (status, took) = session.end(Instant::now());
    assert_eq!(status.code(), Some(128 + 13), "the server sees the broken pipe: {status}");
    assert!(took <= AFTER_CLOSE, "{took:?}");
}

#[test]
fn a_server_that_closes_its_output_closes_the_clients() {
    let script = "exec >&-; read line; exit 6";
    let mut session = Session::piped(in_front_of(&["sh", "-c", script]));
    let mut stdout = session.0.stdout.take().expect("standard output is a pipe");
    assert_eq!(stdout.read(&mut [0]).expect("the end"), 0);
    session.say(b"go\n");
    assert_eq!(session.end(Instant::now()).0.code(), Some(6));
}

#[test]
fn what_is_said_to_a_server_that_takes_no_input_fails_and_the_end_is_seen() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("calls");
    let flags = ["--mcpulse-url", "none", "--call-log", log.to_str().expect("a path of text")];
    let script = "exec <&-; echo ready; exec sleep 20";
    let mut session = Session::piped(with_flags(&flags, &["sh", "-c", script]));
    assert_eq!(session.line(), "ready");
    for id in ["1", "2"] {
        session.say(format!("{}\n", call(id)).as_bytes());
    }
    session.close();
    assert_within(session.end(Instant::now()), 128 + 15, AFTER_CLOSE);
    let log = fs::read_to_string(log).expect("the log");
    assert_eq!(log.matches(r#""outcome":"transport""#).count(), 2, "{log}");
}

#[test]
fn killing_the_proxy_ends_the_server() {
    let mut session =
        Session::piped(in_front_of(&["sh", "-c", "echo $$; exec sleep 60 </dev/null >/dev/null"]));
    let server = session.line();
    session.signal(Signal::KILL);
    let (status, _) = session.end(Instant::now());
    assert_eq!(status.signal(), Some(9));
    let deadline = Instant::now() + Duration::from_secs(10);
    while lives(&server) {
        assert!(Instant::now() < deadline, "the server is still there");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn killing_the_proxy_ends_the_input_of_what_the_server_started() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("end");
    // What a shell puts into the background reads nothing unless it is told to.
    let script = r#"(cat; echo end > "$0") <&0 >/dev/null & echo ready; wait"#;
    let end = path.to_str().expect("a path that is text");
    let mut session = Session::piped(in_front_of(&["sh", "-c", script, end]));
    assert_eq!(session.line(), "ready");
    session.signal(Signal::KILL);
    session.end(Instant::now());
    let deadline = Instant::now() + Duration::from_secs(10);
    while fs::read_to_string(&path).unwrap_or_default() != "end\n" {
        assert!(Instant::now() < deadline, "it still reads");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_server_that_closes_its_output_and_lives_on_is_ended_as_any_other() {
    let script = STUBBORN[2].replace("echo ready", "echo ready; exec >&-");
    let mut session = stubborn(in_front_of(&["sh", "-c", &script]));
    session.close();
    assert_within(session.end(Instant::now()), 137, AFTER_CLOSE);
}

/// Whether a process runs; a zombie that nobody has waited for does not.
fn lives(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[test]
fn an_end_by_force_reaches_the_descendants_that_the_client_would_have_reached() {
    // A wrapper, what it waits for, and what it started besides; the last is nobody's business.
    let script = "setsid sleep 1000 & echo $!; sleep 1000 & echo $!; \
        sh -c 'echo $$; while :; do sleep 1000; done'; true";
    for signalled in [true, false] {
        let mut session = Session::piped(in_front_of(&["sh", "-c", script]));
        let [apart, besides, inner] = [session.line(), session.line(), session.line()];
        let begun = Instant::now();
        let limit = if signalled {
            session.signal(Signal::TERM);
            AFTER_SIGNAL
        } else {
            session.close();
            AFTER_CLOSE
        };
        assert_within(session.end(begun), 143, limit);
        let deadline = Instant::now() + Duration::from_secs(10);
        for pid in [&besides, &inner] {
            while lives(pid) {
                assert!(Instant::now() < deadline, "{pid} lives on");
                thread::sleep(Duration::from_millis(5));
            }
        }
        assert!(lives(&apart), "it has a session of its own");
        let apart = apart.parse().ok().and_then(Pid::from_raw).expect("a pid");
        kill_process(apart, Signal::KILL).expect("it is ours");
    }
}

#[test]
fn the_server_stays_in_the_process_group_of_the_proxy() {
    let script = "cut -d ' ' -f 5 /proc/$$/stat; cat";
    let mut session = Session::piped(in_front_of(&["sh", "-c", script]));
    let group = getpgid(Some(session.pid())).expect("the proxy runs");
    assert_eq!(session.line(), group.as_raw_nonzero().to_string());
}

#[test]
fn a_server_that_cannot_start_is_said_in_one_line_at_once() {
    let fastest = (0..5)
        .map(|_| {
            let begun = Instant::now();
            let output = in_front_of(&["no-such-server"]).output().expect("the proxy starts");
            let took = begun.elapsed();
            let stderr = String::from_utf8(output.stderr).expect("text");
            assert_eq!(output.status.code(), Some(1), "{stderr}");
            assert_eq!(stderr.lines().count(), 1, "{stderr}");
            assert!(stderr.contains("no-such-server") && stderr.contains("PATH"), "{stderr}");
            assert!(output.stdout.is_empty());
            took
        })
        .min();
    // The fastest of five, for the machine may have much else to do.
    assert!(fastest < Some(Duration::from_millis(100)), "{fastest:?}");
}
